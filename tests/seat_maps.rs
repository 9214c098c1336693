//! Seat maps show the current state of the seats, and watchers get every change in order.

use boxoffice::pb::boxoffice::v1::{
    CancelShowtimeRequest, CreateShowtimeRequest, GetSeatMapRequest, SeatState, showtimes_client::ShowtimesClient,
    watch_seat_map_response::Event,
};
use futures_util::future::join_all;
use tonic::Code;

use crate::harness::{
    Store, World, assert_not_found, assert_refused, assert_violates,
    convergence::Convergence,
    eventually, in_hours, request_id,
    requests::seconds,
    seats::{HALL, cancel, confirm, instant, name, reserve, showtime, showtime_with, these},
    watching::{Copy, map, next, states, watch, watch_under_load},
};

on_both_stores!(
    with |setup| setup.with("--sweep", "false").with("--watch-heartbeat", "200ms").with("--max-watchers", "4")
        .with("--max-caller-watchers", "3");
    a_map_shows_what_is_held_and_sold,
    a_lapsed_hold_shows_as_free_without_a_sweep,
    a_lapsed_hold_shows_as_free_without_a_watcher,
    concurrent_requests_for_a_map_share_one_read,
    a_map_of_an_unknown_showtime_is_refused_by_name,
    a_watcher_sees_every_change_and_arrives_at_the_map,
    at_every_revision_a_watcher_sees_what_the_map_shows,
    a_watcher_resumes_where_it_stopped,
    a_cancelled_showtime_ends_its_watchers_by_name,
    the_number_of_watchers_is_limited,
    a_quiet_showtime_sends_heartbeats,
    draining_tells_every_watcher_where_to_resume,
);

/// The heartbeat interval is longer than a test waits for anything. So the heartbeat in this test is not a periodic one.
async fn resumes_without_a_change(store: Store) {
    let world = World::with(store, |setup| setup.with("--watch-heartbeat", "60s")).await;
    let showtime = showtime(&world).await;
    let (client, id) = (world.showtimes(), &showtime.showtime_id);
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let mut first = watch(&client, id, 0, "").await.expect("the showtime exists");
    let copy = Copy::begin(&mut first).await;
    drop(first);
    let mut second = watch(&client, id, copy.revision, &copy.epoch).await.expect("the showtime exists");
    let Some(Event::Heartbeat(heartbeat)) = next(&mut second).await else { panic!("there was no change") };
    assert_eq!((heartbeat.revision, heartbeat.stale_since_time), (held.revision, None));
    assert!(instant(heartbeat.as_of_time) >= copy.at);
}

#[tokio::test]
async fn a_watcher_that_resumes_without_a_change_gets_a_heartbeat_at_once() {
    resumes_without_a_change(Store::Sqlite).await;
    resumes_without_a_change(Store::Postgres).await;
}

async fn a_map_shows_what_is_held_and_sold(world: World) {
    let showtime = showtime(&world).await;
    let (mut client, id) = (world.showtimes(), &showtime.showtime_id);
    let empty = map(&mut client, id, 0).await;
    assert_eq!((empty.revision, empty.states.len()), (1, 34), "{empty:?}");
    assert!(states(&empty).values().all(|state| *state == SeatState::Free));
    let held = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
    let sold = reserve(&world, these(&showtime, "bob", "D8")).await.expect("the seat is free");
    confirm(&world, &sold).await.expect("the seats are held");
    let cancelled = reserve(&world, these(&showtime, "eve", "B1")).await.expect("the seat is free");
    let cancelled = cancel(&world, &cancelled).await.expect("the seats are held");
    let full = map(&mut client, id, cancelled.revision).await;
    assert_eq!((full.revision, full.epoch), (cancelled.revision, empty.epoch));
    for seat in &full.seats {
        let (expected, until) = match name(seat.seat.as_ref().expect("a seat has a name")).as_str() {
            "A1" | "A2" => (SeatState::Held, held.expire_time),
            "D8" => (SeatState::Sold, None),
            _ => (SeatState::Free, None),
        };
        assert_eq!((seat.state(), seat.held_until), (expected, until), "{seat:?}");
    }
    let expected: Vec<_> = full.seats.iter().map(|seat| u8::try_from(seat.state).expect("a small number")).collect();
    let request = GetSeatMapRequest { showtime_id: id.clone(), ..Default::default() };
    let short =
        client.get_seat_map(request).await.expect("the showtime exists").into_inner().seat_map.expect("the map");
    assert_eq!((short.states, short.seats), (expected, Vec::new()));
    assert_eq!(short.layout.expect("the layout").rows[1].places, HALL[1].1);
}

