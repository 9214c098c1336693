//! The checker earns trust by what it finds: the crowd of `crashes.rs`, at servers with a bug in them.

use std::sync::Arc;

use crate::harness::{
    Store, World,
    fleet::Fleet,
    history::{Deed, History},
    load::{self, Load},
    world::Ground,
};

on_both_stores!(what_is_changed_behind_everybodys_back_is_found);

#[tokio::test]
async fn decisions_without_a_lock_are_found() {
    assert_found("no-lock", &["decided under it"]).await;
}

#[tokio::test]
async fn a_time_from_before_the_lock_is_found() {
    assert_found("time-before-lock", &["decided under it"]).await;
}

#[tokio::test]
async fn answers_before_their_commit_are_found() {
    assert_found("answer-before-commit", &["was known before it began", "as was known", "it was there"]).await;
}

/// Something is said to be wrong in one of these words.
async fn assert_found(bug: &str, words: &[&str]) {
    let ground = Ground::new(Store::Postgres).await;
    let fleet = Arc::new(Fleet::start(3, load::options(ground.setup()).with_bug(bug)).await);
    let history = Arc::new(History::default());
    let connection = ground.connect().await;
    let showtimes = load::showtimes(&fleet).await;
    let (load, all) = Load::new(Arc::clone(&fleet), Arc::clone(&history), showtimes).start(2_000, 32);
    tokio::join!(all, load.interfere(&connection));
    history.settle(fleet.channel(0)).await;
    let wrong = history.check(&connection, &fleet.channels()).await;
    let names_it = |what: &String| words.iter().any(|words| what.contains(words));
    assert!(wrong.iter().any(names_it), "{bug} is not found, but {wrong:?}");
}

/// Every table, column by column: what was told is no longer what is there.
async fn what_is_changed_behind_everybodys_back_is_found(world: World) {
    let history = History::default();
    let id = &history.stage(world.channel(), 2, 600).await;
    let call = async |deed: Deed| history.call(world.channel(), id, deed).await.done().reservation_id;
    let sold = call(Deed::reserve(id, "one", "A", 1..=2)).await;
    call(Deed::confirm_by(&sold, "cash")).await;
    let gone = call(Deed::reserve(id, "two", "A", 3..=4)).await;
    call(Deed::cancel(&gone)).await;
    call(Deed::reserve(id, "three", "B", 1..=3)).await;
    let connection = world.ground.connect().await;
    let channels = [world.channel()];
    history.assert_holds(&connection, &channels).await;
    // What is set, and where, and what it was.
    for (table, set, place, was) in [
        ("reservations", "customer_id = 'four'", "first_revision = 6", "customer_id = 'three'"),
        ("reservations", "first_seat = 9", "first_revision = 6", "first_seat = 10"),
        ("reservations", "seat_count = 2", "first_revision = 6", "seat_count = 3"),
        ("reservations", "total_minor = 1", "first_revision = 6", "total_minor = 2850"),
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
        let update = async |set| world.ground.sql(&format!("UPDATE {table} SET {set} WHERE {place}")).await;
        update(set).await.expect("it is changed");
        assert!(!history.check(&connection, &channels).await.is_empty(), "{table} SET {set} is not found");
        update(was).await.expect("it is as it was");
        history.assert_holds(&connection, &channels).await;
    }
}
