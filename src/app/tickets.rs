//! Use cases of tickets.
//!
//! Tickets are made and voided by the changes of their seats: [`App::ticket_maker`] is part of every command that sells, gives up or
//! exchanges seats, for every caller, so that no sale is without its tickets and no ticket without its sale.

mod door_lists;
mod doors;
mod earlier;
pub(super) mod keys;
mod printed;
mod rotation;
mod scans;
pub(super) mod watched_lists;
mod whole_purchase;

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};

use self::keys::Keys;
pub use self::{
    door_lists::{DoorMessage, DoorWatch},
    doors::{Shown, UsedTickets, Validated, ValidatedTickets},
    printed::ToPrint,
    scans::{DoubleAdmission, ScanResult, Upload},
    watched_lists::{DoorChanges, DoorList},
};
use super::{
    App, Error, NamedPurchase, Origin, PageRequest,
    pages::{read_timed, write_timed},
};
use crate::{
    clock::Clock,
    domain::{
        ids::{PaymentId, PurchaseId, ShowtimeId, TicketId},
        number::TicketNumber,
        prices::Line,
        reservation::{CustomerId, Reservation, ReservedSeat, State},
        seating::{Change, Command, ShowtimePlan},
        ticket::{Admission, CodeKind, Ticket, TicketCode, TicketState, WhyNot},
    },
    ledger::CompanionMaker,
    store::{
        Companion, TicketFilter, insert_tickets, issue_if_completed,
        planted::{self, Bug},
        replace_tickets, void_all_tickets, void_tickets,
    },
    tickets::{QrError, SigningKey, Symbol},
};

const TICKETS: &str = "tickets";
/// The pixels of a module of a QR code.
const PIXELS: u8 = 8;

/// A ticket with the showtime that it is for.
#[derive(Clone, Debug)]
pub struct TicketView {
    /// The ticket.
    pub ticket: Ticket,
    /// The showtime, and the seats of its auditorium.
    pub plan: Arc<ShowtimePlan>,
}

/// A page of tickets.
pub struct TicketPage {
    /// The tickets, the newest first.
    pub tickets: Vec<TicketView>,
    /// The token of the next page, empty on the last one.
    pub next: String,
}

/// How a code is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeFormat {
    /// An SVG image.
    Svg,
    /// A PNG image.
    Png,
    /// Characters for a terminal.
    Text,
}

/// A code that was drawn.
pub struct Drawn {
    /// The drawing.
    pub data: Vec<u8>,
    /// Its media type.
    pub content_type: &'static str,
}

impl App {
    /// Reads a ticket, of this customer or of any.
    ///
    /// # Errors
    /// There is no such ticket, or the store fails.
    pub async fn ticket(
        &self,
        _origin: &Origin,
        id: TicketId,
        customer: Option<&CustomerId>,
    ) -> Result<TicketView, Error> {
        let found = self.0.store.ticket(id).await?;
        let found = found.filter(|found| customer.is_none_or(|customer| found.customer_id == *customer));
        self.view_ticket(found.ok_or_else(|| Error::no_ticket(&id))?).await
    }

    /// Reads a ticket by its number.
    ///
    /// # Errors
    /// There is no such ticket, or the store fails.
    pub async fn ticket_by_number(&self, _origin: &Origin, number: &TicketNumber) -> Result<TicketView, Error> {
        let found = self.0.store.ticket_by_number(number).await?;
        self.view_ticket(found.ok_or_else(|| Error::no_ticket(number))?).await
    }

    /// Reads a page of tickets, the newest first. If a purchase is named, they are of this purchase.
    ///
    /// # Errors
    /// The secret of the purchase is wrong, the page token is not of this list and filter, or the store fails.
    pub async fn tickets(
        &self,
        _origin: &Origin,
        purchase: Option<NamedPurchase>,
        filter: TicketFilter,
        page: &PageRequest,
    ) -> Result<TicketPage, Error> {
        let limit = page.limit()?;
        let purchase_id = match purchase {
            None => None,
            // Tickets of a purchase that does not exist are an empty list.
            Some(NamedPurchase::Id(id)) => Some(id),
            Some(named) => Some(self.find_named(&named, None).await?.purchase.facts.purchase_id),
        };
        let filter = &TicketFilter { purchase_id, ..filter };
        let id = |id: Option<uuid::Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
        let customer = filter.customer_id.as_ref().map_or("", CustomerId::as_str);
        let (purchase, showtime) = (id(filter.purchase_id.map(|id| id.0)), id(filter.showtime_id.map(|id| id.0)));
        let signed = [purchase.as_str(), &showtime, customer].join("|");
        let after = self.0.pages.cursor(TICKETS, &signed, &page.token)?.and_then(|cursor| read_timed(&cursor));
        let mut found = self.0.store.tickets(filter, after, limit as u64 + 1).await?;
        let next = self
            .0
            .pages
            .cut((TICKETS, &signed), &mut found, limit, |last| write_timed(last.issue_time, last.ticket_id.0));
        Ok(TicketPage { tickets: self.view_tickets(found).await?, next })
    }

