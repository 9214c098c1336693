//! How long events are kept, and what a subscriber gets instead of those that are not.

use boxoffice::pb::boxoffice::v1::{
    FeedEvent, GetEventFeedRequest, GetEventFeedResponse, Showtime, SubscribeEventsRequest,
    events_client::EventsClient, subscribe_events_response::Message,
};
use futures_util::future::join_all;
use sea_orm::ConnectionTrait as _;
use tonic::{Code, Status, transport::Endpoint};

use crate::harness::{
    DEADLINE, Server, Store, World, assert_refused,
    events::{Events, after, assert_complete, feed as first_events, ids, next_event, subscribe},
    eventually,
    seats::{best, cancel, extend, reserve, showtime, these},
    world::Storage,
};

on_both_stores!(
    with |setup| setup.with("--event-retention", "1s");
    old_events_are_deleted_and_tokens_before_them_are_refused_with_one_that_works,
);
on_both_stores!(
    with |setup| setup.with("--event-cap", "5").with("--event-retention", "1m");
    events_of_more_commits_than_the_cap_are_deleted_before_their_time,
);
on_both_stores!(
    with |setup| setup.with("--event-cap", "2500").with("--event-retention", "1m");
    a_subscriber_that_pages_while_events_are_deleted_is_told_and_misses_nothing_before,
);
on_both_stores!(
    a_token_in_the_middle_of_a_deleted_commit_is_refused_and_one_at_its_end_goes_on,
    a_slow_subscriber_misses_nothing_while_more_is_committed_than_is_kept_in_memory,
);

/// The commits of [`sell_much`].
const MUCH: i64 = 8 * 151;

async fn feed(server: &Server) -> GetEventFeedResponse {
    server.events().get_event_feed(GetEventFeedRequest {}).await.expect("the feed is read").into_inner()
}

/// Waits until the events of all commits up to this position are deleted.
async fn deleted_to(server: &Server, position: i64) -> GetEventFeedResponse {
    eventually("the events are deleted", async || {
        let feed = feed(server).await;
        (feed.compacted_position >= position).then_some(feed)
    })
    .await
}

