//! The types and rules of selling cinema seats.
//!
//! Everything here is pure, synchronous and total: no I/O, no clock, no randomness. Constructors check what comes from
//! outside and report every violation at once, so that a value that exists is valid.

pub mod auditorium;
mod html;
pub mod ids;
pub mod layout;
pub mod money;
pub mod movie;
pub mod note;
pub mod number;
pub mod prices;
pub mod purchase;
pub mod receipt;
pub mod refund;
pub mod reservation;
pub mod seat_index;
pub mod seat_map;
pub mod seating;
pub mod secret;
pub mod showtime;
pub mod ticket;
pub mod violations;
