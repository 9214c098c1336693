//! Tests of the replay with events that are legal, and with events that it must report.

use boxoffice::pb::{
    boxoffice::{
        events::v1::{
            Event, Line, ReservationCancelled, ReservationConfirmed, ReservationCreated, ReservationExpired, Seat,
            SeatsReleased, ShowtimeCreated, event::Payload,
        },
        v1::{Layout, Row},
    },
    google::r#type::Money,
};
use prost_types::Timestamp;

use super::replay::{ReplayedShowtime, SeatList};

/// Replays the events in a showtime with one row of two blocks of five seats, and returns the anomalies. The showtime is created
/// at second 1000, and each step is one revision, a second later than the one before.
fn anomalies(steps: &[Vec<Payload>]) -> Vec<String> {
    let row = Row { label: "A".to_owned(), places: "sssss_sssss".to_owned(), numbers: vec![] };
    let mut showtime = ReplayedShowtime::new(SeatList::new(&Layout { rows: vec![row] }), None, Some(vec![price(1)]));
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

fn created(id: &str, numbers: &[i32], until: i64) -> Payload {
    Payload::ReservationCreated(ReservationCreated {
        reservation_id: id.to_owned(),
        seats: seats(numbers),
        total_price: Some(price(numbers.len().try_into().expect("few seats"))),
        expire_time: Some(at(until)),
        ..Default::default()
    })
}

fn sold(id: &str, numbers: &[i32]) -> Payload {
    let total_price = Some(price(numbers.len().try_into().expect("few seats")));
    let reservation_id = id.to_owned();
    Payload::ReservationConfirmed(ReservationConfirmed {
        reservation_id,
        lines: numbers.iter().map(|_| Line { total: Some(price(1)), ..Line::default() }).collect(),
        seats: seats(numbers),
        total_price,
        ..Default::default()
    })
}

fn cancelled(id: &str) -> Payload {
    Payload::ReservationCancelled(ReservationCancelled { reservation_id: id.to_owned(), ..Default::default() })
}

fn expired(id: &str, at_second: i64) -> Payload {
    let expire_time = Some(at(at_second));
    Payload::ReservationExpired(ReservationExpired { reservation_id: id.to_owned(), expire_time, ..Default::default() })
}

fn released(id: &str, numbers: &[i32]) -> Payload {
    Payload::SeatsReleased(SeatsReleased { reservation_id: id.to_owned(), seats: seats(numbers), ..Default::default() })
}

#[track_caller]
fn assert_found(steps: &[Vec<Payload>], what: &str) {
    let found = anomalies(steps);
    assert!(found.iter().any(|one| one.contains(what)), "{what:?} is not among {found:?}");
}

#[test]
fn the_replay_accepts_legal_events() {
    let steps = [
        vec![created("a", &[1, 2], 1003)],
        vec![sold("a", &[1, 2])],
        vec![created("b", &[3, 4], 1005)],
        vec![cancelled("b"), released("b", &[3, 4])],
        vec![created("c", &[3, 4], 1006)],
        // A hold has lapsed at exactly its expire time. Another reservation gets its seats in the same revision.
        vec![expired("c", 1006), released("c", &[3, 4]), created("d", &[4, 5], 2000)],
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
    assert_found(&[hold(2000), vec![sold("a", &[1, 2])], vec![cancelled("a"), released("a", &[1, 2])]], "sold: true");
    assert_found(&[hold(2000), vec![expired("a", 2000), released("a", &[1, 2])]], "ReservationExpired");
    assert_found(&[hold(2000), vec![cancelled("a")]], "still belongs to a");
    assert_found(&[hold(2000), vec![released("a", &[1, 2])]], "SeatsReleased");
    assert_found(&[hold(2000), vec![cancelled("a"), released("a", &[1])]], "SeatsReleased");
}
