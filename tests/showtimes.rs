//! Showtimes are scheduled, read, cancelled and refused over the wire.

use boxoffice::pb::boxoffice::v1::{
    Auditorium, CancelShowtimeRequest, CreateShowtimeRequest, GetShowtimeRequest, Movie, Showtime, ShowtimeState,
};
use chrono::{TimeDelta, Utc};
use prost_types::{Duration, Timestamp};
use tonic::{Code, Status};

use crate::harness::{
    Store, World, assert_not_found, assert_refused, assert_violates, create_auditorium, euros, in_hours, new_showtime,
    refusals::assert_retryable,
    request_id,
    requests::{INCEPTION, money, seconds},
    timestamp,
};

on_both_stores!(
    a_created_showtime_is_read_back_whole,
    a_showtime_keeps_its_snapshot_of_the_movie,
    unknown_ids_are_not_found_by_name,
    every_violation_is_named_in_one_answer,
    an_overlap_names_the_other_showtime,
    the_turnaround_counts_on_both_sides,
    other_auditoriums_are_free,
    cancelling_frees_the_slot,
    a_second_cancel_is_refused,
    a_revision_never_reached_is_refused,
);

async fn a_created_showtime_is_read_back_whole(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await;
    let start = in_hours(0);
    let created =
        create(&world, new_showtime(&auditorium.auditorium_id, start)).await.expect("the showtime is scheduled");
    assert_eq!(created.movie.as_ref().map(|movie| (&*movie.movie_id, &*movie.title)), Some((INCEPTION, "Inception")));
    assert_eq!(created.auditorium, Some(Auditorium { layout: None, ..auditorium }));
    assert_eq!(created.start_time, Some(timestamp(start)));
    assert_eq!(created.end_time, Some(timestamp(start + TimeDelta::hours(2))));
    assert_eq!(created.local_date, start.with_timezone(&chrono_tz::Europe::Madrid).date_naive().to_string());
    assert_eq!(created.price, Some(euros(9, 500_000_000)));
    assert_eq!(created.hold_duration, Some(seconds(600)));
    assert_eq!(created.state(), ShowtimeState::Scheduled);
    assert_eq!(created.available_count, 11);
    assert!(created.revision >= 1 && created.create_time.is_some() && created.cancel_time.is_none(), "{created:?}");
    assert_eq!(get(&world, &created.showtime_id).await.expect("it is found"), created);
}

async fn a_showtime_keeps_its_snapshot_of_the_movie(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await;
    let created =
        create(&world, new_showtime(&auditorium.auditorium_id, in_hours(0))).await.expect("the showtime is scheduled");
    let faults = world.embedded_provider().await;
    faults.outage().await;
    let calls = faults.call_count().await;
    assert_eq!(get(&world, &created.showtime_id).await.expect("selling needs no provider"), created);
    assert_eq!(faults.call_count().await, calls);
    // The next showtime gets the movie from the cache. A movie that is not cached is unavailable.
    let next = new_showtime(&auditorium.auditorium_id, in_hours(5));
    create(&world, next.clone()).await.expect("the movie is cached");
    let uncached = CreateShowtimeRequest { movie_id: "tt0111161".to_owned(), ..next };
    assert_retryable(&create(&world, uncached).await.expect_err("the movie is not cached"), "PROVIDER_UNAVAILABLE");
}

async fn unknown_ids_are_not_found_by_name(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await;
    let unknown = request_id();
    let status = create(&world, new_showtime(&unknown, in_hours(0))).await.expect_err("no such auditorium");
    assert_not_found(&status, "AUDITORIUM_NOT_FOUND", &unknown);
    let request = new_showtime(&auditorium.auditorium_id, in_hours(0));
    let unknown_movie = CreateShowtimeRequest { movie_id: "tt0000000".to_owned(), ..request };
    let status = create(&world, unknown_movie).await.expect_err("no such movie");
    assert_not_found(&status, "MOVIE_NOT_FOUND", "tt0000000");
    assert_not_found(&get(&world, &unknown).await.expect_err("no such showtime"), "SHOWTIME_NOT_FOUND", &unknown);
    assert_not_found(&cancel(&world, &unknown).await.expect_err("no such showtime"), "SHOWTIME_NOT_FOUND", &unknown);
    for malformed in ["", "7"] {
        assert_violates(&get(&world, malformed).await.expect_err("the id is malformed"), &["showtime_id"]);
        assert_violates(&cancel(&world, malformed).await.expect_err("the id is malformed"), &["showtime_id"]);
    }
}