async fn old_events_are_deleted_and_tokens_before_them_are_refused_with_one_that_works(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let mut events = subscribe(&world, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let tokens = [next_event(&mut events).await.resume_token, next_event(&mut events).await.resume_token];
    drop(events);
    deleted_to(&world, 2).await;
    let refused = subscribe(&world, after(&tokens[0])).await.expect_err("the next event is deleted");
    let oldest = assert_refused(&refused, Code::OutOfRange, "EVENTS_COMPACTED")["oldest_token"].clone();
    // Nothing is missing after the last event that was deleted.
    let mut resumed = subscribe(&world, after(&tokens[1])).await.expect("the token is at the end of what is deleted");
    let mut oldest = subscribe(&world, after(&oldest)).await.expect("the token is of this feed");
    let mut begun = subscribe(&world, SubscribeEventsRequest::default()).await.expect("the feed is read");
    extend(&world, &held).await.expect("the seat is held");
    for events in [&mut resumed, &mut oldest, &mut begun] {
        assert_eq!(next_event(events).await.id, format!("{}/3/0", showtime.showtime_id));
    }
}

/// Every message until the stream ends, and how it ends.
async fn read_to_the_end(mut events: Events) -> (Vec<FeedEvent>, Status) {
    let mut read = Vec::new();
    loop {
        match events.message().await {
            Ok(Some(message)) => {
                if let Some(Message::Event(event)) = message.message {
                    read.push(event);
                }
            }
            Ok(None) => panic!("the stream ends without an error"),
            Err(status) => return (read, status),
        }
    }
}

/// Makes more commits than are on two pages, with more events than the connection takes without its client.
async fn sell_much(server: &Server) -> Vec<Showtime> {
    let showtimes = join_all((0..8).map(async |caller: usize| {
        let showtime = showtime(server).await;
        for round in 0..75 {
            let held = reserve(server, best(&showtime, &format!("caller {caller}-{round}"), 2)).await;
            cancel(server, &held.expect("there are seats")).await.expect("the seats are held");
        }
        showtime
    }))
    .await;
    // While nobody reads they are not kept in memory.
    eventually("all commits have positions", async || (feed(server).await.position == MUCH).then_some(())).await;
    showtimes
}

/// Asserts that a subscriber gets `EVENTS_COMPACTED`, after the events before.
async fn assert_told(slow: Events) {
    let reading = tokio::time::timeout(DEADLINE, read_to_the_end(slow));
    let (read, status) = reading.await.expect("the stream ends");
    assert_refused(&status, Code::OutOfRange, "EVENTS_COMPACTED");
    assert!(!read.is_empty(), "what was read before is delivered");
    assert_complete(&read);
}

#[tokio::test]
async fn a_subscriber_that_falls_behind_the_deletion_is_told_and_misses_nothing_before() {
    let storage = Storage::new(Store::Postgres).await;
    let world = storage.setup().start().await;
    let showtimes = sell_much(&world).await;
    let slow = with_small_window(&world).await;
    // Another instance deletes what this one is about to deliver.
    let other = storage.setup().with("--event-retention", "1s").start().await;
    deleted_to(&other, MUCH).await;
    reserve(&world, best(&showtimes[0], "ada", 1)).await.expect("there are seats");
    assert_told(slow).await;
}

async fn a_subscriber_that_pages_while_events_are_deleted_is_told_and_misses_nothing_before(world: World) {
    sell_much(&world).await;
    let slow = with_small_window(&world).await;
    // More than is read into memory at once, so what the subscriber has not read is only in the database.
    insert_rows(&world.storage, 2_500).await;
    assert_eq!(deleted_to(&world, MUCH).await.compacted_position, MUCH);
    assert_told(slow).await;
}

async fn a_token_in_the_middle_of_a_deleted_commit_is_refused_and_one_at_its_end_goes_on(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    cancel(&world, &held).await.expect("the seat is held");
    reserve(&world, these(&showtime, "bob", "A2")).await.expect("the seat is free");
    let events = first_events(&world, 5).await;
    let id = |revision: i32, ordinal: i32| format!("{}/{revision}/{ordinal}", showtime.showtime_id);
    // The third commit has two events.
    assert_eq!(ids(&events), [id(1, 0), id(2, 0), id(3, 0), id(3, 1), id(4, 0)]);
    let at = async |server: &Server, token: &str| subscribe(server, after(token)).await;
    let mut middle = at(&world, &events[2].resume_token).await.expect("nothing is deleted");
    assert_eq!(next_event(&mut middle).await.id, id(3, 1));
    let World { server, storage } = world;
    drop(middle);
    server.stop().await;
    let server = storage.setup().with("--event-cap", "1").with("--event-retention", "1m").start().await;
    assert_eq!(deleted_to(&server, 3).await.compacted_position, 3);
    let mut streams =
        vec![at(&server, &events[3].resume_token).await.expect("the token is at the end of what is deleted")];
    for event in &events[1..3] {
        let refused = at(&server, &event.resume_token).await.expect_err("an event after the token is deleted");
        let oldest = assert_refused(&refused, Code::OutOfRange, "EVENTS_COMPACTED")["oldest_token"].clone();
        streams.push(at(&server, &oldest).await.expect("the token is of this feed"));
    }
    reserve(&server, these(&showtime, "cem", "A3")).await.expect("the seat is free");
    for stream in &mut streams {
        assert_eq!([next_event(stream).await.id, next_event(stream).await.id], [id(4, 0), id(5, 0)]);
    }
    drop(streams);
    server.stop().await;
}

/// Writes so many rows of other showtimes in one commit, with copies of some event.
async fn insert_rows(storage: &Storage, rows: i64) {
    let id = if storage.is_postgres() { "gen_random_uuid()" } else { "randomblob(16)" };
    let insert = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
         INSERT INTO outbox (aggregate, seq, last_seq, events, create_time) \
         SELECT {id}, 1, 1, events, create_time FROM n, (SELECT events, create_time FROM outbox LIMIT 1) AS one"
    );
    storage.sql(&insert).await.expect("rows are written");
}

