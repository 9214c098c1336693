//! Seat maps: which seats of a showtime are free, held, sold and blocked, and how that changes.
//!
//! A map has a revision, and a delta leads from one revision to a later one. The status of a seat also depends on the time:
//! when its hold lapses, the seat is free, although no revision recorded that.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{
    reservation::{Reservation, State},
    seating::{Change, ShowtimePlan},
    showtime,
};

/// The recorded status of a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The seat is free.
    Free,
    /// The seat is held, and free when the hold lapses.
    Held {
        /// When the hold lapses.
        until: DateTime<Utc>,
    },
    /// The seat is held by a reservation that is being paid for. It stays so until the ledger ends that, whatever the time is.
    Paying {
        /// Until when the payment is given time.
        until: DateTime<Utc>,
    },
    /// The seat is sold.
    Sold,
    /// The seat is kept back from sale.
    Blocked,
}

impl Status {
    /// The status of a reservation's seats.
    #[must_use]
    pub fn of(reservation: &Reservation) -> Self {
        match reservation.state() {
            State::Held => Self::Held { until: reservation.expire_time() },
            State::Paying(paying) => Self::Paying { until: paying.pay_until },
            State::Confirmed(_) => Self::Sold,
            State::Cancelled { .. } | State::Expired => Self::Free,
        }
    }

    /// When the hold lapses, if the seat is held and not being paid for.
    #[must_use]
    pub fn lapse(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Held { until } => Some(until),
            Self::Free | Self::Paying { .. } | Self::Sold | Self::Blocked => None,
        }
    }

    /// The status at a given time.
    #[must_use]
    pub fn at(self, now: DateTime<Utc>) -> Self {
        match self {
            Self::Held { until } if until <= now => Self::Free,
            other => other,
        }
    }
}

/// The changes of one commit, or of consecutive commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The revision before the changes.
    pub before: i64,
    /// The revision after the changes.
    pub revision: i64,
    /// The seats that changed, with their new status.
    pub seats: Vec<(u16, Status)>,
    /// When the showtime was cancelled, if it was.
    pub cancelled: Option<DateTime<Utc>>,
}

impl Delta {
    /// A delta without changes, at this revision.
    #[must_use]
    pub fn from(before: i64) -> Self {
        Self { before, revision: before, seats: Vec::new(), cancelled: None }
    }

    /// Whether there are no changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.before == self.revision && self.seats.is_empty() && self.cancelled.is_none()
    }

    /// Adds the seats that a change concerns.
    pub fn note(&mut self, change: &Change) {
        match change {
            Change::Reserved(reservation)
            | Change::Paying(reservation)
            | Change::Confirmed(reservation)
            | Change::Recovered(reservation)
            | Change::Extended(reservation)
            | Change::Cancelled(reservation)
            | Change::Expired(reservation) => self.set(reservation.seats(), Status::of(reservation)),
            Change::Exchanged { reservation, before } => {
                self.set(before.iter().copied(), Status::Free);
                self.set(reservation.seats(), Status::of(reservation));
            }
            Change::Released { seats, .. } | Change::Unblocked { seats } => {
                self.set(seats.iter().copied(), Status::Free);
            }
            Change::Blocked { seats, .. } => self.set(seats.iter().copied(), Status::Blocked),
            Change::RefundDue(_) => {}
            Change::ShowtimeCancelled { at, .. } => self.cancelled = Some(*at),
        }
    }

    /// Sets the status of these seats.
    pub fn set(&mut self, seats: impl Iterator<Item = u16>, status: Status) {
        self.seats.extend(seats.map(|seat| (seat, status)));
    }

    /// Appends the next delta. [`Delta::settle`] must be called after the last one.
    pub fn join(&mut self, next: &Self) {
        self.revision = next.revision;
        self.cancelled = self.cancelled.or(next.cancelled);
        self.seats.extend_from_slice(&next.seats);
    }

    /// Keeps the last status of each seat, in the order of the seats.
    pub fn settle(&mut self) {
        self.seats.reverse();
        self.seats.sort_by_key(|(seat, _)| *seat);
        self.seats.dedup_by_key(|(seat, _)| *seat);
    }
}

/// The result of applying a delta to a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// The delta was applied.
    Done,
    /// The map has these changes already.
    Known,
    /// Changes before the delta are missing, so it was not applied.
    Gap,
}

/// The seats of a showtime at a revision.
#[derive(Clone, Debug)]
pub struct SeatMap {
    plan: Arc<ShowtimePlan>,
    revision: i64,
    seats: Vec<Status>,
    cancelled: Option<DateTime<Utc>>,
}

impl SeatMap {
    /// A map with these claims. Every other seat is free.
    #[must_use]
    pub fn new(
        plan: Arc<ShowtimePlan>,
        revision: i64,
        state: showtime::State,
        claims: impl IntoIterator<Item = (u16, Status)>,
    ) -> Self {
        let cancelled = match state {
            showtime::State::Scheduled => None,
            showtime::State::Cancelled { at } => Some(at),
        };
        let seats = vec![Status::Free; usize::from(plan.seat_index.seat_count())];
        let mut map = Self { plan, revision, seats, cancelled };
        for (seat, status) in claims {
            map.set(seat, status);
        }
        map
    }

    /// What never changes about the showtime.
    #[must_use]
    pub fn plan(&self) -> &Arc<ShowtimePlan> {
        &self.plan
    }

    /// The revision of the map.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// When the showtime was cancelled, if it was.
    #[must_use]
    pub fn cancelled(&self) -> Option<DateTime<Utc>> {
        self.cancelled
    }

    /// The status of every seat at a given time.
    #[must_use]
    pub fn at(&self, now: DateTime<Utc>) -> impl ExactSizeIterator<Item = Status> {
        self.seats.iter().map(move |status| status.at(now))
    }

    /// When the next hold lapses after `now`.
    #[must_use]
    pub fn next_lapse(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.lapses().map(|(_, until)| until).filter(|until| *until > now).min()
    }

    /// The seats whose holds lapse after the first time, and at the second at the latest.
    pub fn lapsed(&self, after: DateTime<Utc>, by: DateTime<Utc>) -> impl Iterator<Item = u16> {
        self.lapses().filter(move |(_, until)| after < *until && *until <= by).map(|(seat, _)| seat)
    }

    fn lapses(&self) -> impl Iterator<Item = (u16, DateTime<Utc>)> {
        self.seats.iter().enumerate().filter_map(|(seat, status)| Some((seat as u16, status.lapse()?)))
    }

    /// Applies a delta if it starts from the map's revision.
    pub fn follow(&mut self, delta: &Delta) -> Followed {
        if delta.revision <= self.revision {
            return Followed::Known;
        }
        if delta.before != self.revision {
            return Followed::Gap;
        }
        for (seat, status) in &delta.seats {
            self.set(*seat, *status);
        }
        self.revision = delta.revision;
        self.cancelled = self.cancelled.or(delta.cancelled);
        Followed::Done
    }

    /// The delta from this map to a later one of the same showtime.
    #[must_use]
    pub fn towards(&self, later: &Self) -> Delta {
        let pairs = self.seats.iter().zip(&later.seats).enumerate();
        let seats = pairs.filter(|(_, (before, now))| before != now).map(|(seat, (_, now))| (seat as u16, *now));
        let (before, revision, cancelled) = (self.revision, later.revision, later.cancelled);
        Delta { before, revision, seats: seats.collect(), cancelled }
    }

    fn set(&mut self, seat: u16, status: Status) {
        if let Some(seat) = self.seats.get_mut(usize::from(seat)) {
            *seat = status;
        }
    }
}
