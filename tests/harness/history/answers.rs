//! Checks the answers to one request, over all its attempts, against the events.

use std::collections::BTreeMap;

use boxoffice::pb::boxoffice::v1::{Reservation, ReservationState};

use super::{
    Call, Moment, Operation, Outcome,
    check::Timeline,
    replay::{ReplayedReservation, SeatName, datetime, seat_name},
};

/// All calls with one request id, in the order in which they ended.
pub(super) struct Request<'a>(Vec<&'a Call>);

/// The change that a request made, and the moments between which it was made.
pub(super) struct Effect {
    pub(super) reservation_id: String,
    pub(super) revision: i64,
    pub(super) started: Moment,
    pub(super) ended: Moment,
}

impl<'a> Request<'a> {
    /// Groups the calls by request id.
    pub(super) fn group(calls: impl Iterator<Item = &'a Call>) -> BTreeMap<&'a str, Self> {
        let mut requests = BTreeMap::new();
        for call in calls.filter(|call| !call.operation.request_id().is_empty()) {
            requests.entry(call.operation.request_id()).or_insert_with(|| Self(Vec::new())).0.push(call);
        }
        requests
    }

    pub(super) fn showtime_id(&self) -> &str {
        &self.0[0].showtime_id
    }

    /// Returns the request's effect, if it had one, and the anomalies in its answers.
    pub(super) fn effect(&self, timeline: &Timeline) -> (Option<Effect>, Vec<String>) {
        let mut anomalies = Vec::new();
        let answers: Vec<_> = self.0.iter().filter_map(|call| Answer::of(call)).collect();
        let has_unknown = self.0.iter().any(|call| matches!(call.outcome, Outcome::Unknown(_)));
        let Some(first) = answers.first() else {
            if has_unknown && !self.is_refused_at_last() {
                anomalies.push("its outcome is unknown, and it was not repeated".to_owned());
            }
            return (None, anomalies);
        };
        let originals = answers.iter().filter(|answer| !answer.replayed).count();
        if originals > 1 {
            anomalies.push(format!("it was carried out {originals} times"));
        }
        if originals == 0 && !has_unknown {
            anomalies.push("its first answer is marked as a repetition".to_owned());
        }
        for answer in &answers[1..] {
            if answer.without_time_left() != first.without_time_left() {
                anomalies.push(format!(
                    "it was answered with {:?} and with {:?}",
                    first.without_time_left(),
                    answer.without_time_left()
                ));
            }
        }
        let first_answered = answers.iter().map(|answer| answer.call.ended.tick).min().unwrap_or_default();
        for call in self.0.iter().filter(|call| call.started.tick > first_answered) {
            if let Outcome::Refused(refusal) = &call.outcome
                && !refusal.is_temporary()
            {
                anomalies.push(format!("it succeeded, and was then refused: {refusal:?}"));
            }
        }
        anomalies.extend(first.check(timeline));
        let original = answers.iter().find(|answer| !answer.replayed).map(|answer| answer.call);
        let started = original
            .map_or(self.0.iter().map(|call| call.started).min_by_key(|started| started.tick), |original| {
                Some(original.started)
            });
        let effect = Effect {
            reservation_id: first.reservation.reservation_id.clone(),
            revision: first.reservation.revision,
            started: started.unwrap_or(first.call.started),
            ended: original.unwrap_or(first.call).ended,
        };
        (Some(effect), anomalies)
    }

    fn is_refused_at_last(&self) -> bool {
        self.0.last().is_some_and(|call| matches!(call.outcome, Outcome::Refused(_)))
    }
}

/// A successful answer to a change.
struct Answer<'a> {
    call: &'a Call,
    reservation: &'a Reservation,
    revision: i64,
    replayed: bool,
}

impl<'a> Answer<'a> {
    fn of(call: &'a Call) -> Option<Self> {
        match &call.outcome {
            Outcome::Changed { reservation, revision, replayed } => {
                Some(Self { call, reservation, revision: *revision, replayed: *replayed })
            }
            _ => None,
        }
    }

    /// Returns the reservation without the field that depends on the time of the answer.
    fn without_time_left(&self) -> Reservation {
        Reservation { time_left: None, ..self.reservation.clone() }
    }

    /// Checks that the events have the change that the answer reports.
    fn check(&self, timeline: &Timeline) -> Option<String> {
        let (answered, operation) = (self.reservation, &self.call.operation);
        let Some(expected) = timeline.reservation(&answered.reservation_id, answered.revision) else {
            return Some(format!("acknowledged, but not among the events: {answered:?}"));
        };
        let is_own_change = self.revision == answered.revision;
        let right = match operation {
            Operation::Reserve(request) => {
                let mut requested: Vec<SeatName> = request.seats.iter().map(seat_name).collect();
                requested.sort_by_key(|name| timeline.seat_position(name));
                let size = usize::try_from(request.seat_count).expect("a count");
                let has_seats =
                    if requested.is_empty() { expected.seats.len() == size } else { expected.seats == requested };
                has_seats
                    && is_own_change
                    && expected.first_revision == answered.revision
                    && expected.customer_id == request.customer_id
            }
            Operation::Confirm(request) => {
                let has_tender = request.tender.as_ref().is_none_or(|tender| tender.method == expected.tender_method);
                let sold = expected.state == ReservationState::Confirmed;
                sold && has_tender && request.reservation_id == answered.reservation_id
            }
            Operation::Cancel(request) => {
                is_own_change
                    && expected.state == ReservationState::Cancelled
                    && request.reservation_id == answered.reservation_id
            }
            Operation::Extend(request) => {
                let extended =
                    expected.state == ReservationState::Held && expected.expire_time > expected.first_expire_time;
                is_own_change && extended && request.reservation_id == answered.reservation_id
            }
            Operation::GetReservation(_) | Operation::GetShowtime | Operation::Lock => false,
        };
        let same = agrees(answered, expected, expected.state);
        (!right || !same)
            .then(|| format!("{operation:?} was answered with {answered:?}, but the events give {expected:?}"))
    }
}

/// Whether the answered reservation is the one that the events give, in this state.
pub(super) fn agrees(answered: &Reservation, expected: &ReplayedReservation, state: ReservationState) -> bool {
    let seats: Vec<SeatName> = answered.seats.iter().map(seat_name).collect();
    answered.state() == state
        && seats == expected.seats
        && usize::try_from(answered.seat_count) == Ok(seats.len())
        && answered.customer_id == expected.customer_id
        && answered.total_price.as_ref() == Some(&expected.total)
        && answered.create_time.as_ref().and_then(datetime) == Some(expected.create_time)
        && answered.expire_time.as_ref().and_then(datetime) == Some(expected.expire_time)
        && answered.tender.as_ref().map_or("", |tender| &tender.method) == expected.tender_method
        && answered.extended == (expected.expire_time != expected.first_expire_time)
}
