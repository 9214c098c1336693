//! The history's checker is tested itself: it must find the bugs that are planted in a server, and every change of the tables
//! that no request has made.

use std::sync::Arc;

use crate::harness::{
    Store, World,
    fleet::Fleet,
    history::{History, Operation},
    load::{self, Load},
    world::Storage,
};

on_both_stores!(a_row_that_no_request_changed_is_found);

#[tokio::test]
async fn decisions_without_a_lock_are_found() {
    assert_found("no-lock", &["decided during the lock"]).await;
}

#[tokio::test]
async fn a_time_from_before_the_lock_is_found() {
    assert_found("time-before-lock", &["decided during the lock"]).await;
}

#[tokio::test]
async fn answers_before_their_commit_are_found() {
    assert_found(
        "answer-before-commit",
        &["was known before it started", "a read is stale or wrong", "a known reservation was not found"],
    )
    .await;
}

#[tokio::test]
async fn the_price_of_the_first_ticket_type_for_every_seat_is_found() {
    assert_found("first-type-for-all", &["has these lines"]).await;
}

/// Runs load on servers with the planted bug. An anomaly must have one of these texts.
async fn assert_found(bug: &str, texts: &[&str]) {
    let storage = Storage::new(Store::Postgres).await;
    let fleet = Arc::new(Fleet::start(3, load::options(storage.setup()).with_bug(bug)).await);
    let history = Arc::new(History::default());
    let connection = storage.connect().await;
    let showtimes = load::showtimes(&fleet).await;
    let (load, all) = Load::new(Arc::clone(&fleet), Arc::clone(&history), showtimes).start(2_000, 32);
    tokio::join!(all, load.lock_showtimes(&connection));
    history.settle(fleet.channel(0)).await;
    let anomalies = history.check(&connection, &fleet.channels()).await;
    let is_found = |anomaly: &String| texts.iter().any(|text| anomaly.contains(text));
    assert!(anomalies.iter().any(is_found), "the bug {bug} is not found: {anomalies:?}");
}

/// One column after another is changed in the tables, so that it no longer agrees with the answers and the events.
async fn a_row_that_no_request_changed_is_found(world: World) {
    let history = History::default();
    let id = &history.schedule(world.channel(), 2, 600).await;
    let call = async |operation: Operation| {
        history.call(world.channel(), id, operation).await.expect_reservation().reservation_id
    };
    let sold = call(Operation::reserve(id, "one", "A", 1..=2)).await;
    call(Operation::confirm_with(&sold, "cash")).await;
    let cancelled = call(Operation::reserve(id, "two", "A", 3..=4)).await;
    call(Operation::cancel(&cancelled)).await;
    call(Operation::reserve(id, "three", "B", 1..=3)).await;
    let connection = world.storage.connect().await;
    let channels = [world.channel()];
    history.assert_holds(&connection, &channels).await;
    // Three lines of 9.40, 9.60 and 9.50.
    let lines = if world.storage.is_postgres() {
        r"lines = '\x0a0310ac070a0310c0070a0310b607'"
    } else {
        "lines = x'0a0310ac070a0310c0070a0310b607'"
    };
    // The table, the change, the rows, and the change back.
    for (table, set, rows, reset) in [
        ("reservations", "customer_id = 'four'", "first_revision = 6", "customer_id = 'three'"),
        ("reservations", "first_seat = 9", "first_revision = 6", "first_seat = 10"),
        ("reservations", "seat_count = 2", "first_revision = 6", "seat_count = 3"),
        ("reservations", "total_minor = 1", "first_revision = 6", "total_minor = 2850"),
        ("reservations", lines, "first_revision = 6", "lines = NULL"),
        ("reservations", "expire_time = create_time", "first_revision = 6", "expire_time = first_expire_time"),
        ("reservations", "state = 'expired'", "first_revision = 6", "state = 'held'"),
        ("reservations", "tender_method = 'card'", "first_revision = 2", "tender_method = 'cash'"),
        ("reservations", "revision = 9", "first_revision = 6", "revision = 6"),
        ("seat_claims", "seat = 7", "seat IN (0, 7)", "seat = 0"),
        ("standings", "revision = 7", "revision >= 6", "revision = 6"),
        ("standings", "available_count = 1", "revision = 6", "available_count = 15"),
        ("outbox", "last_seq = 7", "seq = 6", "last_seq = 6"),
        ("outbox", "seq = 7, last_seq = 7", "seq >= 6", "seq = 6, last_seq = 6"),
    ] {
        let update = async |set| world.storage.sql(&format!("UPDATE {table} SET {set} WHERE {rows}")).await;
        update(set).await.expect("the row is changed");
        assert!(!history.check(&connection, &channels).await.is_empty(), "{table} SET {set} is not found");
        update(reset).await.expect("the row is changed back");
        history.assert_holds(&connection, &channels).await;
    }
}
