//! The address of the database leads to a standby, as after a failover that is not complete. It is not used until it is
//! promoted: what it shows may be older than what was acknowledged.

use boxoffice::pb::boxoffice::v1::{
    GetShowtimeRequest, ListAuditoriumsRequest, ListReservationsRequest, ListShowtimesRequest, Reservation, Showtime,
};
use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use sea_orm::ConnectionTrait as _;
use tonic::Status;

use crate::harness::{
    Postgres, eventually, new_auditorium,
    proxy::Proxy,
    refusals::assert_retryable,
    seats::{self, these},
    server::{Server, Setup},
    supervisor,
    world::connect,
};

const IN_RECOVERY: &str = "the server is in recovery";

#[tokio::test]
async fn a_standby_is_refused_until_it_is_promoted() {
    let folder = supervisor::folder("standby-");
    let primary = Postgres::start(supervisor::root().join("postgres-primary")).await;
    let proxy = Proxy::start(&primary.url()).await;
    let setup = Setup::new(folder.path()).with("--database-url", proxy.url()).with("--database-timeout", "1s");
    let server = setup.start().await;
    let showtime = seats::showtime(&server).await;
    let held = seats::reserve(&server, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let standby = primary.standby(supervisor::root().join("postgres-standby")).await;

    proxy.move_to(&standby.url());
    primary.crash().await;
    // Each connection to the primary fails once before it is replaced, so the calls are repeated.
    for _ in 0..5 {
        for (method, status) in calls(&server, &showtime.showtime_id, &held.reservation_id).await {
            let status = status.unwrap_or_else(|| panic!("{method} was answered by a standby\n{}", server.console()));
            assert_retryable(&status, "STORE_UNAVAILABLE");
            assert!(!status.message().contains("recovery"), "{method}: the message is internal: {status:?}");
        }
    }
    server.console().line(&["WARN", "the database is not used", IN_RECOVERY]).await;
    server.console().line(&["request refused: the database is unavailable", IN_RECOVERY]).await;
    // Without the check, the ledger would learn of it only from the statement that takes its locks.
    assert!(!server.console().to_string().contains("read-only transaction"), "{}", server.console());
    assert_eq!(server.admin("/readyz").await.status, 503);

    let connection = connect(standby.url()).await;
    connection.execute_unprepared("SELECT pg_promote()").await.expect("the standby is promoted");
    connection.close().await.expect("a connection closes");
    let other = these(&showtime, "ada", "A3 A4");
    eventually("the service goes on", async || seats::reserve(&server, other.clone()).await.ok()).await;
    seats::get(&server, &held).await.expect("the standby has what was acknowledged");
    seats::assert_unavailable(
        &seats::reserve(&server, these(&showtime, "bob", "A1")).await.expect_err("the seat is held"),
        "SEATS_UNAVAILABLE",
    );
    server.console().line(&["INFO", "the database is used again"]).await;
    server.stop().await;
}

/// Reads by the pool and changes by the ledger, each with the status with which it is refused.
async fn calls(server: &Server, showtime_id: &str, reservation_id: &str) -> Vec<(&'static str, Option<Status>)> {
    let showtime = Showtime { showtime_id: showtime_id.to_owned(), ..Default::default() };
    let reserve = these(&showtime, "eve", "B1 B2");
    let held = Reservation { reservation_id: reservation_id.to_owned(), ..Default::default() };
    let get = GetShowtimeRequest { showtime_id: showtime_id.to_owned(), at_least_revision: 0, include_sales: false };
    let list = ListReservationsRequest { customer_id: "ada".to_owned(), ..Default::default() };
    let auditoriums = || server.auditoriums();
    let calls: [(&str, BoxFuture<'_, Option<Status>>); 8] = [
        ("CreateAuditorium", async { auditoriums().create_auditorium(new_auditorium()).await.err() }.boxed()),
        (
            "ListAuditoriums",
            async { auditoriums().list_auditoriums(ListAuditoriumsRequest::default()).await.err() }.boxed(),
        ),
        ("GetShowtime", async { server.showtimes().get_showtime(get).await.err() }.boxed()),
        (
            "ListShowtimes",
            async { server.showtimes().list_showtimes(ListShowtimesRequest::default()).await.err() }.boxed(),
        ),
        ("ReserveSeats", async { seats::reserve(server, reserve).await.err() }.boxed()),
        ("ConfirmReservation", async { seats::confirm(server, &held).await.err() }.boxed()),
        ("GetReservation", async { seats::get(server, &held).await.err() }.boxed()),
        ("ListReservations", async { server.reservations().list_reservations(list).await.err() }.boxed()),
    ];
    join_all(calls.map(|(method, call)| async move { (method, call.await) })).await
}

#[tokio::test]
async fn a_start_on_a_standby_fails_by_name() {
    let folder = supervisor::folder("standby-");
    let primary = Postgres::start(supervisor::root().join("postgres-with-standby")).await;
    let standby = primary.standby(supervisor::root().join("postgres-that-follows")).await;
    let (code, output) = Setup::new(folder.path()).with("--database-url", standby.url()).failed_start().await;
    assert_eq!(code, Some(1), "{output}");
    let line = output.lines().find(|line| line.starts_with("boxoffice: Postgres at 127.0.0.1:"));
    assert!(line.is_some_and(|line| line.contains(&format!("cannot be used: {IN_RECOVERY}"))), "{output}");
}
