//! Checks what seats cost, by the lines of every answer.

use std::collections::HashMap;

use boxoffice::pb::boxoffice::{
    events::v1 as events,
    v1::{Line, Reservation, TicketCount},
};

use super::{
    Call, Operation, Outcome,
    check::Timeline,
    replay::{ReplayedReservation, nanos, without_seat},
};

/// The lines of each reservation, from the first answer that has it.
pub(super) type Lines<'a> = HashMap<&'a str, &'a [Line]>;

/// Returns the lines of all answers, and every answer whose lines are not those that the events give, do not add up, or do not
/// have the tickets that were asked for. A showtime that the release before has scheduled has none.
pub(super) fn check_lines<'a>(timeline: &Timeline, calls: &[&'a Call]) -> (Lines<'a>, Vec<String>) {
    let (mut known, mut anomalies) = (Lines::new(), Vec::new());
    if !timeline.has_lines() {
        return (known, anomalies);
    }
    for call in calls {
        let (Outcome::Changed { reservation, .. } | Outcome::Reservation(reservation)) = &call.outcome else {
            continue;
        };
        let first = *known.entry(&reservation.reservation_id).or_insert(&reservation.lines);
        let has_tickets = match &call.operation {
            Operation::Reserve(request) => has_tickets(timeline, reservation, &request.ticket_types),
            _ => true,
        };
        let expected = timeline.reservation(&reservation.reservation_id, reservation.revision);
        let are_right = expected.is_some_and(|expected| are_right(timeline, reservation, expected));
        if !has_tickets || !are_right || !has_types_of(first, &reservation.lines) {
            anomalies.push(format!("{:?} has these lines: {reservation:?}, and first had {first:?}", call.operation));
        }
    }
    (known, anomalies)
}

/// Whether these are lines of the same reservation: however its seats change, its tickets do not.
pub(super) fn has_types_of(first: &[Line], lines: &[Line]) -> bool {
    first.iter().map(|line| &line.ticket_type).eq(lines.iter().map(|line| &line.ticket_type))
}

/// Whether the lines are of all seats in their order, cost what they must, and add up to the total price. A showtime that the
/// release before has scheduled has none.
pub(super) fn are_right(timeline: &Timeline, answered: &Reservation, expected: &ReplayedReservation) -> bool {
    if !timeline.has_lines() {
        return true;
    }
    let lines: Vec<_> = answered.lines.iter().map(as_in_events).collect();
    let sum: i128 = lines.iter().filter_map(|line| line.total.as_ref()).map(nanos).sum();
    let cost_right = match &expected.lines {
        Some(expected) => expected.iter().map(without_seat).eq(lines.iter().map(without_seat)),
        None => lines.iter().all(|line| timeline.last.prices.is_right(&timeline.last.seats, line)),
    };
    cost_right
        && lines.len() == expected.all_seats.len()
        && answered.total_price.as_ref().is_some_and(|total| sum == nanos(total))
}

/// Whether each line has the ticket type that was asked for.
fn has_tickets(timeline: &Timeline, answered: &Reservation, tickets: &[TicketCount]) -> bool {
    let wanted = tickets.iter().flat_map(|of| (0..of.count).map(|_| of.code.as_str()));
    let wanted: Vec<_> = wanted.collect();
    let types: Vec<_> = answered.lines.iter().map(|line| line.ticket_type.as_str()).collect();
    if wanted.is_empty() {
        return types.iter().all(|code| *code == timeline.last.prices.first_type());
    }
    types == wanted
}

/// The line in the form that events have.
fn as_in_events(line: &Line) -> events::Line {
    let seat = line.seat.as_ref().map(|seat| events::Seat { row: seat.row.clone(), number: seat.number });
    let Line { ticket_type, price, supplement, fee, tax, total, .. } = line.clone();
    events::Line { seat, ticket_type, price, supplement, fee, tax, total }
}
