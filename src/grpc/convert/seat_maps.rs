//! Seat maps and their deltas.

use super::{
    auditoriums::written_layout,
    common::{at_most, finish, revision},
    seats::seat,
    values::timestamp,
};
use crate::{
    app::{Frame, Snapshot},
    domain::{ids::ShowtimeId, seat_index::SeatIndex, seat_map::Status, violations::Violations},
    pb::boxoffice::v1 as pb,
};

/// The revision and the epoch from which a watcher resumes.
type ResumePoint = Option<(i64, String)>;

pub(crate) fn watch_seat_map(request: pb::WatchSeatMapRequest) -> Result<(ShowtimeId, ResumePoint), Violations> {
    let mut violations = Violations::new();
    let id = violations.take("showtime_id", ShowtimeId::parse(&request.showtime_id));
    revision(&mut violations, "from_revision", request.from_revision);
    at_most(&mut violations, "epoch", &request.epoch, 64);
    let from = (request.from_revision > 0).then_some((request.from_revision, request.epoch));
    finish(violations, id.map(|id| (id, from)))
}

pub(crate) fn seat_map(snapshot: &Snapshot, list: bool) -> pb::SeatMap {
    let (seat_index, seats) = (&snapshot.plan.seat_index, &snapshot.seats);
    let listed = seats.iter().zip(0..).filter(|_| list).map(|(status, at)| seat_status(seat_index, at, *status));
    pb::SeatMap {
        showtime_id: snapshot.plan.facts.showtime_id.to_string(),
        revision: snapshot.revision,
        epoch: snapshot.epoch.to_string(),
        as_of_time: Some(timestamp(snapshot.at)),
        layout: Some(written_layout(seat_index.rows_as_written())),
        states: seats.iter().map(|status| state(*status) as u8).collect(),
        seats: listed.collect(),
        counts: Some(counts(seats)),
    }
}

fn counts(seats: &[Status]) -> pb::SeatCounts {
    let mut counts = pb::SeatCounts::default();
    for status in seats {
        *match status {
            Status::Free => &mut counts.free,
            Status::Held { .. } | Status::Paying { .. } => &mut counts.held,
            Status::Sold => &mut counts.sold,
            Status::Blocked => &mut counts.blocked,
        } += 1;
    }
    counts
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
        Status::Held { until } | Status::Paying { until } => Some(timestamp(until)),
        Status::Free | Status::Sold | Status::Blocked => None,
    };
    pb::SeatStatus { seat: Some(seat(seat_index.name(at))), state: state(status).into(), held_until }
}

fn state(status: Status) -> pb::SeatState {
    match status {
        Status::Free => pb::SeatState::Free,
        Status::Held { .. } | Status::Paying { .. } => pb::SeatState::Held,
        Status::Sold => pb::SeatState::Sold,
        Status::Blocked => pb::SeatState::Blocked,
    }
}
