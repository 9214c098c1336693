//! The order of events over several instances, and after a database was restored.

use std::time::Duration;

use boxoffice::pb::boxoffice::v1::{
    GetEventFeedRequest, Reservation, SubscribeEventsRequest, subscribe_events_response::Message,
};
use futures_util::future::join_all;
use sea_orm::ConnectionTrait as _;
use tonic::Code;

use crate::harness::{
    Postgres, Server, Store, assert_refused,
    events::{after, assert_complete, insert_row, next, next_event, read_alike, subscribe, subscribe_at_each, until},
    eventually,
    seats::{best, cancel, reserve, showtime, these},
    server::Setup,
    supervisor,
    world::{Storage, connect},
};

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
    let streams = subscribe_at_each(&servers).await;
    join_all((0..48).map(async |caller: usize| {
        let (server, showtime) = (&servers[caller % 3], &showtimes[caller % 4]);
        for round in 0..5 {
            let customer = format!("caller {caller}-{round}");
            let Ok(held) = reserve(server, best(showtime, &customer, 1 + (caller % 3) as i32)).await else { continue };
            cancel(&servers[(caller + 1) % 3], &held).await.expect("the seats are held");
        }
    }))
    .await;
    read_alike(streams, &showtime(&servers[0]).await).await;
    let rows = "SELECT 1 FROM outbox o WHERE NOT EXISTS \
        (SELECT 1 FROM feed f WHERE f.aggregate = o.aggregate AND f.seq = o.seq)";
    let missing = storage.sql(rows).await.expect("the rows are read").rows_affected();
    assert_eq!(missing, 0, "rows without a position");
}

