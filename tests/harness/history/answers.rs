//! Checks the answers to one request, over all its attempts, against the events.

use std::collections::BTreeMap;

use boxoffice::pb::boxoffice::v1::{ConfirmVerdict, Reservation, ReservationState, Seat};

use super::{
    Call, Moment, Operation, Outcome,
    check::Timeline,
    replay::{ReplayedReservation, SeatName, datetime, nanos, seat_name, seat_names},
};

/// All calls with one request id, in the order in which they ended.
pub(super) struct Request<'a>(Vec<&'a Call>);

/// The change that a request made, and the moments between which it was made.
pub(super) struct Effect<'a> {
    pub(super) operation: &'a Operation,
    /// Empty if seats were blocked or unblocked.
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
    pub(super) fn effect(&self, timeline: &Timeline) -> (Option<Effect<'a>>, Vec<String>) {
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
            if answer.content != first.content {
                anomalies.push(format!("it was answered with {:?} and with {:?}", first.content, answer.content));
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
        let (reservation_id, revision) = match &first.content {
            Content::Reservation(reservation, _) => (reservation.reservation_id.clone(), reservation.revision),
            Content::Seats(_) => (String::new(), first.revision),
        };
        let effect = Effect {
            operation: &first.call.operation,
            reservation_id,
            revision,
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
    content: Content<'a>,
    revision: i64,
    replayed: bool,
}

#[derive(Debug, PartialEq)]
enum Content<'a> {
    /// A reservation without the field that depends on the time of the answer, and what came of a confirmation.
    Reservation(Box<Reservation>, ConfirmVerdict),
    /// Seats that were blocked or unblocked.
    Seats(&'a [Seat]),
}

impl<'a> Answer<'a> {
    fn of(call: &'a Call) -> Option<Self> {
        let (content, revision, replayed) = match &call.outcome {
            Outcome::Changed { reservation, revision, replayed, verdict } => {
                let lasting = Reservation { time_left: None, ..(**reservation).clone() };
                (Content::Reservation(Box::new(lasting), *verdict), *revision, *replayed)
            }
            Outcome::Blocked { seats, revision, replayed } => (Content::Seats(seats), *revision, *replayed),
            _ => return None,
        };
        Some(Self { call, content, revision, replayed })
    }

    /// Checks that the events have the change that the answer reports.
    fn check(&self, timeline: &Timeline) -> Option<String> {
        let operation = &self.call.operation;
        let (answered, verdict) = match &self.content {
            Content::Reservation(reservation, verdict) => (reservation, *verdict),
            Content::Seats(seats) => {
                let (Operation::Block(_) | Operation::Unblock(_)) = operation else {
                    return Some(format!("{operation:?} was answered with seats: {seats:?}"));
                };
                // That the events have this change is checked with their causes.
                let right = timeline.sorted(requested_seats(operation)) == seat_names(seats);
                return (!right).then(|| format!("{operation:?} was answered with {seats:?}"));
            }
        };
        let Some(expected) = timeline.reservation(&answered.reservation_id, answered.revision) else {
            return Some(format!("acknowledged, but not among the events: {answered:?}"));
        };
        let named = operation.reservation_id().is_none_or(|id| id == answered.reservation_id);
        let right = named && self.is_right(timeline, answered, expected, verdict);
        let same = agrees(answered, expected, expected.state);
        (!right || !same)
            .then(|| format!("{operation:?} was answered with {answered:?}, but the events give {expected:?}"))
    }

    /// Whether the reservation is as the request wants it.
    fn is_right(
        &self,
        timeline: &Timeline,
        answered: &Reservation,
        expected: &ReplayedReservation,
        verdict: ConfirmVerdict,
    ) -> bool {
        let is_own_change = self.revision == answered.revision;
        let requested = timeline.sorted(requested_seats(&self.call.operation));
        match &self.call.operation {
            Operation::Reserve(request) => {
                let size = usize::try_from(request.seat_count).expect("a count");
                let has_seats =
                    if requested.is_empty() { expected.seats.len() == size } else { expected.seats == requested };
                has_seats
                    && is_own_change
                    && expected.first_revision == answered.revision
                    && expected.customer_id == request.customer_id
            }
            Operation::Confirm(request) => {
                let has_tender = request.tender.as_ref().is_none_or(|tender| tender.method == expected.paid_by());
                let is_sold = expected.state == ReservationState::Confirmed && expected.refund_due.is_none();
                let has_verdict = match verdict {
                    // The release before has none.
                    ConfirmVerdict::Unspecified => is_sold && !timeline.has_lines(),
                    ConfirmVerdict::Confirmed => is_sold && (!expected.recovered || !request.late),
                    ConfirmVerdict::Recovered => is_sold && expected.recovered && request.late,
                    ConfirmVerdict::RefundDue => expected.refund_due.is_some() && request.late,
                };
                has_tender && has_verdict
            }
            Operation::Cancel(_) => is_own_change && expected.state == ReservationState::Cancelled,
            Operation::Extend(_) => {
                let is_held = expected.state == ReservationState::Held;
                is_own_change && is_held && expected.expire_time > expected.first_expire_time
            }
            Operation::Release(_) => {
                let Some(before) = timeline.reservation_before(&answered.reservation_id, answered.revision) else {
                    return false;
                };
                let given_back: Vec<_> =
                    before.seats.iter().filter(|seat| !expected.seats.contains(seat)).cloned().collect();
                let all = requested.is_empty() && expected.seats.is_empty();
                is_own_change && (all || given_back == requested) && !given_back.is_empty()
            }
            Operation::Exchange(_) => is_own_change && expected.seats == requested,
            Operation::Block(_)
            | Operation::Unblock(_)
            | Operation::GetReservation(_)
            | Operation::GetShowtime
            | Operation::GetSeatMap { .. }
            | Operation::ListSeatBlocks
            | Operation::Lock => false,
        }
    }
}

/// The seats that the request names.
pub(super) fn requested_seats(operation: &Operation) -> Vec<SeatName> {
    match operation {
        Operation::Reserve(request) => seat_names(&request.seats),
        Operation::Release(request) => seat_names(&request.seats),
        Operation::Exchange(request) => seat_names(&request.seats),
        Operation::Block(request) => seat_names(&request.seats),
        Operation::Unblock(request) => seat_names(&request.seats),
        _ => Vec::new(),
    }
}

/// Whether the answered reservation is the one that the events give, in this state.
pub(super) fn agrees(answered: &Reservation, expected: &ReplayedReservation, state: ReservationState) -> bool {
    let seats = seat_names(&answered.seats);
    let all: Vec<_> =
        answered.lines.iter().filter_map(|line| Some((line.seat.as_ref().map(seat_name)?, line.released))).collect();
    answered.state() == state
        && seats == expected.seats
        && (answered.lines.is_empty() || all == expected.all_seats)
        && usize::try_from(answered.seat_count) == Ok(seats.len())
        && answered.customer_id == expected.customer_id
        && answered.total_price.as_ref() == Some(&expected.total)
        && answered.create_time.as_ref().and_then(datetime) == Some(expected.create_time)
        && answered.expire_time.as_ref().and_then(datetime) == Some(expected.expire_time)
        && answered.confirm_time.as_ref().and_then(datetime) == expected.confirm_time
        && answered.cancel_time.as_ref().and_then(datetime) == expected.cancel_time
        && answered.tender.as_ref().map_or("", |tender| &tender.method) == expected.tender_method
        && answered.extended == (expected.expire_time != expected.first_expire_time)
        && has_refund(answered, expected)
}

/// Whether the refund that is due is the one that the events give.
fn has_refund(answered: &Reservation, expected: &ReplayedReservation) -> bool {
    let answered = answered.refund_due.as_ref().map(|due| {
        let (amount, tender) = (due.amount.as_ref().map(nanos), due.tender.as_ref());
        (amount, tender.map(|tender| &*tender.method), due.create_time.as_ref().and_then(datetime))
    });
    let expected = expected.refund_due.as_ref();
    answered == expected.map(|due| (Some(nanos(&due.amount)), Some(&*due.tender_method), Some(due.time)))
}
