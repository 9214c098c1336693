//! Seat maps: whole, and what changed of them.

use super::{seat, timestamp};
use crate::{
    app::{Frame, Snapshot},
    domain::{seat_index::SeatIndex, seat_map::Status},
    pb::boxoffice::v1 as pb,
};

pub(crate) fn seat_map(snapshot: &Snapshot, list: bool) -> pb::SeatMap {
    let (seat_index, seats) = (&snapshot.plan.seat_index, &snapshot.seats);
    let listed = seats.iter().zip(0..).filter(|_| list).map(|(status, at)| seat_status(seat_index, at, *status));
    pb::SeatMap {
        showtime_id: snapshot.plan.facts.showtime_id.to_string(),
        revision: snapshot.revision,
        epoch: snapshot.epoch.to_string(),
        as_of_time: Some(timestamp(snapshot.at)),
        layout: Some(super::auditoriums::layout(seat_index.rows_as_written())),
        states: seats.iter().map(|status| state(*status) as u8).collect(),
        seats: listed.collect(),
    }
}

pub(crate) fn seat_map_delta(frame: &Frame) -> pb::SeatMapDelta {
    let (seat_index, delta) = (&frame.plan.seat_index, &frame.delta);
    pb::SeatMapDelta {
        base_revision: delta.before,
        revision: delta.revision,
        as_of_time: Some(timestamp(frame.at)),
        seats: delta.seats.iter().map(|(at, status)| seat_status(seat_index, *at, *status)).collect(),
    }
}

fn seat_status(seat_index: &SeatIndex, at: u16, status: Status) -> pb::SeatStatus {
    let held_until = match status {
        Status::Held { until } => Some(timestamp(until)),
        Status::Free | Status::Sold => None,
    };
    pb::SeatStatus { seat: Some(seat(seat_index.name(at))), state: state(status).into(), held_until }
}

fn state(status: Status) -> pb::SeatState {
    match status {
        Status::Free => pb::SeatState::Free,
        Status::Held { .. } => pb::SeatState::Held,
        Status::Sold => pb::SeatState::Sold,
    }
}
