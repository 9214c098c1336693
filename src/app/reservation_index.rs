//! Maps recent reservations of this instance to their showtimes, which saves a read when they are confirmed or changed.

use std::sync::{Mutex, PoisonError};

use crate::domain::ids::{ReservationId, ShowtimeId};

/// The number of cells: 32,768 reservations, in 1.3 MB.
const CELLS: usize = 1 << 15;

/// A table of fixed size. A reservation's id determines its cell, and a later entry replaces an earlier one. A miss costs a
/// read. A hit is always right, because the showtime of a reservation never changes.
pub(super) struct ReservationIndex(Box<[Cell]>);

type Cell = Mutex<Option<(ReservationId, ShowtimeId)>>;

impl ReservationIndex {
    pub(super) fn new() -> Self {
        Self((0..CELLS).map(|_| Mutex::new(None)).collect())
    }

    pub(super) fn insert(&self, reservation: ReservationId, showtime: ShowtimeId) {
        *self.cell(reservation).lock().unwrap_or_else(PoisonError::into_inner) = Some((reservation, showtime));
    }

    pub(super) fn find(&self, reservation: ReservationId) -> Option<ShowtimeId> {
        let entry = *self.cell(reservation).lock().unwrap_or_else(PoisonError::into_inner);
        entry.filter(|(found, _)| *found == reservation).map(|(_, showtime)| showtime)
    }

    /// Ids end in random bits.
    fn cell(&self, reservation: ReservationId) -> &Cell {
        &self.0[reservation.0.as_u128() as usize % CELLS]
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_entry_is_found_until_another_replaces_it() {
        let reservation_index = ReservationIndex::new();
        let [one, other] = [7, 7 + CELLS as u128].map(|id| ReservationId(Uuid::from_u128(id)));
        let [here, there] = [1, 2].map(|id| ShowtimeId(Uuid::from_u128(id)));
        assert_eq!(reservation_index.find(one), None);
        reservation_index.insert(one, here);
        assert_eq!((reservation_index.find(one), reservation_index.find(other)), (Some(here), None));
        reservation_index.insert(other, there);
        assert_eq!((reservation_index.find(one), reservation_index.find(other)), (None, Some(there)));
    }
}
