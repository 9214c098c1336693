//! The consumer of our own subcommands: it reads every event once and in order, whatever interrupts its stream, and says what
//! cannot pass.

use std::time::Duration;

use boxoffice::{
    clock::Clock,
    consumer::{Consumer, Delivery, Ended, Options, SetupError, Start},
    pb::boxoffice::v1::FeedEvent,
};
use tokio::time::timeout;

use crate::harness::{
    DEADLINE, Server, Store, World,
    events::{assert_complete, ids},
    eventually,
    proxy::Proxy,
    seats::{best, cancel, reserve, showtime},
    world::Storage,
};

fn options(address: &str) -> Options {
    let (timeout, silence) = (Duration::from_secs(5), DEADLINE);
    Options { url: format!("http://{address}"), ca_pem: None, timeout, silence }
}

fn consumer(address: &str, start: Start) -> Consumer {
    Consumer::new(&options(address), start, Clock::System).expect("the URL is one")
}

async fn next(consumer: &mut Consumer) -> Delivery {
    timeout(DEADLINE, consumer.next()).await.expect("something comes in time").expect("the stream goes on")
}

async fn next_event(consumer: &mut Consumer) -> FeedEvent {
    loop {
        if let Delivery::Event(event) = next(consumer).await {
            return *event;
        }
    }
}

async fn ended(mut consumer: Consumer) -> Ended {
    timeout(DEADLINE, consumer.next()).await.expect("it ends in time").expect_err("the stream cannot go on")
}

/// Reads until the event with this token, and asks again and again instead of waiting.
async fn until(consumer: &mut Consumer, token: &str) -> Vec<FeedEvent> {
    let mut read: Vec<FeedEvent> = Vec::new();
    eventually("all events come", async || {
        loop {
            match timeout(Duration::from_millis(1), consumer.next()).await {
                Ok(Ok(Delivery::Event(event))) => read.push(*event),
                Ok(Ok(Delivery::Heartbeat(_))) => {}
                Ok(Err(ended)) => panic!("{ended}"),
                Err(_) => return read.last().is_some_and(|last| last.resume_token == token).then_some(()),
            }
        }
    })
    .await;
    read
}

async fn newest(server: &Server) -> String {
    consumer(server.address(), Start::Oldest).ends().await.expect("the feed is read").newest
}

#[tokio::test]
async fn every_event_comes_once_and_in_order_across_a_shutdown_and_a_kill() {
    let storage = Storage::new(Store::Postgres).await;
    let mut server = storage.setup().start().await;
    let proxy = Proxy::to(server.address()).await;
    let mut consumer = consumer(proxy.url(), Start::Oldest);
    let mut read = Vec::new();
    for round in 0..3 {
        let showtime = showtime(&server).await;
        for customer in ["ada", "bob"] {
            let held = reserve(&server, best(&showtime, customer, 2)).await.expect("there are seats");
            cancel(&server, &held).await.expect("the seats are held");
        }
        // What was committed after the first round is delivered by the last process.
        if round == 0 {
            read.extend(until(&mut consumer, &newest(&server).await).await);
        }
        if round == 1 {
            server.kill();
        } else {
            server.stop().await;
        }
        server = storage.setup().start().await;
        proxy.move_to(&format!("x@{}/x", server.address()));
    }
    read.extend(until(&mut consumer, &newest(&server).await).await);
    assert_complete(&read);
    // A showtime has its creation, two holds, and two cancellations of two events.
    let mut all = ids(&read);
    all.sort_unstable();
    all.dedup();
    assert_eq!((read.len(), all.len()), (3 * 7, 3 * 7));
    assert_eq!(consumer.trouble(), None);
}

#[tokio::test]
async fn a_connection_that_is_silent_is_given_up_and_another_one_goes_on() {
    let world = World::start(Store::Sqlite).await;
    let showtime = showtime(&world).await;
    let proxy = Proxy::to(world.address()).await;
    let silence = Duration::from_millis(500);
    let mut consumer =
        Consumer::new(&Options { silence, ..options(proxy.url()) }, Start::Oldest, Clock::System).expect("a URL");
    assert_eq!(next_event(&mut consumer).await.id, format!("{}/1/0", showtime.showtime_id));
    proxy.pause();
    reserve(&world, best(&showtime, "ada", 1)).await.expect("there are seats");
    eventually("the silence is noticed", async || {
        let waited = timeout(Duration::from_millis(25), consumer.next()).await;
        assert!(waited.is_err(), "the proxy holds everything back");
        consumer.trouble().map(|_| ())
    })
    .await;
    proxy.resume();
    assert_eq!(next_event(&mut consumer).await.id, format!("{}/2/0", showtime.showtime_id));
}

#[tokio::test]
async fn what_cannot_pass_ends_the_stream_with_its_reason() {
    let storage = Storage::new(Store::Sqlite).await;
    let server = storage.setup().with("--event-cap", "2").with("--event-retention", "1m").start().await;
    let mut first = consumer(server.address(), Start::Oldest);
    let showtime = showtime(&server).await;
    let token = next_event(&mut first).await.resume_token;
    drop(first);
    for customer in ["ada", "bob", "cem"] {
        reserve(&server, best(&showtime, customer, 1)).await.expect("there are seats");
    }
    eventually("events are deleted", async || {
        let ends = consumer(server.address(), Start::Oldest).ends().await.expect("the feed is read");
        ends.is_compacted.then_some(())
    })
    .await;
    let Ended::Compacted { oldest } = ended(consumer(server.address(), Start::Token(token.clone()))).await else {
        panic!("the next event was deleted");
    };
    // What is kept can be read from the token that came with the refusal.
    next_event(&mut consumer(server.address(), Start::Token(oldest))).await;
    let malformed = ended(consumer(server.address(), Start::Token("a".to_owned()))).await;
    assert_eq!(malformed, Ended::TokenMalformed);
    let other = World::start(Store::Sqlite).await;
    // Another database has another key for tokens too.
    let foreign = ended(consumer(other.address(), Start::Token(token))).await;
    assert!(matches!(foreign, Ended::TokenMalformed | Ended::Unknown { .. }), "{foreign:?}");
}

#[tokio::test]
async fn a_consumer_that_begins_now_gets_what_is_committed_from_then_on() {
    let world = World::with(Store::Sqlite, |setup| setup.with("--watch-heartbeat", "100ms")).await;
    let showtime = showtime(&world).await;
    let mut consumer = consumer(world.address(), Start::Now);
    let first = next(&mut consumer).await;
    assert!(matches!(first, Delivery::Heartbeat(_)), "{first:?}");
    reserve(&world, best(&showtime, "ada", 1)).await.expect("there are seats");
    assert_eq!(next_event(&mut consumer).await.id, format!("{}/2/0", showtime.showtime_id));
}

#[test]
fn a_url_that_is_not_the_services_is_refused() {
    for url in ["", "host:50051", "ftp://host", "http://"] {
        let refused = Consumer::new(&Options { url: url.to_owned(), ..options("") }, Start::Oldest, Clock::System);
        assert!(matches!(refused, Err(SetupError::Url)), "{url}");
    }
}
