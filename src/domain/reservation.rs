//! Reservations: seats held by one customer for a while, and how they end.
//!
//! The transitions in `transitions.rs` are the only code that changes a reservation. A reservation that was stored is read
//! back by [`Reservation::restore`]. Which transition is allowed by the rules of a showtime is decided in
//! [`super::seating`].

mod amendments;
mod card_number;
mod customer;
mod paying;
mod tender;
#[cfg(test)]
mod tests;
mod transitions;

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{
    ids::{PurchaseId, ReservationId, ShowtimeId},
    money::{Currency, Money},
    prices::{Line, Lines},
    seat_index::Block,
};

pub use amendments::{Amendment, ReservedSeat};
pub use card_number::contains_card_number;
pub use customer::{CustomerId, MAX_CUSTOMER};
pub use paying::Paying;
pub use tender::{MAX_METHOD, MAX_TRANSACTION, Tender};
pub use transitions::{Hold, NoLongerHeld};

/// The sale of a reservation's seats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sale {
    /// When the seats were sold.
    pub at: DateTime<Utc>,
    /// How they were paid for, if the caller named it.
    pub tender: Option<Tender>,
    /// The purchase that the sale is. `None`: it was made by a release that had no purchases, and had none yet when it was read.
    pub purchase_id: Option<PurchaseId>,
}

/// The recorded state of a reservation.
///
/// A hold may have lapsed although it is still recorded as held: [`Reservation::phase`] takes the time into account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The seats are kept until the reservation's `expire_time`.
    Held,
    /// A payment is under way. The seats are kept until the ledger ends it.
    Paying(Paying),
    /// The seats are sold.
    Confirmed(Sale),
    /// The customer cancelled the hold, its payment was given up, the showtime was cancelled, or all seats of a sale were given
    /// back.
    Cancelled {
        /// When it was cancelled.
        at: DateTime<Utc>,
        /// The sale, if the seats had been sold.
        sale: Option<Sale>,
    },
    /// The hold lapsed, and that was recorded.
    Expired,
}

/// The state of a reservation at a given time, without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The hold can still be confirmed.
    Held,
    /// A payment is under way, whatever the time is.
    Paying,
    /// The seats are sold.
    Confirmed,
    /// The reservation was cancelled.
    Cancelled,
    /// The hold has lapsed, recorded or not.
    Expired,
}

/// Money that was taken for seats that could not be had any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundDue {
    /// When that was recorded.
    pub at: DateTime<Utc>,
    /// How it was paid.
    pub tender: Tender,
}

/// Seats of one showtime that are held or sold together.
///
/// The public fields never change. What a transition changes is private and read through methods.
#[derive(Clone, Debug, PartialEq)]
pub struct Reservation {
    /// Identifies the reservation.
    pub reservation_id: ReservationId,
    /// The showtime that the seats belong to.
    pub showtime_id: ShowtimeId,
    /// The customer whom the seats are held for.
    pub customer_id: CustomerId,
    /// The seats that it was made with.
    pub first_block: Block,
    /// The currency of its lines.
    pub currency: Currency,
    /// What each of these seats cost.
    pub first_lines: Lines,
    /// When the seats were held.
    pub create_time: DateTime<Utc>,
    /// When the hold was to lapse before any extension.
    pub first_expire_time: DateTime<Utc>,
    /// The showtime's revision that made the reservation.
    pub first_revision: i64,
    /// The seats and lines that it has instead, once seats were exchanged or given back.
    amendment: Option<Arc<Amendment>>,
    expire_time: DateTime<Utc>,
    state: State,
    /// The payment that has ended. The one that is under way is in `state`.
    payment: Option<Arc<Paying>>,
    refund_due: Option<Arc<RefundDue>>,
    revision: i64,
}

/// Every field of a reservation, as a store keeps it.
///
/// Only [`Reservation::restore`] makes a reservation of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// See [`Reservation::reservation_id`].
    pub reservation_id: ReservationId,
    /// See [`Reservation::showtime_id`].
    pub showtime_id: ShowtimeId,
    /// See [`Reservation::customer_id`].
    pub customer_id: CustomerId,
    /// See [`Reservation::first_block`].
    pub first_block: Block,
    /// See [`Reservation::currency`].
    pub currency: Currency,
    /// See [`Reservation::first_lines`].
    pub first_lines: Lines,
    /// See [`Reservation::amendment`].
    pub amendment: Option<Amendment>,
    /// See [`Reservation::create_time`].
    pub create_time: DateTime<Utc>,
    /// See [`Reservation::first_expire_time`].
    pub first_expire_time: DateTime<Utc>,
    /// See [`Reservation::expire_time`].
    pub expire_time: DateTime<Utc>,
    /// See [`Reservation::state`].
    pub state: State,
    /// The payment that has ended. The one that is under way is in `state`.
    pub payment: Option<Paying>,
    /// See [`Reservation::refund_due`].
    pub refund_due: Option<RefundDue>,
    /// See [`Reservation::first_revision`].
    pub first_revision: i64,
    /// See [`Reservation::revision`].
    pub revision: i64,
}

impl Reservation {
    /// Makes a reservation of a stored record, which is trusted: it was written from a reservation.
    #[must_use]
    pub fn restore(record: Record) -> Self {
        let Record {
            reservation_id,
            showtime_id,
            customer_id,
            first_block,
            currency,
            first_lines,
            amendment,
            create_time,
            first_expire_time,
            expire_time,
            state,
            payment,
            refund_due,
            first_revision,
            revision,
        } = record;
        Self {
            reservation_id,
            showtime_id,
            customer_id,
            first_block,
            currency,
            first_lines,
            create_time,
            first_expire_time,
            first_revision,
            amendment: amendment.map(Arc::new),
            expire_time,
            state,
            payment: payment.map(Arc::new),
            refund_due: refund_due.map(Arc::new),
            revision,
        }
    }