async fn every_violation_is_named_in_one_answer(world: World) {
    let invalid = CreateShowtimeRequest {
        movie_id: "?".to_owned(),
        auditorium_id: "no".to_owned(),
        start_time: Some(timestamp(in_hours(-48))),
        duration: Some(seconds(59)),
        price: Some(euros(-1, 0)),
        hold_duration: Some(seconds(0)),
        request_id: "no".to_owned(),
        price_list: None,
    };
    let status = create(&world, invalid).await.expect_err("the request is invalid");
    let paths = ["movie_id", "auditorium_id", "start_time", "duration", "price*", "hold_duration", "request_id"];
    assert_violates(&status, &paths);
    let status = create(&world, CreateShowtimeRequest::default()).await.expect_err("the request is empty");
    assert_violates(&status, &["movie_id", "auditorium_id", "start_time", "duration", "price", "price_list"]);
}

/// Each request has one impossible time.
#[tokio::test]
async fn impossible_times_are_refused_by_field() {
    let world = World::start(Store::Sqlite).await;
    let auditorium = create_auditorium(world.auditoriums()).await;
    let good = new_showtime(&auditorium.auditorium_id, in_hours(0));
    let start = |start_time| CreateShowtimeRequest { start_time: Some(start_time), ..good.clone() };
    let lasting = |duration| CreateShowtimeRequest { duration: Some(duration), ..good.clone() };
    let held = |duration| CreateShowtimeRequest { hold_duration: Some(duration), ..good.clone() };
    for (request, field) in [
        (start(timestamp(in_hours(-25))), "start_time"),
        (start(timestamp(in_hours(6 * 366 * 24))), "start_time"),
        (start(Timestamp { seconds: i64::MAX, nanos: 0 }), "start_time"),
        (start(Timestamp { seconds: i64::MIN, nanos: 0 }), "start_time"),
        (start(Timestamp { seconds: in_hours(0).timestamp(), nanos: -1 }), "start_time"),
        (start(Timestamp { seconds: in_hours(0).timestamp(), nanos: 1_000_000_000 }), "start_time"),
        (lasting(seconds(59)), "duration"),
        (lasting(Duration { seconds: 86_400, nanos: 1 }), "duration"),
        (lasting(Duration { seconds: i64::MAX, nanos: 0 }), "duration"),
        (lasting(Duration { seconds: 3600, nanos: -1 }), "duration"),
        (lasting(Duration { seconds: 3600, nanos: i32::MAX }), "duration"),
        (lasting(seconds(-3600)), "duration"),
        (held(Duration { seconds: 0, nanos: 999_999_999 }), "hold_duration"),
        (held(seconds(86_401)), "hold_duration"),
    ] {
        let printed = format!("{request:?}");
        match create(&world, request).await {
            Err(status) => assert_violates(&status, &[field]),
            Ok(_) => panic!("accepted: {printed}"),
        }
    }
    let longest = CreateShowtimeRequest { hold_duration: Some(seconds(86_400)), ..lasting(seconds(86_400)) };
    let created = create(&world, longest).await.expect("a day is allowed");
    assert_eq!(created.hold_duration, Some(seconds(86_400)));
}

