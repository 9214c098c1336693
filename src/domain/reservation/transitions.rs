//! The life of a reservation: each method consumes it in one state and returns it in the next.
//!
//! A transition checks only whether the reservation is in a state that allows it at `now`. How long a hold lasts, whether
//! it may be extended again and whether the showtime is still sold is decided in [`crate::domain::seating`].

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Amendment, CustomerId, Paying, Phase, RefundDue, Reservation, ReservedSeat, Sale, State, Tender};
use crate::domain::{
    ids::{PurchaseId, ReservationId, ShowtimeId},
    money::Currency,
    prices::Lines,
    seat_index::Block,
};

/// What a new hold consists of.
#[derive(Clone, Debug)]
pub struct Hold {
    /// An id that was never used before.
    pub reservation_id: ReservationId,
    /// The showtime that the seats belong to.
    pub showtime_id: ShowtimeId,
    /// The customer whom the seats are held for.
    pub customer_id: CustomerId,
    /// The seats.
    pub block: Block,
    /// The currency of the lines.
    pub currency: Currency,
    /// What each seat costs.
    pub lines: Lines,
    /// When the hold was decided.
    pub create_time: DateTime<Utc>,
    /// When the hold lapses.
    pub expire_time: DateTime<Utc>,
}

/// Why a hold cannot be paid for, confirmed, cancelled by its customer, extended or exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLongerHeld {
    /// The hold has lapsed.
    Lapsed {
        /// When it lapsed.
        at: DateTime<Utc>,
    },
    /// A payment is under way.
    Paying(Paying),
    /// The reservation was confirmed or cancelled.
    Settled {
        /// `Confirmed` or `Cancelled`.
        phase: Phase,
    },
}

impl Reservation {
    /// A new hold, made by this revision of its showtime.
    #[must_use]
    pub fn hold(hold: Hold, revision: i64) -> Self {
        let Hold { reservation_id, showtime_id, customer_id, block, currency, lines, create_time, expire_time } = hold;
        Self {
            reservation_id,
            showtime_id,
            customer_id,
            first_block: block,
            currency,
            first_lines: lines,
            create_time,
            first_expire_time: expire_time,
            first_revision: revision,
            amendment: None,
            expire_time,
            state: State::Held,
            payment: None,
            refund_due: None,
            revision,
        }
    }

    /// The reservation as [`Reservation::hold`] made it, which is what its first answer contained.
    #[must_use]
    pub fn as_made(&self) -> Self {
        Self {
            amendment: None,
            expire_time: self.first_expire_time,
            state: State::Held,
            payment: None,
            refund_due: None,
            revision: self.first_revision,
            ..self.clone()
        }
    }

    /// The payment of a hold begins. If it is under way for the same purchase, it is given another time.
    ///
    /// # Errors
    /// The reservation is not a hold, the hold has lapsed by `now`, or a payment for another purchase is under way.
    pub fn pay(self, paying: Paying, now: DateTime<Utc>, revision: i64) -> Result<Self, NoLongerHeld> {
        match &self.state {
            State::Paying(current) if current.purchase_id == paying.purchase_id => {}
            _ => self.check_held(now)?,
        }
        Ok(Self { state: State::Paying(paying), revision, ..self })
    }

    /// The payment that is under way has succeeded, and the seats are sold at any time. `None`: no payment is under way.
    #[must_use]
    pub fn confirm_paid(self, tender: Option<Tender>, now: DateTime<Utc>, revision: i64) -> Option<Self> {
        let State::Paying(paying) = self.state else { return None };
        let sale = Sale { at: now, tender, purchase_id: Some(paying.purchase_id) };
        let (state, payment) = (State::Confirmed(sale), Some(Arc::new(paying)));
        Some(Self { state, payment, revision, ..self })
    }

    /// The payment that is under way is given up, and the seats with it. `None`: no payment is under way.
    #[must_use]
    pub fn stop_payment(self, now: DateTime<Utc>, revision: i64) -> Option<Self> {
        let State::Paying(paying) = self.state else { return None };
        let (state, payment) = (State::Cancelled { at: now, sale: None }, Some(Arc::new(paying)));
        Some(Self { state, payment, revision, ..self })
    }

    /// A hold becomes a sale at a till.
    ///
    /// # Errors
    /// The reservation is not a hold, or the hold has lapsed by `now`.
    pub fn confirm(self, tender: Option<Tender>, now: DateTime<Utc>, revision: i64) -> Result<Self, NoLongerHeld> {
        self.check_held(now)?;
        let purchase_id = Some(PurchaseId::at_till(self.reservation_id));
        Ok(Self { state: State::Confirmed(Sale { at: now, tender, purchase_id }), revision, ..self })
    }

    /// A hold is cancelled by its customer.
    ///
    /// # Errors
    /// The reservation is not a hold, or the hold has lapsed by `now`.
    pub fn cancel(self, now: DateTime<Utc>, revision: i64) -> Result<Self, NoLongerHeld> {
        self.check_held(now)?;
        Ok(Self { state: State::Cancelled { at: now, sale: None }, revision, ..self })
    }

    /// A hold lapses at another time.
    ///
    /// # Errors
    /// The reservation is not a hold, or the hold has lapsed by `now`.
    pub fn extend(self, expire_time: DateTime<Utc>, now: DateTime<Utc>, revision: i64) -> Result<Self, NoLongerHeld> {
        self.check_held(now)?;
        Ok(Self { expire_time, revision, ..self })
    }