#[tokio::test]
async fn a_commit_of_an_early_transaction_is_delivered_after_later_ones() {
    let storage = Storage::new(Store::Postgres).await;
    let server = storage.setup().start().await;
    let mut events = subscribe(&server, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let first = showtime(&server).await;
    let early = storage.transaction(&insert_row(1)).await;
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
async fn transactions_that_are_rolled_back_or_open_in_another_database_delay_nothing() {
    let (storage, other) = (Storage::new(Store::Postgres).await, Storage::new(Store::Postgres).await);
    let elsewhere = other.transaction("SELECT pg_current_xact_id()").await;
    let server = storage.setup().start().await;
    let mut events = subscribe(&server, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let showtime = showtime(&server).await;
    let undone = storage.transaction(&insert_row(1)).await;
    let held = reserve(&server, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    until(&mut events, &showtime.showtime_id, held.revision, "ReservationCreated").await;
    undone.execute_unprepared("ROLLBACK").await.expect("the row is gone");
    let cancelled = cancel(&server, &held).await.expect("the seat is held");
    until(&mut events, &showtime.showtime_id, cancelled.revision, "SeatsReleased").await;
    let dense = "SELECT 1 FROM feed HAVING max(position) = 3 AND count(*) = 3";
    assert_eq!(storage.sql(dense).await.expect("the feed is read").rows_affected(), 1);
    elsewhere.execute_unprepared("ROLLBACK").await.expect("the transaction ends");
}

#[tokio::test]
async fn an_instance_that_stops_with_the_head_in_its_hand_only_delays_events() {
    let storage = Storage::new(Store::Postgres).await;
    let server = storage.setup().start().await;
    let mut events = subscribe(&server, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let stopped = storage.transaction("SELECT * FROM feed_head FOR UPDATE").await;
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
    storage.back_up();
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
    let newest = server
        .events()
        .get_event_feed(GetEventFeedRequest {})
        .await
        .expect("the feed is read")
        .into_inner()
        .newest_token;
    server.stop().await;
    storage.set_back();
    let (server, second) = tokens("bob", 4).await;
    subscribe(&server, after(&first[0])).await.expect("this event is in both histories");
    for token in first[1..].iter().chain([&newest]) {
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
    // In a new cluster, transactions are counted anew: what was restored has numbers that are still to come, or come again.
    let connection = connect(copy.url()).await;
    for change in [
        "UPDATE feed_head SET seen = '9000000000:9000000000:'",
        "UPDATE outbox SET xid = (pg_current_xact_id()::text::bigint + seq)::text::xid8",
    ] {
        connection.execute_unprepared(change).await.expect("rows are changed");
    }
    connection.close().await.expect("a connection closes");
    let server = storage.setup().with("--database-url", copy.url()).start().await;
    assert_begun_anew(&server, &read[0].resume_token, &showtime.showtime_id, &held).await;
    server.stop().await;
}

#[tokio::test]
async fn a_token_is_unknown_after_a_dump_was_restored_elsewhere_and_nothing_is_hidden() {
    let storage = Storage::new(Store::Postgres).await;
    let server = storage.setup().start().await;
    let showtime = showtime(&server).await;
    // The new cluster counts from a lower number, so the numbers of what was restored are still to come there.
    let burn = "DO $$ BEGIN FOR i IN 1..10000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$";
    storage.sql(burn).await.expect("numbers are used up");
    let held = reserve(&server, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let mut events = subscribe(&server, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let read = until(&mut events, &showtime.showtime_id, held.revision, "ReservationCreated").await;
    // The last commit has no position yet when the dump is made.
    let busy = storage.transaction("SELECT * FROM feed_head FOR UPDATE").await;
    reserve(&server, these(&showtime, "bob", "A2")).await.expect("the seat is free");
    server.stop().await;
    busy.execute_unprepared("ROLLBACK").await.expect("the head is let go");
    let (folder, file) = (supervisor::folder("restored-"), storage.folder().join("dump.sql"));
    storage.database().dump(&file);
    let postgres = Postgres::start(supervisor::root().join("postgres-restored")).await;
    postgres.restore(&file);
    let connection = connect(postgres.url()).await;
    let to_come = "SELECT 1 FROM outbox WHERE xid > pg_snapshot_xmax(pg_current_snapshot())";
    let to_come = connection.execute_unprepared(to_come).await.expect("the rows are read").rows_affected();
    assert!(to_come > 0, "no number is still to come");
    connection.close().await.expect("a connection closes");
    let server = Setup::new(folder.path()).with("--database-url", postgres.url()).start().await;
    for event in &read {
        let refused =
            subscribe(&server, after(&event.resume_token)).await.expect_err("the token is of another cluster");
        assert_refused(&refused, Code::OutOfRange, "EVENTS_UNKNOWN");
    }
    assert_begun_anew(&server, &read[0].resume_token, &showtime.showtime_id, &held).await;
    server.stop().await;
}

#[tokio::test]
async fn a_token_is_unknown_after_a_standby_was_promoted_and_nothing_is_hidden() {
    let folder = supervisor::folder("promotion-");
    let primary = Postgres::start(supervisor::root().join("postgres-before")).await;
    let server = Setup::new(folder.path()).with("--database-url", primary.url()).start().await;
    let showtime = showtime(&server).await;
    let held = reserve(&server, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let mut events = subscribe(&server, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let token = next_event(&mut events).await.resume_token;
    server.stop().await;
    let standby = primary.standby(supervisor::root().join("postgres-promoted")).await;
    primary.crash().await;
    let connection = connect(standby.url()).await;
    connection.execute_unprepared("SELECT pg_promote()").await.expect("the standby is promoted");
    connection.close().await.expect("a connection closes");
    let server = Setup::new(folder.path()).with("--database-url", standby.url()).start().await;
    assert_begun_anew(&server, &token, &showtime.showtime_id, &held).await;
    server.stop().await;
}

/// Asserts that a token is refused, and that the oldest one has every event once, also of what happens next.
async fn assert_begun_anew(server: &Server, token: &str, showtime_id: &str, held: &Reservation) {
    let mut events = eventually("the token is unknown", async || {
        let refused = subscribe(server, after(token)).await.err()?;
        let metadata = assert_refused(&refused, Code::OutOfRange, "EVENTS_UNKNOWN");
        subscribe(server, after(&metadata["oldest_token"])).await.ok()
    })
    .await;
    let cancelled = cancel(server, held).await.expect("the seat is held").revision;
    assert_complete(&until(&mut events, showtime_id, cancelled, "SeatsReleased").await);
}
