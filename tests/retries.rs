//! A retry gets the first answer, whether the provider is down, the start has passed, or the showtime is cancelled.

use std::time::Duration;

use boxoffice::{
    clock::Clock,
    pb::boxoffice::v1::{CancelShowtimeRequest, CreateShowtimeRequest, Showtime},
};
use chrono::TimeDelta;
use tonic::Status;

use crate::harness::{
    Server, World, assert_violates, create_auditorium, eventually, in_hours, new_showtime, refusals::assert_retryable,
    request_id, timestamp,
};

on_both_stores!(
    a_retry_needs_no_provider,
    a_retry_is_answered_after_the_start_has_passed,
    a_retry_is_answered_after_another_showtime_got_the_slot,
);

async fn a_retry_needs_no_provider(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let request = CreateShowtimeRequest { request_id: request_id(), ..new_showtime(&auditorium, in_hours(0)) };
    let (first, _) = create(&world, &request).await.expect("the slot is free");
    // The new process has no movie in its cache, and the provider is down.
    let world = world.restart().await;
    let faults = world.embedded_provider().await;
    faults.outage().await;
    let (again, replayed) = create(&world, &request).await.expect("a retry needs no movie");
    assert_eq!((again, replayed), (first, true));
    assert_eq!(faults.call_count().await, 0);
    let another = CreateShowtimeRequest { request_id: request_id(), ..request };
    assert_retryable(&create(&world, &another).await.expect_err("the movie is not cached"), "PROVIDER_UNAVAILABLE");
}

async fn a_retry_is_answered_after_the_start_has_passed(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    // On a busy machine the start may pass before the first request arrives. Then another showtime is tried.
    let (request, start, first) = eventually("a showtime that starts at once", async || {
        let start = Clock::System.now() + TimeDelta::seconds(1);
        let mut request = CreateShowtimeRequest { request_id: request_id(), ..new_showtime(&auditorium, start) };
        request.start_time = Some(timestamp(start));
        let (first, _) = create(&world, &request).await.ok()?;
        Some((request, start, first))
    })
    .await;
    eventually("the showtime has started", async || (Clock::System.now() > start).then_some(())).await;
    let (again, replayed) = create(&world, &request).await.expect("the first request was in time");
    assert_eq!((again, replayed), (first, true));
    let late = CreateShowtimeRequest { request_id: request_id(), ..request };
    assert_violates(&create(&world, &late).await.expect_err("the start has passed"), &["start_time"]);
}

async fn a_retry_is_answered_after_another_showtime_got_the_slot(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let request = CreateShowtimeRequest { request_id: request_id(), ..new_showtime(&auditorium, in_hours(0)) };
    let (first, _) = create(&world, &request).await.expect("the slot is free");
    let cancel = CancelShowtimeRequest {
        showtime_id: first.showtime_id.clone(),
        request_id: request_id(),
        force: false,
        expected_revision: 0,
    };
    world.showtimes().cancel_showtime(cancel.clone()).await.expect("the showtime is cancelled");
    let other = CreateShowtimeRequest { request_id: request_id(), ..request.clone() };
    create(&world, &other).await.expect("the slot is free again");
    let (again, replayed) = create(&world, &request).await.expect("a repeated request is answered");
    assert_eq!((again, replayed), (first, true));
    // The cancellation is answered too, and is not applied to the other showtime.
    world.showtimes().cancel_showtime(cancel).await.expect("a repeated request is answered");
    let (_, replayed) = create(&world, &other).await.expect("the other showtime is scheduled");
    assert!(replayed);
}

/// Returns the showtime, and whether the answer is that of an earlier request.
async fn create(server: &Server, request: &CreateShowtimeRequest) -> Result<(Showtime, bool), Status> {
    let mut request = tonic::Request::new(request.clone());
    request.set_timeout(Duration::from_secs(20));
    let answer = server.showtimes().create_showtime(request).await?;
    let replayed = answer.metadata().contains_key("idempotent-replayed");
    Ok((answer.into_inner().showtime.expect("the answer has the showtime"), replayed))
}