/// A price that cannot be paid in its currency is refused.
#[tokio::test]
async fn impossible_prices_are_refused_by_field() {
    let world = World::start(Store::Sqlite).await;
    let auditorium = create_auditorium(world.auditoriums()).await;
    let priced = |price, hours| CreateShowtimeRequest {
        price: Some(price),
        ..new_showtime(&auditorium.auditorium_id, in_hours(hours))
    };
    for price in [
        money("EUR", -1, 0),
        money("EUR", 0, -10_000_000),
        money("EUR", 1, -10_000_000),
        money("EUR", 9, 1),
        money("EUR", 9, 5_000_000),
        money("EUR", 9, 1_000_000_000),
        money("EUR", 1_000_001, 0),
        money("EUR", 1_000_000, 10_000_000),
        money("EUR", i64::MAX, 0),
        money("JPY", 900, 500_000_000),
        money("KWD", 1, 100_000),
        money("XXZ", 9, 0),
        money("eur", 9, 0),
        money("", 9, 0),
    ] {
        match create(&world, priced(price.clone(), 0)).await {
            Err(status) => assert_violates(&status, &["price*"]),
            Ok(_) => panic!("accepted: {price:?}"),
        }
    }
    let valid = [euros(0, 0), euros(0, 10_000_000), money("JPY", 1800, 0), money("KWD", 3, 125_000_000)];
    for (price, hours) in valid.into_iter().zip((0..).step_by(5)) {
        let created = create(&world, priced(price.clone(), hours)).await.expect("the price is valid");
        assert_eq!(created.price, Some(price));
    }
}

async fn an_overlap_names_the_other_showtime(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let first = create(&world, new_showtime(&auditorium, in_hours(0))).await.expect("the slot is free");
    for hours in [-1, 0, 1] {
        let status = create(&world, new_showtime(&auditorium, in_hours(hours))).await.expect_err("they overlap");
        let other = assert_refused(&status, Code::FailedPrecondition, "SHOWTIME_OVERLAPS");
        assert_eq!(other.get("showtime_id"), Some(&first.showtime_id), "{other:?}");
    }
    // One showtime contains the other, and one is inside it.
    for (start, minutes) in [(in_hours(-3), 8 * 60), (in_hours(0) + TimeDelta::minutes(30), 10)] {
        let request =
            CreateShowtimeRequest { duration: Some(seconds(minutes * 60)), ..new_showtime(&auditorium, start) };
        let status = create(&world, request).await.expect_err("they overlap");
        assert_refused(&status, Code::FailedPrecondition, "SHOWTIME_OVERLAPS");
    }
}

async fn the_turnaround_counts_on_both_sides(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    create(&world, new_showtime(&auditorium, in_hours(0))).await.expect("the slot is free");
    let quarter = TimeDelta::minutes(15);
    let microsecond = TimeDelta::microseconds(1);
    for (start, free) in [
        (in_hours(2) + quarter - microsecond, false),
        (in_hours(-2) - quarter + microsecond, false),
        (in_hours(2), false),
        (in_hours(2) + quarter, true),
        (in_hours(-2) - quarter, true),
    ] {
        let result = create(&world, new_showtime(&auditorium, start)).await;
        assert_eq!(result.is_ok(), free, "{start}: {result:?}");
    }
}

#[tokio::test]
async fn the_operator_decides_the_turnaround() {
    let world = World::with(Store::Sqlite, |setup| setup.with("--turnaround", "0s")).await;
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    for hours in [0, 2, 4] {
        create(&world, new_showtime(&auditorium, in_hours(hours))).await.expect("the slot is free");
    }
}

#[tokio::test]
async fn the_hold_duration_is_of_the_operator_or_of_the_showtime() {
    let world = World::with(Store::Sqlite, |setup| setup.with("--hold-duration", "90s")).await;
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let default = new_showtime(&auditorium, in_hours(0));
    assert_eq!(create(&world, default).await.expect("the showtime is scheduled").hold_duration, Some(seconds(90)));
    let own = CreateShowtimeRequest { hold_duration: Some(seconds(1)), ..new_showtime(&auditorium, in_hours(5)) };
    assert_eq!(create(&world, own).await.expect("the showtime is scheduled").hold_duration, Some(seconds(1)));
}

async fn other_auditoriums_are_free(world: World) {
    for _ in 0..2 {
        let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
        create(&world, new_showtime(&auditorium, in_hours(0))).await.expect("the slot is free");
    }
}

async fn cancelling_frees_the_slot(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let first = create(&world, new_showtime(&auditorium, in_hours(0))).await.expect("the slot is free");
    let cancelled = cancel(&world, &first.showtime_id).await.expect("the showtime is cancelled");
    assert_eq!(cancelled.state(), ShowtimeState::Cancelled);
    assert!(cancelled.cancel_time.is_some(), "{cancelled:?}");
    assert_eq!(cancelled.revision, first.revision + 1);
    assert_eq!(get(&world, &first.showtime_id).await.expect("the showtime is stored"), cancelled);
    let second = create(&world, new_showtime(&auditorium, in_hours(0))).await.expect("the slot is free again");
    assert_ne!(second.showtime_id, first.showtime_id);
}

