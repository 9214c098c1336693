//! Seats that are kept back from sale, from the events alone.

use boxoffice::pb::boxoffice::events::v1::{SeatsBlocked, SeatsUnblocked};
use chrono::{DateTime, Utc};

use super::{ReplayedShowtime, SeatName, check, event_seat_names};

/// When a seat was blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct ReplayedBlock {
    pub(in super::super) revision: i64,
    pub(in super::super) time: DateTime<Utc>,
}

impl ReplayedShowtime {
    pub(super) fn block(&mut self, blocked: &SeatsBlocked) -> Result<(), String> {
        let seats = event_seat_names(&blocked.seats);
        self.check_order(&seats)?;
        for seat in seats {
            let owner = self.owners.get(&seat);
            check(owner.is_none(), || format!("{seat:?} is blocked, which belongs to {owner:?}"))?;
            let block = ReplayedBlock { revision: self.revision, time: self.time };
            let before = self.blocked.insert(seat.clone(), block);
            check(before.is_none(), || format!("{seat:?} is blocked twice"))?;
        }
        Ok(())
    }

    pub(super) fn unblock(&mut self, unblocked: &SeatsUnblocked) -> Result<(), String> {
        let seats = event_seat_names(&unblocked.seats);
        self.check_order(&seats)?;
        for seat in seats {
            let before = self.blocked.remove(&seat);
            check(before.is_some(), || format!("{seat:?} is unblocked, which was not blocked"))?;
        }
        Ok(())
    }

    /// Checks that there are seats, in the order of the layout.
    fn check_order(&self, seats: &[SeatName]) -> Result<(), String> {
        let in_order = self.seats.sorted(seats.to_vec()) == seats;
        check(in_order && !seats.is_empty(), || format!("not in the order of the layout: {seats:?}"))
    }
}
