//! Which showtime a reservation is for, of those that were made here not long ago: it spares their confirmation a read.

use std::sync::{Mutex, PoisonError};

use crate::domain::ids::{ReservationId, ShowtimeId};

/// 32,768 reservations, in 1.3 MB.
const SLOTS: usize = 1 << 15;

/// Each reservation has one place in which it can be remembered; the next one that comes there takes it. That forgets at
/// random, costs no more than looking, and is never wrong: a reservation stays with its showtime.
pub(super) struct ReservationIndex(Box<[Slot]>);

type Slot = Mutex<Option<(ReservationId, ShowtimeId)>>;

impl ReservationIndex {
    pub(super) fn new() -> Self {
        Self((0..SLOTS).map(|_| Mutex::new(None)).collect())
    }

    pub(super) fn note(&self, reservation: ReservationId, showtime: ShowtimeId) {
        *self.place(reservation).lock().unwrap_or_else(PoisonError::into_inner) = Some((reservation, showtime));
    }

    pub(super) fn find(&self, reservation: ReservationId) -> Option<ShowtimeId> {
        let noted = *self.place(reservation).lock().unwrap_or_else(PoisonError::into_inner);
        noted.filter(|(noted, _)| *noted == reservation).map(|(_, showtime)| showtime)
    }

    /// Ids end in random bits.
    fn place(&self, reservation: ReservationId) -> &Slot {
        &self.0[reservation.0.as_u128() as usize % SLOTS]
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn one_is_found_until_another_takes_its_place() {
        let reservation_index = ReservationIndex::new();
        let [one, other] = [7, 7 + SLOTS as u128].map(|id| ReservationId(Uuid::from_u128(id)));
        let [here, there] = [1, 2].map(|id| ShowtimeId(Uuid::from_u128(id)));
        assert_eq!(reservation_index.find(one), None);
        reservation_index.note(one, here);
        assert_eq!((reservation_index.find(one), reservation_index.find(other)), (Some(here), None));
        reservation_index.note(other, there);
        assert_eq!((reservation_index.find(one), reservation_index.find(other)), (None, Some(there)));
    }
}