async fn a_lapsed_hold_shows_as_free_without_a_sweep(world: World) {
    let brief = |request| CreateShowtimeRequest { hold_duration: Some(seconds(2)), ..request };
    let showtime = showtime_with(&world, &HALL, in_hours(0), brief).await;
    let mut watch = watch(&world.showtimes(), &showtime.showtime_id, 0, "").await.expect("the showtime exists");
    let mut copy = Copy::begin(&mut watch).await;
    let held = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
    copy.read_until(&mut watch, held.revision).await;
    assert_eq!(copy.states["A1"], SeatState::Held);
    // A lapse raises no revision, and no other change is needed for it to be announced.
    copy.read_while(&mut watch, |copy| copy.states["A1"] == SeatState::Held).await;
    assert_eq!((copy.revision, copy.states["A2"]), (held.revision, SeatState::Free));
    assert!(copy.at >= instant(held.expire_time), "{:?} is before {:?}", copy.at, held.expire_time);
    let map = map(&mut world.showtimes(), &showtime.showtime_id, 0).await;
    assert_eq!((states(&map), map.revision), (copy.states, held.revision));
}

async fn a_lapsed_hold_shows_as_free_without_a_watcher(world: World) {
    let brief = |request| CreateShowtimeRequest { hold_duration: Some(seconds(2)), ..request };
    let showtime = showtime_with(&world, &HALL, in_hours(0), brief).await;
    let held = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
    let (client, id, end) = (world.showtimes(), &showtime.showtime_id, instant(held.expire_time));
    eventually("the seats are free again", async || {
        let map = map(&mut client.clone(), id, held.revision).await;
        let free = states(&map)["A1"] == SeatState::Free;
        assert_eq!(free, instant(map.as_of_time) >= end, "{map:?}");
        free.then_some(())
    })
    .await;
}

async fn concurrent_requests_for_a_map_share_one_read(world: World) {
    let showtime = showtime(&world).await;
    let read = || async { map(&mut world.showtimes(), &showtime.showtime_id, 0).await.revision };
    let shown = join_all((0..64).map(|_| read())).await;
    reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let later = join_all((0..64).map(|_| read())).await;
    assert_eq!((shown, later), (vec![1; 64], vec![2; 64]));
    let reads = world.metrics().await.sum("boxoffice_transaction_duration_seconds_count", &["name=\"get_seat_map\""]);
    assert_eq!(reads, Some(1.0));
}

async fn a_map_of_an_unknown_showtime_is_refused_by_name(world: World) {
    let mut client = world.showtimes();
    let nowhere = request_id();
    let request = GetSeatMapRequest { showtime_id: nowhere.clone(), ..Default::default() };
    let refused = client.get_seat_map(request.clone()).await.expect_err("the showtime does not exist");
    assert_not_found(&refused, "SHOWTIME_NOT_FOUND", &nowhere);
    let refused = watch(&client, &nowhere, 0, "").await.expect_err("the showtime does not exist");
    assert_not_found(&refused, "SHOWTIME_NOT_FOUND", &nowhere);
    let wrong = GetSeatMapRequest { showtime_id: "A1".to_owned(), at_least_revision: -1, include_seats: false };
    let refused = client.get_seat_map(wrong).await.expect_err("the request is invalid");
    assert_violates(&refused, &["at_least_revision", "showtime_id"]);
    let refused = watch(&client, "A1", -1, &"e".repeat(65)).await.expect_err("the request is invalid");
    assert_violates(&refused, &["epoch", "from_revision", "showtime_id"]);
    let showtime = showtime(&world).await;
    let newer = GetSeatMapRequest { showtime_id: showtime.showtime_id, at_least_revision: 2, ..request };
    let refused = client.get_seat_map(newer).await.expect_err("there was no change yet");
    assert_refused(&refused, Code::FailedPrecondition, "REVISION_NOT_REACHED");
}

async fn a_watcher_sees_every_change_and_arrives_at_the_map(world: World) {
    let showtime = showtime(&world).await;
    let mut watch = watch(&world.showtimes(), &showtime.showtime_id, 0, "").await.expect("the showtime exists");
    let mut copy = Copy::begin(&mut watch).await;
    watch_under_load(&[&world], &world, &showtime, &mut copy, &mut watch).await;
}

async fn at_every_revision_a_watcher_sees_what_the_map_shows(world: World) {
    let mut all = Convergence::start(vec![&world]).await;
    all.change_in_turn(&[0], 12).await;
    for _ in 0..4 {
        all.change(&[0], 24).await;
        all.converge().await;
    }
    assert!(all.compared() > 8, "maps and watchers were compared at {} revisions", all.compared());
}

