//! What became of the seats of a reservation after they were held: they were exchanged for others, or given back.

use std::sync::Arc;

use crate::domain::prices::Lines;

/// A seat of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservedSeat {
    /// The number of the seat in the auditorium.
    pub seat: u16,
    /// Whether it was given back.
    pub released: bool,
}

/// The seats and lines of a reservation whose seats were exchanged or given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amendment {
    /// The seats, with those that were given back.
    pub seats: Arc<[ReservedSeat]>,
    /// A line for each seat.
    pub lines: Lines,
}
