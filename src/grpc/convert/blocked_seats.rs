//! Seats that are kept back from sale.

use super::{
    common::{at_most, finish},
    seats::{seat_names, seats},
    values::timestamp,
};
use crate::{
    app::{BlockedSeats, BlockedSeatsAt},
    domain::{
        ids::ShowtimeId,
        layout::MAX_SEATS,
        seat_index::{SeatIndex, SeatName},
        seating::{BlockReason, Blockage, MAX_NOTE},
        violations::Violations,
    },
    pb::boxoffice::v1 as pb,
};

/// Reads the showtime, the seats to block, and why.
pub(crate) fn block_seats(request: pb::BlockSeatsRequest) -> Result<(ShowtimeId, Vec<SeatName>, Blockage), Violations> {
    let mut violations = Violations::new();
    let of = violations.take("", showtime_seats(&request.showtime_id, &request.seats));
    let reason = reason(request.reason);
    if reason.is_none() {
        violations.add("reason", "must be a known reason");
    }
    at_most(&mut violations, "note", &request.note, MAX_NOTE);
    if request.note.chars().any(char::is_control) {
        violations.add("note", "must have no control characters");
    }
    let note = request.note;
    let block = of.zip(reason).map(|((id, seats), reason)| (id, seats, Blockage { reason, note }));
    finish(violations, block)
}

/// Reads the showtime, and the seats to unblock.
pub(crate) fn unblock_seats(request: &pb::UnblockSeatsRequest) -> Result<(ShowtimeId, Vec<SeatName>), Violations> {
    showtime_seats(&request.showtime_id, &request.seats)
}

fn showtime_seats(id: &str, seats: &[pb::Seat]) -> Result<(ShowtimeId, Vec<SeatName>), Violations> {
    let mut violations = Violations::new();
    let id = violations.take("showtime_id", ShowtimeId::parse(id));
    if seats.is_empty() {
        violations.add("seats", "must name a seat");
    }
    let seats = violations.take("seats", seat_names(seats, MAX_SEATS));
    finish(violations, id.zip(seats))
}

fn reason(reason: i32) -> Option<BlockReason> {
    Some(match pb::BlockReason::try_from(reason).ok()? {
        pb::BlockReason::Unspecified => return None,
        pb::BlockReason::House => BlockReason::House,
        pb::BlockReason::Maintenance => BlockReason::Maintenance,
        pb::BlockReason::Company => BlockReason::Company,
        pb::BlockReason::SalesChannel => BlockReason::SalesChannel,
    })
}

pub(crate) fn blocked_seats(seat_index: &SeatIndex, at: &BlockedSeatsAt) -> pb::ListSeatBlocksResponse {
    let one = |blocked: &BlockedSeats| {
        let reason = match blocked.blockage.reason {
            BlockReason::House => pb::BlockReason::House,
            BlockReason::Maintenance => pb::BlockReason::Maintenance,
            BlockReason::Company => pb::BlockReason::Company,
            BlockReason::SalesChannel => pb::BlockReason::SalesChannel,
        };
        pb::BlockedSeats {
            seats: seats(seat_index, blocked.seats.iter().copied()),
            reason: reason.into(),
            note: blocked.blockage.note.clone(),
            create_time: Some(timestamp(blocked.create_time)),
            revision: blocked.revision,
        }
    };
    pb::ListSeatBlocksResponse { blocks: at.blocked.iter().map(one).collect(), revision: at.revision }
}
