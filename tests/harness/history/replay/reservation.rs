//! A reservation, from the events alone.

use boxoffice::pb::{
    boxoffice::{events::v1::Line, v1::ReservationState},
    google::r#type::Money,
};
use chrono::{DateTime, Utc};

use super::{SeatName, nanos, prices::sum};

#[derive(Clone, Debug)]
pub(in crate::harness::history) struct ReplayedReservation {
    pub(in crate::harness::history) customer_id: String,
    /// The seats that it was made with.
    pub(in crate::harness::history) first_seats: Vec<SeatName>,
    /// What they cost.
    pub(in crate::harness::history) first_total: Money,
    /// All seats in the order of the lines, each with whether it was given back.
    pub(in crate::harness::history) all_seats: Vec<(SeatName, bool)>,
    /// Those of them that were not given back.
    pub(in crate::harness::history) seats: Vec<SeatName>,
    /// Whether seats were exchanged or given back.
    pub(in crate::harness::history) is_amended: bool,
    /// The line of each of all seats, once an event had them.
    pub(in crate::harness::history) lines: Option<Vec<Line>>,
    /// What all seats cost.
    pub(in crate::harness::history) total: Money,
    pub(in crate::harness::history) create_time: DateTime<Utc>,
    pub(in crate::harness::history) first_expire_time: DateTime<Utc>,
    pub(in crate::harness::history) expire_time: DateTime<Utc>,
    pub(in crate::harness::history) state: ReservationState,
    pub(in crate::harness::history) confirm_time: Option<DateTime<Utc>>,
    pub(in crate::harness::history) cancel_time: Option<DateTime<Utc>>,
    /// Whether its hold had lapsed when it was sold.
    pub(in crate::harness::history) recovered: bool,
    /// The method is "" if the reservation was not sold or was sold without a tender.
    pub(in crate::harness::history) tender_method: String,
    pub(in crate::harness::history) refund_due: Option<ReplayedRefund>,
    pub(in crate::harness::history) first_revision: i64,
    pub(in crate::harness::history) revision: i64,
}

/// Money that is to be given back.
#[derive(Clone, Debug)]
pub(in crate::harness::history) struct ReplayedRefund {
    pub(in crate::harness::history) amount: Money,
    pub(in crate::harness::history) tender_method: String,
    pub(in crate::harness::history) time: DateTime<Utc>,
}

impl ReplayedReservation {
    /// Whether its seats are free for other reservations at this time.
    pub(in crate::harness::history) fn has_ended(&self, now: DateTime<Utc>) -> bool {
        match self.state {
            ReservationState::Held => self.expire_time <= now,
            ReservationState::Confirmed => false,
            _ => true,
        }
    }

    /// Whether it was sold, and all of its seats were given back.
    pub(in crate::harness::history) fn is_released(&self) -> bool {
        self.seats.is_empty()
    }

    /// What the seats cost that were not given back.
    pub(in crate::harness::history) fn remaining(&self) -> i128 {
        let released = self.all_seats.iter().map(|(_, released)| *released);
        match &self.lines {
            Some(lines) => sum(lines.iter().zip(released).filter(|(_, released)| !released).map(|(line, _)| line)),
            None => nanos(&self.total),
        }
    }

    /// The method by which it was paid, be it too late.
    pub(in crate::harness::history) fn paid_by(&self) -> &str {
        self.refund_due.as_ref().map_or(&self.tender_method, |due| &due.tender_method)
    }

    /// The lines of the seats that were not given back.
    pub(super) fn remaining_lines(&self) -> Vec<&Line> {
        let lines = self.lines.iter().flatten().zip(&self.all_seats);
        lines.filter(|(_, (_, released))| !released).map(|(line, _)| line).collect()
    }

    /// Replaces the seats.
    pub(super) fn set_seats(&mut self, all: Vec<(SeatName, bool)>) {
        self.seats = all.iter().filter(|(_, released)| !released).map(|(seat, _)| seat.clone()).collect();
        self.all_seats = all;
        self.is_amended = true;
    }
}
