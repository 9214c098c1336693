//! Seat maps: whole, and what changed of them.

use super::{seat, timestamp};
use crate::{
    app::{Frame, Snapshot},
    domain::{house::House, seat_map::Status},
    pb::boxoffice::v1 as pb,
};

pub(crate) fn seat_map(snapshot: &Snapshot, list: bool) -> pb::SeatMap {
    let (house, seats) = (&snapshot.plan.house, &snapshot.seats);
    let listed = seats.iter().zip(0..).filter(|_| list).map(|(status, at)| seat_status(house, at, *status));
    pb::SeatMap {
        showtime_id: snapshot.plan.facts.showtime_id.to_string(),
        revision: snapshot.revision,
        epoch: snapshot.epoch.to_string(),
        as_of_time: Some(timestamp(snapshot.at)),
        layout: Some(super::auditoriums::layout(house.plan())),
        states: seats.iter().map(|status| state(*status) as u8).collect(),
        seats: listed.collect(),
    }
}

pub(crate) fn seat_map_delta(frame: &Frame) -> pb::SeatMapDelta {
    let (house, delta) = (&frame.plan.house, &frame.delta);
    pb::SeatMapDelta {
        base_revision: delta.before,
        revision: delta.revision,
        as_of_time: Some(timestamp(frame.at)),
        seats: delta.seats.iter().map(|(at, status)| seat_status(house, *at, *status)).collect(),
    }
}

fn seat_status(house: &House, at: u16, status: Status) -> pb::SeatStatus {
    let held_until = match status {
        Status::Held { until } => Some(timestamp(until)),
        Status::Free | Status::Sold => None,
    };
    pb::SeatStatus { seat: Some(seat(house.name(at))), state: state(status).into(), held_until }
}

fn state(status: Status) -> pb::SeatState {
    match status {
        Status::Free => pb::SeatState::Free,
        Status::Held { .. } => pb::SeatState::Held,
        Status::Sold => pb::SeatState::Sold,
    }
}
