//! A live reservation, with copies of what decisions read most.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use chrono::{DateTime, Utc};

use super::refusal::Obstacle;
use crate::domain::reservation::{CustomerId, Reservation, State};

/// A live reservation, with copies of what decisions read most.
#[derive(Clone, Debug)]
pub(super) struct LiveReservation {
    pub(super) customer_digest: u64,
    until: Until,
    pub(super) reservation: Arc<Reservation>,
}

/// Until when a live reservation has its seats.
#[derive(Clone, Copy, Debug)]
enum Until {
    /// It is a hold, which lapses at this time.
    Lapse(DateTime<Utc>),
    /// It is being paid for, and the payment is given time until then. Nothing ends at this time by itself.
    Payment(DateTime<Utc>),
    /// It is sold.
    Sold,
}

impl LiveReservation {
    pub(super) fn new(reservation: Arc<Reservation>) -> Self {
        let until = match reservation.state() {
            State::Held => Until::Lapse(reservation.expire_time()),
            State::Paying(paying) => Until::Payment(paying.pay_until),
            State::Confirmed(_) | State::Cancelled { .. } | State::Expired => Until::Sold,
        };
        Self { customer_digest: digest(&reservation.customer_id), until, reservation }
    }

    /// When the hold lapses. `None`: it is being paid for or sold.
    pub(super) fn lapse(&self) -> Option<DateTime<Utc>> {
        match self.until {
            Until::Lapse(at) => Some(at),
            Until::Payment(_) | Until::Sold => None,
        }
    }

    /// Whether this is a hold that has lapsed.
    pub(super) fn lapsed(&self, now: DateTime<Utc>) -> bool {
        self.lapse().is_some_and(|at| at <= now)
    }

    /// Why others cannot have its seats.
    pub(super) fn obstacle(&self) -> Obstacle {
        match self.until {
            Until::Lapse(until) | Until::Payment(until) => Obstacle::Held { until },
            Until::Sold => Obstacle::Sold,
        }
    }
}

pub(super) fn digest(customer: &CustomerId) -> u64 {
    let mut hasher = DefaultHasher::new();
    customer.hash(&mut hasher);
    hasher.finish()
}
