//! The database stops and starts again, or accepts connections and does not answer.

use boxoffice::pb::boxoffice::v1::{
    CancelShowtimeRequest, GetAuditoriumRequest, GetMovieRequest, GetShowtimeRequest, ListAuditoriumsRequest,
    ListReservationsRequest, ListShowtimesRequest, Reservation, Showtime,
};
use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use sea_orm::{ConnectionTrait as _, DatabaseConnection};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use crate::harness::{
    Postgres, Server, Store, World, create_auditorium, eventually, in_hours, new_auditorium, new_showtime,
    refusals::assert_retryable,
    request_id,
    requests::INCEPTION,
    seats::{self, these},
    server::Setup,
    supervisor,
};

/// The database is killed while the server runs: every connection breaks at once, and new ones are refused.
#[tokio::test]
async fn without_its_database_the_service_is_unavailable_and_recovers() {
    let folder = supervisor::folder("outage-");
    let mut postgres = Postgres::start(supervisor::root().join("postgres-that-fails")).await;
    let server = Setup::new(folder.path()).with("--database-url", postgres.url()).start().await;
    let (auditorium, showtime_id) = scheduled(&server).await;
    let create = new_showtime(&auditorium, in_hours(0));
    let movie = GetMovieRequest { movie_id: INCEPTION.to_owned() };
    postgres.crash().await;
    // With the default timeouts, the database's is as long as the caller's.
    assert_everything_is_refused(&server, &auditorium, &showtime_id).await;
    server.movies().get_movie(movie).await.expect("movies need no database");
    eventually("the server is not ready", async || (server.admin("/readyz").await.status == 503).then_some(())).await;
    assert!(server.admin("/readyz").await.text().contains("database: failing"));
    assert_eq!(server.admin("/healthz").await.status, 200, "the process is healthy");
    eventually("health reports it", async || (health(&server, "").await == ServingStatus::NotServing).then_some(()))
        .await;
    assert_eq!(health(&server, "boxoffice.v1.Showtimes").await, ServingStatus::NotServing);
    assert_eq!(health(&server, "boxoffice.v1.Movies").await, ServingStatus::Serving);
    postgres.restart().await;
    let get = GetShowtimeRequest { showtime_id: showtime_id.clone(), at_least_revision: 0, include_sales: false };
    eventually("the service recovers", async || server.showtimes().get_showtime(get.clone()).await.ok()).await;
    eventually("the server is ready", async || (server.admin("/readyz").await.status == 200).then_some(())).await;
    eventually("health reports it", async || (health(&server, "").await == ServingStatus::Serving).then_some(())).await;
    let status = server.showtimes().create_showtime(create).await.expect_err("the acknowledged showtime has the slot");
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    let cancel = CancelShowtimeRequest { showtime_id, request_id: String::new(), force: false, expected_revision: 0 };
    server.showtimes().cancel_showtime(cancel).await.expect("the showtime is cancelled");
    server.stop().await;
}

