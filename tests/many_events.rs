//! The feed of a database with many events, whose new epoch is begun by looking at all of them.

use boxoffice::{
    pb::boxoffice::v1::{GetEventFeedRequest, SubscribeEventsRequest, subscribe_events_request::Start},
    store::{PLANNING, statements},
};
use sea_orm::{ConnectionTrait as _, Statement};

use crate::harness::{
    Store,
    events::{after, next_event, sinks, subscribe},
    eventually,
    seats::{reserve, showtime, these},
    world::Storage,
};

/// Joined row with row they would take a minute.
const EVENTS: i64 = 40_000;

/// Writes so many commits at once, with a copy of the first event each, and waits until they have positions. How many events each of them
/// says that it has is made up.
async fn write_copies(storage: &Storage, count: i64) {
    let copies = format!(
        "INSERT INTO outbox (aggregate, seq, last_seq, events, create_time, event_count) \
         SELECT gen_random_uuid(), 1, 1, events, create_time, 1 + n % 3 FROM outbox, generate_series(1, {count}) n"
    );
    storage.sql(&copies).await.expect("the events are written");
    let all = format!("SELECT 1 FROM feed_head WHERE position = {count} + 1");
    eventually("all events have positions", async || {
        (storage.sql(&all).await.expect("the head is read").rows_affected() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_kept_of_a_large_pass_is_delivered_and_counted() {
    const KEPT: i64 = 2_500;
    let storage = Storage::new(Store::Postgres).await;
    // Nobody listens on this port.
    let options = storage
        .setup()
        .with("--event-cap", KEPT.to_string())
        .with("--event-retention", "2m")
        .with("--sink", "nats://127.0.0.1:1");
    let server = options.start().await;
    let showtime = showtime(&server).await;
    write_copies(&storage, 5_700).await;
    let feed = eventually("the oldest events are deleted", async || {
        let found =
            server.events().get_event_feed(GetEventFeedRequest {}).await.expect("the feed is read").into_inner();
        (found.position - found.compacted_position == KEPT).then_some(found)
    })
    .await;
    assert_eq!(feed.compacted_position, 5_701 - KEPT);
    let mut events = subscribe(&server, after(&feed.oldest_token)).await.expect("the token is of this feed");
    for _ in 0..KEPT {
        assert_eq!(next_event(&mut events).await.id, format!("{}/1/0", showtime.showtime_id));
    }
    let held = reserve(&server, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    assert_eq!(next_event(&mut events).await.id, format!("{}/{}/0", showtime.showtime_id, held.revision));
    let lag = eventually("the sink is at the oldest event, and the cap is kept", async || {
        let sink = sinks(&server).await.pop().filter(|sink| sink.position == 5_702 - KEPT)?;
        Some(sink.lag)
    })
    .await;
    let counted = format!("SELECT 1 FROM outbox HAVING sum(event_count) = {lag} AND count(*) = {KEPT}");
    assert_eq!(storage.sql(&counted).await.expect("the events are counted").rows_affected(), 1, "the lag is {lag}");
    // Events that were deleted are not waited for, also where others of their pass are kept.
    let behind = "INSERT INTO sinks SELECT 'old', position - 50, 0, 0, 0, '', seen_time, '' FROM sinks";
    storage.sql(behind).await.expect("the sink is added");
    let all = sinks(&server).await;
    let old = all.iter().find(|sink| sink.name == "old").expect("it was added");
    assert_eq!((old.position, old.lag), (5_652 - KEPT, lag));
}

#[tokio::test]
async fn a_new_epoch_of_a_database_with_many_events_begins_in_time() {
    let storage = Storage::new(Store::Postgres).await;
    let server = storage.setup().start().await;
    let showtime = showtime(&server).await;
    write_copies(&storage, EVENTS).await;
    server.stop().await;
    // As in a database that was restored: transactions are counted anew.
    storage.sql("UPDATE feed_head SET epoch = 'another', seen = '3:3:'").await.expect("the epoch is another one");
    let server = storage.setup().start().await;
    let from_now = SubscribeEventsRequest { start: Some(Start::FromNow(true)), ..SubscribeEventsRequest::default() };
    let mut events = subscribe(&server, from_now).await.expect("the feed is read");
    let held = reserve(&server, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    assert_eq!(next_event(&mut events).await.id, format!("{}/{}/0", showtime.showtime_id, held.revision));
    let counted = "SELECT 1 FROM feed_segments b, feed_head h WHERE b.last = h.position \
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
