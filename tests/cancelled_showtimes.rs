//! A showtime is cancelled together with all its reservations, in one revision.

use boxoffice::pb::boxoffice::v1::{CancelShowtimeRequest, ReservationState, Showtime, ShowtimeState};
use tonic::{Code, Status};

use crate::harness::{
    Server, World, assert_refused, request_id,
    seats::{cancel, confirm, extend, get, instant, reserve, showtime, showtime_now, state, these},
    staff::confirm_late,
};

on_both_stores!(
    holds_are_cancelled_with_their_showtime,
    sales_are_cancelled_only_by_force,
    a_showtime_that_has_ended_cannot_be_cancelled,
    a_showtime_at_another_revision_than_expected_is_not_cancelled,
    a_repeated_cancellation_answers_as_the_first_did_though_money_came_late,
);

async fn holds_are_cancelled_with_their_showtime(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
    let other = reserve(&world, these(&showtime, "bob", "B1")).await.expect("the seat is free");
    let cancelled = cancel_showtime(&world, &showtime, false).await.expect("nothing was sold");
    assert_eq!((cancelled.state(), cancelled.revision, cancelled.available_count), (ShowtimeState::Cancelled, 4, 34));
    assert_eq!(showtime_now(&world, &showtime).await, cancelled);
    for reservation in [&held, &other] {
        let found = get(&world, reservation).await.expect("it is found");
        assert_eq!((found.state(), found.revision), (ReservationState::Cancelled, 4));
        assert_eq!((found.cancel_time, found.time_left), (cancelled.cancel_time, None));
        for refused in [confirm(&world, reservation).await, extend(&world, reservation).await] {
            let status = refused.expect_err("the reservation is not held");
            assert_refused(&status, Code::FailedPrecondition, "RESERVATION_NOT_HELD");
        }
    }
    let status = reserve(&world, these(&showtime, "ada", "C1")).await.expect_err("the showtime is cancelled");
    let about = assert_refused(&status, Code::FailedPrecondition, "SHOWTIME_CANCELLED");
    assert_eq!((about["showtime_id"].as_str(), about["revision"].as_str()), (&*showtime.showtime_id, "4"));
    assert_eq!(about["cancel_time"].parse(), Ok(instant(cancelled.cancel_time)));
    let status = cancel_showtime(&world, &showtime, true).await.expect_err("the showtime is cancelled already");
    assert_refused(&status, Code::FailedPrecondition, "SHOWTIME_CANCELLED");
}

async fn sales_are_cancelled_only_by_force(world: World) {
    let showtime = showtime(&world).await;
    let sold = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
    let sold = confirm(&world, &sold).await.expect("the reservation is held");
    let held = reserve(&world, these(&showtime, "bob", "B1")).await.expect("the seat is free");
    let cancelled_before = reserve(&world, these(&showtime, "cyd", "C1")).await.expect("the seat is free");
    let cancelled_before = cancel(&world, &cancelled_before).await.expect("the reservation is held");
    let status = cancel_showtime(&world, &showtime, false).await.expect_err("seats were sold");
    let about = assert_refused(&status, Code::FailedPrecondition, "SHOWTIME_HAS_SALES");
    assert_eq!((about["confirmed_count"].as_str(), about["revision"].as_str()), ("1", "6"));
    assert_eq!(state(&world, &held).await, ReservationState::Held, "a refused cancellation changes nothing");
    let cancelled = cancel_showtime(&world, &showtime, true).await.expect("the cancellation is forced");
    assert_eq!((cancelled.state(), cancelled.revision, cancelled.available_count), (ShowtimeState::Cancelled, 7, 34));
    let found = get(&world, &sold).await.expect("it is found");
    assert_eq!((found.state(), found.cancel_time), (ReservationState::Cancelled, cancelled.cancel_time));
    assert_eq!(found.confirm_time, sold.confirm_time, "the confirm time stays");
    assert_eq!(state(&world, &held).await, ReservationState::Cancelled);
    // A reservation that was cancelled before does not change.
    assert_eq!(get(&world, &cancelled_before).await.expect("it is found"), cancelled_before);
}

async fn a_showtime_that_has_ended_cannot_be_cancelled(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    // A showtime cannot be scheduled in the past, so the test changes its row. The server is stopped, because it caches the
    // facts.
    world.stop().await;
    let move_to_the_past = "UPDATE showtimes SET start_time = '2020-01-01T18:00:00+00:00', \
                    end_time = '2020-01-01T20:00:00+00:00', free_again = '2020-01-01T20:15:00+00:00'";
    world.storage.sql(move_to_the_past).await.expect("the row is changed");
    let world = World { server: world.server.setup().clone().start().await, storage: world.storage };
    let status = cancel_showtime(&world, &showtime, true).await.expect_err("the showtime has ended");
    let about = assert_refused(&status, Code::FailedPrecondition, "SHOWTIME_OVER");
    assert_eq!(about["showtime_id"], showtime.showtime_id);
    assert!(about.contains_key("end_time") && about.contains_key("revision"), "{about:?}");
    let status = reserve(&world, these(&showtime, "ada", "A2")).await.expect_err("the showtime has ended");
    assert_refused(&status, Code::FailedPrecondition, "SALES_CLOSED");
    let status = confirm(&world, &held).await.expect_err("the showtime has ended");
    assert_refused(&status, Code::FailedPrecondition, "SALES_CLOSED");
}

async fn a_showtime_at_another_revision_than_expected_is_not_cancelled(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let with_revision = |expected_revision| CancelShowtimeRequest {
        showtime_id: showtime.showtime_id.clone(),
        expected_revision,
        ..Default::default()
    };
    let status = world
        .showtimes()
        .cancel_showtime(with_revision(1))
        .await
        .expect_err("the revision is 2, because a seat is held");
    let about = assert_refused(&status, Code::FailedPrecondition, "REVISION_DIFFERS");
    assert_eq!((&*about["revision"], &*about["expected_revision"]), ("2", "1"), "{about:?}");
    confirm(&world, &held).await.expect("the seat is still held");
    let answer = world.showtimes().cancel_showtime(CancelShowtimeRequest { force: true, ..with_revision(3) }).await;
    assert_eq!(
        answer.expect("the revision is the expected one").into_inner().showtime.map(|showtime| showtime.revision),
        Some(4)
    );
}

async fn a_repeated_cancellation_answers_as_the_first_did_though_money_came_late(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let cancel = CancelShowtimeRequest {
        showtime_id: showtime.showtime_id.clone(),
        request_id: request_id(),
        ..CancelShowtimeRequest::default()
    };
    let first = world.showtimes().cancel_showtime(cancel.clone()).await.expect("nothing was sold").into_inner();
    confirm_late(&world, &held, "card").await.expect("the money is noted");
    let revision = first.showtime.as_ref().expect("the answer has the showtime").revision;
    assert_eq!(showtime_now(&world, &showtime).await.revision, revision + 1);
    let again = world.showtimes().cancel_showtime(cancel).await.expect("it is repeated").into_inner();
    assert_eq!(again, first);
}

async fn cancel_showtime(server: &Server, showtime: &Showtime, force: bool) -> Result<Showtime, Status> {
    let request = CancelShowtimeRequest {
        showtime_id: showtime.showtime_id.clone(),
        request_id: String::new(),
        force,
        expected_revision: 0,
    };
    let answer = server.showtimes().cancel_showtime(request).await?;
    Ok(answer.into_inner().showtime.expect("the answer has the showtime"))
}
