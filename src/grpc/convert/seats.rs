//! Names of seats.

use super::common::finish;
use crate::{
    domain::{
        seat_index::{Block, RowLabel, SeatIndex, SeatName},
        violations::Violations,
    },
    pb::boxoffice::v1 as pb,
};

/// Seats that the contract accepts in a request about one reservation. A deployment may accept fewer.
pub(super) const MOST_SEATS: usize = 100;
/// Seat numbers that the contract accepts.
const NUMBERS: std::ops::RangeInclusive<i32> = 1..=999;

/// Reads the names of at most so many seats.
pub(super) fn seat_names(seats: &[pb::Seat], most: usize) -> Result<Vec<SeatName>, Violations> {
    let mut violations = Violations::new();
    if seats.len() > most {
        violations.add("", format!("must name at most {most} seats, and names {}", seats.len()));
    }
    let mut names = Vec::with_capacity(seats.len().min(most));
    for (index, seat) in seats.iter().take(most).enumerate() {
        match seat_name(seat) {
            Ok(name) => names.push(name),
            Err(flaws) => violations.absorb(&format!("[{index}]"), flaws),
        }
    }
    finish(violations, Some(names))
}

fn seat_name(seat: &pb::Seat) -> Result<SeatName, Violations> {
    let mut violations = Violations::new();
    let row = violations.take("row", RowLabel::parse(&seat.row));
    if !NUMBERS.contains(&seat.number) {
        violations.add("number", format!("must be from {} to {}", NUMBERS.start(), NUMBERS.end()));
    }
    finish(violations, row.map(|row| SeatName { row, number: seat.number }))
}

pub(crate) fn seats(seat_index: &SeatIndex, seats: impl IntoIterator<Item = u16>) -> Vec<pb::Seat> {
    seats.into_iter().map(|at| seat(seat_index.name(at))).collect()
}

pub(crate) fn block(seat_index: &SeatIndex, block: Block) -> pb::SeatBlock {
    pb::SeatBlock { seats: seat_index.names(block).map(seat).collect() }
}

pub(crate) fn seat(name: SeatName) -> pb::Seat {
    pb::Seat { row: name.row.as_str().to_owned(), number: name.number }
}
