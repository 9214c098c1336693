//! Watchers on several instances of one Postgres, also while that Postgres is down or does not answer.

use boxoffice::pb::boxoffice::v1::{
    CreateShowtimeRequest, GetSeatMapRequest, SeatState, watch_seat_map_response::Event,
};
use futures_util::future::join_all;
use tonic::Code;

use crate::harness::{
    DEADLINE, Postgres, Store, assert_not_found, assert_refused, eventually, in_hours,
    proxy::Proxy,
    requests::seconds,
    seats::{HALL, reserve, showtime, showtime_with, these},
    server::Setup,
    supervisor,
    watching::{Copy, map, next, states, watch, watch_under_load},
    world::Storage,
};

#[tokio::test]
async fn a_watcher_sees_what_other_processes_do() {
    let storage = Storage::new(Store::Postgres).await;
    let (one, other) = (storage.setup().start().await, storage.setup().start().await);
    let servers = [&one, &other];
    for at in servers {
        let showtime = showtime(&one).await;
        let mut watching = watch(&at.showtimes(), &showtime.showtime_id, 0, "").await.expect("the showtime exists");
        let mut copy = Copy::begin(&mut watching).await;
        watch_under_load(&servers, at, &showtime, &mut copy, &mut watching).await;
    }
}

#[tokio::test]
async fn a_map_has_changes_of_other_instances_from_the_requested_revision_on() {
    let storage = Storage::new(Store::Postgres).await;
    let (one, other) = (storage.setup().start().await, storage.setup().start().await);
    let showtime = showtime(&one).await;
    map(&mut other.showtimes(), &showtime.showtime_id, 0).await;
    for seat in ["A1", "A2", "A3", "B1", "B2", "C1", "D1", "D8"] {
        let held = reserve(&one, these(&showtime, seat, seat)).await.expect("the seat is free");
        let map = map(&mut other.showtimes(), &showtime.showtime_id, held.revision).await;
        assert_eq!((map.revision, states(&map)[seat]), (held.revision, SeatState::Held));
    }
}

