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
    world::Storage,
};

fn setup(storage: &Storage, redis: &Redis) -> Setup {
    let setup = storage.setup().with("--redis-url", redis.url()).with("--redis-rest", "100ms");
    // A Redis that is stopped for a moment does not count as down.
    setup.with("--sweep", "false").with("--redis-timeout", "1s")
}

/// Returns how many messages the server has received from other instances.
async fn received(server: &Server) -> f64 {
    let metrics = server.metrics().await;
    metrics.sum("boxoffice_feed_messages_total", &["outcome=\"heard\""]).expect("messages are counted")
}

#[tokio::test]
async fn a_change_arrives_over_redis_while_the_database_does_not_answer() {
    let (storage, redis) = (Storage::new(Store::Postgres).await, Redis::start().await);
    let proxy = Proxy::start(&storage.database().url()).await;
    let one = setup(&storage, &redis).start().await;
    let other = setup(&storage, &redis).with("--database-url", proxy.url()).start().await;
    let mut all = Convergence::start(vec![&one, &other]).await;
    // After this, each instance receives the messages of the other.
    all.change(&[0, 1], 8).await;
    all.converge().await;
    let (copy, watching) = &mut all.watching[1];
    proxy.pause();
    for seat in ["F1", "F2", "F3"] {
        let held = reserve(&one, these(&all.showtime, seat, seat)).await.expect("the seat is free");
        copy.read_until(watching, held.revision).await;
        assert_eq!(copy.states[seat], SeatState::Held);
    }
    proxy.resume();
}

/// Two instances change the same showtime in turn, without Redis: an instance that misses a revision of the other reads it
/// before it shows its own change.
#[tokio::test]
async fn an_instance_shows_every_change_that_it_has_acknowledged() {
    let storage = Storage::new(Store::Postgres).await;
    let (one, other) = (storage.setup().start().await, storage.setup().start().await);
    let showtime = showtime(&one).await;
    let assert_shown = async |revision: i64, seat: &str, state: SeatState| {
        let map = map(&mut other.showtimes(), &showtime.showtime_id, 0).await;
        assert!(map.revision >= revision, "{seat}: revision {} was acknowledged, {} is shown", revision, map.revision);
        assert_eq!(states(&map)[seat], state, "{seat} at revision {}", map.revision);
    };
    assert_shown(1, "A1", SeatState::Free).await;
    for (turn, (first_seat, second_seat)) in
        [("A1", "A3"), ("B1", "B3"), ("C1", "C3"), ("D1", "D4")].into_iter().enumerate()
    {
        let customer = |name: &str| format!("{name} {turn}");
        let request =
            ReserveSeatsRequest { request_id: request_id(), ..these(&showtime, &customer("first"), first_seat) };
        let first = reserve(&one, request.clone()).await.expect("the seat is free");
        let held = reserve(&other, these(&showtime, &customer("second"), second_seat)).await.expect("the seat is free");
        assert_shown(held.revision, second_seat, SeatState::Held).await;
        // The answer to a repeated request acknowledges the change too, although nothing is written for it.
        let repeated = these(&showtime, &customer("third"), &format!("D{}", turn + 5));
        let repeated = ReserveSeatsRequest { request_id: request_id(), ..repeated };
        let made = reserve(&one, repeated.clone()).await.expect("the seat is free");
        assert_eq!(
            reserve(&other, repeated.clone()).await.expect("a repeated request is answered").revision,
            made.revision
        );
        assert_shown(made.revision, &format!("D{}", turn + 5), SeatState::Held).await;
        // So does the answer to a confirmation of a reservation that the other instance has sold.
        let sold = confirm(&one, &first).await.expect("the reservation is held");
        assert_eq!(confirm(&other, &first).await.expect("it is sold").revision, sold.revision);
        assert_shown(sold.revision, first_seat, SeatState::Sold).await;
    }
}

#[tokio::test]
async fn a_watch_begins_with_what_its_instance_has_acknowledged() {
    let storage = Storage::new(Store::Postgres).await;
    let (one, other) = (storage.setup().start().await, storage.setup().start().await);
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
    let (storage, redis) = (Storage::new(Store::Postgres).await, Redis::start().await);
    let servers = [setup(&storage, &redis).start().await, setup(&storage, &redis).start().await];
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
    let mut malformed = vec![
        Vec::new(),
        b"nonsense".to_vec(),
        [&[9], &message(&epoch, at, 0)[1..]].concat(),
        message(&epoch, at, 0)[..60].to_vec(),
        message("another", at, 0),
        message(&epoch, at, 9_999),
        message(&epoch, at - 1, 0),
        message(&epoch, i64::MAX - 1, 0),
    ];
    malformed.extend((1_000..1_100).map(|later| message(&epoch, at + later, 0)));
    for bytes in malformed {
        let escaped = bytes.iter().map(|byte| format!("\\{byte:03}")).collect::<Vec<_>>().concat();
        let publish = format!("return redis.call('PUBLISH', 'boxoffice:seat_maps', '{escaped}')");
        assert_eq!(redis.run(&["EVAL", &publish, "0"]).trim(), "2", "both instances listen");
    }
    all.change(&[0, 1], 24).await;
    all.converge().await;
}

#[tokio::test]
async fn nothing_is_missed_or_repeated_while_redis_is_killed_and_restarted() {
    let (storage, mut redis) = (Storage::new(Store::Postgres).await, Redis::start().await);
    let servers = [setup(&storage, &redis).start().await, setup(&storage, &redis).start().await];
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
async fn nothing_is_missed_or_repeated_while_redis_does_not_answer() {
    let (storage, redis) = (Storage::new(Store::Postgres).await, Redis::start().await);
    let servers = [setup(&storage, &redis).start().await, setup(&storage, &redis).start().await];
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
async fn an_instance_that_was_stopped_catches_up() {
    let (storage, redis) = (Storage::new(Store::Postgres).await, Redis::start().await);
    for setup in [storage.setup().with("--sweep", "false"), setup(&storage, &redis)] {
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
async fn an_instance_whose_database_did_not_answer_catches_up() {
    let storage = Storage::new(Store::Postgres).await;
    let proxy = Proxy::start(&storage.database().url()).await;
    let one = storage.setup().start().await;
    let other = storage.setup().with("--database-url", proxy.url()).start().await;
    let mut all = Convergence::start(vec![&one, &other]).await;
    all.change(&[0, 1], 16).await;
    all.converge().await;
    proxy.pause();
    for _ in 0..2 {
        all.change(&[0], 32).await;
    }
    proxy.resume();
    all.converge().await;
}

/// The time of the next lapse in the database may be too early. The sweep corrects it, even on an instance whose own state says
/// that nothing lapses. Otherwise every sweep would find the showtime again.
#[tokio::test]
async fn a_sweep_corrects_the_lapse_time_that_another_instance_has_left() {
    let storage = Storage::new(Store::Postgres).await;
    let sweeping = storage.setup().with("--sweep-interval", "100ms").start().await;
    let other = storage.setup().with("--sweep", "false").start().await;
    let brief = |request| CreateShowtimeRequest { hold_duration: Some(seconds(1)), ..request };
    let showtime = showtime_with(&sweeping, &HALL, in_hours(0), brief).await;
    let database = storage.connect().await;
    for (server, seat) in [(&sweeping, "A1"), (&other, "A2")] {
        let held = reserve(server, these(&showtime, seat, seat)).await.expect("the seat is free");
        confirm(server, &held).await.expect("the reservation is held");
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
