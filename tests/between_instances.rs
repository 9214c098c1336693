//! Instances send each other changes of seat maps over Redis. Whatever fails, watchers get every change once, and an instance
//! shows what it has acknowledged.

use boxoffice::pb::boxoffice::v1::{CreateShowtimeRequest, ReserveSeatsRequest, SeatState};
use rustix::process::Signal;
use sea_orm::{ConnectionTrait as _, DbBackend, Statement};
use uuid::Uuid;

use crate::harness::{
    Redis, Server, Store,
    convergence::Convergence,
    eventually, in_hours,
    proxy::Proxy,
    request_id,
    requests::seconds,
    seats::{HALL, confirm, reserve, showtime, showtime_with, these},
    server::Setup,
    watching::{Copy, map, states, watch},
    world::Ground,
};

fn setup(ground: &Ground, redis: &Redis) -> Setup {
    let setup = ground.setup().with("--redis-url", redis.url()).with("--redis-rest", "100ms");
    // A Redis that is stopped for a moment does not count as down.
    setup.with("--sweep", "false").with("--redis-timeout", "1s")
}

/// The number of messages that a server has received from others.
async fn received(server: &Server) -> f64 {
    let metrics = server.metrics().await;
    metrics.sum("boxoffice_feed_messages_total", &["outcome=\"heard\""]).expect("messages are counted")
}

#[tokio::test]
async fn a_change_is_heard_over_redis_though_the_database_is_silent() {
    let (ground, redis) = (Ground::new(Store::Postgres).await, Redis::start().await);
    let proxy = Proxy::start(&ground.database().url()).await;
    let one = setup(&ground, &redis).start().await;
    let other = setup(&ground, &redis).with("--database-url", proxy.url()).start().await;
    let mut all = Convergence::start(vec![&one, &other]).await;
    // By then both instances receive the messages of the other.
    all.change(&[0, 1], 8).await;
    all.converge().await;
    let (copy, watching) = &mut all.watching[1];
    proxy.silence(true);
    for seat in ["F1", "F2", "F3"] {
        let held = reserve(&one, these(&all.showtime, seat, seat)).await.expect("it is free");
        copy.read_until(watching, held.revision).await;
        assert_eq!(copy.states[seat], SeatState::Held);
    }
    proxy.silence(false);
}

/// Two instances change the same showtime in turn, without Redis: an instance that misses a revision of the other reads it
/// before it shows its own change.
#[tokio::test]
async fn an_instance_shows_every_change_that_it_has_acknowledged() {
    let ground = Ground::new(Store::Postgres).await;
    let (one, other) = (ground.setup().start().await, ground.setup().start().await);
    let showtime = showtime(&one).await;
    let shown = async |revision: i64, seat: &str, state: SeatState| {
        let map = map(&mut other.showtimes(), &showtime.showtime_id, 0).await;
        assert!(map.revision >= revision, "{seat}: revision {} was acknowledged, {} is shown", revision, map.revision);
        assert_eq!(states(&map)[seat], state, "{seat} at revision {}", map.revision);
    };
    shown(1, "A1", SeatState::Free).await;
    for (turn, (theirs, ours)) in [("A1", "A3"), ("B1", "B3"), ("C1", "C3"), ("D1", "D4")].into_iter().enumerate() {
        let customer = |who: &str| format!("{who} {turn}");
        let request = ReserveSeatsRequest { request_id: request_id(), ..these(&showtime, &customer("theirs"), theirs) };
        let first = reserve(&one, request.clone()).await.expect("the seat is free");
        let held = reserve(&other, these(&showtime, &customer("ours"), ours)).await.expect("the seat is free");
        shown(held.revision, ours, SeatState::Held).await;
        // A repeated request is acknowledged as well, though nothing is written for it.
        let second = these(&showtime, &customer("second"), &format!("D{}", turn + 5));
        let second = ReserveSeatsRequest { request_id: request_id(), ..second };
        let made = reserve(&one, second.clone()).await.expect("the seat is free");
        assert_eq!(reserve(&other, second.clone()).await.expect("a retry is harmless").revision, made.revision);
        shown(made.revision, &format!("D{}", turn + 5), SeatState::Held).await;
        // And so is a confirmation of what the other instance has sold.
        let sold = confirm(&one, &first).await.expect("it is held");
        assert_eq!(confirm(&other, &first).await.expect("it is sold").revision, sold.revision);
        shown(sold.revision, theirs, SeatState::Sold).await;
    }
}

