//! The code of a purchase at the doors: it admits all holders of its tickets, or as many as the door says.

use std::collections::BTreeSet;

use super::{
    TicketView,
    doors::{Shown, Validated, ValidatedTickets, refusal},
};
use crate::{
    app::{App, Error},
    domain::{
        ids::{PurchaseId, ShowtimeId},
        ticket::{Ticket, TicketCode, TicketState, TicketUse, WhyNot},
        violations::Violations,
    },
    store::{self, TicketFilter},
};

/// The tickets of a purchase, each with what keeps it from admitting its holder. `None`: the code is not genuine.
type Judged = Option<Vec<(TicketView, Vec<WhyNot>)>>;

impl Shown {
    /// The code of a purchase, if that is shown.
    pub(super) fn purchase_code(&self) -> Option<TicketCode> {
        match self {
            Self::Code(text) => TicketCode::parse(text).ok().filter(|code| code.purchase().is_some()),
            Self::Number(_) => None,
        }
    }

    /// Refuses a number of tickets for what is not the code of a purchase.
    pub(super) fn check_count(&self, count: u32) -> Result<(), Violations> {
        let mut violations = Violations::new();
        if count > 0 && self.purchase_code().is_none() {
            if let Self::Code(text) = self
                && let Err(flaw) = TicketCode::parse(text)
            {
                violations.add("code", flaw.to_string());
            }
            violations.add("count", "must be left out, unless code is that of a purchase");
        }
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }
}

impl App {
    /// Looks at the tickets of a purchase, and changes nothing.
    pub(super) async fn validate_purchase(
        &self,
        code: &TicketCode,
        door: ShowtimeId,
    ) -> Result<ValidatedTickets, Error> {
        let judged = self.judge_purchase(code, door, self.0.clock.now()).await?;
        let of_purchase = usable(judged.as_deref().unwrap_or_default());
        let first = match of_purchase.first() {
            Some(ticket) => Validated { ticket: Some(ticket.clone()), why: Vec::new() },
            None => why_none(judged),
        };
        Ok(ValidatedTickets { first, of_purchase })
    }

