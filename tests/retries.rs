//! A retry finds its answer whatever has changed since: the provider, the clock, the showtime.

use std::time::Duration;

use boxoffice::{
    clock::Clock,
    pb::boxoffice::v1::{CancelShowtimeRequest, CreateShowtimeRequest, Showtime},
};
use chrono::TimeDelta;
use tonic::Status;

use crate::harness::{
    Server, World, assert_violates, create_auditorium, eventually, in_hours, new_showtime, refusals::assert_try_again,
    request_id, timestamp,
};

on_both_stores!(
    a_retry_needs_no_provider,
    a_retry_is_answered_after_the_start_has_passed,
    a_retry_is_answered_after_the_slot_has_gone_to_another,
);

async fn a_retry_needs_no_provider(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let request = CreateShowtimeRequest { request_id: request_id(), ..new_showtime(&auditorium, in_hours(0)) };
    let (first, _) = create(&world, &request).await.expect("the slot is free");
    // A new process knows no movie, and cannot ask.
    let world = world.restart().await;
    let faults = world.embedded_provider().await;
    faults.outage().await;
    let (again, replayed) = create(&world, &request).await.expect("a retry needs no movie");
    assert_eq!((again, replayed), (first, true));
    assert_eq!(faults.call_count().await, 0);
    let another = CreateShowtimeRequest { request_id: request_id(), ..request };
    assert_try_again(&create(&world, &another).await.expect_err("nobody knows the movie"), "PROVIDER_UNAVAILABLE");
}

async fn a_retry_is_answered_after_the_start_has_passed(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    // On a busy machine a start may pass before the server sees it: then it is too late for the first try, too.
    let (request, start, first) = eventually("a showtime that starts at once", async || {
        let start = Clock::System.now() + TimeDelta::seconds(1);
        let mut request = CreateShowtimeRequest { request_id: request_id(), ..new_showtime(&auditorium, start) };
        request.start_time = Some(timestamp(start));
        let (first, _) = create(&world, &request).await.ok()?;
        Some((request, start, first))
    })
    .await;
    eventually("it starts", async || (Clock::System.now() > start).then_some(())).await;
    let (again, replayed) = create(&world, &request).await.expect("it was in time once");
    assert_eq!((again, replayed), (first, true));
    let late = CreateShowtimeRequest { request_id: request_id(), ..request };
    assert_violates(&create(&world, &late).await.expect_err("now it is too late"), &["start_time"]);
}

async fn a_retry_is_answered_after_the_slot_has_gone_to_another(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let request = CreateShowtimeRequest { request_id: request_id(), ..new_showtime(&auditorium, in_hours(0)) };
    let (first, _) = create(&world, &request).await.expect("the slot is free");
    let cancel = CancelShowtimeRequest {
        showtime_id: first.showtime_id.clone(),
        request_id: request_id(),
        force: false,
        expected_revision: 0,
    };
    world.showtimes().cancel_showtime(cancel.clone()).await.expect("it is cancelled");
    let other = CreateShowtimeRequest { request_id: request_id(), ..request.clone() };
    create(&world, &other).await.expect("the slot is free again");
    let (again, replayed) = create(&world, &request).await.expect("what was answered stays answered");
    assert_eq!((again, replayed), (first, true));
    // And so does the cancellation, which is not tried again on anybody.
    world.showtimes().cancel_showtime(cancel).await.expect("what was answered stays answered");
    let (_, replayed) = create(&world, &other).await.expect("it still stands");
    assert!(replayed);
}

/// The showtime, and whether it is the answer of an earlier try.
async fn create(server: &Server, request: &CreateShowtimeRequest) -> Result<(Showtime, bool), Status> {
    let mut request = tonic::Request::new(request.clone());
    request.set_timeout(Duration::from_secs(20));
    let answer = server.showtimes().create_showtime(request).await?;
    let replayed = answer.metadata().contains_key("idempotent-replayed");
    Ok((answer.into_inner().showtime.expect("the answer has the showtime"), replayed))
}
