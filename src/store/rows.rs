//! Rows as queries read them, where that is not one whole table: which columns they select, and how a row becomes a thing of
//! the domain.
//!
//! Some of these rows are also the form in which an answer is stored. Their fields are then part of the stored form, so they
//! are added to, and not renamed.

pub(super) mod amendment;
pub(super) mod auditorium;
pub(super) mod blocked_seat;
pub(super) mod prices;
pub(super) mod purchase;
pub(super) mod refund;
pub(super) mod reservation;
pub(super) mod scan;
pub(super) mod showtime;
pub(super) mod ticket;