async fn a_slow_subscriber_misses_nothing_while_more_is_committed_than_is_kept_in_memory(world: World) {
    showtime(&world).await;
    let insert = async |rows: i64, last: i64| {
        insert_rows(&world.storage, rows).await;
        eventually("they have positions", async || (feed(&world).await.position == last).then_some(())).await;
    };
    // One page. What comes after it is read ahead, while there is nothing.
    insert(499, 500).await;
    let mut slow = with_small_window(&world).await;
    next_event(&mut slow).await;
    insert(2_500, 3_000).await;
    for _ in 1..3_000 {
        next_event(&mut slow).await;
    }
}

/// A subscriber from the oldest event, to whom little is sent before it reads.
async fn with_small_window(server: &Server) -> Events {
    let small_window = Endpoint::from_shared(format!("http://{}", server.address())).expect("an address");
    let small_window = small_window.initial_stream_window_size(4_096).connect().await.expect("the server listens");
    let slow = EventsClient::new(small_window).subscribe_events(SubscribeEventsRequest::default()).await;
    slow.expect("the feed is read").into_inner()
}

async fn events_of_more_commits_than_the_cap_are_deleted_before_their_time(world: World) {
    let showtime = showtime(&world).await;
    for customer in ["ada", "bob", "cem", "dan"] {
        let held = reserve(&world, best(&showtime, customer, 1)).await.expect("there are seats");
        extend(&world, &held).await.expect("the seat is held");
    }
    deleted_to(&world, 4).await;
    let mut events = subscribe(&world, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let mut read = Vec::new();
    for _ in 0..5 {
        read.push(next_event(&mut events).await.id);
    }
    assert_eq!(read, [5, 6, 7, 8, 9].map(|revision| format!("{}/{revision}/0", showtime.showtime_id)));
    let deleted = world.metrics().await.sum("boxoffice_events_deleted_total", &["reason=\"cap\""]);
    assert_eq!(deleted, Some(4.0));
}

#[tokio::test]
async fn an_instance_decides_rightly_where_the_events_of_another_are_deleted() {
    let storage = Storage::new(Store::Postgres).await;
    let start = async || storage.setup().with("--event-retention", "1s").start().await;
    let (one, other) = (start().await, start().await);
    let showtime = showtime(&one).await;
    // Both have the seats in memory.
    reserve(&one, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    reserve(&other, these(&showtime, "bob", "A2")).await.expect("the seat is free");
    let held = reserve(&one, these(&showtime, "cem", "A3")).await.expect("the seat is free");
    deleted_to(&one, 4).await;
    let refused = reserve(&other, these(&showtime, "dan", "A3")).await.expect_err("the seat is held");
    assert_refused(&refused, Code::FailedPrecondition, "SEATS_UNAVAILABLE");
    cancel(&other, &held).await.expect("the seat is held");
    reserve(&one, these(&showtime, "dan", "A3")).await.expect("the seat is free again");
}

#[tokio::test]
async fn positions_go_on_after_all_rows_were_deleted_and_the_file_was_vacuumed() {
    let storage = Storage::new(Store::Sqlite).await;
    let server = storage.setup().with("--event-retention", "1s").start().await;
    let showtime = showtime(&server).await;
    reserve(&server, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let token = deleted_to(&server, 2).await.newest_token;
    server.stop().await;
    let file = storage.connect().await;
    file.execute_unprepared("VACUUM").await.expect("the file is rewritten");
    file.close().await.expect("the file is closed");
    let server = storage.setup().start().await;
    let mut events = subscribe(&server, after(&token)).await.expect("the token is of this feed");
    reserve(&server, these(&showtime, "bob", "A2")).await.expect("the seat is free");
    let event = next_event(&mut events).await;
    assert_eq!((event.id, feed(&server).await.position), (format!("{}/3/0", showtime.showtime_id), 3));
}
