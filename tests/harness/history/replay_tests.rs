//! Tests of the replay with events that are legal, and with events that it must report.

use boxoffice::pb::{
    boxoffice::{
        events::v1::{
            Event, Line, RefundDue, ReservationCancelled, ReservationConfirmed, ReservationCreated, ReservationExpired,
            Seat, SeatsBlocked, SeatsExchanged, SeatsReleased, SeatsReleasedReason, SeatsUnblocked, ShowtimeCreated,
            Tender, event::Payload,
        },
        v1::{Layout, PriceList, Row, Showtime},
    },
    google::r#type::Money,
};
use prost_types::Timestamp;

use super::replay::{Prices, ReplayedShowtime, SeatList};
use crate::harness::requests::ticket_type;

/// Replays the events in a showtime with one row of two blocks of five seats, and returns the anomalies. The showtime is created
/// at second 1000, and each step is one revision, a second later than the one before.
fn anomalies(steps: &[Vec<Payload>]) -> Vec<String> {
    let row = Row { label: "A".to_owned(), places: "sssss_sssss".to_owned(), numbers: vec![] };
    let ticket_types = vec![ticket_type("adult", "Adult", price(1))];
    let price_list = Some(PriceList { ticket_types, ..PriceList::default() });
    let prices = Prices::of(&Showtime { price_list, ..Showtime::default() });
    let mut showtime = ReplayedShowtime::new(SeatList::new(&Layout { rows: vec![row] }), prices);
    let first = vec![Payload::ShowtimeCreated(ShowtimeCreated { seat_count: 10, ..Default::default() })];
    let steps = std::iter::once(&first).chain(steps);
    let anomalies = steps.zip(1000..).map(|(payloads, second)| {
        let event = |(payload, ordinal): (&Payload, i32)| Event {
            ordinal,
            time: Some(at(second)),
            payload: Some(payload.clone()),
            ..Default::default()
        };
        let events: Vec<Event> = payloads.iter().zip(0..).map(event).collect();
        showtime.apply(&events)
    });
    anomalies.flatten().collect()
}

fn at(second: i64) -> Timestamp {
    Timestamp { seconds: second, nanos: 0 }
}

fn price(units: i64) -> Money {
    Money { currency_code: "EUR".to_owned(), units, nanos: 0 }
}

fn seats(numbers: &[i32]) -> Vec<Seat> {
    numbers.iter().map(|number| Seat { row: "A".to_owned(), number: *number }).collect()
}

fn total(numbers: &[i32]) -> Money {
    price(numbers.len().try_into().expect("few seats"))
}

fn lines(numbers: &[i32]) -> Vec<Line> {
    let line = |seat| Line {
        seat: Some(seat),
        ticket_type: "adult".to_owned(),
        price: Some(price(1)),
        total: Some(price(1)),
        ..Line::default()
    };
    seats(numbers).into_iter().map(line).collect()
}

fn created(id: &str, numbers: &[i32], until: i64) -> Payload {
    Payload::ReservationCreated(ReservationCreated {
        reservation_id: id.to_owned(),
        customer_id: format!("customer of {id}"),
        seats: seats(numbers),
        total_price: Some(total(numbers)),
        expire_time: Some(at(until)),
    })
}

fn confirmed(id: &str, numbers: &[i32]) -> ReservationConfirmed {
    ReservationConfirmed {
        reservation_id: id.to_owned(),
        customer_id: format!("customer of {id}"),
        lines: lines(numbers),
        seats: seats(numbers),
        total_price: Some(total(numbers)),
        ..Default::default()
    }
}

fn sold(id: &str, numbers: &[i32]) -> Payload {
    Payload::ReservationConfirmed(confirmed(id, numbers))
}

fn cash() -> Tender {
    Tender { method: "cash".to_owned(), ..Tender::default() }
}

fn recovered(id: &str, numbers: &[i32]) -> Payload {
    Payload::ReservationConfirmed(ReservationConfirmed {
        recovered: true,
        tender: Some(cash()),
        ..confirmed(id, numbers)
    })
}

fn refund_due(id: &str, units: i64) -> Payload {
    Payload::RefundDue(RefundDue {
        reservation_id: id.to_owned(),
        customer_id: format!("customer of {id}"),
        amount: Some(price(units)),
        tender: Some(cash()),
    })
}

fn cancelled(id: &str, numbers: &[i32], was_confirmed: bool) -> Payload {
    Payload::ReservationCancelled(ReservationCancelled {
        reservation_id: id.to_owned(),
        customer_id: format!("customer of {id}"),
        was_confirmed,
        seats: seats(numbers),
        total_price: Some(total(numbers)),
    })
}

fn expired(id: &str, numbers: &[i32], at_second: i64) -> Payload {
    Payload::ReservationExpired(ReservationExpired {
        reservation_id: id.to_owned(),
        expire_time: Some(at(at_second)),
        seats: seats(numbers),
        total_price: Some(total(numbers)),
        ..Default::default()
    })
}