    /// Uses as many tickets of a purchase, or if that is 0 all that are left, all or none of them.
    pub(super) async fn use_purchase(
        &self,
        code: &TicketCode,
        door: ShowtimeId,
        (device, nonce): (String, String),
        count: u32,
    ) -> Result<Vec<TicketView>, Error> {
        let by = TicketUse { time: self.0.clock.now(), device, nonce };
        loop {
            let judged = self.judge_purchase(code, door, by.time).await?;
            // The uses are read after the tickets: what a repetition of this call has used meanwhile is found here, or below.
            let used = self.0.store.tickets_used(&by.device, &by.nonce).await?;
            if let Some(judged) = judged.as_ref().filter(|_| !used.is_empty()) {
                if judged.iter().any(|(view, why)| why.is_empty() && is_among(&used, view)) {
                    // They were used after the tickets were read.
                    continue;
                }
                return repeated(judged, &used, count);
            }
            let mut chosen = usable(judged.as_deref().unwrap_or_default());
            if chosen.is_empty() {
                let Validated { ticket, why } = why_none(judged);
                return Err(refusal(ticket.as_ref().map(|view| &view.ticket), why));
            }
            let wanted = count as usize;
            if wanted > chosen.len() {
                return Err(Error::TicketCount { left: chosen.len() });
            }
            if wanted > 0 {
                chosen.truncate(wanted);
            }
            let ids: Vec<_> = chosen.iter().map(|view| view.ticket.ticket_id).collect();
            match self.0.store.use_tickets(&ids, &by).await {
                Ok(true) => {
                    let used = |view: TicketView| {
                        let ticket = Ticket { state: TicketState::Used, used: Some(by.clone()), ..view.ticket };
                        TicketView { ticket, ..view }
                    };
                    return Ok(chosen.into_iter().map(used).collect());
                }
                // Another device was faster with one of them, it was blocked or voided meanwhile, or a repetition of this call has just
                // used tickets.
                Ok(false) | Err(store::Error::Constraint(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The tickets of the purchase with this code that stand for its seats, in the order of the seats, or the newest one if none does.
    async fn judge_purchase(
        &self,
        code: &TicketCode,
        door: ShowtimeId,
        now: chrono::DateTime<chrono::Utc>,
    ) -> Result<Judged, Error> {
        let plan = self.plan_of(door).await?;
        let accepted = self.purchase_with_code(code).await?.filter(|_| self.0.keys.accepts(code.key_id()));
        let Some(purchase_id) = accepted else { return Ok(None) };
        let found = self.tickets_for_seats(purchase_id).await?;
        let judge = |view: TicketView| {
            let why = self.why_not(&view.ticket, &plan, now);
            (view, why)
        };
        Ok(Some(self.view_tickets(found).await?.into_iter().map(judge).collect()))
    }

    /// The tickets of the purchase that stand for its seats, in the order of the seats, or the newest one if none does.
    pub(super) async fn tickets_for_seats(&self, id: PurchaseId) -> Result<Vec<Ticket>, Error> {
        let live = self.0.store.live_tickets(id).await?;
        if !live.is_empty() {
            return Ok(live);
        }
        let newest = TicketFilter { purchase_id: Some(id), ..TicketFilter::default() };
        Ok(self.0.store.tickets(&newest, None, 1).await?)
    }

    /// The purchase with this code, if the code is genuine. It is not stored, so its signature is checked. Its key may be retired.
    pub(super) async fn purchase_with_code(&self, code: &TicketCode) -> Result<Option<PurchaseId>, Error> {
        // Nobody else knows the random bits of a purchase, so only a genuine code of a new key has the keys read again.
        let is_right = |id: &PurchaseId| code.random() == self.0.purchase_key.code_bits(*id);
        let Some(id) = code.purchase().map(PurchaseId).filter(is_right) else { return Ok(None) };
        if !self.0.keys.knows(code.key_id()) {
            self.0.keys.refresh(&self.0.store).await?;
        }
        Ok(self.0.keys.has_signed(code).then_some(id))
    }
}

/// The tickets that admit their holders.
fn usable(judged: &[(TicketView, Vec<WhyNot>)]) -> Vec<TicketView> {
    judged.iter().filter(|(_, why)| why.is_empty()).map(|(view, _)| view.clone()).collect()
}

/// Everything that keeps the tickets from admitting their holders, the most important first, with the first ticket of which that is
/// true.
fn why_none(judged: Judged) -> Validated {
    let Some(judged) = judged else {
        return Validated { ticket: None, why: vec![WhyNot::NotGenuine] };
    };
    let why: BTreeSet<_> = judged.iter().flat_map(|(_, why)| why).copied().collect();
    let Some(most) = why.first().copied() else {
        // Its tickets are made when it is sold.
        return Validated { ticket: None, why: vec![WhyNot::Blocked] };
    };
    let ticket = judged.into_iter().find(|(_, why)| why.contains(&most)).map(|(view, _)| view);
    Validated { ticket, why: why.into_iter().collect() }
}

/// The answer to a call that a device repeats: the tickets that it has used, if they are as they were then.
fn repeated(judged: &[(TicketView, Vec<WhyNot>)], used: &[Ticket], count: u32) -> Result<Vec<TicketView>, Error> {
    let of_purchase = |one: &Ticket| judged.iter().any(|(view, _)| view.ticket.purchase_id == one.purchase_id);
    if !used.iter().all(of_purchase) {
        return Err(Violations::one("nonce", "was used by this device for another ticket").into());
    }
    if count > 0 && count as usize != used.len() {
        let flaw = format!("was used by this device for {} tickets of this purchase", used.len());
        return Err(Violations::one("nonce", flaw).into());
    }
    let same: Vec<_> = judged.iter().filter(|(view, _)| is_among(used, view)).collect();
    if let Some((view, why)) = same.iter().find(|(_, why)| *why != [WhyNot::Used]) {
        return Err(refusal(Some(&view.ticket), why.clone()));
    }
    // A ticket that was voided since then is not among those of the seats.
    if let Some(gone) = used.iter().find(|one| !one.is_live()) {
        let state = if gone.state == TicketState::Refunded { WhyNot::Refunded } else { WhyNot::Voided };
        return Err(refusal(Some(gone), vec![state, WhyNot::Used]));
    }
    Ok(same.into_iter().map(|(view, _)| view.clone()).collect())
}

fn is_among(tickets: &[Ticket], view: &TicketView) -> bool {
    tickets.iter().any(|one| one.ticket_id == view.ticket.ticket_id)
}
