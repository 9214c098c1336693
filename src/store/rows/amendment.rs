//! What became of a reservation's seats after they were held, as it is stored.

use prost::Message as _;

use super::prices::StoredLines;
use crate::domain::reservation::{Amendment, ReservedSeat};

/// The seats and lines that a reservation has instead of the first ones.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct StoredAmendment {
    #[prost(message, repeated, tag = "1")]
    seats: Vec<StoredSeat>,
    /// `None`: all lines are plain.
    #[prost(message, optional, tag = "2")]
    lines: Option<StoredLines>,
    /// The sum of the lines, if they are plain.
    #[prost(int64, tag = "3")]
    total_minor: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct StoredSeat {
    #[prost(uint32, tag = "1")]
    seat: u32,
    #[prost(bool, tag = "2")]
    released: bool,
}

pub(in crate::store) fn encode(amendment: &Amendment) -> Vec<u8> {
    let Amendment { seats, lines } = amendment;
    let lines_stored = StoredLines::of(lines);
    let total_minor = if lines_stored.is_some() { 0 } else { lines.total() };
    let seats = seats.iter().map(|one| StoredSeat { seat: one.seat.into(), released: one.released }).collect();
    StoredAmendment { seats, lines: lines_stored, total_minor }.encode_to_vec()
}

/// The amendment in these bytes, if they can be read.
pub(in crate::store) fn decode(bytes: &[u8]) -> Option<Amendment> {
    let StoredAmendment { seats, lines, total_minor } = StoredAmendment::decode(bytes).ok()?;
    let count = u16::try_from(seats.len()).ok()?;
    let seat = |one: StoredSeat| Some(ReservedSeat { seat: u16::try_from(one.seat).ok()?, released: one.released });
    let lines = StoredLines::read(lines.as_ref(), count, total_minor)?;
    Some(Amendment { seats: seats.into_iter().map(seat).collect::<Option<_>>()?, lines })
}