fn freed(id: &str, numbers: &[i32], reason: SeatsReleasedReason) -> Payload {
    let reservation_id = id.to_owned();
    let (seats, reason) = (seats(numbers), reason.into());
    Payload::SeatsReleased(SeatsReleased { reservation_id, seats, reason, ..Default::default() })
}

fn released(id: &str, numbers: &[i32]) -> Payload {
    freed(id, numbers, SeatsReleasedReason::Cancelled)
}

fn lapsed(id: &str, numbers: &[i32]) -> Payload {
    freed(id, numbers, SeatsReleasedReason::Lapsed)
}

fn given_back(id: &str, numbers: &[i32]) -> Payload {
    Payload::SeatsReleased(SeatsReleased {
        reservation_id: id.to_owned(),
        customer_id: format!("customer of {id}"),
        seats: seats(numbers),
        reason: SeatsReleasedReason::GivenBack.into(),
        note: "why".to_owned(),
        lines: lines(numbers),
        amount: Some(total(numbers)),
    })
}

fn exchanged(id: &str, before: &[i32], numbers: &[i32], was_confirmed: bool) -> Payload {
    Payload::SeatsExchanged(SeatsExchanged {
        reservation_id: id.to_owned(),
        customer_id: format!("customer of {id}"),
        seats: seats(numbers),
        previous_seats: seats(before),
        was_confirmed,
        lines: lines(numbers),
        total_price: Some(total(numbers)),
    })
}

fn blocked(numbers: &[i32]) -> Payload {
    Payload::SeatsBlocked(SeatsBlocked { seats: seats(numbers) })
}

fn unblocked(numbers: &[i32]) -> Payload {
    Payload::SeatsUnblocked(SeatsUnblocked { seats: seats(numbers) })
}

#[track_caller]
fn assert_found(steps: &[Vec<Payload>], what: &str) {
    let found = anomalies(steps);
    assert!(found.iter().any(|one| one.contains(what)), "{what:?} is not among {found:?}");
}

/// The lapse of a hold of these seats.
fn lapse(id: &str, numbers: &[i32], at_second: i64) -> Vec<Payload> {
    vec![expired(id, numbers, at_second), lapsed(id, numbers)]
}

#[test]
fn the_replay_accepts_legal_events() {
    let steps = [
        vec![created("a", &[1, 2], 1003)],
        vec![sold("a", &[1, 2])],
        vec![created("b", &[3, 4], 1005)],
        vec![cancelled("b", &[3, 4], false), released("b", &[3, 4])],
        vec![created("c", &[3, 4], 1006)],
        // A hold has lapsed at exactly its expire time. Another reservation gets its seats in the same revision.
        vec![expired("c", &[3, 4], 1006), lapsed("c", &[3, 4]), created("d", &[4, 5], 2000)],
    ];
    assert_eq!(anomalies(&steps), Vec::<String>::new());
}

#[test]
fn the_replay_accepts_seats_that_are_given_back_and_exchanged() {
    let steps = [
        vec![created("a", &[1, 2, 3], 2000)],
        vec![exchanged("a", &[1, 2, 3], &[2, 3, 4], false)],
        vec![sold("a", &[2, 3, 4])],
        vec![given_back("a", &[3])],
        vec![created("b", &[3], 2000)],
        // The seats need not be neighbours before an exchange, but after it.
        vec![exchanged("a", &[2, 4], &[6, 7], true)],
        vec![created("c", &[1, 2], 1008)],
        // The hold of seats that somebody exchanges for has lapsed.
        vec![expired("c", &[1, 2], 1008), lapsed("c", &[1, 2]), exchanged("a", &[6, 7], &[1, 2], true)],
        vec![cancelled("a", &[1, 2], true), given_back("a", &[1, 2])],
        vec![created("d", &[1, 2], 2000)],
    ];
    assert_eq!(anomalies(&steps), Vec::<String>::new());
}

#[test]
fn the_replay_accepts_blocked_seats_and_late_money() {
    let steps = [
        vec![blocked(&[1, 2, 3])],
        vec![unblocked(&[1])],
        vec![created("a", &[1], 1004)],
        vec![expired("a", &[1], 1004), lapsed("a", &[1]), recovered("a", &[1])],
        vec![unblocked(&[2]), created("b", &[2], 1006)],
        lapse("b", &[2], 1006),
        vec![blocked(&[2])],
        vec![refund_due("b", 1)],
    ];
    assert_eq!(anomalies(&steps), Vec::<String>::new());
}

