//! Between the wire and the trade: requests are checked on the way in, values are written out on the way back.
//!
//! The rules annotated in the protos are enforced here and in the constructors of `domain`; every violation of a request
//! is collected before it is refused.

mod auditoriums;
mod movies;
mod reservations;
mod seat_maps;
mod showtimes;
mod values;

pub(super) use auditoriums::{auditorium, new_auditorium};
pub(super) use movies::movie;
pub(super) use reservations::{named, reservation, reservation_filter, reserve, seat, seats, tender, validated};
pub(super) use seat_maps::{seat_map, seat_map_delta};
pub(super) use showtimes::{filter, new_showtime, revision, showtime, showtime_id};
pub(super) use values::timestamp;

use crate::{app::PageRequest, domain::violations::Violations};

/// The flaws, or the value that there is when there are none.
pub(super) fn finish<T>(violations: Violations, value: Option<T>) -> Result<T, Violations> {
    match value {
        Some(value) if violations.is_empty() => Ok(value),
        _ => Err(violations),
    }
}

/// Which page is asked for. A token's limit is checked here, its truth where the list is known.
pub(super) fn page(violations: &mut Violations, size: i32, token: String) -> PageRequest {
    if size < 0 {
        violations.add("page_size", "must not be negative");
    }
    if token.chars().count() > 512 {
        violations.add("page_token", "must have at most 512 characters");
    }
    PageRequest { size, token }
}