async fn a_watcher_resumes_where_it_stopped(world: World) {
    let showtime = showtime(&world).await;
    let (client, id) = (world.showtimes(), &showtime.showtime_id);
    let mut first = watch(&client, id, 0, "").await.expect("the showtime exists");
    let mut copy = Copy::begin(&mut first).await;
    drop(first);
    for seat in ["A1", "B1", "C1"] {
        reserve(&world, these(&showtime, "ada", seat)).await.expect("the seat is free");
    }
    let epoch = copy.epoch.clone();
    let mut second = watch(&client, id, copy.revision, &epoch).await.expect("the showtime exists");
    // The watch starts with one delta with all changes, and without a snapshot.
    assert!(matches!(copy.read(&mut second).await, Event::Delta(delta) if delta.seats.len() == 3));
    assert_eq!((copy.revision, &copy.states), (4, &states(&map(&mut world.showtimes(), id, 4).await)));
    drop(second);
    // A watch from a revision that is not available, or of another epoch, starts with a snapshot.
    for (revision, epoch) in [(copy.revision, "another"), (99, &*epoch)] {
        let mut other = watch(&client, id, revision, epoch).await.expect("the showtime exists");
        assert_eq!(Copy::begin(&mut other).await.states, copy.states);
    }
}

async fn a_cancelled_showtime_ends_its_watchers_by_name(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let mut watching = watch(&world.showtimes(), &showtime.showtime_id, 0, "").await.expect("the showtime exists");
    let mut copy = Copy::begin(&mut watching).await;
    let id = showtime.showtime_id.clone();
    let cancel =
        CancelShowtimeRequest { showtime_id: id.clone(), request_id: request_id(), force: true, expected_revision: 0 };
    world.showtimes().cancel_showtime(cancel).await.expect("the showtime is cancelled");
    copy.read_until(&mut watching, held.revision + 1).await;
    assert_eq!(copy.states["A1"], SeatState::Free);
    let end = watching.message().await.expect_err("the watch ends");
    assert_refused(&end, Code::FailedPrecondition, "SHOWTIME_CANCELLED");
    let request = GetSeatMapRequest { showtime_id: id.clone(), ..Default::default() };
    let refused = world.showtimes().get_seat_map(request).await.expect_err("the showtime is cancelled");
    assert_refused(&refused, Code::FailedPrecondition, "SHOWTIME_CANCELLED");
}

async fn the_number_of_watchers_is_limited(world: World) {
    let showtime = showtime(&world).await;
    let (client, other) = (world.showtimes(), ShowtimesClient::new(world.connect_from([127, 0, 0, 2]).await));
    let mut watchers = Vec::new();
    for _ in 0..3 {
        watchers.push(watch(&client, &showtime.showtime_id, 0, "").await.expect("the limit is not reached"));
    }
    let refused = watch(&client, &showtime.showtime_id, 0, "").await.expect_err("the caller has three watchers");
    assert_refused(&refused, Code::ResourceExhausted, "WATCH_LIMIT");
    watchers.push(watch(&other, &showtime.showtime_id, 0, "").await.expect("the limit of this caller is not reached"));
    let refused = watch(&other, &showtime.showtime_id, 0, "").await.expect_err("there are four watchers");
    assert_refused(&refused, Code::ResourceExhausted, "TOO_MANY_WATCHERS");
    // When a watcher ends, another one is accepted.
    watchers.remove(0);
    eventually("a watch is accepted again", async || watch(&other, &showtime.showtime_id, 0, "").await.ok()).await;
}

async fn a_quiet_showtime_sends_heartbeats(world: World) {
    let showtime = showtime(&world).await;
    let mut watching = watch(&world.showtimes(), &showtime.showtime_id, 0, "").await.expect("the showtime exists");
    let copy = Copy::begin(&mut watching).await;
    for _ in 0..2 {
        let Some(Event::Heartbeat(heartbeat)) = next(&mut watching).await else { panic!("there was no change") };
        assert_eq!((heartbeat.revision, heartbeat.stale_since_time), (copy.revision, None));
        assert!(instant(heartbeat.as_of_time) >= copy.at);
    }
}

async fn draining_tells_every_watcher_where_to_resume(world: World) {
    let showtime = showtime(&world).await;
    let mut watching = Vec::new();
    for _ in 0..3 {
        let mut one = watch(&world.showtimes(), &showtime.showtime_id, 0, "").await.expect("the showtime exists");
        let copy = Copy::begin(&mut one).await;
        watching.push((one, copy));
    }
    world.stop().await;
    for (mut one, copy) in watching {
        let last = loop {
            match next(&mut one).await {
                Some(Event::Heartbeat(_)) => {}
                other => break other,
            }
        };
        let Some(Event::Draining(draining)) = last else { panic!("not a draining message: {last:?}") };
        assert_eq!((draining.revision, draining.epoch), (copy.revision, copy.epoch));
        assert!(next(&mut one).await.is_none(), "a draining message is the last one");
    }
}
