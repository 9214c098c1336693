//! Tickets at the doors: looked at, and used.

use chrono::{DateTime, Utc};

use super::TicketView;
use crate::{
    app::{App, Error, Origin, errors::TicketRefusal},
    domain::{
        ids::ShowtimeId,
        number::TicketNumber,
        ticket::{Ticket, TicketCode, TicketState, TicketUse, WhyNot},
        violations::Violations,
    },
    store::{
        self,
        planted::{self, Bug},
    },
};

/// What is shown at a door.
#[derive(Clone, Debug)]
pub enum Shown {
    /// The code of a ticket, as text.
    Code(String),
    /// The number of a ticket.
    Number(TicketNumber),
}

/// A ticket that was looked at, with what keeps it from admitting its holder.
#[derive(Clone, Debug)]
pub struct Validated {
    /// The ticket. `None`: there is none.
    pub ticket: Option<TicketView>,
    /// Why it does not admit its holder; empty if it does.
    pub why: Vec<WhyNot>,
}

/// What is shown at a door, with the tickets that it admits now.
#[derive(Clone, Debug)]
pub struct ValidatedTickets {
    /// The first of the tickets, or if there is none, one that says why.
    pub first: Validated,
    /// For the code of a purchase: the tickets that admit their holders now, in the order of their seats.
    pub of_purchase: Vec<TicketView>,
}

/// What a use has used.
#[derive(Clone, Debug)]
pub enum UsedTickets {
    /// The ticket that was shown.
    Shown(Box<TicketView>),
    /// Tickets of the purchase whose code was shown, in the order of their seats.
    OfPurchase(Vec<TicketView>),
}

impl App {
    /// Looks at a ticket at the door of a showtime, or at those of a purchase, and changes nothing.
    ///
    /// # Errors
    /// What is shown is no code, there is no such showtime, or the store fails.
    pub async fn validate_ticket(
        &self,
        _origin: &Origin,
        shown: &Shown,
        door: ShowtimeId,
    ) -> Result<ValidatedTickets, Error> {
        if let Some(code) = shown.purchase_code() {
            return self.validate_purchase(&code, door).await;
        }
        let found = self.find_shown(shown).await?;
        let first = self.judge(found, door, self.0.clock.now()).await?;
        Ok(ValidatedTickets { first, of_purchase: Vec::new() })
    }

    /// Uses a ticket at the door of a showtime: it admits its holder once. The same device gets the same answer for the same nonce. The code of
    /// a purchase uses this many of its tickets, or all that are left if `count` is 0.
    ///
    /// # Errors
    /// What is shown is no code, the ticket does not admit its holder, there is no such showtime, or the store fails.
    pub async fn use_ticket(
        &self,
        _origin: &Origin,
        shown: Shown,
        door: ShowtimeId,
        (device, nonce): (String, String),
        count: u32,
    ) -> Result<UsedTickets, Error> {
        shown.check_count(count)?;
        let app = self.clone();
        if let Some(code) = shown.purchase_code() {
            let used = self.detached(async move { app.use_purchase(&code, door, (device, nonce), count).await });
            return Ok(UsedTickets::OfPurchase(used.await?));
        }
        let used = self.detached(async move { app.use_shown(&shown, door, (device, nonce)).await }).await?;
        Ok(UsedTickets::Shown(Box::new(used)))
    }

    async fn use_shown(
        &self,
        shown: &Shown,
        door: ShowtimeId,
        (device, nonce): (String, String),
    ) -> Result<TicketView, Error> {
        let by = TicketUse { time: self.0.clock.now(), device, nonce };
        if let Some(view) = self.use_with_others(shown, door, &by).await? {
            return Ok(view);
        }
        loop {
            let found = self.find_shown(shown).await?;
            let Validated { ticket, why } = self.judge(found, door, by.time).await?;
            let Some(view) = ticket else { return Err(refusal(None, why)) };
            // A device that repeats its use gets the same answer, unless the ticket was voided since then.
            if why == [WhyNot::Used] && view.ticket.used.as_ref().is_some_and(|used| is_same(used, &by)) {
                return Ok(view);
            }
            if !why.is_empty() {
                return Err(refusal(Some(&view.ticket), why));
            }
            let used = self.0.store.tickets_used(&by.device, &by.nonce).await?;
            if used.iter().any(|other| other.ticket_id != view.ticket.ticket_id) {
                return Err(Violations::one("nonce", "was used by this device for another ticket").into());
            }
            match self.0.store.use_tickets(&[view.ticket.ticket_id], &by).await {
                Ok(true) => {
                    let ticket = Ticket { state: TicketState::Used, used: Some(by), ..view.ticket };
                    return Ok(TicketView { ticket, ..view });
                }
                // Another device was faster, the ticket was blocked or voided meanwhile, or this device has just used another one.
                Ok(false) | Err(store::Error::Constraint(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Uses the ticket of a code without reading it first, together with those of other doors. `None`: it was not used, and the reason is
    /// found by reading it.
    async fn use_with_others(
        &self,
        shown: &Shown,
        door: ShowtimeId,
        by: &TicketUse,
    ) -> Result<Option<TicketView>, Error> {
        let Shown::Code(text) = shown else { return Ok(None) };
        let code = TicketCode::parse(text).map_err(|flaw| Error::no_code(&flaw))?;
        let Some(plan) = self.0.store.plan(door).await? else { return Ok(None) };
        let is_here = code.seat().is_some() && code.showtime() == door.0 && self.0.keys.accepts(code.key_id());
        if !is_here || self.admission(&plan).why_not(by.time).is_some() {
            return Ok(None);
        }
        let used = self.0.store.use_with_others(code, by.clone()).await?;
        Ok(used.map(|ticket| TicketView { ticket, plan }))
    }

    /// The ticket that is shown. A code must be the one that is stored, to the last bit.
    pub(super) async fn find_shown(&self, shown: &Shown) -> Result<Option<Ticket>, Error> {
        match shown {
            Shown::Number(number) => Ok(self.0.store.ticket_by_number(number).await?),
            Shown::Code(text) => {
                let code = TicketCode::parse(text).map_err(|flaw| Error::no_code(&flaw))?;
                Ok(self.0.store.ticket_by_code(&code).await?)
            }
        }
    }

    async fn judge(&self, found: Option<Ticket>, door: ShowtimeId, now: DateTime<Utc>) -> Result<Validated, Error> {
        let plan = self.plan_of(door).await?;
        let Some(ticket) = found else {
            return Ok(Validated { ticket: None, why: vec![WhyNot::NotGenuine] });
        };
        let why = self.why_not(&ticket, &plan, now);
        let is_here = ticket.showtime_id == door;
        let view = if is_here { TicketView { ticket, plan } } else { self.view_ticket(ticket).await? };
        Ok(Validated { ticket: Some(view), why })
    }
}

/// Whether a use repeats another one.
pub(super) fn is_same(used: &TicketUse, by: &TicketUse) -> bool {
    used.nonce == by.nonce && (used.device == by.device || planted::has(Bug::NonceOfAnyDevice))
}

/// The error for a ticket that does not admit its holder. `None`: there is no ticket.
pub(super) fn refusal(ticket: Option<&Ticket>, why: Vec<WhyNot>) -> Error {
    let number = ticket.map(|ticket| ticket.number.clone());
    Error::Ticket(TicketRefusal { why, number, used: ticket.and_then(|ticket| ticket.used.clone()) })
}
