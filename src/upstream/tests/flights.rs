//! How many questions may be under way, and what becomes of one that crashes.

use std::{future, sync::Arc, time::Duration};

use chrono::DateTime;

use crate::{
    domain::movie::Source,
    upstream::{
        Answer, Failure,
        entry::{Content, Entry, Key},
        flights::{Flights, MOST_FLIGHTS},
    },
};

fn answer() -> Answer {
    let entry = Entry { fetch_time: DateTime::UNIX_EPOCH, content: Content::Movies(Arc::default()) };
    Answer { entry, source: Source::Live }
}

#[tokio::test]
async fn only_so_many_are_in_the_air() {
    let flights = Flights::default();
    for n in 0..MOST_FLIGHTS {
        assert!(flights.join(&Key::search(&n.to_string()), future::pending).is_some());
    }
    assert!(flights.join(&Key::search("one more"), future::pending).is_none());
    assert!(flights.join(&Key::search("0"), future::pending).is_some(), "this one is under way already");
}

#[tokio::test]
async fn a_landed_flight_makes_room_for_the_next() {
    let flights = Flights::default();
    for _ in 0..3 {
        let flight = flights.join(&Key::search(""), || async { Ok(answer()) }).expect("room");
        assert_eq!(flight.await.unwrap().source, Source::Live);
    }
}

#[tokio::test]
async fn a_crashed_flight_is_an_answer_and_leaves_the_board() {
    let flights = Flights::default();
    let crash = || async { panic!("as planted by this test") };
    let crashed = flights.join(&Key::search(""), crash).expect("room").await.err();
    assert_eq!(crashed, Some(Failure::Unavailable { retry_after: Duration::from_secs(1) }));
    let flight = flights.join(&Key::search(""), || async { Ok(answer()) }).expect("room");
    assert!(flight.await.is_ok());
}