    /// Draws the code of a ticket, of this customer or of any, as a QR code.
    ///
    /// # Errors
    /// There is no such ticket, or the store fails.
    pub async fn ticket_code(
        &self,
        origin: &Origin,
        id: TicketId,
        customer: Option<&CustomerId>,
        format: CodeFormat,
    ) -> Result<Drawn, Error> {
        let text = self.ticket(origin, id, customer).await?.ticket.code.to_text();
        let symbol = symbol(&text)?;
        let (data, content_type) = match format {
            CodeFormat::Svg => (symbol.svg().into_bytes(), "image/svg+xml"),
            CodeFormat::Png => (symbol.png(PIXELS).map_err(|error| not_drawn(&error))?, "image/png"),
            CodeFormat::Text => (symbol.text().into_bytes(), "text/plain; charset=utf-8"),
        };
        Ok(Drawn { data, content_type })
    }

    async fn view_ticket(&self, ticket: Ticket) -> Result<TicketView, Error> {
        let plan = self.plan_of(ticket.showtime_id).await?;
        Ok(TicketView { ticket, plan })
    }

    async fn view_tickets(&self, tickets: Vec<Ticket>) -> Result<Vec<TicketView>, Error> {
        let mut ids: Vec<_> = tickets.iter().map(|ticket| ticket.showtime_id).collect();
        ids.sort_unstable();
        ids.dedup();
        let plans = self.0.store.plans(&ids).await?.into_iter();
        let plans: HashMap<_, _> = plans.map(|plan| (plan.facts.showtime_id, plan)).collect();
        let view = |ticket: Ticket| {
            let plan = plans.get(&ticket.showtime_id).ok_or_else(|| Error::no_showtime(ticket.showtime_id))?;
            Ok(TicketView { plan: Arc::clone(plan), ticket })
        };
        tickets.into_iter().map(view).collect()
    }

    /// When tickets of a showtime admit their holders.
    fn admission(&self, plan: &ShowtimePlan) -> Admission {
        Admission::of(plan.facts.start_time, plan.facts.end_time, self.0.rules.doors_open)
    }

    /// Everything that keeps a ticket from admitting its holder at the door of this showtime, the most important first. Empty: it does.
    fn why_not(&self, ticket: &Ticket, door: &ShowtimePlan, now: DateTime<Utc>) -> Vec<WhyNot> {
        let mut why = ticket.why_not(door.facts.showtime_id, self.admission(door), now);
        if !self.0.keys.accepts(ticket.code.key_id()) {
            why.insert(0, WhyNot::NotGenuine);
        }
        why
    }

    /// Makes and voids tickets with the changes of their seats. `None`: the command changes no seat that is sold.
    pub(super) fn ticket_maker(&self, command: &Command) -> Option<CompanionMaker> {
        let sells = matches!(
            command,
            Command::Confirm { .. }
                | Command::Release { .. }
                | Command::Exchange { .. }
                | Command::CancelShowtime { .. }
        );
        let (clock, keys) = (self.0.clock.clone(), self.0.keys.clone());
        sells.then(|| CompanionMaker::new(move |plan, changes, now| rows(plan, changes, (&clock, &keys), now)))
    }
}

/// A code as a QR code.
fn symbol(code: &str) -> Result<Symbol, Error> {
    Symbol::of(code).map_err(|error| not_drawn(&error))
}

fn not_drawn(error: &QrError) -> Error {
    Error::Lost(format!("a code cannot be drawn: {error}"))
}

