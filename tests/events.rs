//! The stream of events: complete and in order, resumable from every event at any instance, and filtered.

use std::{collections::HashMap, time::Duration};

use boxoffice::pb::boxoffice::{
    events::v1::event::Payload,
    v1::{
        CancelShowtimeRequest, FeedEvent, GetEventFeedRequest, SubscribeEventsRequest, SubscribeEventsResponse,
        subscribe_events_request::Start, subscribe_events_response::Message,
    },
};
use futures_util::future::join_all;
use sea_orm::ConnectionTrait as _;
use tonic::{Code, Status, Streaming};

use crate::harness::{
    DEADLINE, Server, Store, World, assert_refused, assert_violates, eventually,
    seats::{best, cancel, confirm, extend, reserve, showtime, these},
    world::{Storage, connect},
};

on_both_stores!(
    every_change_has_its_events_in_the_order_of_revisions,
    a_stream_goes_on_after_every_event_with_any_filter,
    a_stream_from_now_has_only_what_is_committed_afterwards,
    events_are_filtered_by_type_showtime_and_cinema,
    a_slow_subscriber_gets_everything,
    a_token_that_was_changed_is_refused,
    a_bad_filter_is_refused_by_name,
    a_subscriber_beyond_the_limit_is_refused,
);
on_both_stores!(
    with |setup| setup.with("--watch-heartbeat", "200ms");
    heartbeats_go_on_where_a_filter_lets_nothing_through,
);

type Events = Streaming<SubscribeEventsResponse>;

async fn subscribe(server: &Server, request: SubscribeEventsRequest) -> Result<Events, Status> {
    Ok(server.events().subscribe_events(request).await?.into_inner())
}

fn after(token: &str) -> SubscribeEventsRequest {
    SubscribeEventsRequest { start: Some(Start::ResumeToken(token.to_owned())), ..Default::default() }
}

async fn next(events: &mut Events) -> Message {
    let message = tokio::time::timeout(DEADLINE, events.message()).await.expect("a message comes in time");
    message.expect("the stream works").expect("the stream has not ended").message.expect("the message is something")
}

/// The next event, which comes in time whatever heartbeats come before it.
async fn next_event(events: &mut Events) -> FeedEvent {
    let event = async {
        loop {
            if let Message::Event(event) = next(events).await {
                return event;
            }
        }
    };
    tokio::time::timeout(DEADLINE, event).await.expect("an event comes in time")
}

/// The next events up to the one of this revision.
async fn until(events: &mut Events, showtime_id: &str, revision: i64, kind: &str) -> Vec<FeedEvent> {
    let mut read = Vec::new();
    loop {
        let event = next_event(events).await;
        let data = event.data.as_ref().expect("an event has data");
        let last = data.showtime_id == showtime_id && data.revision == revision && event.r#type.ends_with(kind);
        read.push(event);
        if last {
            return read;
        }
    }
}

fn ids(events: &[FeedEvent]) -> Vec<&str> {
    events.iter().map(|event| event.id.as_str()).collect()
}

/// Checks that each showtime's events have all revisions and all ordinals in order.
fn assert_complete(events: &[FeedEvent]) {
    let mut last: HashMap<&str, (i64, i32)> = HashMap::new();
    for event in events {
        let data = event.data.as_ref().expect("an event has data");
        let (revision, ordinal) = last.get(data.showtime_id.as_str()).copied().unwrap_or((0, 0));
        let follows = (data.revision == revision && data.ordinal == ordinal + 1)
            || (data.revision == revision + 1 && data.ordinal == 0);
        assert!(follows, "{} follows revision {revision}, ordinal {ordinal}", event.id);
        last.insert(&data.showtime_id, (data.revision, data.ordinal));
    }
}

