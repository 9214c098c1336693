//! The tests of deliveries are tested themselves: each finds the bug that is planted for it, and nothing without one.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use boxoffice::pb::boxoffice::v1::{EventSinkState, SubscribeEventsRequest, subscribe_events_response::Message};
use futures_util::future::join_all;
use sea_orm::ConnectionTrait as _;
use tokio::time::timeout;

use crate::harness::{
    Server, Store,
    brokers::{Broker, consumed},
    events::{after, change, delivered, feed, in_state, insert_row, subscribe, until},
    rabbitmq::RabbitMq,
    seats::{best, cancel, reserve, showtime, these},
    server::Setup,
    world::Storage,
};

/// Fails unless the scenario goes wrong with the bug, and well without it.
async fn assert_found<F: Future<Output = bool>>(bug: &str, store: Store, goes_wrong: impl Fn(Setup, bool) -> F) {
    let storage = Storage::new(store).await;
    assert!(Box::pin(goes_wrong(storage.setup().with_bug(bug), true)).await, "the bug {bug} is not found");
    let storage = Storage::new(store).await;
    assert!(!Box::pin(goes_wrong(storage.setup(), false)).await, "a bug is found where there is none");
}

#[tokio::test]
async fn a_pass_that_looks_only_for_later_transactions_is_found() {
    let storage = Storage::new(Store::Postgres).await;
    for (bug, missing) in [(Some("later-transactions-only"), 1_u64), (None, 0)] {
        let setup = bug.map_or(storage.setup(), |bug| storage.setup().with_bug(bug));
        let server = setup.start().await;
        let mut events = subscribe(&server, SubscribeEventsRequest::default()).await.expect("the feed is read");
        let first = showtime(&server).await;
        let aggregate = u128::from(missing) + 1;
        let early = storage.transaction(&insert_row(aggregate)).await;
        let held = reserve(&server, these(&first, "ada", "A1")).await.expect("the seat is free");
        until(&mut events, &first.showtime_id, held.revision, "ReservationCreated").await;
        early.execute_unprepared("COMMIT").await.expect("the transaction commits");
        let cancelled = cancel(&server, &held).await.expect("the seat is held");
        until(&mut events, &first.showtime_id, cancelled.revision, "SeatsReleased").await;
        let without = format!(
            "SELECT 1 FROM outbox o WHERE aggregate = '{aggregate:032x}' AND NOT EXISTS \
             (SELECT 1 FROM feed f WHERE f.aggregate = o.aggregate AND f.seq = o.seq)"
        );
        let found = storage.sql(&without).await.expect("the rows are read").rows_affected();
        assert_eq!(found, missing, "rows without a position, {bug:?}");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_head_that_is_moved_without_its_lock_is_found() {
    Box::pin(assert_found("head-without-lock", Store::Postgres, async |setup, _| {
        let servers = [setup.clone().start().await, setup.clone().start().await, setup.start().await];
        let showtimes = join_all((0..4).map(async |at: usize| showtime(&servers[at % 3]).await)).await;
        let mut streams = Vec::new();
        for server in &servers {
            streams.push(subscribe(server, SubscribeEventsRequest::default()).await.expect("the feed is read"));
        }
        join_all((0..24).map(async |caller: usize| {
            for round in 0..8 {
                let request = best(&showtimes[caller % 4], &format!("caller {caller}-{round}"), 1);
                let Ok(held) = reserve(&servers[caller % 3], request).await else { continue };
                cancel(&servers[(caller + 1) % 3], &held).await.expect("the seats are held");
            }
        }))
        .await;
        // Positions that two instances have given at once are refused by the database.
        let mut failed = 0.0;
        for server in &servers {
            let metrics = server.metrics().await;
            let labels = ["name=\"give_positions\"", "outcome=\"failed\""];
            failed += metrics.sum("boxoffice_transaction_duration_seconds_count", &labels).unwrap_or_default();
        }
        failed > 0.0
    }))
    .await;
}

#[tokio::test]
async fn a_heartbeat_that_is_ahead_of_an_event_is_found() {
    Box::pin(assert_found("heartbeat-ahead", Store::Sqlite, async |setup, has_bug| {
        let server = setup.with("--watch-heartbeat", "100ms").start().await;
        let seldom = showtime(&server).await;
        let others = join_all((0..4).map(async |_: usize| showtime(&server).await)).await;
        let missed = AtomicBool::new(false);
        let subscribers = (0..40).map(async |_| resumes_at_heartbeats(&server, &seldom.showtime_id, &missed).await);
        let changes = async {
            // Until a subscriber has missed something, or for as many changes as show it with the bug.
            let rounds = if has_bug { 2_000 } else { 200 };
            join_all(others.iter().enumerate().map(async |(at, showtime)| {
                for round in 0..rounds {
                    if missed.load(Ordering::Relaxed) {
                        return;
                    }
                    change(&server, showtime, "ada").await;
                    if round % 20 == at * 5 {
                        change(&server, &seldom, &format!("bob {at}")).await;
                    }
                }
            }))
            .await;
            server.stop().await;
        };
        tokio::join!(join_all(subscribers), changes);
        missed.into_inner()
    }))
    .await;
}

/// Reads a showtime's events until the server ends, and begins anew with the token of each heartbeat.
async fn resumes_at_heartbeats(server: &Server, showtime: &str, missed: &AtomicBool) {
    let request = |from| SubscribeEventsRequest { showtime_ids: vec![showtime.to_owned()], ..from };
    let mut last = 0;
    let first = subscribe(server, request(SubscribeEventsRequest::default())).await;
    let mut events = first.expect("the feed is read");
    while let Ok(Ok(Some(message))) = timeout(Duration::from_secs(20), events.message()).await {
        match message.message.expect("the message is something") {
            Message::Event(event) => {
                let revision = event.data.expect("an event has data").revision;
                if revision > last + 1 {
                    missed.store(true, Ordering::Relaxed);
                    return;
                }
                last = last.max(revision);
            }
            Message::Heartbeat(heartbeat) => match subscribe(server, request(after(&heartbeat.resume_token))).await {
                Ok(resumed) => events = resumed,
                Err(_) => return,
            },
            Message::Draining(_) => return,
        }
    }
}

#[tokio::test]
async fn a_position_that_is_advanced_before_the_confirmation_is_found() {
    Box::pin(assert_found("position-before-confirmation", Store::Sqlite, async |setup, _| {
        let mut broker = Broker::nats().await;
        let server = setup.with("--sink", broker.url()).start().await;
        let showtime = showtime(&server).await;
        delivered(&server).await;
        broker.kill();
        change(&server, &showtime, "ada").await;
        in_state(&server, EventSinkState::Paused).await;
        broker.restart().await;
        change(&server, &showtime, "bob").await;
        delivered(&server).await;
        let wanted = feed(&server, 7).await.len();
        consumed(&broker.messages().await).len() != wanted
    }))
    .await;
}

#[tokio::test]
async fn two_unconfirmed_events_of_a_showtime_are_found() {
    Box::pin(assert_found("several-unconfirmed", Store::Sqlite, async |setup, _| {
        let rabbitmq = RabbitMq::start("").await;
        rabbitmq.bind("boxoffice.v1.ShowtimeCreated").await;
        rabbitmq.bind("boxoffice.v1.ReservationCancelled").await;
        let server = setup.clone().start().await;
        let showtime = showtime(&server).await;
        change(&server, &showtime, "ada").await;
        server.stop().await;
        // All of them wait when the sink is new, so that they are sent together.
        let server = setup.with("--sink", rabbitmq.url()).start().await;
        in_state(&server, EventSinkState::Paused).await;
        rabbitmq.bind("boxoffice.#").await;
        delivered(&server).await;
        let wanted = feed(&server, 4).await.len();
        consumed(&Broker::RabbitMq(rabbitmq).messages().await).len() != wanted
    }))
    .await;
}
