//! Valid requests and values that tests use or change.

use boxoffice::{
    clock::Clock,
    pb::{
        boxoffice::v1::{
            Auditorium, CreateAuditoriumRequest, CreateShowtimeRequest, Layout, PriceList, Row, SeatKind, Showtime,
            Supplement, TicketCount, TicketType, auditoriums_client::AuditoriumsClient,
        },
        google::r#type::Money,
    },
};
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use prost_types::{Duration, Timestamp};
use tonic::transport::Channel;

/// The id of a movie that every demo provider has.
pub(crate) const INCEPTION: &str = "tt1375666";

/// A layout of rows, each given as its label and its places.
pub(crate) fn layout(rows: &[(&str, &str)]) -> Layout {
    let row = |(label, places): &(&str, &str)| Row {
        label: (*label).to_owned(),
        places: (*places).to_owned(),
        numbers: vec![],
    };
    Layout { rows: rows.iter().map(row).collect() }
}

/// An auditorium with eleven seats in a cinema of its own, so that tests on one server do not affect each other.
pub(crate) fn new_auditorium() -> CreateAuditoriumRequest {
    CreateAuditoriumRequest {
        name: "Screen 1".to_owned(),
        cinema: format!("Grand Palace {}", request_id()),
        time_zone: "Europe/Madrid".to_owned(),
        layout: Some(layout(&[("A", "ss_ss"), ("B", "ss.ss"), ("C", "ac_s")])),
        request_id: String::new(),
    }
}

pub(crate) async fn create_auditorium(mut client: AuditoriumsClient<Channel>) -> Auditorium {
    let answer = client.create_auditorium(new_auditorium()).await.expect("an auditorium is created");
    answer.into_inner().auditorium.expect("the answer has the auditorium")
}

/// A showtime of Inception with a duration of two hours and a price of €9.50.
pub(crate) fn new_showtime(auditorium_id: &str, start: DateTime<Utc>) -> CreateShowtimeRequest {
    CreateShowtimeRequest {
        movie_id: INCEPTION.to_owned(),
        auditorium_id: auditorium_id.to_owned(),
        start_time: Some(timestamp(start)),
        duration: Some(seconds(2 * 3600)),
        price: Some(euros(9, 500_000_000)),
        hold_duration: None,
        request_id: String::new(),
        price_list: None,
    }
}

/// The price list of a showtime for adults at €9.50 and children at €6.
pub(crate) fn two_types() -> PriceList {
    PriceList {
        ticket_types: vec![
            ticket_type("adult", "Adult", euros(9, 500_000_000)),
            ticket_type("child", "Child up to 12", euros(6, 0)),
        ],
        ..PriceList::default()
    }
}

/// Three ticket types, a supplement for premium seats, a fee and a tax.
pub(crate) fn three_types() -> PriceList {
    PriceList {
        ticket_types: vec![
            ticket_type("adult", "Adult", euros(12, 0)),
            ticket_type("child", "Child up to 12", euros(8, 0)),
            ticket_type("senior", "Senior from 65", euros(9, 500_000_000)),
        ],
        supplements: vec![Supplement { kind: SeatKind::Premium.into(), amount: Some(euros(3, 500_000_000)) }],
        fee: Some(euros(0, 750_000_000)),
        tax_basis_points: 2_100,
    }
}

pub(crate) fn ticket_type(code: &str, name: &str, price: Money) -> TicketType {
    TicketType { code: code.to_owned(), name: name.to_owned(), price: Some(price) }
}

/// Tickets like "child 2 adult 1".
pub(crate) fn tickets(text: &str) -> Vec<TicketCount> {
    let words: Vec<_> = text.split_whitespace().collect();
    let count = |pair: &[&str]| TicketCount { code: pair[0].to_owned(), count: pair[1].parse().expect("a number") };
    words.chunks(2).map(count).collect()
}

pub(crate) fn euros(units: i64, nanos: i32) -> Money {
    money("EUR", units, nanos)
}

pub(crate) fn money(currency_code: &str, units: i64, nanos: i32) -> Money {
    Money { currency_code: currency_code.to_owned(), units, nanos }
}

pub(crate) fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}

pub(crate) fn timestamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp { seconds: time.timestamp(), nanos: time.timestamp_subsec_nanos().cast_signed() }
}

/// The start of the hour that is 24 hours plus `hours` from now.
pub(crate) fn in_hours(hours: i64) -> DateTime<Utc> {
    let tomorrow = Clock::System.now() + TimeDelta::hours(24 + hours);
    tomorrow.duration_trunc(TimeDelta::hours(1)).expect("an hour divides time")
}

/// A new UUID.
pub(crate) fn request_id() -> String {
    Clock::System.new_id().to_string()
}

/// The ids of the showtimes, in the same order.
pub(crate) fn ids(showtimes: &[Showtime]) -> Vec<&str> {
    showtimes.iter().map(|showtime| &*showtime.showtime_id).collect()
}

/// The text with another letter at the index `at`.
pub(crate) fn tampered(text: &str, at: usize) -> String {
    let other = if text[at..].starts_with('A') { "B" } else { "A" };
    [&text[..at], other, &text[at + 1..]].concat()
}