/// The rows of the tickets that go with changes.
fn rows(plan: &ShowtimePlan, changes: &[Change], (clock, keys): (&Clock, &Keys), now: DateTime<Utc>) -> Vec<Companion> {
    let showtime_id = plan.facts.showtime_id;
    if changes.iter().any(|change| matches!(change, Change::ShowtimeCancelled { .. })) {
        return vec![void_all_tickets(showtime_id)];
    }
    let key = keys.signing();
    let mut rows = Vec::new();
    for change in changes {
        match change {
            Change::Confirmed(sold) | Change::Recovered(sold) => {
                rows.extend(insert_tickets(&of_sale(plan, sold, (clock, &key), now)));
            }
            Change::Released { reservation, seats, .. } => {
                rows.push(void_tickets(showtime_id, reservation.reservation_id, seats));
            }
            Change::Exchanged { reservation, before } if matches!(reservation.state(), State::Confirmed(_)) => {
                let new = in_place_of(before, of_sale(plan, reservation, (clock, &key), now));
                rows.extend(replace_tickets(showtime_id, reservation.reservation_id, &new));
                rows.extend(reservation.purchase_id().map(issue_if_completed));
            }
            _ => {}
        }
    }
    rows
}

/// Each new ticket with the seat whose ticket it replaces: its own, or one of those that are given up.
fn in_place_of(before: &[u16], new: Vec<Ticket>) -> Vec<(u16, Ticket)> {
    let after: Vec<_> = new.iter().map(|ticket| ticket.seat).collect();
    let mut given_up = before.iter().copied().filter(|seat| !after.contains(seat));
    let pair = |ticket: Ticket| {
        let seat = if before.contains(&ticket.seat) { Some(ticket.seat) } else { given_up.next() };
        (seat.unwrap_or(ticket.seat), ticket)
    };
    new.into_iter().map(pair).collect()
}

/// New tickets for all seats of a sale.
fn of_sale(plan: &ShowtimePlan, sold: &Reservation, signing: (&Clock, &SigningKey), now: DateTime<Utc>) -> Vec<Ticket> {
    let live = sold.all_lines().filter(|(one, _)| !one.released);
    live.map(|(one, line)| new_ticket(plan, sold, (one, line), signing, now)).collect()
}

/// A new ticket for a seat of a sale. The gateway takes the money of its purchases after the sale, and nothing if the seats cost nothing.
fn new_ticket(
    plan: &ShowtimePlan,
    sold: &Reservation,
    (ReservedSeat { seat, .. }, line): (ReservedSeat, Line),
    (clock, key): (&Clock, &SigningKey),
    issue_time: DateTime<Utc>,
) -> Ticket {
    let id = sold.reservation_id;
    let by_gateway = sold.purchase_id().filter(|purchase| !purchase.is_at_till(id));
    let payment = sold.sale().and_then(|sale| sale.tender.as_ref());
    let payment = payment.and_then(|tender| PaymentId::parse(&tender.transaction_id).ok());
    let is_unpaid = by_gateway.is_some() && sold.total().minor > 0;
    Ticket {
        ticket_id: TicketId(clock.new_id()),
        number: TicketNumber::of(clock.random_bits()),
        purchase_id: by_gateway.unwrap_or(PurchaseId::at_till(id)),
        payment_id: by_gateway.and(payment).unwrap_or(PaymentId::at_till(id)),
        reservation_id: id,
        showtime_id: plan.facts.showtime_id,
        customer_id: sold.customer_id.clone(),
        seat,
        seat_name: plan.seat_index.name(seat),
        ticket_type: line.ticket_type,
        price: plan.facts.prices.money(line.total()),
        code: code_of(key, seat, clock.random_bits(), plan.facts.showtime_id),
        issue_time,
        state: if is_unpaid { TicketState::Unpaid } else { TicketState::Issued },
        used: None,
    }
}

fn code_of(key: &SigningKey, seat: u16, random: [u8; 8], showtime_id: ShowtimeId) -> TicketCode {
    let code = key.sign(CodeKind::Seat(seat), random, showtime_id.0);
    if planted::has(Bug::SeatOutsideSignature) {
        let of_any_seat = key.sign(CodeKind::Seat(0), random, showtime_id.0);
        return TicketCode::unsigned(CodeKind::Seat(seat), key.id(), random, showtime_id.0)
            .with_signature(*of_any_seat.signature());
    }
    code
}
