//! Start and stop: what a restart keeps, what is migrated, which databases are refused, and how requests in flight finish.

use boxoffice::pb::boxoffice::v1::{
    Auditorium, CreateShowtimeRequest, GetAuditoriumRequest, GetMovieRequest, ListAuditoriumsRequest,
    ListShowtimesRequest, Showtime,
};
use futures_util::future::join_all;
use rustix::process::Signal;
use tokio::net::TcpStream;
use tonic::transport::Endpoint;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::harness::{
    Provider, Server, Store, World, create_auditorium, eventually, http, in_hours, new_showtime, process::free_port,
    proxy::Proxy, requests::INCEPTION, seats, server::Setup, supervisor, world::Storage,
};

on_both_stores!(a_restart_keeps_everything, a_killed_server_keeps_what_it_acknowledged);

async fn a_restart_keeps_everything(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await;
    world
        .showtimes()
        .create_showtime(new_showtime(&auditorium.auditorium_id, in_hours(0)))
        .await
        .expect("the slot is free");
    let before = showtimes(&world).await;
    let world = world.restart().await;
    assert_eq!(showtimes(&world).await, before);
    let request = GetAuditoriumRequest { auditorium_id: auditorium.auditorium_id.clone() };
    let found = world.auditoriums().get_auditorium(request).await.expect("the auditorium is there").into_inner();
    assert_eq!(found.auditorium, Some(auditorium));
}

async fn a_killed_server_keeps_what_it_acknowledged(mut world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let mut acknowledged = Vec::new();
    for hours in [0, 3, 6, 9] {
        let answer = world.showtimes().create_showtime(new_showtime(&auditorium, in_hours(hours))).await;
        acknowledged.extend(answer.expect("the slot is free").into_inner().showtime);
    }
    world.server.kill();
    let server = world.storage.setup().start().await;
    assert_eq!(showtimes(&server).await, acknowledged);
}

#[tokio::test]
async fn the_sample_is_made_once_on_sqlite() {
    the_sample_is_made_once(Store::Sqlite, "auto").await;
}

#[tokio::test]
async fn the_sample_is_made_once_on_postgres() {
    the_sample_is_made_once(Store::Postgres, "on").await;
}

async fn the_sample_is_made_once(store: Store, sample: &str) {
    let world = World::with(store, |setup| setup.with("--sample", sample)).await;
    let before = auditoriums(&world).await;
    let mut counts: Vec<i32> = before.iter().map(|auditorium| auditorium.seat_count).collect();
    counts.sort_unstable();
    assert_eq!(counts, [15 * 21, 21 * 18, 28 * 22]);
    let scheduled = showtimes(&world).await;
    assert!(!scheduled.is_empty());
    assert!(scheduled.iter().all(|showtime| showtime.movie.is_some() && showtime.price.is_some()), "{scheduled:?}");
    let world = world.restart().await;
    assert_eq!(auditoriums(&world).await, before);
    assert_eq!(showtimes(&world).await, scheduled);
}

#[tokio::test]
async fn there_is_no_sample_on_a_configured_database() {
    let world = World::with(Store::Postgres, |setup| setup.with("--sample", "auto")).await;
    assert_eq!(auditoriums(&world).await, []);
}

#[tokio::test]
async fn three_instances_migrate_an_empty_database_at_once() {
    let storage = Storage::new(Store::Postgres).await;
    let setup = || storage.setup().with("--sample", "on");
    let (one, two, three) = tokio::join!(setup().start(), setup().start(), setup().start());
    let sample = auditoriums(&one).await;
    assert_eq!(sample.len(), 3, "one sample, not three: {sample:?}");
    assert_eq!((&auditoriums(&two).await, &auditoriums(&three).await), (&sample, &sample));
}