async fn every_change_has_its_events_in_the_order_of_revisions(world: World) {
    let mut events = subscribe(&world, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let showtime = showtime(&world).await;
    let sold = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
    let sold = confirm(&world, &sold).await.expect("the seats are held");
    let freed = reserve(&world, these(&showtime, "bob", "B1")).await.expect("the seat is free");
    extend(&world, &freed).await.expect("the seat is held");
    cancel(&world, &freed).await.expect("the seat is held");
    let request =
        CancelShowtimeRequest { showtime_id: showtime.showtime_id.clone(), force: true, ..Default::default() };
    world.showtimes().cancel_showtime(request).await.expect("the showtime is scheduled");
    let read = until(&mut events, &showtime.showtime_id, 7, "ShowtimeCancelled").await;
    assert_complete(&read);
    let types: Vec<_> = read.iter().map(|event| event.r#type.trim_start_matches("boxoffice.v1.")).collect();
    let expected = [
        "ShowtimeCreated",
        "ReservationCreated",
        "ReservationConfirmed",
        "ReservationCreated",
        "ReservationExtended",
        "ReservationCancelled",
        "SeatsReleased",
        "ReservationCancelled",
        "SeatsReleased",
        "ShowtimeCancelled",
    ];
    assert_eq!(types, expected);
    let confirmed = &read[2];
    assert_eq!(confirmed.id, format!("{}/3/0", showtime.showtime_id));
    assert_eq!(confirmed.source, format!("/showtimes/{}", showtime.showtime_id));
    assert_eq!(confirmed.subject, sold.reservation_id);
    let Some(Payload::ReservationConfirmed(payload)) = confirmed.data.clone().expect("an event has data").payload
    else {
        panic!("another payload: {confirmed:?}")
    };
    assert_eq!(payload.seats.len(), 2);
}

/// Commits with one and with several events.
async fn some_events(server: &Server) -> String {
    let showtime = showtime(server).await;
    for customer in ["ada", "bob", "cem"] {
        let held = reserve(server, best(&showtime, customer, 2)).await.expect("there are free seats");
        cancel(server, &held).await.expect("the seats are held");
    }
    showtime.showtime_id
}

async fn a_stream_goes_on_after_every_event_with_any_filter(world: World) {
    let showtime_id = some_events(&world).await;
    let mut events = subscribe(&world, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let all = until(&mut events, &showtime_id, 7, "SeatsReleased").await;
    assert_eq!(all.len(), 10);
    for (at, event) in all.iter().enumerate().take(all.len() - 1) {
        let mut rest = subscribe(&world, after(&event.resume_token)).await.expect("the token is of this feed");
        let rest = until(&mut rest, &showtime_id, 7, "SeatsReleased").await;
        assert_eq!(ids(&rest), ids(&all[at + 1..]), "after {}", event.id);
        let request = SubscribeEventsRequest { types: vec!["SeatsReleased".to_owned()], ..after(&event.resume_token) };
        let mut released = subscribe(&world, request).await.expect("the token is of this feed");
        let released = until(&mut released, &showtime_id, 7, "SeatsReleased").await;
        let expected = all[at + 1..].iter().filter(|event| event.r#type == "boxoffice.v1.SeatsReleased").cloned();
        assert_eq!(released, expected.collect::<Vec<_>>(), "after {}", event.id);
    }
    let world = world.restart().await;
    let mut rest = subscribe(&world, after(&all[4].resume_token)).await.expect("the token is of this feed");
    assert_eq!(ids(&until(&mut rest, &showtime_id, 7, "SeatsReleased").await), ids(&all[5..]));
}

async fn a_stream_from_now_has_only_what_is_committed_afterwards(world: World) {
    let before = some_events(&world).await;
    eventually("the events have positions", async || {
        let feed = world.events().get_event_feed(GetEventFeedRequest {}).await.expect("the feed is read").into_inner();
        (feed.position == 7).then_some(())
    })
    .await;
    let request = SubscribeEventsRequest { start: Some(Start::FromNow(true)), ..Default::default() };
    let mut events = subscribe(&world, request).await.expect("the feed is read");
    let later = showtime(&world).await;
    assert_ne!(later.showtime_id, before);
    assert_eq!(next_event(&mut events).await.id, format!("{}/1/0", later.showtime_id));
    let feed = world.events().get_event_feed(GetEventFeedRequest {}).await.expect("the feed is read").into_inner();
    assert_eq!((feed.position, feed.compacted_position), (8, 0));
    let mut events = subscribe(&world, after(&feed.oldest_token)).await.expect("the token is of this feed");
    assert_eq!(next_event(&mut events).await.id, format!("{before}/1/0"));
}

async fn events_are_filtered_by_type_showtime_and_cinema(world: World) {
    let showtimes = [showtime(&world).await, showtime(&world).await];
    for showtime in &showtimes {
        let held = reserve(&world, these(showtime, "ada", "A1")).await.expect("the seat is free");
        confirm(&world, &held).await.expect("the seat is held");
    }
    let [_, other] = &showtimes;
    let cinema = other.auditorium.clone().expect("a showtime has an auditorium").cinema;
    let types = vec!["boxoffice.v1.ReservationConfirmed".to_owned(), "ShowtimeCreated".to_owned()];
    let expected = [format!("{}/1/0", other.showtime_id), format!("{}/3/0", other.showtime_id)];
    for cinemas in [vec![], vec![cinema]] {
        let showtime_ids = vec![other.showtime_id.clone()];
        let request = SubscribeEventsRequest { types: types.clone(), showtime_ids, cinemas, ..Default::default() };
        let mut events = subscribe(&world, request).await.expect("the feed is read");
        assert_eq!([next_event(&mut events).await.id, next_event(&mut events).await.id], expected);
    }
}

async fn heartbeats_go_on_where_a_filter_lets_nothing_through(world: World) {
    let nowhere = SubscribeEventsRequest { cinemas: vec!["Nowhere".to_owned()], ..Default::default() };
    let mut events = subscribe(&world, nowhere).await.expect("the feed is read");
    let showtime_id = some_events(&world).await;
    let later = reserve(&world, best(&showtime(&world).await, "ada", 1)).await.expect("there are free seats");
    // The token of a heartbeat is at the end of what was looked at, so in the end nothing is left after it.
    let last = eventually("a heartbeat is behind everything", async || {
        let Message::Heartbeat(heartbeat) = next(&mut events).await else { panic!("nothing passes the filter") };
        let feed = world.events().get_event_feed(GetEventFeedRequest {}).await.expect("the feed is read").into_inner();
        let mut rest = subscribe(&world, after(&heartbeat.resume_token)).await.expect("the token is of this feed");
        let is_last = feed.position == 9 && matches!(next(&mut rest).await, Message::Heartbeat(_));
        is_last.then_some(heartbeat.resume_token)
    })
    .await;
    let mut rest = subscribe(&world, after(&last)).await.expect("the token is of this feed");
    confirm(&world, &later).await.expect("the seat is held");
    let event = next_event(&mut rest).await;
    assert!(event.subject == later.reservation_id && !event.id.starts_with(&showtime_id), "{event:?}");
}

async fn a_slow_subscriber_gets_everything(world: World) {
    let showtime = showtime(&world).await;
    let mut slow = subscribe(&world, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let last = join_all((0..40).map(async |caller: usize| {
        let mut last = 0;
        for round in 0..30 {
            let customer = format!("caller {caller}-{round}");
            let Ok(held) = reserve(&world, best(&showtime, &customer, 1)).await else { continue };
            last = cancel(&world, &held).await.expect("the seat is held").revision;
        }
        last
    }));
    let last = last.await.into_iter().max().expect("there are callers");
    assert!(last > 500, "{last} revisions");
    assert_complete(&until(&mut slow, &showtime.showtime_id, last, "SeatsReleased").await);
}

async fn a_token_that_was_changed_is_refused(world: World) {
    let showtime_id = some_events(&world).await;
    let mut events = subscribe(&world, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let token = next_event(&mut events).await.resume_token;
    let mut changed = token.clone().into_bytes();
    changed[20] = if changed[20] == b'A' { b'B' } else { b'A' };
    for token in [String::from_utf8(changed).expect("it is text"), token[1..].to_owned(), "?".to_owned(), showtime_id] {
        let refused = subscribe(&world, after(&token)).await.expect_err("the token is none");
        assert_refused(&refused, Code::InvalidArgument, "TOKEN_MALFORMED");
    }
}

async fn a_bad_filter_is_refused_by_name(world: World) {
    let request = SubscribeEventsRequest {
        types: vec!["ReservationConfirmed".to_owned(), "Nothing".to_owned()],
        showtime_ids: vec!["7".to_owned()],
        cinemas: vec![String::new(); 101],
        ..after(&"a".repeat(201))
    };
    let refused = subscribe(&world, request).await.expect_err("the request is bad");
    assert_violates(&refused, &["resume_token", "cinemas", "types[1]", "showtime_ids[0]"]);
}

async fn a_subscriber_beyond_the_limit_is_refused(world: World) {
    let mut channels = Vec::new();
    for _ in 0..4 {
        channels.push(world.events());
    }
    let mut open = Vec::new();
    for number in 0..boxoffice::app::MAX_SUBSCRIBERS {
        let request = SubscribeEventsRequest { start: Some(Start::FromNow(true)), ..Default::default() };
        let events = channels[number % 4].subscribe_events(request).await.expect("there is room for it");
        open.push(events.into_inner());
    }
    let refused = subscribe(&world, SubscribeEventsRequest::default()).await.expect_err("there is no room");
    assert_refused(&refused, Code::ResourceExhausted, "TOO_MANY_SUBSCRIBERS");
    drop(open);
    eventually("there is room again", async || subscribe(&world, SubscribeEventsRequest::default()).await.ok()).await;
}

#[tokio::test]
async fn a_subscriber_whose_server_ends_resumes_at_another() {
    let storage = Storage::new(Store::Postgres).await;
    let (one, other) = (storage.setup().start().await, storage.setup().start().await);
    let showtime = showtime(&other).await;
    let mut events = subscribe(&one, SubscribeEventsRequest::default()).await.expect("the feed is read");
    assert_eq!(next_event(&mut events).await.id, format!("{}/1/0", showtime.showtime_id));
    one.stop().await;
    let Message::Draining(draining) = next(&mut events).await else { panic!("the last message says where to resume") };
    assert!(events.message().await.expect("the stream ends well").is_none());
    reserve(&other, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let mut rest = subscribe(&other, after(&draining.resume_token)).await.expect("the token is of this feed");
    assert_eq!(next_event(&mut rest).await.id, format!("{}/2/0", showtime.showtime_id));
}

#[tokio::test]
async fn instances_deliver_the_same_events_in_the_same_order_under_load() {
    let storage = Storage::new(Store::Postgres).await;
    let servers = [storage.setup().start().await, storage.setup().start().await, storage.setup().start().await];
    let showtimes = join_all((0..4).map(async |at: usize| showtime(&servers[at % 3]).await)).await;
    let mut streams = Vec::new();
    for server in &servers {
        streams.push(subscribe(server, SubscribeEventsRequest::default()).await.expect("the feed is read"));
    }
    join_all((0..48).map(async |caller: usize| {
        let (server, showtime) = (&servers[caller % 3], &showtimes[caller % 4]);
        for round in 0..5 {
            let customer = format!("caller {caller}-{round}");
            let Ok(held) = reserve(server, best(showtime, &customer, 1 + (caller % 3) as i32)).await else { continue };
            cancel(&servers[(caller + 1) % 3], &held).await.expect("the seats are held");
        }
    }))
    .await;
    let last = showtime(&servers[0]).await;
    let mut read = Vec::new();
    for stream in &mut streams {
        read.push(until(stream, &last.showtime_id, 1, "ShowtimeCreated").await);
    }
    // What was committed before the last showtime has a position before it, unless a pass saw both.
    for events in &read {
        assert_complete(events);
        assert_eq!(ids(events), ids(&read[0]));
    }
    let rows = "SELECT 1 FROM outbox o WHERE NOT EXISTS \
        (SELECT 1 FROM feed f WHERE f.aggregate = o.aggregate AND f.seq = o.seq)";
    let missing = storage.sql(rows).await.expect("the rows are read").rows_affected();
    assert_eq!(missing, 0, "rows without a position");
}

/// A row of another showtime with a copy of some event. The feed orders rows, and does not read them.
fn insert_row(aggregate: u128) -> String {
    format!(
        "INSERT INTO outbox (aggregate, seq, last_seq, events, create_time) \
         SELECT '{aggregate:032x}', 1, 1, events, create_time FROM outbox LIMIT 1"
    )
}

#[tokio::test]
async fn a_commit_of_an_early_transaction_is_delivered_after_later_ones() {
    let storage = Storage::new(Store::Postgres).await;
    let server = storage.setup().start().await;
    let mut events = subscribe(&server, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let first = showtime(&server).await;
    let early = connect(storage.database().url()).await;
    early.execute_unprepared("BEGIN").await.expect("a transaction begins");
    early.execute_unprepared(&insert_row(1)).await.expect("a row is written");
    // Many transactions begin and commit after it, and get their positions.
    let held = reserve(&server, these(&first, "ada", "A1")).await.expect("the seat is free");
    until(&mut events, &first.showtime_id, held.revision, "ReservationCreated").await;
    early.execute_unprepared("COMMIT").await.expect("the transaction commits");
    // The row has a copy of the first event.
    assert_eq!(next_event(&mut events).await.id, format!("{}/1/0", first.showtime_id));
    let cancelled = cancel(&server, &held).await.expect("the seat is held");
    until(&mut events, &first.showtime_id, cancelled.revision, "SeatsReleased").await;
}

#[tokio::test]
async fn an_instance_that_stops_with_the_head_in_its_hand_only_delays_events() {
    let storage = Storage::new(Store::Postgres).await;
    let server = storage.setup().start().await;
    let mut events = subscribe(&server, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let stopped = connect(storage.database().url()).await;
    stopped.execute_unprepared("BEGIN").await.expect("a transaction begins");
    stopped.execute_unprepared("SELECT * FROM feed_head FOR UPDATE").await.expect("the head is locked");
    let showtime = showtime(&server).await;
    let held = reserve(&server, these(&showtime, "ada", "A1")).await.expect("sales go on");
    let waited = tokio::time::timeout(Duration::from_millis(300), events.message()).await;
    assert!(waited.is_err(), "an event has come without a position");
    stopped.execute_unprepared("ROLLBACK").await.expect("the head is let go");
    assert_complete(&until(&mut events, &showtime.showtime_id, held.revision, "ReservationCreated").await);
}

#[tokio::test]
async fn a_token_of_a_database_that_was_set_back_is_unknown() {
    let storage = Storage::new(Store::Sqlite).await;
    let server = storage.setup().start().await;
    let showtime = showtime(&server).await;
    server.stop().await;
    let database = storage.folder().join("data/boxoffice.db");
    let copy = storage.folder().join("copy.db");
    std::fs::copy(&database, &copy).expect("the file is copied");
    let tokens = async |customer: &str, seats: i32| {
        let server = storage.setup().start().await;
        let mut events = subscribe(&server, SubscribeEventsRequest::default()).await.expect("the feed is read");
        let mut tokens = vec![next_event(&mut events).await.resume_token];
        for _ in 0..seats {
            reserve(&server, best(&showtime, customer, 1)).await.expect("there are free seats");
            tokens.push(next_event(&mut events).await.resume_token);
        }
        (server, tokens)
    };
    let (server, first) = tokens("ada", 3).await;
    server.stop().await;
    std::fs::copy(&copy, &database).expect("the file is set back");
    let (server, second) = tokens("bob", 2).await;
    subscribe(&server, after(&first[0])).await.expect("this event is in both histories");
    for token in &first[1..] {
        let refused = subscribe(&server, after(token)).await.expect_err("these events were undone");
        assert_refused(&refused, Code::OutOfRange, "EVENTS_UNKNOWN");
    }
    let refused = subscribe(&server, after(&first[3])).await.expect_err("these events were undone");
    let oldest = assert_refused(&refused, Code::OutOfRange, "EVENTS_UNKNOWN")["oldest_token"].clone();
    let mut events = subscribe(&server, after(&oldest)).await.expect("the token is of this feed");
    assert_eq!(next_event(&mut events).await.resume_token, second[0]);
}

#[tokio::test]
async fn a_token_of_a_postgres_that_was_restored_is_unknown_and_nothing_is_hidden() {
    let storage = Storage::new(Store::Postgres).await;
    let server = storage.setup().start().await;
    let showtime = showtime(&server).await;
    let held = reserve(&server, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let mut events = subscribe(&server, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let read = until(&mut events, &showtime.showtime_id, held.revision, "ReservationCreated").await;
    server.stop().await;
    let copy = storage.database().copy();
    // In a new cluster, transactions are counted anew.
    let connection = connect(copy.url()).await;
    connection.execute_unprepared("UPDATE feed_head SET low = '9000000000'").await.expect("a row is changed");
    connection.close().await.expect("a connection closes");
    let server = storage.setup().with("--database-url", copy.url()).start().await;
    let mut events = eventually("the token is unknown", async || {
        let refused = subscribe(&server, after(&read[0].resume_token)).await.err()?;
        let metadata = assert_refused(&refused, Code::OutOfRange, "EVENTS_UNKNOWN");
        subscribe(&server, after(&metadata["oldest_token"])).await.ok()
    })
    .await;
    cancel(&server, &held).await.expect("the seat is held");
    assert_complete(&until(&mut events, &showtime.showtime_id, held.revision + 1, "SeatsReleased").await);
    server.stop().await;
}
