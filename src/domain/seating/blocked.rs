//! Seats that are kept back from sale.

use chrono::{DateTime, Utc};

use super::{Change, Decision, LiveReservation, Obstacle, Refusal, Seating, Unavailable};
use crate::domain::{seat_index::SeatName, showtime};

/// The most characters of a note.
pub const MAX_NOTE: usize = 200;

/// Why seats are kept back from sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockReason {
    /// For guests of the house.
    House,
    /// They cannot be used.
    Maintenance,
    /// For a company that has them.
    Company,
    /// They are sold elsewhere.
    SalesChannel,
}

/// Why seats are kept back, with what staff noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blockage {
    /// Why.
    pub reason: BlockReason,
    /// What staff noted; may be empty.
    pub note: String,
}

impl Seating {
    pub(super) fn block(
        &self,
        names: &[SeatName],
        blockage: &Blockage,
        now: DateTime<Utc>,
    ) -> Result<Decision, Refusal> {
        self.check_not_over(now)?;
        let seats = self.plan.seat_index.numbers(names).map_err(Refusal::BadChoice)?;
        let taken: Vec<_> = seats.iter().filter_map(|seat| Some((*seat, self.obstacle(*seat, now)?))).collect();
        if !taken.is_empty() {
            return Err(Refusal::Unavailable(Unavailable { seats: taken, offers: Vec::new() }));
        }
        let mut changes = self.lapsed_in(seats.iter().copied(), now);
        changes.push(Change::Blocked { seats, blockage: blockage.clone() });
        Ok(Decision { changes, reservation: None })
    }

    pub(super) fn unblock(&self, names: &[SeatName], now: DateTime<Utc>) -> Result<Decision, Refusal> {
        self.check_not_over(now)?;
        let seats = self.plan.seat_index.numbers(names).map_err(Refusal::BadChoice)?;
        let others: Vec<_> = seats.iter().copied().filter(|seat| !self.is_blocked(*seat)).collect();
        if !others.is_empty() {
            return Err(Refusal::NotBlocked { seats: others });
        }
        Ok(Decision { changes: vec![Change::Unblocked { seats }], reservation: None })
    }

    /// Why a seat is not free; `None` if it is.
    pub(super) fn obstacle(&self, seat: u16, now: DateTime<Utc>) -> Option<Obstacle> {
        if self.is_blocked(seat) {
            return Some(Obstacle::Blocked);
        }
        self.live_at(seat).filter(|live| !live.lapsed(now)).map(LiveReservation::obstacle)
    }

    pub(super) fn check_not_over(&self, now: DateTime<Utc>) -> Result<(), Refusal> {
        if let showtime::State::Cancelled { at } = self.state {
            return Err(Refusal::ShowtimeCancelled { at });
        }
        let end = self.plan.facts.end_time;
        if now >= end { Err(Refusal::ShowtimeOver { end }) } else { Ok(()) }
    }
}
