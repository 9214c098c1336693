//! Tickets: the right to one seat of a showtime, which is used once.
//!
//! A ticket exists exactly for each seat that is sold. It is made in the transaction that sells the seat, and voided in the one that gives
//! the seat up. Nothing here waits, calls or reads a clock.

mod base45;
mod code;
mod printed;
mod scan;
#[cfg(test)]
mod tests;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    ids::{PaymentId, PurchaseId, ReservationId, ShowtimeId, TicketId},
    money::Money,
    number::TicketNumber,
    reservation::CustomerId,
    seat_index::SeatName,
    violations::{Violations, printable},
};

pub use base45::is_base45;
pub use code::{CODE_CHARACTERS, CodeKind, NotACode, TicketCode, UnsignedCode};
pub use printed::{PrintedTicket, PrintedTickets};
pub use scan::{RecordedScan, Scan, ScanText};

/// The most characters of the name of a device, and of a nonce.
pub const MAX_DEVICE: usize = 64;

/// The state of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketState {
    /// The seat is sold, and the gateway has not taken the money yet.
    Unpaid,
    /// It admits its holder.
    Issued,
    /// Its seat is given up when a refund is done.
    Blocked,
    /// It has admitted its holder.
    Used,
    /// Its seat was given up. Its money may be given back yet.
    Voided,
    /// Another ticket has taken its place, because the seats of its sale were exchanged. Callers see it as voided.
    Exchanged,
    /// Its seat was given up, and the money was given back.
    Refunded,
}

impl TicketState {
    /// The states that a ticket never leaves for one that admits: it is no ticket of a sold seat any more.
    pub const GONE: [Self; 3] = [Self::Voided, Self::Exchanged, Self::Refunded];
}

/// Which device has used a ticket, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketUse {
    /// When.
    pub time: DateTime<Utc>,
    /// The device.
    pub device: String,
    /// The device's name for the use. A repetition with the same name gets the same answer.
    pub nonce: String,
}

/// A ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Identifies it.
    pub ticket_id: TicketId,
    /// Identifies it in speech and on paper.
    pub number: TicketNumber,
    /// The purchase that it belongs to.
    pub purchase_id: PurchaseId,
    /// The payment that has paid for it.
    pub payment_id: PaymentId,
    /// The reservation that has the seat.
    pub reservation_id: ReservationId,
    /// The showtime.
    pub showtime_id: ShowtimeId,
    /// The customer.
    pub customer_id: CustomerId,
    /// The index of the seat in the auditorium.
    pub seat: u16,
    /// The seat by its name.
    pub seat_name: SeatName,
    /// The index of the ticket type in the price list of the showtime.
    pub ticket_type: u8,
    /// What the seat was sold for.
    pub price: Money,
    /// What its holder shows.
    pub code: TicketCode,
    /// When it was made.
    pub issue_time: DateTime<Utc>,
    /// Its state.
    pub state: TicketState,
    /// By whom it was used. It is kept if the ticket is voided later.
    pub used: Option<TicketUse>,
}

/// Why a ticket does not admit its holder. What makes it invalid comes before what happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WhyNot {
    /// The code was signed by a key that is retired, or is not that of the ticket.
    NotGenuine,
    /// It is for another showtime.
    WrongShowtime,
    /// Its seat was given up or exchanged.
    Voided,
    /// Its seat was given up, and the money was given back.
    Refunded,
    /// Its money was not taken yet, or is being given back.
    Blocked,
    /// The doors are not open yet.
    TooEarly,
    /// The showtime is over.
    TooLate,
    /// It was used before.
    Used,
}

/// When tickets of a showtime admit their holders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// From then on.
    pub from: DateTime<Utc>,
    /// Until then.
    pub until: DateTime<Utc>,
}

impl Admission {
    /// From this long before the start to the end.
    #[must_use]
    pub fn of(start_time: DateTime<Utc>, end_time: DateTime<Utc>, before: Duration) -> Self {
        let before = TimeDelta::from_std(before).unwrap_or(TimeDelta::MAX);
        Self { from: start_time.checked_sub_signed(before).unwrap_or(DateTime::<Utc>::MIN_UTC), until: end_time }
    }

    /// Why no ticket admits its holder now. `None`: the doors are open.
    #[must_use]
    pub fn why_not(&self, now: DateTime<Utc>) -> Option<WhyNot> {
        let is_over = || (now >= self.until).then_some(WhyNot::TooLate);
        if now < self.from { Some(WhyNot::TooEarly) } else { is_over() }
    }
}

impl Ticket {
    /// Everything that keeps it from admitting its holder at the door of this showtime now, the most important first. Empty: it does.
    #[must_use]
    pub fn why_not(&self, door: ShowtimeId, admission: Admission, now: DateTime<Utc>) -> Vec<WhyNot> {
        let mut why = Vec::new();
        if self.showtime_id != door {
            why.push(WhyNot::WrongShowtime);
        }
        match self.state {
            TicketState::Voided | TicketState::Exchanged => why.push(WhyNot::Voided),
            TicketState::Refunded => why.push(WhyNot::Refunded),
            TicketState::Unpaid | TicketState::Blocked => why.push(WhyNot::Blocked),
            TicketState::Issued | TicketState::Used => {}
        }
        why.extend(admission.why_not(now));
        if self.used.is_some() {
            why.push(WhyNot::Used);
        }
        why
    }

    /// Whether it is the ticket of a seat that is sold.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !TicketState::GONE.contains(&self.state)
    }
}

/// Checks the name of a device, or a nonce.
///
/// # Errors
/// Names the flaw, under no field.
pub fn check_device(text: &str) -> Result<(), Violations> {
    printable(text, MAX_DEVICE)
}
