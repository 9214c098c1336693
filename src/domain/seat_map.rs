//! What everybody may see of a showtime's seats: which are free, held and sold, and how that changes.
//!
//! A map stands at a revision, and a delta leads from one revision to a later one. What a seat shows is a function of both
//! the map and the time: a hold that is over shows as free, though no revision says so.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{
    reservation::{Reservation, State},
    seat_index::Block,
    seating::{Change, ShowtimePlan},
    showtime,
};

/// How a seat stands, as it was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It can be had.
    Free,
    /// Until then; afterwards it is free.
    Held {
        /// The end of the hold.
        until: DateTime<Utc>,
    },
    /// For good.
    Sold,
}

impl Status {
    /// Of the seats of a live reservation.
    #[must_use]
    pub fn of(reservation: &Reservation) -> Self {
        match reservation.state() {
            State::Held => Self::Held { until: reservation.expire_time() },
            State::Confirmed(_) => Self::Sold,
            State::Cancelled { .. } | State::Expired => Self::Free,
        }
    }

    /// When the hold ends, if the seat is held.
    #[must_use]
    pub fn held_until(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Held { until } => Some(until),
            Self::Free | Self::Sold => None,
        }
    }

    /// What it shows at a moment.
    #[must_use]
    pub fn at(self, now: DateTime<Utc>) -> Self {
        match self {
            Self::Held { until } if until <= now => Self::Free,
            other => other,
        }
    }
}

/// What one commit changed, or several after each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// From this revision
    pub before: i64,
    /// to this one.
    pub revision: i64,
    /// Each seat that changed, as it then stands.
    pub seats: Vec<(u16, Status)>,
    /// Whether the showtime was cancelled.
    pub cancelled: Option<DateTime<Utc>>,
}

impl Delta {
    /// Nothing yet, from this revision on.
    #[must_use]
    pub fn from(before: i64) -> Self {
        Self { before, revision: before, seats: Vec::new(), cancelled: None }
    }

    /// Whether nothing is to be seen of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.before == self.revision && self.seats.is_empty() && self.cancelled.is_none()
    }

    /// Adds what one change shows.
    pub fn note(&mut self, change: &Change) {
        match change {
            Change::Reserved(reservation)
            | Change::Confirmed(reservation)
            | Change::Extended(reservation)
            | Change::Cancelled(reservation)
            | Change::Expired(reservation) => self.set(reservation.block, Status::of(reservation)),
            Change::ShowtimeCancelled { at, .. } => self.cancelled = Some(*at),
        }
    }

    /// Seats stand like this now.
    pub fn set(&mut self, block: Block, status: Status) {
        self.seats.extend(block.seats().map(|seat| (seat, status)));
    }

    /// Goes on with what came next; when all has come, it is to be settled.
    pub fn join(&mut self, next: &Self) {
        self.revision = next.revision;
        self.cancelled = self.cancelled.or(next.cancelled);
        self.seats.extend_from_slice(&next.seats);
    }

    /// Keeps the last word on each seat, in the order of the house.
    pub fn settle(&mut self) {
        self.seats.reverse();
        self.seats.sort_by_key(|(seat, _)| *seat);
        self.seats.dedup_by_key(|(seat, _)| *seat);
    }
}

/// What became of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// It is in the map now.
    Done,
    /// It was before.
    Known,
    /// Something before it is missing.
    Gap,
}

/// The seats of a showtime as they stand at a revision.
#[derive(Clone, Debug)]
pub struct SeatMap {
    plan: Arc<ShowtimePlan>,
    revision: i64,
    seats: Vec<Status>,
    cancelled: Option<DateTime<Utc>>,
}

impl SeatMap {
    /// What is claimed; every other seat is free.
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

    /// What never changes about it.
    #[must_use]
    pub fn plan(&self) -> &Arc<ShowtimePlan> {
        &self.plan
    }

    /// As of which change.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Since when the showtime is cancelled, if it is.
    #[must_use]
    pub fn cancelled(&self) -> Option<DateTime<Utc>> {
        self.cancelled
    }

    /// Every seat, as it shows at a moment.
    #[must_use]
    pub fn at(&self, now: DateTime<Utc>) -> impl ExactSizeIterator<Item = Status> {
        self.seats.iter().map(move |status| status.at(now))
    }

    /// When the first hold ends that has not ended by then.
    #[must_use]
    pub fn next_lapse(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.ends().map(|(_, until)| until).filter(|until| *until > now).min()
    }

    /// Seats whose holds have ended after the one moment, and by the other.
    pub fn lapsed(&self, after: DateTime<Utc>, by: DateTime<Utc>) -> impl Iterator<Item = u16> {
        self.ends().filter(move |(_, until)| after < *until && *until <= by).map(|(seat, _)| seat)
    }

    fn ends(&self) -> impl Iterator<Item = (u16, DateTime<Utc>)> {
        self.seats.iter().enumerate().filter_map(|(seat, status)| match status {
            Status::Held { until } => Some((seat as u16, *until)),
            Status::Free | Status::Sold => None,
        })
    }

    /// Takes in what came next. A map never goes back, and a gap is never papered over.
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

    /// What leads from here to a later map of the same showtime.
    #[must_use]
    pub fn towards(&self, later: &Self) -> Delta {
        let pairs = self.seats.iter().zip(&later.seats).enumerate();
        let seats = pairs.filter(|(_, (before, now))| before != now).map(|(seat, (_, now))| (seat as u16, *now));
        let (before, revision, cancelled) = (self.revision, later.revision, later.cancelled);
        Delta { before, revision, seats: seats.collect(), cancelled }
    }

    fn set(&mut self, seat: u16, status: Status) {
        if let Some(place) = self.seats.get_mut(usize::from(seat)) {
            *place = status;
        }
    }
}
