//! Compares seat maps and lists of blocked seats with the events.

use boxoffice::pb::boxoffice::v1::{BlockedSeats, ReservationState, SeatMap, SeatState};

use super::replay::{ReplayedShowtime, SeatName, datetime, seat_names};

/// Checks that the map shows each seat as it was at the map's revision and time.
pub(super) fn check_map(map: &SeatMap, showtime: &ReplayedShowtime) -> Result<(), String> {
    let time = map.as_of_time.as_ref().and_then(datetime).ok_or("it has no time")?;
    let seats = showtime.seats.names(0, showtime.seats.count());
    let expected: Vec<SeatState> = seats
        .iter()
        .map(|seat| match showtime.owner(seat) {
            _ if showtime.blocked.contains_key(seat) => SeatState::Blocked,
            Some(owner) if owner.state == ReservationState::Confirmed => SeatState::Sold,
            Some(owner) if !owner.has_ended(time) => SeatState::Held,
            _ => SeatState::Free,
        })
        .collect();
    let shown: Vec<_> = map.states.iter().filter_map(|state| SeatState::try_from(i32::from(*state)).ok()).collect();
    if shown.len() != expected.len() {
        return Err(format!("the map shows {} of {} seats", shown.len(), expected.len()));
    }
    let differs = (0..seats.len()).find(|at| shown[*at] != expected[*at]);
    if let Some(at) = differs {
        return Err(format!("{:?} is shown as {:?}, but is {:?}", seats[at], shown[at], expected[at]));
    }
    let count = |state| expected.iter().filter(|one| **one == state).count();
    let counts = map.counts.as_ref().ok_or("it has no counts")?;
    let counted = [
        (counts.free, SeatState::Free),
        (counts.held, SeatState::Held),
        (counts.sold, SeatState::Sold),
        (counts.blocked, SeatState::Blocked),
    ];
    let right = counted.into_iter().all(|(number, state)| usize::try_from(number) == Ok(count(state)));
    if right { Ok(()) } else { Err(format!("it counts {counts:?}")) }
}

/// Checks that the list has the blocked seats of its revision, those that were blocked first in front.
pub(super) fn check_blocks(blocks: &[BlockedSeats], showtime: &ReplayedShowtime) -> Result<(), String> {
    let mut expected: Vec<_> = showtime.blocked.iter().map(|(seat, block)| (*block, seat.clone())).collect();
    expected.sort_by_key(|(block, seat)| (block.revision, showtime.seats.position(seat)));
    let of_one = |of: &BlockedSeats| -> Vec<(i64, _, SeatName)> {
        let time = of.create_time.as_ref().and_then(datetime);
        seat_names(&of.seats).into_iter().map(|seat| (of.revision, time, seat)).collect()
    };
    let listed: Vec<_> = blocks.iter().flat_map(of_one).collect();
    let expected: Vec<_> = expected.into_iter().map(|(block, seat)| (block.revision, Some(block.time), seat)).collect();
    if listed == expected { Ok(()) } else { Err(format!("the blocked seats are {expected:?}")) }
}