#[test]
fn the_replay_reports_illegal_events() {
    let hold = |until| vec![created("a", &[1, 2], until)];
    assert_found(&[hold(2000), vec![created("b", &[2, 3], 2000)]], "which belongs to a");
    assert_found(&[vec![created("a", &[5, 6], 2000)]], "are not a block");
    assert_found(&[vec![created("a", &[1, 3], 2000)]], "are not a block");
    assert_found(&[hold(1001)], "has lapsed when it is created");
    assert_found(&[hold(1002), vec![sold("a", &[1, 2])]], "lapsed at");
    assert_found(&[hold(2000), vec![sold("a", &[1])]], "is not what was held");
    assert_found(&[hold(2000), vec![sold("b", &[1])]], "was never created");
    assert_found(&[hold(2000), vec![sold("a", &[1, 2])], vec![sold("a", &[1, 2])]], "is Confirmed");
    let cancel_sale = vec![cancelled("a", &[1, 2], true), released("a", &[1, 2])];
    assert_found(&[hold(2000), vec![sold("a", &[1, 2])], cancel_sale], "sold: true");
    assert_found(&[hold(2000), vec![expired("a", &[1, 2], 2000), lapsed("a", &[1, 2])]], "ReservationExpired");
    assert_found(&[hold(2000), vec![cancelled("a", &[1, 2], false)]], "still belongs to a");
    assert_found(&[hold(2000), vec![released("a", &[1, 2])]], "SeatsReleased");
    assert_found(&[hold(2000), vec![cancelled("a", &[1, 2], false), released("a", &[1])]], "SeatsReleased");
}

#[test]
fn the_replay_reports_seats_that_are_given_back_or_exchanged_and_are_not_theirs() {
    let sale = || vec![vec![created("a", &[1, 2, 3], 2000)], vec![sold("a", &[1, 2, 3])]];
    let after_sale = |steps: &[Vec<Payload>]| [sale(), steps.to_vec()].concat();
    assert_found(&[vec![created("a", &[1], 2000)], vec![given_back("a", &[1])]], "gives back what was not sold");
    assert_found(&after_sale(&[vec![given_back("a", &[4])]]), "gives back what was not sold");
    assert_found(&after_sale(&[vec![given_back("a", &[1])], vec![given_back("a", &[1])]]), "gives back what was not");
    // The last seats are given back, and the sale is not cancelled.
    assert_found(&after_sale(&[vec![given_back("a", &[1, 2, 3])]]), "gives back what was not sold");
    let released_and_kept = [vec![given_back("a", &[1])], vec![exchanged("a", &[1, 2, 3], &[6, 7, 8], true)]];
    assert_found(&after_sale(&released_and_kept), "is not an exchange of");
    let taken = [vec![created("b", &[6], 2000)], vec![exchanged("a", &[1, 2, 3], &[6, 7, 8], true)]];
    assert_found(&after_sale(&taken), "a gets (\"A\", 6), which belongs to b");
    assert_found(&after_sale(&[vec![exchanged("a", &[1, 2, 3], &[7, 8], true)]]), "is not an exchange of");
    assert_found(&after_sale(&[vec![exchanged("a", &[1, 2, 3], &[5, 6, 7], true)]]), "are not a block");
    assert_found(&[vec![created("a", &[1], 1002)], vec![exchanged("a", &[1], &[2], false)]], "lapsed at");
}

#[test]
fn the_replay_reports_blocked_seats_that_are_taken_and_money_that_is_kept() {
    assert_found(&[vec![blocked(&[1])], vec![created("a", &[1], 2000)]], "which is blocked");
    assert_found(&[vec![blocked(&[1])], vec![blocked(&[1])]], "is blocked twice");
    assert_found(&[vec![created("a", &[1], 2000)], vec![blocked(&[1])]], "is blocked, which belongs to");
    assert_found(&[vec![unblocked(&[1])]], "which was not blocked");
    assert_found(&[vec![blocked(&[2, 1])]], "not in the order of the layout");
    let hold = || vec![created("a", &[1], 1002)];
    assert_found(&[hold(), vec![recovered("a", &[1])]], "is late, but it was");
    assert_found(&[hold(), lapse("a", &[1], 1002), vec![blocked(&[1])], vec![recovered("a", &[1])]], "is blocked");
    let taken = [hold(), lapse("a", &[1], 1002), vec![created("b", &[1], 2000)], vec![recovered("a", &[1])]];
    assert_found(&taken, "which belongs to b");
    assert_found(&[hold(), lapse("a", &[1], 1002), vec![refund_due("a", 1)]], "although its seats were free");
    let lapsed_and_blocked =
        |then: &[Vec<Payload>]| [vec![hold(), lapse("a", &[1], 1002), vec![blocked(&[1])]], then.to_vec()].concat();
    assert_eq!(anomalies(&lapsed_and_blocked(&[vec![refund_due("a", 1)]])), Vec::<String>::new());
    assert_found(&lapsed_and_blocked(&[vec![refund_due("a", 2)]]), "RefundDue");
    assert_found(&lapsed_and_blocked(&[vec![refund_due("a", 1)], vec![refund_due("a", 1)]]), "RefundDue");
    let then_sold = [vec![refund_due("a", 1)], vec![unblocked(&[1])], vec![recovered("a", &[1])]];
    assert_found(&lapsed_and_blocked(&then_sold), "is late, but it was");
}