#[tokio::test]
async fn a_lapse_reaches_watchers_of_other_instances_without_a_sweep() {
    let storage = Storage::new(Store::Postgres).await;
    let setup = storage.setup().with("--sweep", "false");
    let (one, other) = (setup.clone().start().await, setup.start().await);
    let brief = |request| CreateShowtimeRequest { hold_duration: Some(seconds(3)), ..request };
    let showtime = showtime_with(&one, &HALL, in_hours(0), brief).await;
    let mut watching = watch(&other.showtimes(), &showtime.showtime_id, 0, "").await.expect("the showtime exists");
    let mut copy = Copy::begin(&mut watching).await;
    let held = reserve(&one, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    copy.read_until(&mut watching, held.revision).await;
    assert_eq!(copy.states["A1"], SeatState::Held);
    copy.read_while(&mut watching, |copy| copy.states["A1"] == SeatState::Held).await;
    assert_eq!(copy.revision, held.revision, "the lapse is not recorded");
}

#[tokio::test]
async fn a_watcher_whose_server_ends_resumes_at_another() {
    let storage = Storage::new(Store::Postgres).await;
    let (one, other) = (storage.setup().start().await, storage.setup().start().await);
    let showtime = showtime(&one).await;
    map(&mut other.showtimes(), &showtime.showtime_id, 0).await;
    let mut watching = watch(&one.showtimes(), &showtime.showtime_id, 0, "").await.expect("the showtime exists");
    let mut copy = Copy::begin(&mut watching).await;
    one.stop().await;
    let Some(Event::Draining(draining)) = next(&mut watching).await else {
        panic!("the stream ends with a draining message")
    };
    let held = reserve(&other, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let mut again = watch(&other.showtimes(), &showtime.showtime_id, draining.revision, &draining.epoch)
        .await
        .expect("the showtime exists");
    copy.read_until(&mut again, held.revision).await;
    assert_eq!(copy.states["A1"], SeatState::Held);
}

#[tokio::test]
async fn a_showtime_that_a_restored_database_lacks_is_not_found() {
    let storage = Storage::new(Store::Postgres).await;
    let server = storage.setup().start().await;
    let id = showtime(&server).await.showtime_id;
    let mut watching = watch(&server.showtimes(), &id, 0, "").await.expect("the showtime exists");
    Copy::begin(&mut watching).await;
    storage.sql("DELETE FROM standings; DELETE FROM showtimes").await.expect("the rows are deleted");
    let end = tokio::time::timeout(DEADLINE, watching.message())
        .await
        .expect("the watch ends in time")
        .expect_err("the showtime does not exist");
    assert_not_found(&end, "SHOWTIME_NOT_FOUND", &id);
    let request = GetSeatMapRequest { showtime_id: id.clone(), ..Default::default() };
    let refused = server.showtimes().get_seat_map(request).await.expect_err("the showtime does not exist");
    assert_not_found(&refused, "SHOWTIME_NOT_FOUND", &id);
    let refused = watch(&server.showtimes(), &id, 0, "").await.expect_err("the showtime does not exist");
    assert_not_found(&refused, "SHOWTIME_NOT_FOUND", &id);
}

#[tokio::test]
async fn without_its_database_no_map_is_shown_and_watchers_get_the_time_of_the_outage() {
    let folder = supervisor::folder("unseen-");
    let mut postgres = Postgres::start(supervisor::root().join("postgres-unseen")).await;
    let setup = Setup::new(folder.path()).with("--database-url", postgres.url()).with("--watch-heartbeat", "200ms");
    let server = setup.start().await;
    let showtime = showtime(&server).await;
    let mut watching = watch(&server.showtimes(), &showtime.showtime_id, 0, "").await.expect("the showtime exists");
    let mut copy = Copy::begin(&mut watching).await;
    postgres.crash().await;
    let request = GetSeatMapRequest { showtime_id: showtime.showtime_id.clone(), ..Default::default() };
    let read = async || server.showtimes().get_seat_map(request.clone()).await;
    let refused = eventually("the map is refused", async || read().await.err()).await;
    assert_refused(&refused, Code::Unavailable, "STORE_UNAVAILABLE");
    let stale = async {
        while !matches!(copy.read(&mut watching).await, Event::Heartbeat(heartbeat) if heartbeat.stale_since_time.is_some())
        {
        }
    };
    tokio::time::timeout(DEADLINE, stale).await.expect("the heartbeat arrives in time");
    postgres.restart().await;
    eventually("the map is shown again", async || read().await.ok()).await;
    let held =
        eventually("seats can be reserved again", async || reserve(&server, these(&showtime, "ada", "A1")).await.ok());
    let held = held.await;
    copy.read_until(&mut watching, held.revision).await;
    assert_eq!(copy.states["A1"], SeatState::Held);
}

#[tokio::test]
async fn while_its_database_is_silent_every_request_for_a_map_is_refused_in_time() {
    let storage = Storage::new(Store::Postgres).await;
    let proxy = Proxy::start(&storage.database().url()).await;
    let setup = storage.setup().with("--database-url", proxy.url()).with("--database-timeout", "500ms");
    let server = setup.start().await;
    let showtime = showtime(&server).await;
    map(&mut server.showtimes(), &showtime.showtime_id, 0).await;
    proxy.pause();
    let request = GetSeatMapRequest { showtime_id: showtime.showtime_id.clone(), ..Default::default() };
    let read = async || server.showtimes().get_seat_map(request.clone()).await;
    eventually("the map is refused", async || read().await.err()).await;
    for refused in join_all((0..64).map(|_| read())).await {
        let refused = refused.expect_err("the map is refused");
        assert_refused(&refused, Code::Unavailable, "STORE_UNAVAILABLE");
    }
    proxy.resume();
    eventually("the map is shown again", async || read().await.ok()).await;
}
