//! Checks refusals of seats: which are named as taken, and which are offered instead.

use std::collections::BTreeMap;

use boxoffice::pb::boxoffice::v1::{ReservationState, SeatState, SeatsUnavailable};

use super::{
    refusals::Interval,
    replay::{ReplayedShowtime, SeatName, datetime, seat_name, seat_names},
};

/// The seats that a caller asks for.
pub(super) struct Asking {
    /// Empty if the service chooses.
    pub(super) requested: Vec<SeatName>,
    pub(super) size: usize,
    /// Seats that count as free: the caller has them already, or they are blocked for the caller.
    pub(super) own: Vec<SeatName>,
}

impl Asking {
    /// Checks the refusal against the state, in which it was right at some time of the interval.
    pub(super) fn check(
        &self,
        showtime: &ReplayedShowtime,
        unavailable: Option<&SeatsUnavailable>,
        interval: Interval,
    ) -> Result<(), String> {
        let unavailable = unavailable.ok_or("it does not name the seats")?;
        let interval = if self.requested.is_empty() {
            self.check_no_block_free(showtime, interval)?
        } else {
            self.check_named(showtime, unavailable, interval)?
        };
        self.check_offers(showtime, unavailable, interval)
    }

    /// Checks that exactly the taken seats are named, each with its state. Returns the interval in which that is so.
    fn check_named(
        &self,
        showtime: &ReplayedShowtime,
        unavailable: &SeatsUnavailable,
        mut interval: Interval,
    ) -> Result<Interval, String> {
        let requested = &self.requested;
        let mut named = BTreeMap::new();
        for one in &unavailable.seats {
            let until = one.held_until.as_ref().and_then(datetime);
            named.insert(seat_name(one.seat.as_ref().ok_or("a seat has no name")?), (one.state(), until));
        }
        let are_requested = named.keys().all(|seat| requested.contains(seat));
        if named.is_empty() || !are_requested || named.len() != unavailable.seats.len() {
            return Err(format!("the named seats are not among the requested ones: {requested:?}"));
        }
        for seat in requested {
            let (owner, is_blocked) = (showtime.owner(seat), showtime.blocked.contains_key(seat));
            let state = owner.map_or(ReservationState::Unspecified, |owner| owner.state);
            let until = owner.map(|owner| owner.expire_time);
            match (named.get(seat), state) {
                (None, _) if self.own.contains(seat) => {}
                (Some((SeatState::Blocked, None)), ReservationState::Unspecified) if is_blocked => {}
                (None, ReservationState::Unspecified) if !is_blocked => {}
                (Some((SeatState::Sold, None)), ReservationState::Confirmed) => {}
                // The hold had lapsed.
                (None, ReservationState::Held) => interval.from = interval.from.max(until.unwrap_or(interval.from)),
                // The hold had not lapsed.
                (Some((SeatState::Held, held_until)), ReservationState::Held) if *held_until == until => {
                    interval.end_before(until.unwrap_or(interval.to));
                }
                (named, _) => {
                    return Err(format!(
                        "{seat:?} is named as {named:?}, but its owner is {owner:?}, blocked: {is_blocked}"
                    ));
                }
            }
        }
        if interval.from <= interval.to { Ok(interval) } else { Err(format!("it was right at no time: {interval:?}")) }
    }

    /// Checks that no block of this size was free at the start of the interval, when the fewest holds had lapsed.
    fn check_no_block_free(&self, showtime: &ReplayedShowtime, interval: Interval) -> Result<Interval, String> {
        let taken = |seat: &SeatName| {
            showtime.blocked.contains_key(seat)
                || showtime.owner(seat).is_some_and(|owner| !owner.has_ended(interval.from))
        };
        match showtime.seats.blocks(self.size).find(|block| !block.iter().any(taken)) {
            None => Ok(interval),
            Some(block) => Err(format!("{block:?} was free")),
        }
    }

    fn check_offers(
        &self,
        showtime: &ReplayedShowtime,
        unavailable: &SeatsUnavailable,
        interval: Interval,
    ) -> Result<(), String> {
        let taken = |seat: &SeatName| {
            !self.own.contains(seat)
                && (showtime.blocked.contains_key(seat)
                    || showtime.owner(seat).is_some_and(|owner| !owner.has_ended(interval.to)))
        };
        for offer in &unavailable.offers {
            let block = seat_names(&offer.seats);
            if block.len() != self.size || !showtime.seats.is_block(&block) || block.iter().any(taken) {
                return Err(format!("{block:?} is offered, but not free"));
            }
        }
        Ok(())
    }
}
