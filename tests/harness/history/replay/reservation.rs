//! A reservation, from the events alone.

use boxoffice::pb::{
    boxoffice::{events::v1::Line, v1::ReservationState},
    google::r#type::Money,
};
use chrono::{DateTime, Utc};

use super::{SeatName, nanos, prices::sum};

#[derive(Clone, Debug)]
pub(in super::super) struct ReplayedReservation {
    pub(in super::super) customer_id: String,
    /// The seats that it was made with.
    pub(in super::super) first_seats: Vec<SeatName>,
    /// What they cost.
    pub(in super::super) first_total: Money,
    /// All seats in the order of the lines, each with whether it was given back.
    pub(in super::super) all_seats: Vec<(SeatName, bool)>,
    /// Those of them that were not given back.
    pub(in super::super) seats: Vec<SeatName>,
    /// Whether seats were exchanged or given back.
    pub(in super::super) is_amended: bool,
    /// The line of each of all seats, once an event had them.
    pub(in super::super) lines: Option<Vec<Line>>,
    /// What all seats cost.
    pub(in super::super) total: Money,
    pub(in super::super) create_time: DateTime<Utc>,
    pub(in super::super) first_expire_time: DateTime<Utc>,
    pub(in super::super) expire_time: DateTime<Utc>,
    pub(in super::super) state: ReservationState,
    pub(in super::super) confirm_time: Option<DateTime<Utc>>,
    pub(in super::super) cancel_time: Option<DateTime<Utc>>,
    /// Whether its hold had lapsed when it was sold.
    pub(in super::super) recovered: bool,
    /// The method is "" if the reservation was not sold or was sold without a tender.
    pub(in super::super) tender_method: String,
    pub(in super::super) refund_due: Option<ReplayedRefund>,
    pub(in super::super) first_revision: i64,
    pub(in super::super) revision: i64,
}

/// Money that is to be given back.
#[derive(Clone, Debug)]
pub(in super::super) struct ReplayedRefund {
    pub(in super::super) amount: Money,
    pub(in super::super) tender_method: String,
    pub(in super::super) time: DateTime<Utc>,
}

impl ReplayedReservation {
    /// Whether its seats are free for other reservations at this time.
    pub(in super::super) fn has_ended(&self, now: DateTime<Utc>) -> bool {
        match self.state {
            ReservationState::Held => self.expire_time <= now,
            ReservationState::Paying | ReservationState::Confirmed => false,
            _ => true,
        }
    }

    /// Whether it was sold, and all of its seats were given back.
    pub(in super::super) fn is_released(&self) -> bool {
        self.seats.is_empty()
    }

    /// What the seats cost that were not given back.
    pub(in super::super) fn remaining(&self) -> i128 {
        let released = self.all_seats.iter().map(|(_, released)| *released);
        match &self.lines {
            Some(lines) => sum(lines.iter().zip(released).filter(|(_, released)| !released).map(|(line, _)| line)),
            None => nanos(&self.total),
        }
    }

    /// The method by which it was paid, be it too late.
    pub(in super::super) fn paid_by(&self) -> &str {
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
