//! The feed of events where several instances write at once, and where one of them stops.

use std::cell::Cell;

use boxoffice::pb::boxoffice::v1::{FeedEvent, SubscribeEventsRequest, subscribe_events_response::Message};
use futures_util::future::join_all;
use rustix::process::Signal;
use sea_orm::ConnectionTrait as _;

use crate::harness::{
    Server, Store,
    events::{after, assert_complete, change, ids, next, read_alike, subscribe, subscribe_at_each, until},
    eventually,
    sales::cancel_showtime,
    seats::{best, cancel, reserve, showtime, showtime_now, these},
    world::Storage,
};

/// Waits until a query has exactly so many rows.
async fn has_rows(storage: &Storage, what: &str, query: &str, rows: u64) {
    eventually(what, async || {
        (storage.sql(query).await.expect("the query is right").rows_affected() == rows).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_is_stopped_with_the_head_loses_it_and_goes_on_when_it_wakes_up() {
    const WAITING: &str = "SELECT 1 FROM pg_locks WHERE relation = 'feed_segments'::regclass AND NOT granted";
    const IDLE: &str = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() \
                        AND state = 'idle in transaction' AND query LIKE '%INSERT INTO feed_segments%'";
    let storage = Storage::new(Store::Postgres).await;
    let start = async || storage.setup().with("--database-timeout", "2s").start().await;
    let stopped = start().await;
    let mut of_stopped = subscribe(&stopped, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let showtime = showtime(&stopped).await;
    let id = &*showtime.showtime_id;
    let mut read_of_stopped = until(&mut of_stopped, id, 1, "ShowtimeCreated").await;
    // The instance takes the head, and waits to write positions. There is no other instance that could have the head.
    let lock = storage.transaction("LOCK TABLE feed_segments IN EXCLUSIVE MODE").await;
    let held = reserve(&stopped, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    has_rows(&storage, "positions are waited for", WAITING, 1).await;
    stopped.signal(Signal::STOP);
    lock.execute_unprepared("COMMIT").await.expect("the lock is let go");
    has_rows(&storage, "the instance has written positions and does not commit", IDLE, 1).await;
    storage.sql("SELECT 1 FROM feed_head FOR UPDATE NOWAIT").await.expect_err("the stopped instance has the head");
    let other = start().await;
    let mut of_other = subscribe(&other, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let second = reserve(&other, these(&showtime, "bob", "A2")).await.expect("sales go on");
    let mut read_of_other = until(&mut of_other, id, second.revision, "ReservationCreated").await;
    has_rows(&storage, "the database has ended the session", IDLE, 0).await;
    stopped.signal(Signal::CONT);
    let cancelled = cancel(&stopped, &held).await.expect("the seat is held");
    read_of_stopped.extend(until(&mut of_stopped, id, cancelled.revision, "SeatsReleased").await);
    read_of_other.extend(until(&mut of_other, id, cancelled.revision, "SeatsReleased").await);
    for read in [&read_of_stopped, &read_of_other] {
        assert_complete(read);
        assert_eq!(ids(read), ids(&read_of_other));
    }
    let dense = "SELECT 1 FROM feed HAVING max(position) = 4 AND count(*) = 4";
    has_rows(&storage, "positions have no gaps", dense, 1).await;
}

#[tokio::test]
async fn batches_over_two_showtimes_beside_sales_of_one_of_them_elsewhere_are_delivered_whole_and_in_order() {
    let storage = Storage::new(Store::Postgres).await;
    // With one writer, what is wanted of both showtimes at once is one batch.
    let servers = [storage.setup().with("--ledger-writers", "1").start().await, storage.setup().start().await];
    let (one, two) = (showtime(&servers[0]).await, showtime(&servers[0]).await);
    let streams = subscribe_at_each(&servers).await;
    let sold_elsewhere = join_all((0..36).map(async |caller: usize| {
        let (at, showtime) = [(0, &one), (0, &two), (1, &two)][caller % 3];
        let mut sold = 0;
        for round in 0..5 {
            let request = best(showtime, &format!("caller {caller}-{round}"), 1);
            let Ok(held) = reserve(&servers[at], request).await else { continue };
            cancel(&servers[at], &held).await.expect("the seat is held");
            sold += at;
        }
        sold
    }))
    .await;
    assert!(sold_elsewhere.iter().sum::<usize>() > 0, "nothing was sold at the other instance");
    let both = format!(
        "SELECT 1 FROM outbox WHERE aggregate IN ('{}', '{}') GROUP BY xid HAVING count(DISTINCT aggregate) = 2",
        one.showtime_id, two.showtime_id
    );
    let batches = storage.sql(&both).await.expect("the rows are read").rows_affected();
    assert!(batches > 0, "no transaction has written rows of both showtimes");
    let read = read_alike(streams, &showtime(&servers[1]).await).await;
    for showtime in [&one, &two] {
        let of_showtime = |event: &&FeedEvent| event.id.starts_with(&showtime.showtime_id);
        let newest = read.iter().rfind(of_showtime).and_then(|event| event.data.as_ref()).expect("it was sold");
        assert_eq!(newest.revision, showtime_now(&servers[1], showtime).await.revision);
    }
}

#[tokio::test]
async fn who_begins_anew_at_another_instance_with_every_heartbeat_misses_nothing() {
    let storage = Storage::new(Store::Postgres).await;
    let start = async || storage.setup().with("--watch-heartbeat", "100ms").start().await;
    let servers = [start().await, start().await];
    let seldom = showtime(&servers[0]).await;
    let others = join_all((0..4).map(async |at: usize| showtime(&servers[at % 2]).await)).await;
    // Each subscriber's heartbeats until now.
    let heartbeats: Vec<_> = (0..20).map(|_| Cell::new(0)).collect();
    let subscribers = heartbeats.iter().enumerate();
    let subscribers =
        subscribers.map(async |(at, count)| resumes_at_heartbeats(&servers, at, &seldom.showtime_id, count).await);
    let changes = async {
        join_all(others.iter().enumerate().map(async |(at, showtime)| {
            let server = &servers[at % 2];
            let mut round = 0;
            while round < 150 || heartbeats.iter().any(|count| count.get() <= 10) {
                round += 1;
                change(server, showtime, "ada").await;
                if round % 20 == at * 5 {
                    change(server, &seldom, &format!("bob {at}")).await;
                }
            }
        }))
        .await;
        cancel_showtime(&servers[0], &seldom).await;
    };
    let (read, ()) = tokio::join!(join_all(subscribers), changes);
    for events in &read {
        assert_complete(events);
        assert_eq!(ids(events), ids(&read[0]));
    }
}

/// Reads a showtime's events until it is cancelled, and goes on at the next instance with the token of each heartbeat, which it counts.
async fn resumes_at_heartbeats(
    servers: &[Server],
    first: usize,
    showtime_id: &str,
    heartbeats: &Cell<usize>,
) -> Vec<FeedEvent> {
    let subscribe_at = async |at: usize, from| {
        let request = SubscribeEventsRequest { showtime_ids: vec![showtime_id.to_owned()], ..from };
        subscribe(&servers[at % servers.len()], request).await.expect("the token is of this feed")
    };
    let mut events = subscribe_at(first, SubscribeEventsRequest::default()).await;
    let mut read = Vec::new();
    loop {
        match next(&mut events).await {
            Message::Event(event) => {
                let is_last = event.r#type.ends_with("ShowtimeCancelled");
                read.push(event);
                if is_last {
                    return read;
                }
            }
            Message::Heartbeat(heartbeat) => {
                heartbeats.set(heartbeats.get() + 1);
                events = subscribe_at(first + heartbeats.get(), after(&heartbeat.resume_token)).await;
            }
            Message::Draining(_) => panic!("no server is stopped"),
        }
    }
}
