//! With too little memory for all showtimes, the ledger evicts some, reads them again, and decides correctly.

use boxoffice::pb::boxoffice::v1::{Reservation, Showtime};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tonic::{Code, Status};

use crate::harness::{
    Server, World, assert_refused, in_hours, new_showtime,
    seats::{reserve, showtime_with, these},
};

on_both_stores!(
    with |setup| setup.with("--ledger-memory", "1").with("--ledger-writers", "1");
    seats_that_were_evicted_are_read_again,
);

/// The number of showtimes. With 2,000 seats each they need more than 1 MiB.
const SHOWTIMES: usize = 260;

async fn seats_that_were_evicted_are_read_again(world: World) {
    let places = "s".repeat(100);
    let labels: Vec<_> = ('A'..='T').map(String::from).collect();
    let rows: Vec<_> = labels.iter().map(|label| (&**label, &*places)).collect();
    let first = showtime_with(&world, &rows, in_hours(0), |request| request).await;
    let auditorium_id = &first.auditorium.as_ref().expect("a showtime has its auditorium").auditorium_id;
    let others = (1..SHOWTIMES as i64).map(|at| {
        let request = new_showtime(auditorium_id, in_hours(3 * at));
        let mut client = world.showtimes();
        async move { client.create_showtime(request).await.map(|answer| answer.into_inner().showtime) }
    });
    let others: Vec<_> = stream::iter(others).buffered(32).try_collect().await.expect("the slots are free");
    let showtimes: Vec<_> = [Some(first)].into_iter().chain(others).flatten().collect();
    for held in hold(&world, &showtimes, "ada", "A1").await {
        held.expect("the seat is free");
    }
    let metrics = world.metrics().await;
    let evicted = metrics.sum("boxoffice_ledger_forgotten_total", &[]).expect("evictions are counted");
    assert!(evicted > 0.0);
    for refused in hold(&world, &showtimes, "bob", "A1").await {
        assert_refused(
            &refused.expect_err("another customer holds the seat"),
            Code::FailedPrecondition,
            "SEATS_UNAVAILABLE",
        );
    }
    for held in hold(&world, &showtimes, "bob", "A2").await {
        held.expect("the seat is free");
    }
    let read = world.metrics().await.sum("boxoffice_ledger_read_total", &[]).expect("reads are counted");
    assert!(read > 0.0);
    assert!(
        world.console().lines().iter().any(|line| line.contains("--ledger-memory is full")),
        "the eviction is logged"
    );
}

/// Reserves the same seat in each of these showtimes.
async fn hold(server: &Server, showtimes: &[Showtime], customer: &str, seat: &str) -> Vec<Result<Reservation, Status>> {
    let calls: Vec<_> = showtimes.iter().map(|showtime| reserve(server, these(showtime, customer, seat))).collect();
    stream::iter(calls).buffered(32).collect().await
}
