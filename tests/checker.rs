//! The history's checker is tested itself: it must find the bugs that are planted in a server, and every change of the tables
//! that no request has made.

use std::sync::Arc;

use boxoffice::pb::boxoffice::v1::ReservationState;

use crate::harness::{
    Store, World, eventually,
    fleet::Fleet,
    history::{History, Operation, Outcome, row_seats},
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

#[tokio::test]
async fn seats_that_are_given_back_and_kept_as_well_are_found() {
    assert_found("released-seats-kept", &["a read is stale or wrong", "the row is"]).await;
}

#[tokio::test]
async fn an_exchange_that_frees_before_it_takes_is_found() {
    assert_found("exchange-frees-first", &["is the effect of 0 requests"]).await;
}

#[tokio::test]
async fn late_money_that_takes_blocked_seats_is_found() {
    let seats = || row_seats("A", 1..=2);
    assert_late_sale_found("late-takes-blocked", |id| Operation::block(id, seats(), ""), "which is blocked").await;
}

#[tokio::test]
async fn late_money_that_takes_sold_seats_is_found() {
    let rival = |id: &str| Operation::reserve(id, "rival", "A", 2..=3);
    assert_late_sale_found("late-takes-sold", rival, "which belongs to").await;
}

/// Sells late what others have taken since the hold lapsed, on servers with the planted bug. An anomaly must have this text.
async fn assert_late_sale_found(bug: &str, take: impl Fn(&str) -> Operation, text: &str) {
    let storage = Storage::new(Store::Postgres).await;
    let fleet = Fleet::start(2, storage.setup().with_bug(bug)).await;
    let history = History::default();
    let id = &history.schedule(fleet.channel(0), 2, 1).await;
    let held = history.call(fleet.channel(0), id, Operation::reserve(id, "one", "A", 1..=2)).await.expect_reservation();
    eventually("the hold lapses", async || {
        match history.call(fleet.channel(0), id, Operation::get(&held.reservation_id)).await {
            Outcome::Reservation(read) => (read.state() == ReservationState::Expired).then_some(()),
            other => panic!("{other:?}"),
        }
    })
    .await;
    match history.call(fleet.channel(1), id, take(id)).await {
        Outcome::Changed { reservation, .. } => {
            let confirm = Operation::confirm(&reservation.reservation_id);
            history.call(fleet.channel(1), id, confirm).await.expect_reservation();
        }
        blocked => assert!(matches!(blocked, Outcome::Blocked { .. }), "{blocked:?}"),
    }
    let late = Operation::confirm_late(&held.reservation_id, "card");
    let sold = history.call(fleet.channel(0), id, late).await.expect_reservation();
    assert_eq!(sold.state(), ReservationState::Confirmed, "the bug {bug} has no effect");
    let anomalies = history.check(&storage.connect().await, &fleet.channels()).await;
    assert!(anomalies.iter().any(|anomaly| anomaly.contains(text)), "the bug {bug} is not found: {anomalies:?}");
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
    history.call(world.channel(), id, Operation::block(id, row_seats("A", 7..=7), "for guests")).await;
    let exchanged = call(Operation::reserve(id, "five", "A", 9..=9)).await;
    call(Operation::exchange(&exchanged, row_seats("A", 10..=10))).await;
    call(Operation::confirm_late(&cancelled, "card")).await;
    let connection = world.storage.connect().await;
    let channels = [world.channel()];
    history.assert_holds(&connection, &channels).await;
    let prefix = if world.storage.is_postgres() { r"'\x" } else { "x'" };
    let bytes = |column: &str, hex: &str| format!("{column} = {prefix}{hex}'");
    // Three lines of 9.40, 9.60 and 9.50.
    let lines = &*bytes("lines", "0a0310ac070a0310c0070a0310b607");
    // The seats 7 and 9, each for 9.50.
    let [other_seat, seat] = &["07", "09"].map(|seat| bytes("amendment", &format!("0a0208{seat}18b607")));
    let refunded = "refund_due_time = (SELECT create_time FROM outbox WHERE seq = 10)";
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
        ("reservations", other_seat, "first_revision = 8", seat),
        ("reservations", "tender_method = 'cash'", "first_revision = 4", "tender_method = 'card'"),
        ("reservations", "refund_due_time = create_time", "first_revision = 4", refunded),
        ("blocked_seats", "note = 'for nobody'", "seat = 6", "note = 'for guests'"),
        ("blocked_seats", "reason = 'company'", "seat = 6", "reason = 'house'"),
        ("blocked_seats", "seat = 7", "seat IN (6, 7)", "seat = 6"),
        ("standings", "revision = 11", "revision >= 10", "revision = 10"),
        ("standings", "available_count = 1", "revision = 10", "available_count = 13"),
        ("outbox", "last_seq = 11", "seq = 10", "last_seq = 10"),
        ("outbox", "seq = 11, last_seq = 11", "seq >= 10", "seq = 10, last_seq = 10"),
    ] {
        let update = async |set| world.storage.sql(&format!("UPDATE {table} SET {set} WHERE {rows}")).await;
        update(set).await.expect("the row is changed");
        assert!(!history.check(&connection, &channels).await.is_empty(), "{table} SET {set} is not found");
        update(reset).await.expect("the row is changed back");
        history.assert_holds(&connection, &channels).await;
    }
}
