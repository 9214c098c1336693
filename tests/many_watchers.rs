//! Many watchers, and watchers that do not read what they are sent.

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
/// MiB of memory that may be used in addition while 200 watchers do not read.
const MAX_GROWTH: u64 = 32;

#[tokio::test]
async fn a_thousand_watchers_are_told_where_to_go_on_when_the_server_ends() {
    let world = World::start(Store::Sqlite).await;
    let showtime = showtime(&world).await;
    let mut watchers = Vec::new();
    for _ in 0..MANY / 100 {
        let client = ShowtimesClient::new(world.connect().await.expect("it listens"));
        let begin = (0..100).map(async |_| {
            let mut watching = watch(&client, &showtime.showtime_id, 0, "").await.expect("there is room");
            let copy = Copy::begin(&mut watching).await;
            (watching, copy)
        });
        watchers.extend(join_all(begin).await);
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
    let cut_short = world.console().lines().into_iter().find(|line| line.contains("did not end in time"));
    assert_eq!(cut_short, None, "a drain that takes longer than --drain-timeout is logged");
}

#[tokio::test]
async fn at_the_end_those_who_read_slowly_are_waited_for() {
    // Longer than the watchers that read need for their last message.
    const SLOW: Duration = Duration::from_millis(700);
    let world = World::start(Store::Sqlite).await;
    let (showtime, near) = (showtime(&world).await, world.showtimes());
    // The window is small, so what this watcher does not read stays at the server.
    let narrow = Endpoint::from_shared(format!("http://{}", world.address())).expect("an address");
    let narrow = narrow.initial_stream_window_size(64).connect().await.expect("it listens");
    let mut slow = watch(&ShowtimesClient::new(narrow), &showtime.showtime_id, 0, "").await.expect("there is room");
    let mut quick = watch(&near, &showtime.showtime_id, 0, "").await.expect("there is room");
    let (mut copy, mut other) = (Copy::begin(&mut slow).await, Copy::begin(&mut quick).await);
    for customer in ["ada", "bob", "eve", "joe"] {
        let held = reserve(&world, best(&showtime, customer, 2)).await.expect("there is room");
        other.read_until(&mut quick, held.revision).await;
    }
    drop(quick);
    let reads = async {
        tokio::time::sleep(SLOW).await;
        let draining = loop {
            match next(&mut slow).await.expect("the stream ends with a draining message") {
                Event::Draining(draining) => break draining,
                event => copy.apply(&event),
            }
        };
        // Changes that were not on their way by then are not sent any more.
        assert_eq!((draining.revision, draining.epoch), (copy.revision, copy.epoch));
        assert!(next(&mut slow).await.is_none(), "a draining message is the last one");
    };
    tokio::join!(world.stop(), reads);
}

#[tokio::test]
async fn one_who_vanished_without_a_word_is_noticed() {
    // A connection that is silent for 30 s is probed for 10 s.
    const NOTICED: Duration = Duration::from_secs(90);
    let world = World::with(Store::Sqlite, |setup| setup.with("--max-watchers", "1")).await;
    let (showtime, proxy) = (showtime(&world).await, Proxy::to(world.address()).await);
    let far = Endpoint::from_shared(format!("http://{}", proxy.url())).expect("an address");
    let far = ShowtimesClient::new(far.connect().await.expect("it listens"));
    let mut watching = watch(&far, &showtime.showtime_id, 0, "").await.expect("there is room");
    Copy::begin(&mut watching).await;
    proxy.silence(true);
    let near = world.showtimes();
    within(NOTICED, "there is room again", async || watch(&near, &showtime.showtime_id, 0, "").await.ok()).await;
}

#[tokio::test]
async fn those_who_do_not_read_cost_little_memory_and_catch_up() {
    let world = World::start(Store::Sqlite).await;
    let rows = [("A", "ssssssssssssssssssssssssssssssssssssssss"); 1];
    let showtime = showtime_with(&world, &rows, in_hours(0), |request| request).await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        let client = ShowtimesClient::new(world.connect().await.expect("it listens"));
        for _ in 0..50 {
            let mut watching = watch(&client, &showtime.showtime_id, 0, "").await.expect("there is room");
            slow.push((Copy::begin(&mut watching).await, watching));
        }
    }
    let before = world.peak_memory();
    let callers = (0..32).map(async |caller: usize| {
        let mut last = 0;
        for _ in 0..100 {
            let held = reserve(&world, best(&showtime, &format!("caller {caller}"), 1)).await.expect("there is room");
            last = cancel(&world, &held).await.expect("the seats are held").revision;
        }
        last
    });
    let last = join_all(callers).await.into_iter().max().expect("there are some");
    let after = world.peak_memory();
    assert!(after < before + MAX_GROWTH, "{before} MiB became {after} MiB");
    for (copy, watching) in &mut slow {
        copy.catch_up(watching, last).await;
        assert_eq!(copy.revision, last);
    }
}
