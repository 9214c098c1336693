//! The feed of a database with many events, whose new epoch is begun by looking at all of them.

use boxoffice::{
    pb::boxoffice::v1::{SubscribeEventsRequest, subscribe_events_request::Start},
    store::{PLANNING, statements},
};
use sea_orm::{ConnectionTrait as _, Statement};

use crate::harness::{
    Store,
    events::{next_event, subscribe},
    eventually,
    seats::{reserve, showtime, these},
    world::Storage,
};

/// Joined row with row they would take a minute.
const EVENTS: i64 = 40_000;

#[tokio::test]
async fn a_new_epoch_of_a_database_with_many_events_begins_in_time() {
    let storage = Storage::new(Store::Postgres).await;
    let server = storage.setup().start().await;
    let showtime = showtime(&server).await;
    let copies = format!(
        "INSERT INTO outbox (aggregate, seq, last_seq, events, create_time, event_count) \
         SELECT gen_random_uuid(), 1, 1, events, create_time, 1 + n % 3 FROM outbox, generate_series(1, {EVENTS}) n"
    );
    storage.sql(&copies).await.expect("the events are written");
    let all = format!("SELECT 1 FROM feed_head WHERE position = {EVENTS} + 1");
    eventually("all events have positions", async || {
        (storage.sql(&all).await.expect("the head is read").rows_affected() == 1).then_some(())
    })
    .await;
    server.stop().await;
    // As in a database that was restored: transactions are counted anew, and some rows have no position.
    storage.sql("UPDATE feed_head SET epoch = 'another', seen = '3:3:'").await.expect("the epoch is another one");
    let server = storage.setup().start().await;
    let from_now = SubscribeEventsRequest { start: Some(Start::FromNow(true)), ..SubscribeEventsRequest::default() };
    let mut events = subscribe(&server, from_now).await.expect("the feed is read");
    let held = reserve(&server, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    assert_eq!(next_event(&mut events).await.id, format!("{}/{}/0", showtime.showtime_id, held.revision));
    let counted = "SELECT 1 FROM feed_blocks b, feed_head h WHERE b.last = h.position \
         AND b.events_to = (SELECT sum(event_count) FROM outbox)";
    assert_eq!(storage.sql(counted).await.expect("the feed is read").rows_affected(), 1, "events are counted");
    let twice = "SELECT 1 FROM feed GROUP BY aggregate, seq HAVING count(*) > 1";
    assert_eq!(storage.sql(twice).await.expect("the feed is read").rows_affected(), 0, "a row has two positions");
}

#[tokio::test]
async fn a_pass_over_many_events_joins_by_hashing_and_copies_none_of_their_arrays_twice() {
    let storage = Storage::new(Store::Postgres).await;
    storage.setup().start().await.stop().await;
    let connection = storage.connect().await;
    for (setting, value) in PLANNING.into_iter().chain([("enable_hashjoin", "on")]) {
        connection.execute_unprepared(&format!("SET {setting} = {value}")).await.expect("a setting");
    }
    let [number, number_all, forget] = statements::numbering();
    for (statement, part) in
        [(&number, "CTE parts"), (&number_all, "CTE parts"), (&number_all, "Hash Anti Join"), (&forget, "Hash Join")]
    {
        let explain = Statement { sql: format!("EXPLAIN {}", statement.sql), ..statement.clone() };
        let rows = connection.query_all_raw(explain).await.expect("the statement is right");
        let plan: Vec<String> = rows.iter().map(|row| row.try_get("", "QUERY PLAN").expect("a line")).collect();
        assert!(plan.iter().any(|line| line.contains(part)), "{part}: {plan:#?}");
    }
    connection.close().await.expect("a connection closes");
}