    /// The price of all seats together, with those that were given back.
    #[must_use]
    pub fn total(&self) -> Money {
        Money { currency: self.currency, minor: self.lines().total() }
    }

    /// What each seat costs, fixed when it was held: a line for each of [`Reservation::all_seats`].
    #[must_use]
    pub fn lines(&self) -> &Lines {
        self.amendment.as_ref().map_or(&self.first_lines, |amendment| &amendment.lines)
    }

    /// All seats in the order of the lines, with those that were given back.
    pub fn all_seats(&self) -> impl Iterator<Item = ReservedSeat> + '_ {
        let made = self.amendment.is_none().then(|| self.first_block.seats());
        let made = made.into_iter().flatten().map(|seat| ReservedSeat { seat, released: false });
        made.chain(self.amendment.iter().flat_map(|amendment| amendment.seats.iter().copied()))
    }

    /// The seats that were not given back.
    pub fn seats(&self) -> impl Iterator<Item = u16> + '_ {
        self.all_seats().filter(|one| !one.released).map(|one| one.seat)
    }

    /// The number of seats that were not given back.
    #[must_use]
    pub fn seat_count(&self) -> u16 {
        self.amendment.as_ref().map_or(self.first_block.count, |_| self.seats().count() as u16)
    }

    /// All seats with their lines.
    pub fn all_lines(&self) -> impl Iterator<Item = (ReservedSeat, Line)> + '_ {
        self.all_seats().zip(self.lines().iter())
    }

    /// Those of these seats that it still has, with their lines.
    #[must_use]
    pub fn sold_lines(&self, seats: &[u16]) -> (Vec<u16>, Vec<Line>) {
        let which = |(one, _): &(ReservedSeat, Line)| !one.released && seats.contains(&one.seat);
        self.all_lines().filter(which).map(|(one, line)| (one.seat, line)).unzip()
    }

    /// What the seats that were not given back cost together.
    #[must_use]
    pub fn remaining_total(&self) -> Money {
        let remaining = self.all_lines().filter(|(one, _)| !one.released);
        Money { currency: self.currency, minor: remaining.map(|(_, line)| line.total()).sum() }
    }

    /// The seats and lines that it has instead of the first ones, once seats were exchanged or given back.
    #[must_use]
    pub fn amendment(&self) -> Option<&Amendment> {
        self.amendment.as_deref()
    }

    /// Money that was taken too late for it, and is to be given back.
    #[must_use]
    pub fn refund_due(&self) -> Option<&RefundDue> {
        self.refund_due.as_deref()
    }

    /// Whether it was sold, and all of its seats were given back.
    #[must_use]
    pub fn is_released(&self) -> bool {
        self.amendment.as_ref().is_some_and(|amendment| amendment.seats.iter().all(|one| one.released))
    }

    /// The state as it was last recorded.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The showtime's revision that last changed the reservation.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// When the hold lapses, or would have lapsed if it had not been paid for, confirmed or cancelled before.
    #[must_use]
    pub fn expire_time(&self) -> DateTime<Utc> {
        self.expire_time
    }

    /// Its payment, which is under way or has ended with the sale or without one.
    #[must_use]
    pub fn payment(&self) -> Option<Paying> {
        match &self.state {
            State::Paying(paying) => Some(*paying),
            _ => self.payment.as_deref().copied(),
        }
    }

    /// Until when its payment is, or was, given time.
    #[must_use]
    pub fn pay_until(&self) -> Option<DateTime<Utc>> {
        self.payment().map(|payment| payment.pay_until)
    }

    /// The purchase for which its payment began or that its sale is, also after the end.
    #[must_use]
    pub fn purchase_id(&self) -> Option<PurchaseId> {
        let sold = || self.sale().and_then(|sale| sale.purchase_id);
        self.payment().map(|payment| payment.purchase_id).or_else(sold)
    }

    /// The state at `now`. A hold lapses exactly at its `expire_time`, whether or not that was recorded. A payment that is under
    /// way does not end by the clock.
    #[must_use]
    pub fn phase(&self, now: DateTime<Utc>) -> Phase {
        match &self.state {
            State::Held if now < self.expire_time => Phase::Held,
            State::Held | State::Expired => Phase::Expired,
            State::Paying(_) => Phase::Paying,
            State::Confirmed(_) => Phase::Confirmed,
            State::Cancelled { .. } => Phase::Cancelled,
        }
    }

    /// Whether the hold was extended.
    #[must_use]
    pub fn extended(&self) -> bool {
        self.expire_time != self.first_expire_time
    }

    /// The sale, also if it was cancelled later with the showtime, or all seats were given back.
    #[must_use]
    pub fn sale(&self) -> Option<&Sale> {
        match &self.state {
            State::Confirmed(sale) => Some(sale),
            State::Cancelled { sale, .. } => sale.as_ref(),
            State::Held | State::Paying(_) | State::Expired => None,
        }
    }
}

/// Which reservations a list contains. A criterion that is `None` or empty excludes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only reservations of this customer.
    pub customer_id: Option<CustomerId>,
    /// Only reservations of this showtime.
    pub showtime_id: Option<ShowtimeId>,
    /// Only reservations that are in one of these phases when the list is read.
    pub phases: Vec<Phase>,
    /// Only reservations for which money was taken too late.
    pub refund_due: bool,
    /// Only reservations made at this time or later.
    pub created_after: Option<DateTime<Utc>>,
    /// Only reservations made before this time.
    pub created_before: Option<DateTime<Utc>>,
}