#[tokio::test]
async fn instances_accept_each_others_page_tokens() {
    let storage = Storage::new(Store::Postgres).await;
    let (one, other) = tokio::join!(storage.setup().start(), storage.setup().start());
    for _ in 0..2 {
        create_auditorium(one.auditoriums()).await;
    }
    let mut request = ListAuditoriumsRequest { page_size: 1, ..Default::default() };
    request.page_token =
        one.auditoriums().list_auditoriums(request.clone()).await.expect("a page").into_inner().next_page_token;
    let next = other.auditoriums().list_auditoriums(request.clone()).await.expect("the next page").into_inner();
    assert_eq!(next.auditoriums.len(), 1);
    // A token is valid after a restart, too.
    let one = one.restart().await;
    assert_eq!(one.auditoriums().list_auditoriums(request).await.expect("the same page").into_inner(), next);
}

#[tokio::test]
async fn with_migrate_manual_only_the_command_migrates() {
    for store in [Store::Sqlite, Store::Postgres] {
        let storage = Storage::new(store).await;
        let manual = storage.setup().with("--migrate", "manual");
        let (code, printed) = manual.clone().failed_start().await;
        assert_ne!(code, Some(0), "{printed}");
        assert!(printed.contains("migrate"), "{printed}");
        for _ in 0..2 {
            let migration = manual.command("migrate").output().expect("the binary runs");
            assert!(migration.status.success(), "{migration:?}");
        }
        create_auditorium(manual.start().await.auditoriums()).await;
    }
}

#[tokio::test]
async fn a_database_newer_than_the_binary_is_refused() {
    for store in [Store::Sqlite, Store::Postgres] {
        let world = World::start(store).await;
        world.stop().await;
        let future = "INSERT INTO schema_migrations (version, name, checksum) \
                      SELECT 9999, 'from the future', max(checksum) FROM schema_migrations";
        world.storage.sql(future).await.expect("the row is inserted");
        world.storage.sql("UPDATE schema_compatibility SET usable_from = 9999").await.expect("the row is changed");
        for migrate in ["auto", "manual"] {
            let (code, printed) = world.setup().clone().with("--migrate", migrate).failed_start().await;
            assert_ne!(code, Some(0), "{printed}");
            assert!(printed.contains("newer"), "{printed}");
        }
    }
}

#[tokio::test]
async fn a_migration_that_was_altered_since_is_refused() {
    for store in [Store::Sqlite, Store::Postgres] {
        let world = World::start(store).await;
        world.stop().await;
        world.storage.sql("UPDATE schema_migrations SET checksum = 'another'").await.expect("the row is changed");
        let (code, printed) = world.setup().clone().failed_start().await;
        assert_ne!(code, Some(0), "{printed}");
    }
}

#[tokio::test]
async fn a_second_process_on_the_same_file_is_refused_by_name() {
    let mut world = World::start(Store::Sqlite).await;
    let (code, printed) = world.setup().clone().failed_start().await;
    assert_ne!(code, Some(0), "{printed}");
    assert!(printed.contains("boxoffice.db") || printed.contains("data"), "{printed}");
    assert!(world.is_alive().await);
    // A killed process leaves no lock behind.
    world.server.kill();
    world.storage.setup().start().await;
}

/// While the provider is paused, the sample cannot be made, so that the start is not complete.
#[tokio::test]
async fn health_is_not_serving_until_the_start_is_complete() {
    let (provider, folder) = (Provider::start(&[]).await, supervisor::folder("ready-"));
    provider.pause();
    let (address, admin) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let setup = with_long_timeouts(&provider, &folder).with("--sample", "on");
    let process = setup.with("--listen", &address).with("--admin-listen", &admin).spawn();
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let connect = async || endpoint.connect().await.ok();
    let mut health = HealthClient::new(eventually("the port is open", connect).await);
    let mut statuses = async || {
        let mut statuses = Vec::new();
        for service in ["", "boxoffice.v1.Auditoriums", "boxoffice.v1.Movies", "boxoffice.v1.Showtimes"] {
            let checked = health.check(HealthCheckRequest { service: service.to_owned() }).await;
            let status = checked.map(|answer| answer.into_inner().status()).map_err(|status| status.code());
            statuses.push((service, status));
        }
        statuses
    };
    let before = statuses().await;
    assert!(before.iter().all(|(_, status)| *status == Ok(ServingStatus::NotServing)), "{before:?}");
    assert_eq!(http::get(&admin, "/readyz").await.status, 503);
    let console = process.console();
    assert!(!console.lines().iter().any(|line| line.contains("Boxoffice is ready")), "{console}");
    provider.resume();
    console.line(&["Boxoffice is ready"]).await;
    let after = statuses().await;
    assert!(after.iter().all(|(_, status)| *status == Ok(ServingStatus::Serving)), "{after:?}");
    assert_eq!(http::get(&admin, "/readyz").await.status, 200);
}