async fn a_second_cancel_is_refused(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let showtime = create(&world, new_showtime(&auditorium, in_hours(0))).await.expect("the slot is free");
    let cancelled = cancel(&world, &showtime.showtime_id).await.expect("the showtime is cancelled");
    let status = cancel(&world, &showtime.showtime_id).await.expect_err("the showtime is cancelled already");
    assert_refused(&status, Code::FailedPrecondition, "SHOWTIME_CANCELLED");
    assert_eq!(get(&world, &showtime.showtime_id).await.expect("it is found"), cancelled);
}

async fn a_revision_never_reached_is_refused(world: World) {
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    let showtime = create(&world, new_showtime(&auditorium, in_hours(0))).await.expect("the slot is free");
    let at_least = |at_least_revision| {
        let request =
            GetShowtimeRequest { showtime_id: showtime.showtime_id.clone(), at_least_revision, include_sales: false };
        let mut client = world.showtimes();
        async move { client.get_showtime(request).await }
    };
    at_least(showtime.revision).await.expect("the revision is reached");
    let status = at_least(showtime.revision + 1).await.expect_err("the revision is not reached");
    assert_refused(&status, Code::FailedPrecondition, "REVISION_NOT_REACHED");
    assert_violates(&at_least(-1).await.expect_err("a revision is not negative"), &["at_least_revision"]);
}

/// Times are answered with the precision of the store, a microsecond.
#[tokio::test]
async fn times_are_answered_as_they_are_stored() {
    for store in [Store::Sqlite, Store::Postgres] {
        let world = World::start(store).await;
        let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
        let start = in_hours(0) + TimeDelta::nanoseconds(123_456_789);
        let created = create(&world, new_showtime(&auditorium, start)).await.expect("the showtime is scheduled");
        let start_time = created.start_time.expect("a start");
        assert_eq!(start_time.nanos % 1000, 0, "{start_time:?}");
        let world = world.restart().await;
        assert_eq!(get(&world, &created.showtime_id).await.expect("it is found"), created);
    }
}

#[tokio::test]
async fn a_stale_movie_schedules_a_showtime() {
    let world = World::with(Store::Sqlite, |setup| setup.with("--provider-fresh", "0s")).await;
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    create(&world, new_showtime(&auditorium, in_hours(0))).await.expect("the provider is up");
    world.embedded_provider().await.outage().await;
    let created = create(&world, new_showtime(&auditorium, in_hours(5))).await.expect("the cache has the movie");
    let Movie { title, fetch_time, .. } = created.movie.expect("a movie");
    assert_eq!(title, "Inception");
    let fetched = fetch_time.expect("it was fetched").seconds;
    assert!(fetched <= created.create_time.expect("it was created").seconds);
    assert!(fetched > chrono::DateTime::<Utc>::UNIX_EPOCH.timestamp());
}

async fn create(world: &World, request: CreateShowtimeRequest) -> Result<Showtime, Status> {
    let answer = world.showtimes().create_showtime(request).await?;
    Ok(answer.into_inner().showtime.expect("the answer has the showtime"))
}

async fn get(world: &World, showtime_id: &str) -> Result<Showtime, Status> {
    let request =
        GetShowtimeRequest { showtime_id: showtime_id.to_owned(), at_least_revision: 0, include_sales: false };
    let answer = world.showtimes().get_showtime(request).await?;
    Ok(answer.into_inner().showtime.expect("the answer has the showtime"))
}

async fn cancel(world: &World, showtime_id: &str) -> Result<Showtime, Status> {
    let request = CancelShowtimeRequest {
        showtime_id: showtime_id.to_owned(),
        request_id: String::new(),
        force: false,
        expected_revision: 0,
    };
    let answer = world.showtimes().cancel_showtime(request).await?;
    Ok(answer.into_inner().showtime.expect("the answer has the showtime"))
}
