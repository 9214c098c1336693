//! Checks what seats cost, by the lines of every answer.

use std::collections::HashMap;

use boxoffice::pb::boxoffice::v1::{Line, Reservation, TicketCount};

use super::{Call, Operation, Outcome, RecordedShowtime, replay::nanos};
use crate::harness::euros;

/// The lines of each reservation, from the first answer that has it.
pub(super) type Lines<'a> = HashMap<&'a str, &'a [Line]>;

/// Returns the lines of all answers, and every answer whose lines are not those of the others, do not add up, or do not have the
/// tickets that were asked for. A showtime that the release before has scheduled has none.
pub(super) fn check_lines<'a>(recorded: &RecordedShowtime, calls: &[&'a Call]) -> (Lines<'a>, Vec<String>) {
    let (mut known, mut anomalies) = (Lines::new(), Vec::new());
    if recorded.showtime.price_list.is_none() {
        return (known, anomalies);
    }
    for call in calls {
        let (Outcome::Changed { reservation, .. } | Outcome::Reservation(reservation)) = &call.outcome else {
            continue;
        };
        let first = *known.entry(&reservation.reservation_id).or_insert(&reservation.lines);
        let has_tickets = match &call.operation {
            Operation::Reserve(request) => has_tickets(reservation, &request.ticket_types),
            _ => true,
        };
        if !has_tickets || !adds_up(reservation) || first != reservation.lines {
            anomalies.push(format!("{:?} has these lines: {reservation:?}, and first had {first:?}", call.operation));
        }
    }
    (known, anomalies)
}

/// Whether the lines are of the seats in their order, and add up to the total price.
fn adds_up(answered: &Reservation) -> bool {
    let seats: Vec<_> = answered.lines.iter().filter_map(|line| line.seat.clone()).collect();
    let sum: i128 = answered.lines.iter().filter_map(|line| line.total.as_ref()).map(nanos).sum();
    seats == answered.seats && answered.total_price.as_ref().is_some_and(|total| sum == nanos(total))
}

/// Whether each line has the ticket type that was asked for, and what such a ticket costs.
fn has_tickets(answered: &Reservation, tickets: &[TicketCount]) -> bool {
    let wanted = tickets.iter().flat_map(|of| (0..of.count).map(|_| of.code.as_str()));
    let wanted: Vec<_> = wanted.collect();
    let costs = |line: &Line, code: &str| {
        let price = if code == "child" { euros(6, 0) } else { euros(9, 500_000_000) };
        line.ticket_type == code && line.price.as_ref() == Some(&price)
    };
    match answered.lines.first() {
        Some(first) if wanted.is_empty() => {
            let is_first_type = ["adult", "standard"].contains(&first.ticket_type.as_str());
            is_first_type && answered.lines.iter().all(|line| costs(line, &first.ticket_type))
        }
        _ => {
            wanted.len() == answered.lines.len()
                && answered.lines.iter().zip(wanted).all(|(line, code)| costs(line, code))
        }
    }
}
