//! Many watchers, and watchers that do not read their messages.

use std::time::Duration;

use boxoffice::pb::boxoffice::v1::{showtimes_client::ShowtimesClient, watch_seat_map_response::Event};
use futures_util::future::join_all;
use tonic::transport::Endpoint;

use crate::harness::{
    Store, World, in_hours,
    proxy::Proxy,
    seats::{best, cancel, reserve, showtime, showtime_with},
    watching::{Copy, next, watch},
    within,
};

const MANY: usize = 1_000;
/// The growth of the memory, in MiB, that is allowed while 200 watchers do not read.
const MAX_GROWTH: u64 = 32;

#[tokio::test]
async fn a_drain_tells_a_thousand_watchers_where_to_resume() {
    let world = World::start(Store::Sqlite).await;
    let showtime = showtime(&world).await;
    let mut watchers = Vec::new();
    for _ in 0..MANY / 100 {
        let client = ShowtimesClient::new(world.connect().await.expect("the server listens"));
        let starts = (0..100).map(async |_| {
            let mut watching = watch(&client, &showtime.showtime_id, 0, "").await.expect("the limit is not reached");
            let copy = Copy::begin(&mut watching).await;
            (watching, copy)
        });
        watchers.extend(join_all(starts).await);
    }
    let ends = watchers.into_iter().map(async |(mut watching, copy)| {
        let Some(Event::Draining(draining)) = next(&mut watching).await else {
            panic!("the stream ends with a draining message")
        };
        assert_eq!((draining.revision, draining.epoch), (copy.revision, copy.epoch));
        assert!(next(&mut watching).await.is_none(), "a draining message is the last one");
    });
    let ((), ends) = tokio::join!(world.stop(), join_all(ends));
    assert_eq!(ends.len(), MANY);
    let exceeded = world.console().lines().into_iter().find(|line| line.contains("did not end in time"));
    assert_eq!(exceeded, None, "the drain took longer than --drain-timeout");
}

#[tokio::test]
async fn a_drain_waits_for_watchers_that_read_slowly() {
    let world = World::start(Store::Sqlite).await;
    let (showtime, client) = (showtime(&world).await, world.showtimes());
    // The window is so small that messages which this watcher does not read stay at the server.
    let small_window = Endpoint::from_shared(format!("http://{}", world.address())).expect("an address");
    let small_window = small_window.initial_stream_window_size(64).connect().await.expect("the server listens");
    let mut slow = watch(&ShowtimesClient::new(small_window), &showtime.showtime_id, 0, "")
        .await
        .expect("the limit is not reached");
    let mut fast = watch(&client, &showtime.showtime_id, 0, "").await.expect("the limit is not reached");
    let (mut copy, mut other) = (Copy::begin(&mut slow).await, Copy::begin(&mut fast).await);
    for customer in ["ada", "bob", "eve", "joe"] {
        let held = reserve(&world, best(&showtime, customer, 2)).await.expect("the limit is not reached");
        other.read_until(&mut fast, held.revision).await;
    }
    let reads = async {
        while next(&mut fast).await.is_some() {}
        let draining = loop {
            match next(&mut slow).await.expect("the stream ends with a draining message") {
                Event::Draining(draining) => break draining,
                event => copy.apply(&event),
            }
        };
        // A change that was not sent before the drain is not sent any more.
        assert_eq!((draining.revision, draining.epoch), (copy.revision, copy.epoch));
        assert!(next(&mut slow).await.is_none(), "a draining message is the last one");
    };
    tokio::join!(world.stop(), reads);
}

#[tokio::test]
async fn a_watcher_whose_connection_is_dead_is_noticed() {
    // A connection without traffic for 30 s is probed for 10 s.
    const DETECTED_WITHIN: Duration = Duration::from_secs(90);
    let world = World::with(Store::Sqlite, |setup| setup.with("--max-watchers", "1")).await;
    let (showtime, proxy) = (showtime(&world).await, Proxy::to(world.address()).await);
    let by_proxy = Endpoint::from_shared(format!("http://{}", proxy.url())).expect("an address");
    let by_proxy = ShowtimesClient::new(by_proxy.connect().await.expect("the server listens"));
    let mut watching = watch(&by_proxy, &showtime.showtime_id, 0, "").await.expect("the limit is not reached");
    Copy::begin(&mut watching).await;
    proxy.pause();
    let client = world.showtimes();
    within(DETECTED_WITHIN, "a watch is accepted again", async || {
        watch(&client, &showtime.showtime_id, 0, "").await.ok()
    })
    .await;
}

#[tokio::test]
async fn watchers_that_do_not_read_take_little_memory_and_catch_up() {
    let world = World::start(Store::Sqlite).await;
    let rows = [("A", "ssssssssssssssssssssssssssssssssssssssss"); 1];
    let showtime = showtime_with(&world, &rows, in_hours(0), |request| request).await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        let client = ShowtimesClient::new(world.connect().await.expect("the server listens"));
        for _ in 0..50 {
            let mut watching = watch(&client, &showtime.showtime_id, 0, "").await.expect("the limit is not reached");
            slow.push((Copy::begin(&mut watching).await, watching));
        }
    }
    let before = world.peak_memory();
    let callers = (0..32).map(async |caller: usize| {
        let mut last = 0;
        for _ in 0..100 {
            let held = reserve(&world, best(&showtime, &format!("caller {caller}"), 1))
                .await
                .expect("the limit is not reached");
            last = cancel(&world, &held).await.expect("the seats are held").revision;
        }
        last
    });
    let last = join_all(callers).await.into_iter().max().expect("there are callers");
    let after = world.peak_memory();
    assert!(after < before + MAX_GROWTH, "{before} MiB became {after} MiB");
    for (copy, watching) in &mut slow {
        copy.catch_up(watching, last).await;
        assert_eq!(copy.revision, last);
    }
}