/// While the provider is paused, the request stays in flight.
#[tokio::test]
async fn a_request_in_flight_finishes_while_new_connections_are_refused() {
    let (provider, folder) = (Provider::start(&[]).await, supervisor::folder("drain-"));
    let server = with_long_timeouts(&provider, &folder).start().await;
    let mut health = server.health().watch(HealthCheckRequest::default()).await.expect("a stream").into_inner();
    let first = health.message().await.expect("a message").expect("a state");
    assert_eq!(first.status(), ServingStatus::Serving);
    provider.pause();
    let mut client = server.movies();
    let request = GetMovieRequest { movie_id: INCEPTION.to_owned() };
    let in_flight = tokio::spawn(async move { client.get_movie(request).await });
    wait_for_active_requests(&server, 2.0).await;
    server.signal(Signal::TERM);
    let last = health.message().await.expect("a message").expect("a state");
    assert_eq!(last.status(), ServingStatus::NotServing);
    eventually("new connections are refused", async || TcpStream::connect(server.address()).await.err()).await;
    provider.resume();
    let answer = in_flight.await.expect("no panic").expect("the request in flight finishes").into_inner();
    assert_eq!(answer.movie.map(|movie| movie.title).as_deref(), Some("Inception"));
    assert_eq!(server.exit().await, Some(0), "{}", server.console());
}

#[tokio::test]
async fn draining_is_bounded() {
    let (provider, folder) = (Provider::start(&[]).await, supervisor::folder("drain-"));
    let server = with_long_timeouts(&provider, &folder).with("--drain-timeout", "200ms").start().await;
    provider.pause();
    let mut client = server.movies();
    let request = GetMovieRequest { movie_id: INCEPTION.to_owned() };
    let in_flight = tokio::spawn(async move { client.get_movie(request).await });
    wait_for_active_requests(&server, 1.0).await;
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await, Some(0), "{}", server.console());
    in_flight.await.expect("no panic").expect_err("its connection is closed");
}

/// The database does not answer, so a change that was begun cannot finish.
#[tokio::test]
async fn a_change_that_does_not_finish_holds_a_stop_up_for_five_seconds() {
    let storage = Storage::new(Store::Postgres).await;
    let proxy = Proxy::start(&storage.database().url()).await;
    let setup = storage.setup().with("--database-url", proxy.url()).with("--database-timeout", "1m");
    let server = setup.with("--drain-timeout", "200ms").start().await;
    let showtime = seats::showtime(&server).await;
    // From here on the showtime is in memory, so that the next change waits for its commit only.
    seats::reserve(&server, seats::these(&showtime, "ada", "A3")).await.expect("the seat is free");
    proxy.pause();
    let mut client = server.reservations();
    let request = seats::these(&showtime, "ada", "A1");
    let in_flight = tokio::spawn(async move { client.reserve_seats(request).await });
    wait_for_active_requests(&server, 1.0).await;
    server.signal(Signal::TERM);
    server.console().line(&["some changes did not finish in time"]).await;
    assert_eq!(server.exit().await, Some(0), "{}", server.console());
    in_flight.await.expect("no panic").expect_err("its connection is closed");
}

