//! The feed of a database with many events on Postgres, where they have their positions in segments.

use boxoffice::{
    pb::boxoffice::v1::{GetEventFeedRequest, SubscribeEventsRequest, subscribe_events_request::Start},
    store::{PLANNING, statements},
};
use sea_orm::{ConnectionTrait as _, DbBackend, Statement};

use crate::harness::{
    Redis, Store,
    events::{after, next_event, sinks, subscribe},
    eventually,
    redis_stream::{fields, with_sink},
    seats::{reserve, showtime, these},
    world::Storage,
};

/// A pass that compared each of them with each would not end in time.
const EVENTS: i64 = 40_000;

/// Writes so many commits at once, with a copy of the first event each, and waits until they have positions. The number of events
/// that each of them names is made up.
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

/// More commits than a page has, with more events than are delivered at once.
#[tokio::test]
async fn a_sink_has_the_events_of_many_commits_in_their_order() {
    const COMMITS: i64 = 12_000;
    let (storage, redis) = (Storage::new(Store::Postgres).await, Redis::start().await);
    let server = storage.setup().start().await;
    showtime(&server).await;
    write_copies(&storage, COMMITS).await;
    server.stop().await;
    // A message that follows another one adds its events.
    storage.sql("UPDATE outbox SET events = events || events || events").await.expect("commits have three events");
    let server = with_sink(storage.setup(), &redis).start().await;
    let all = 3 * (COMMITS + 1);
    eventually("all events are in the stream", async || {
        (redis.run(&["XLEN", "boxoffice:events"]).trim() == all.to_string()).then_some(())
    })
    .await;
    let ids: Vec<_> = fields(&redis).await.into_iter().map(|(id, _)| id).collect();
    let expected = (1..=COMMITS + 1).flat_map(|position| (0..3).map(move |index| format!("{position}-{index}")));
    assert!(ids.into_iter().eq(expected), "an event is missing, or its place is another one");
    drop(server);
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

/// As in a database of the release before, whose positions migration 0007 gives one by one. The first ones are deleted, and some of
/// the others were given before events were counted.
#[tokio::test]
async fn positions_that_were_rows_become_segments_with_the_same_order_and_count() {
    let storage = Storage::new(Store::Postgres).await;
    let server = storage.setup().start().await;
    let showtime = showtime(&server).await;
    server.stop().await;
    let rows = "DROP VIEW feed; DROP TABLE feed_segments; DELETE FROM schema_migrations WHERE version >= 11; \
         ALTER TABLE showtimes DROP COLUMN price_list; ALTER TABLE reservations DROP COLUMN lines; \
             DROP TABLE blocked_seats; DROP INDEX reservations_by_refund_due; ALTER TABLE reservations DROP COLUMN amendment; ALTER TABLE reservations DROP COLUMN refund_due_time; DROP INDEX reservations_without_purchase; ALTER TABLE reservations DROP COLUMN pay_until; ALTER TABLE reservations DROP COLUMN purchase_id; DROP TABLE tickets; DROP TABLE signing_keys; DROP TABLE secrets; DROP TABLE purchase_notes; DROP TABLE refund_notes; DROP TABLE refunds; DROP TABLE money_entries; DROP TABLE payments; DROP TABLE purchases; \
         CREATE TABLE feed (position bigint PRIMARY KEY, aggregate uuid NOT NULL, seq bigint NOT NULL, events_to bigint); \
         INSERT INTO feed SELECT p, lpad(p::text, 32, '0')::uuid, 7, CASE WHEN p > 1200 THEN 1200 + 2 * (p - 1200) END \
             FROM generate_series(301, 3000) AS p; \
         INSERT INTO outbox (aggregate, seq, last_seq, events, create_time, event_count) \
             SELECT f.aggregate, f.seq, 7, events, create_time, CASE WHEN events_to IS NULL THEN 1 ELSE 2 END \
             FROM feed f, outbox; \
         DELETE FROM outbox WHERE seq = 1";
    storage.sql(rows).await.expect("the rows are written");
    let compacted =
        "UPDATE feed_head SET position = 3000, compacted = 300, compacted_events = 300, seen = pg_current_snapshot()";
    storage.sql(compacted).await.expect("the head is written");
    let server = storage.setup().start().await;
    let has = async |what: &str, query: &str, rows: u64| {
        assert_eq!(storage.sql(query).await.expect("the query is right").rows_affected(), rows, "{what}");
    };
    let same = "SELECT 1 FROM feed WHERE aggregate = lpad(position::text, 32, '0')::uuid AND seq = 7 \
         HAVING min(position) = 301 AND max(position) = 3000 AND count(*) = 2700";
    has("each row has its position", same, 1).await;
    let counted = "SELECT 1 FROM feed_segments s WHERE events_to = (SELECT 300 + sum(event_count) \
         FROM feed f JOIN outbox o USING (aggregate, seq) WHERE f.position <= s.last)";
    has("events are counted up to the end of each segment", counted, 3).await;
    has("and in each commit", "SELECT 1 FROM feed_segments, unnest(events) AS e HAVING sum(e) = 900 + 2 * 1800", 1)
        .await;
    let mut events = subscribe(&server, SubscribeEventsRequest::default()).await.expect("the feed is read");
    for _ in 301..=3000 {
        assert_eq!(next_event(&mut events).await.id, format!("{}/1/0", showtime.showtime_id));
    }
    let held = reserve(&server, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    assert_eq!(next_event(&mut events).await.id, format!("{}/{}/0", showtime.showtime_id, held.revision));
    has("the count goes on", "SELECT 1 FROM feed_segments WHERE first = 3001 AND events_to = 4801", 1).await;
}

#[tokio::test]
async fn statements_over_many_events_find_rows_by_key_or_by_hashing_and_copy_arrays_once() {
    let storage = Storage::new(Store::Postgres).await;
    storage.setup().start().await.stop().await;
    let connection = storage.connect().await;
    let assert_plan = async |Statement { sql, values, db_backend }: Statement, part: &str| {
        let explain = Statement { sql: format!("EXPLAIN {sql}"), values, db_backend };
        let rows = connection.query_all_raw(explain).await.expect("the statement is right");
        let plan: Vec<String> = rows.iter().map(|row| row.try_get("", "QUERY PLAN").expect("a line")).collect();
        assert!(plan.iter().any(|line| line.contains(part)), "{part}: {plan:#?}");
    };
    for (setting, value) in PLANNING {
        connection.execute_unprepared(&format!("SET {setting} = {value}")).await.expect("a setting");
    }
    let by_key = "Index Cond: ((aggregate = listed.aggregate) AND (seq = listed.seq))";
    assert_plan(statements::feed(DbBackend::Postgres, 7_000, 500), by_key).await;
    assert_plan(statements::oldest_events(DbBackend::Postgres, 7_000, 500), by_key).await;
    let [_, rows, segments] = statements::deletion(DbBackend::Postgres, 7_000);
    assert_plan(rows, "Index Cond: ((aggregate = old.aggregate) AND (seq = old.seq))").await;
    assert_plan(segments, "Index Cond: (first <= '7000'::bigint)").await;
    // As a pass sets it.
    connection.execute_unprepared("SET enable_hashjoin = on").await.expect("a setting");
    let [number, number_all, forget] = statements::numbering();
    assert_plan(number, "CTE parts").await;
    assert_plan(number_all.clone(), "CTE parts").await;
    assert_plan(number_all, "Hash Anti Join").await;
    assert_plan(forget, "Hash Join").await;
    connection.close().await.expect("a connection closes");
}