/// Asserts that every method that needs the database is refused, and that the message has no internal words.
async fn assert_everything_is_refused(server: &Server, auditorium: &str, showtime_id: &str) {
    let create = new_showtime(auditorium, in_hours(9));
    let (auditorium_id, showtime_id) = (auditorium.to_owned(), showtime_id.to_owned());
    let cancel = CancelShowtimeRequest {
        showtime_id: showtime_id.clone(),
        request_id: String::new(),
        force: false,
        expected_revision: 0,
    };
    let reserve = these(&Showtime { showtime_id: showtime_id.clone(), ..Default::default() }, "ada", "A1");
    let list = ListReservationsRequest { customer_id: "ada".to_owned(), ..Default::default() };
    let unknown = Reservation { reservation_id: request_id(), ..Default::default() };
    let get = GetShowtimeRequest { showtime_id, at_least_revision: 0, include_sales: false };
    let (showtimes, auditoriums) = (|| server.showtimes(), || server.auditoriums());
    // The 40 requests are concurrent, so that most of them wait for one of the 16 connections.
    let creates = join_all((0..40).map(|_| async { showtimes().create_showtime(create.clone()).await.err() }));
    let calls: [(&str, BoxFuture<'_, Option<Status>>); 10] = [
        ("CreateAuditorium", async { auditoriums().create_auditorium(new_auditorium()).await.err() }.boxed()),
        (
            "GetAuditorium",
            async { auditoriums().get_auditorium(GetAuditoriumRequest { auditorium_id }).await.err() }.boxed(),
        ),
        (
            "ListAuditoriums",
            async { auditoriums().list_auditoriums(ListAuditoriumsRequest::default()).await.err() }.boxed(),
        ),
        ("GetShowtime", async { showtimes().get_showtime(get).await.err() }.boxed()),
        ("ListShowtimes", async { showtimes().list_showtimes(ListShowtimesRequest::default()).await.err() }.boxed()),
        ("CancelShowtime", async { showtimes().cancel_showtime(cancel).await.err() }.boxed()),
        ("ReserveSeats", async { seats::reserve(server, reserve).await.err() }.boxed()),
        ("ConfirmReservation", async { seats::confirm(server, &unknown).await.err() }.boxed()),
        ("GetReservation", async { seats::get(server, &unknown).await.err() }.boxed()),
        ("ListReservations", async { server.reservations().list_reservations(list).await.err() }.boxed()),
    ];
    let others = join_all(calls.map(|(method, call)| async move { (method, call.await) }));
    let (creates, others) = tokio::join!(creates, others);
    let creates = creates.into_iter().map(|status| ("CreateShowtime", status));
    for (method, status) in creates.chain(others) {
        let status = status.unwrap_or_else(|| panic!("{method} was answered without a database"));
        assert_eq!(status.code(), Code::Unavailable, "{method}: {status:?}\n{}", server.console());
        assert_retryable(&status, "STORE_UNAVAILABLE");
        assert!(pushback(&status) > 0, "{method}: {status:?}");
        let internal = ["connect", "postgres", "127.0.0.1", "sql", "pool"];
        let message = status.message().to_lowercase();
        assert!(!internal.iter().any(|word| message.contains(word)), "{method}: the message is internal: {message}");
    }
}

/// Returns the pause in milliseconds after which a client with a retry policy repeats the request.
fn pushback(status: &Status) -> u64 {
    let pause = status.metadata().get("grpc-retry-pushback-ms").and_then(|pause| pause.to_str().ok()?.parse().ok());
    pause.unwrap_or_else(|| panic!("without a pause: {status:?}"))
}

/// The database does not answer: connections stay open and nothing comes over them.
#[tokio::test]
async fn with_a_silent_database_requests_are_refused_in_time_and_the_server_stops() {
    let folder = supervisor::folder("outage-");
    let postgres = Postgres::start(supervisor::root().join("postgres-that-stays-silent")).await;
    let setup = Setup::new(folder.path()).with("--database-url", postgres.url());
    let server = setup.with("--drain-timeout", "2s").start().await;
    let (auditorium, showtime_id) = scheduled(&server).await;
    let paused = postgres.pause().await;
    let create = new_showtime(&auditorium, in_hours(9));
    let get = GetShowtimeRequest { showtime_id, at_least_revision: 0, include_sales: false };
    let movie = GetMovieRequest { movie_id: INCEPTION.to_owned() };
    let (mut creating, mut reading, mut movies) = (server.showtimes(), server.showtimes(), server.movies());
    // With the default timeouts.
    let (created, read, movie) =
        tokio::join!(creating.create_showtime(create), reading.get_showtime(get), movies.get_movie(movie));
    assert_retryable(&created.expect_err("no database"), "STORE_UNAVAILABLE");
    assert_retryable(&read.expect_err("no database"), "STORE_UNAVAILABLE");
    movie.expect("movies need no database");
    let readiness = server.admin("/readyz").await;
    assert_eq!(readiness.status, 503, "{readiness:?}");
    assert!(readiness.text().contains("database: failing"), "{readiness:?}");
    server.stop().await;
    drop(paused);
}

#[tokio::test]
async fn when_a_silent_database_answers_again_the_service_recovers() {
    let folder = supervisor::folder("outage-");
    let postgres = Postgres::start(supervisor::root().join("postgres-that-answers-again")).await;
    let setup = Setup::new(folder.path()).with("--database-url", postgres.url());
    let server = setup.with("--database-timeout", "1s").start().await;
    let (auditorium, showtime_id) = scheduled(&server).await;
    let get = GetShowtimeRequest { showtime_id: showtime_id.clone(), at_least_revision: 0, include_sales: false };
    let paused = postgres.pause().await;
    assert_everything_is_refused(&server, &auditorium, &showtime_id).await;
    eventually("health reports it", async || (health(&server, "").await == ServingStatus::NotServing).then_some(()))
        .await;
    drop(paused);
    eventually("the service recovers", async || server.showtimes().get_showtime(get.clone()).await.ok()).await;
    eventually("the server is ready", async || (server.admin("/readyz").await.status == 200).then_some(())).await;
    eventually("health reports it", async || (health(&server, "").await == ServingStatus::Serving).then_some(())).await;
    let request = new_showtime(&auditorium, in_hours(24));
    server.showtimes().create_showtime(request).await.expect("the slot is free");
    server.stop().await;
}

/// Makes an auditorium and a showtime in it, and returns their ids.
async fn scheduled(server: &Server) -> (String, String) {
    let auditorium = create_auditorium(server.auditoriums()).await.auditorium_id;
    let answer = server.showtimes().create_showtime(new_showtime(&auditorium, in_hours(0))).await;
    let showtime = answer.expect("the slot is free").into_inner().showtime.expect("the answer has the showtime");
    (auditorium, showtime.showtime_id)
}

/// The database ends all connections and refuses new ones, so that the error is not one of the network.
#[tokio::test]
async fn when_the_database_refuses_connections_the_service_is_unavailable_and_recovers() {
    let world = World::with(Store::Postgres, |setup| setup.with("--database-timeout", "1s")).await;
    let list = ListAuditoriumsRequest::default();
    world.storage.database().refuse_connections();
    // The first calls find connections that have ended, and the others make new ones.
    for _ in 0..20 {
        let status = world.auditoriums().list_auditoriums(list.clone()).await.expect_err("no database");
        assert_retryable(&status, "STORE_UNAVAILABLE");
    }
    world.storage.database().accept_connections();
    eventually("the service recovers", async || world.auditoriums().list_auditoriums(list.clone()).await.ok()).await;
}

/// Another program holds a lock that a change needs and never releases it: the change is refused in time, and nothing else is
/// delayed.
#[tokio::test]
async fn a_lock_that_is_never_released_delays_only_its_change_on_postgres() {
    let held = ["BEGIN", "SELECT auditorium_id FROM auditoriums FOR UPDATE"];
    a_lock_that_is_never_released_delays_only_its_change(Store::Postgres, &held).await;
}

#[tokio::test]
async fn a_lock_that_is_never_released_delays_only_its_change_on_sqlite() {
    a_lock_that_is_never_released_delays_only_its_change(Store::Sqlite, &["BEGIN IMMEDIATE"]).await;
}

async fn a_lock_that_is_never_released_delays_only_its_change(store: Store, hold: &[&str]) {
    let world = World::with(store, |setup| setup.with("--database-timeout", "1s")).await;
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let holder = world.storage.connect().await;
    run(&holder, hold).await;
    // There are more requests than connections.
    let attempts: Vec<_> = (0..20)
        .map(|slot| {
            let (mut client, request) = (world.showtimes(), new_showtime(&auditorium, in_hours(3 * slot)));
            tokio::spawn(async move { client.create_showtime(request).await })
        })
        .collect();
    let movie = GetMovieRequest { movie_id: INCEPTION.to_owned() };
    world.movies().get_movie(movie).await.expect("movies need no database");
    for attempt in attempts {
        let status = attempt.await.expect("no panic").expect_err("the lock is held");
        // UNAVAILABLE, unlike DEADLINE_EXCEEDED, says that nothing was changed, and has the pause before a retry.
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(pushback(&status) > 0);
    }
    let list = ListShowtimesRequest::default();
    let listed =
        eventually("reads are answered", async || world.showtimes().list_showtimes(list.clone()).await.ok()).await;
    assert_eq!(listed.into_inner().showtimes, []);
    run(&holder, &["ROLLBACK"]).await;
    holder.close().await.expect("a connection closes");
    let request = new_showtime(&auditorium, in_hours(0));
    eventually("the lock is free", async || world.showtimes().create_showtime(request.clone()).await.ok()).await;
    world.stop().await;
}

async fn run(connection: &DatabaseConnection, statements: &[&str]) {
    for statement in statements {
        connection.execute_unprepared(statement).await.expect("a statement");
    }
}

async fn health(server: &Server, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    server.health().check(request).await.expect("an answer").into_inner().status()
}