#[tokio::test]
async fn a_watch_begins_with_what_its_instance_has_acknowledged() {
    let ground = Ground::new(Store::Postgres).await;
    let (one, other) = (ground.setup().start().await, ground.setup().start().await);
    let showtime = showtime(&one).await;
    map(&mut other.showtimes(), &showtime.showtime_id, 0).await;
    reserve(&one, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let held = reserve(&other, these(&showtime, "bob", "B1")).await.expect("the seat is free");
    let mut watching = watch(&other.showtimes(), &showtime.showtime_id, 0, "").await.expect("the showtime exists");
    let copy = Copy::begin(&mut watching).await;
    assert_eq!((copy.revision, copy.states["B1"]), (held.revision, SeatState::Held));
}

#[tokio::test]
async fn malformed_messages_over_redis_do_no_harm() {
    let (ground, redis) = (Ground::new(Store::Postgres).await, Redis::start().await);
    let servers = [setup(&ground, &redis).start().await, setup(&ground, &redis).start().await];
    let mut all = Convergence::start(servers.iter().collect()).await;
    all.change(&[0, 1], 8).await;
    all.converge().await;
    let (at, epoch) = (all.watching[0].0.revision, all.watching[0].0.epoch.clone());
    let id = Uuid::try_parse(&all.showtime.showtime_id).expect("an id");
    // A message that this seat was sold.
    let message = |epoch: &str, before: i64, seat: u16| {
        let head = [&[1][..], &[7; 16], &[epoch.len() as u8], epoch.as_bytes(), id.as_bytes()].concat();
        let step = [before.to_be_bytes(), (before + 1).to_be_bytes(), 0_i64.to_be_bytes()].concat();
        [head, step, vec![0, 1], seat.to_be_bytes().to_vec(), vec![2]].concat()
    };
    let mut wrong = vec![
        Vec::new(),
        b"nonsense".to_vec(),
        [&[9], &message(&epoch, at, 0)[1..]].concat(),
        message(&epoch, at, 0)[..60].to_vec(),
        message("another", at, 0),
        message(&epoch, at, 9_999),
        message(&epoch, at - 1, 0),
        message(&epoch, i64::MAX - 1, 0),
    ];
    wrong.extend((1_000..1_100).map(|later| message(&epoch, at + later, 0)));
    for bytes in wrong {
        let escaped = bytes.iter().map(|byte| format!("\\{byte:03}")).collect::<Vec<_>>().concat();
        let publish = format!("return redis.call('PUBLISH', 'boxoffice:seat_maps', '{escaped}')");
        assert_eq!(redis.ask(&["EVAL", &publish, "0"]).trim(), "2", "both instances listen");
    }
    all.change(&[0, 1], 24).await;
    all.converge().await;
}

#[tokio::test]
async fn nothing_is_missed_or_repeated_while_redis_is_killed_and_back() {
    let (ground, mut redis) = (Ground::new(Store::Postgres).await, Redis::start().await);
    let servers = [setup(&ground, &redis).start().await, setup(&ground, &redis).start().await];
    let mut all = Convergence::start(servers.iter().collect()).await;
    all.change_in_turn(&[0, 1], 12).await;
    all.change(&[0, 1], 24).await;
    redis.kill();
    all.change(&[0, 1], 24).await;
    all.converge().await;
    let before = (received(&servers[0]).await, received(&servers[1]).await);
    redis.restart().await;
    // Both instances publish and listen again.
    for (server, before) in [(&servers[0], before.0), (&servers[1], before.1)] {
        eventually("messages arrive again", async || (received(server).await > before).then_some(())).await;
    }
    all.change(&[0, 1], 24).await;
    all.converge().await;
    assert!(all.compared() > 5, "maps and watchers were compared at {} revisions", all.compared());
}

#[tokio::test]
async fn nothing_is_missed_or_repeated_while_redis_is_a_black_hole() {
    let (ground, redis) = (Ground::new(Store::Postgres).await, Redis::start().await);
    let servers = [setup(&ground, &redis).start().await, setup(&ground, &redis).start().await];
    let mut all = Convergence::start(servers.iter().collect()).await;
    all.change(&[0, 1], 24).await;
    redis.pause();
    all.change(&[0, 1], 24).await;
    all.converge().await;
    redis.resume();
    all.change(&[0, 1], 24).await;
    all.converge().await;
}

#[tokio::test]
async fn an_instance_that_stood_still_catches_up() {
    let (ground, redis) = (Ground::new(Store::Postgres).await, Redis::start().await);
    for setup in [ground.setup().with("--sweep", "false"), setup(&ground, &redis)] {
        let servers = [setup.clone().start().await, setup.start().await];
        let mut all = Convergence::start(servers.iter().collect()).await;
        all.change(&[0, 1], 16).await;
        servers[1].signal(Signal::STOP);
        all.change(&[0], 48).await;
        servers[1].signal(Signal::CONT);
        all.converge().await;
        all.change(&[0, 1], 16).await;
        all.converge().await;
    }
}

#[tokio::test]
async fn an_instance_whose_database_was_silent_catches_up() {
    let ground = Ground::new(Store::Postgres).await;
    let proxy = Proxy::start(&ground.database().url()).await;
    let one = ground.setup().start().await;
    let other = ground.setup().with("--database-url", proxy.url()).start().await;
    let mut all = Convergence::start(vec![&one, &other]).await;
    all.change(&[0, 1], 16).await;
    all.converge().await;
    proxy.silence(true);
    for _ in 0..2 {
        all.change(&[0], 32).await;
    }
    proxy.silence(false);
    all.converge().await;
}

/// The time of the next lapse in the database may be too early. An instance that has followed the other's changes knows that
/// nothing lapses, and still corrects it: a sweep would find the showtime again and again.
#[tokio::test]
async fn a_sweep_corrects_the_lapse_time_that_another_instance_has_left() {
    let ground = Ground::new(Store::Postgres).await;
    let sweeping = ground.setup().with("--sweep-interval", "100ms").start().await;
    let other = ground.setup().with("--sweep", "false").start().await;
    let brief = |request| CreateShowtimeRequest { hold_duration: Some(seconds(1)), ..request };
    let showtime = showtime_with(&sweeping, &HALL, in_hours(0), brief).await;
    let database = ground.connect().await;
    for (server, seat) in [(&sweeping, "A1"), (&other, "A2")] {
        let held = reserve(server, these(&showtime, seat, seat)).await.expect("it is free");
        confirm(server, &held).await.expect("it is held");
        let query = "SELECT 1 FROM standings WHERE next_lapse IS NOT NULL";
        eventually("no showtime has a time of the next lapse", async || {
            database
                .query_one_raw(Statement::from_string(DbBackend::Postgres, query))
                .await
                .expect("rows")
                .is_none()
                .then_some(())
        })
        .await;
    }
}