    /// The lapse of a hold is recorded. `None`: it is not a hold, or it has not lapsed by `now`.
    #[must_use]
    pub fn expire(self, now: DateTime<Utc>, revision: i64) -> Option<Self> {
        match &self.state {
            State::Held if self.expire_time <= now => Some(Self { state: State::Expired, revision, ..self }),
            State::Held | State::Paying(_) | State::Confirmed(_) | State::Cancelled { .. } | State::Expired => None,
        }
    }

    /// A hold, one that is being paid for, or a sale is cancelled because its showtime is. `None`: it ended before `now`, if only by
    /// lapsing.
    #[must_use]
    pub fn cancel_with_showtime(self, now: DateTime<Utc>, revision: i64) -> Option<Self> {
        let sale = match &self.state {
            State::Held if now < self.expire_time => None,
            State::Paying(_) => return self.stop_payment(now, revision),
            State::Confirmed(sale) => Some(sale.clone()),
            State::Held | State::Cancelled { .. } | State::Expired => return None,
        };
        Some(Self { state: State::Cancelled { at: now, sale }, revision, ..self })
    }

    /// The seats of a hold are exchanged for these, with these lines.
    ///
    /// # Errors
    /// The reservation is not a hold, or the hold has lapsed by `now`.
    pub fn exchange_held(
        self,
        block: Block,
        lines: Lines,
        now: DateTime<Utc>,
        revision: i64,
    ) -> Result<Self, NoLongerHeld> {
        self.check_held(now)?;
        let seats = block.seats().map(|seat| ReservedSeat { seat, released: false }).collect();
        Ok(Self { amendment: Some(Arc::new(Amendment { seats, lines })), revision, ..self })
    }

    /// The seats of a sale that were not given back are exchanged for these, which are as many. The lines stay. `None`: it is
    /// not a sale.
    #[must_use]
    pub fn exchange_sold(self, block: Block, revision: i64) -> Option<Self> {
        let State::Confirmed(_) = &self.state else { return None };
        let mut others = block.seats();
        let seats = self.all_seats().map(|one| {
            if one.released { Some(one) } else { others.next().map(|seat| ReservedSeat { seat, released: false }) }
        });
        let seats = seats.collect::<Option<_>>()?;
        let lines = self.lines().clone();
        Some(Self { amendment: Some(Arc::new(Amendment { seats, lines })), revision, ..self })
    }

    /// Seats of a sale are given back. Once none is left, the reservation is cancelled, and its sale is kept. `None`: it is not a
    /// sale.
    #[must_use]
    pub fn release(self, given_back: &[u16], now: DateTime<Utc>, revision: i64) -> Option<Self> {
        let State::Confirmed(sale) = &self.state else { return None };
        let released =
            |one: ReservedSeat| ReservedSeat { released: one.released || given_back.contains(&one.seat), ..one };
        let seats: Arc<[_]> = self.all_seats().map(released).collect();
        let state = if seats.iter().all(|one| one.released) {
            State::Cancelled { at: now, sale: Some(sale.clone()) }
        } else {
            self.state.clone()
        };
        let lines = self.lines().clone();
        Some(Self { amendment: Some(Arc::new(Amendment { seats, lines })), state, revision, ..self })
    }

    /// A hold that has expired becomes a sale after all. `None`: it has not expired.
    #[must_use]
    pub fn recover(self, tender: Tender, now: DateTime<Utc>, revision: i64) -> Option<Self> {
        match &self.state {
            State::Expired => {
                let purchase_id = Some(PurchaseId::at_till(self.reservation_id));
                let sale = Sale { at: now, tender: Some(tender), purchase_id };
                Some(Self { state: State::Confirmed(sale), revision, ..self })
            }
            State::Held | State::Paying(_) | State::Confirmed(_) | State::Cancelled { .. } => None,
        }
    }

    /// Money was taken for a reservation that has ended. If that was a sale without a tender, this one was for it. `None`: it has
    /// not ended.
    #[must_use]
    pub fn owe_refund(self, tender: Tender, now: DateTime<Utc>, revision: i64) -> Option<Self> {
        let state = match &self.state {
            State::Cancelled { at, sale: Some(sale) } => {
                State::Cancelled { at: *at, sale: Some(Sale { tender: Some(tender.clone()), ..sale.clone() }) }
            }
            State::Expired | State::Cancelled { sale: None, .. } => self.state.clone(),
            State::Held | State::Paying(_) | State::Confirmed(_) => return None,
        };
        Some(Self { state, refund_due: Some(Arc::new(RefundDue { at: now, tender })), revision, ..self })
    }

    /// Whether the reservation is a hold that has not lapsed by `now`.
    ///
    /// # Errors
    /// It is not, for the reason given.
    pub fn check_held(&self, now: DateTime<Utc>) -> Result<(), NoLongerHeld> {
        match (&self.state, self.phase(now)) {
            (State::Paying(paying), _) => Err(NoLongerHeld::Paying(*paying)),
            (_, Phase::Held) => Ok(()),
            (_, Phase::Expired) => Err(NoLongerHeld::Lapsed { at: self.expire_time }),
            (_, phase) => Err(NoLongerHeld::Settled { phase }),
        }
    }
}