/// The number of writes is tested in `src/server/coalesce/tests/wire.rs`.
#[tokio::test]
async fn answers_are_the_same_whether_or_not_writes_are_coalesced() {
    let world = World::with(Store::Sqlite, |setup| setup.with("--sample", "on")).await;
    let expected = showtimes(&world).await;
    world.stop().await;
    let server = world.storage.setup().with("--coalesce-writes", "false").start().await;
    let calls = (0..64).map(|_| showtimes(&server));
    assert!(join_all(calls).await.into_iter().all(|found| found == expected));
}

#[tokio::test]
async fn an_interrupt_stops_an_idle_server_with_open_connections() {
    let world = World::start(Store::Sqlite).await;
    let _idle = world.connect().await.expect("a connection");
    let _silent = TcpStream::connect(world.address()).await.expect("a connection");
    world.signal(Signal::INT);
    assert_eq!(world.exit().await, Some(0), "{}", world.console());
}

/// A collector that refuses connections or does not answer delays neither the start nor the stop.
#[tokio::test]
async fn a_missing_collector_delays_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = listener.local_addr().expect("an address").to_string();
    for collector in ["127.0.0.1:1", &silent] {
        let endpoint = format!("http://{collector}");
        let world = World::with(Store::Sqlite, |setup| setup.with("--otlp-endpoint", endpoint)).await;
        create_auditorium(world.auditoriums()).await;
        world.stop().await;
    }
}

#[tokio::test]
async fn a_create_that_was_not_acknowledged_is_complete_or_absent() {
    let mut world = World::start(Store::Sqlite).await;
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let attempts: Vec<_> = (0..40)
        .map(|slot| {
            let mut client = world.showtimes();
            let request = new_showtime(&auditorium, in_hours(3 * slot));
            tokio::spawn(async move { client.create_showtime(request).await })
        })
        .collect();
    let mut acknowledged = Vec::new();
    for (slot, attempt) in attempts.into_iter().enumerate() {
        if slot == 10 {
            world.server.kill();
        }
        if let Ok(answer) = attempt.await.expect("no panic") {
            acknowledged.extend(answer.into_inner().showtime);
        }
    }
    let server = world.storage.setup().start().await;
    let found = showtimes(&server).await;
    assert!(acknowledged.iter().all(|showtime| found.contains(showtime)), "{acknowledged:?}\n{found:?}");
    // The slots of the others are free.
    let taken: Vec<_> = found.iter().filter_map(|showtime| showtime.start_time).collect();
    for slot in 0..40 {
        let request: CreateShowtimeRequest = new_showtime(&auditorium, in_hours(3 * slot));
        if !request.start_time.is_some_and(|start| taken.contains(&start)) {
            server.showtimes().create_showtime(request).await.expect("the slot is free");
        }
    }
}

/// A server whose timeouts are longer than the test.
fn with_long_timeouts(provider: &Provider, folder: &tempfile::TempDir) -> Setup {
    let setup = Setup::new(folder.path()).with("--provider-url", provider.url()).with("--provider-timeout", "25s");
    setup.with("--request-timeout", "25s")
}

/// Waits until this many requests are in flight, including streams.
async fn wait_for_active_requests(server: &Server, requests: f64) {
    eventually("the request is in flight", async || {
        server.metrics().await.sum("boxoffice_request_active", &[]).filter(|active| *active >= requests)
    })
    .await;
}

async fn showtimes(server: &Server) -> Vec<Showtime> {
    let request = ListShowtimesRequest { page_size: 200, ..Default::default() };
    server.showtimes().list_showtimes(request).await.expect("a list").into_inner().showtimes
}

async fn auditoriums(server: &Server) -> Vec<Auditorium> {
    let request = ListAuditoriumsRequest::default();
    server.auditoriums().list_auditoriums(request).await.expect("a list").into_inner().auditoriums
}
