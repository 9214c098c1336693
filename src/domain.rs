//! What is true: the trade's own types and rules.
//!
//! Pure, synchronous and total: no I/O, no clock, no randomness. What enters here from outside is checked once, by the
//! constructors, which report every violation at once; whoever holds one of these values can rely on it.

pub mod auditorium;
pub mod ids;
pub mod layout;
pub mod money;
pub mod movie;
pub mod reservation;
pub mod seat_index;
pub mod seat_map;
pub mod seating;
pub mod showtime;
pub mod violations;
