//! A showtime that is cancelled takes its reservations with it: all of them in one revision, or nothing.

use boxoffice::pb::boxoffice::v1::{CancelShowtimeRequest, ReservationState, Showtime, ShowtimeState};
use tonic::{Code, Status};

use crate::harness::{
    Server, World, assert_refused,
    seats::{cancel, confirm, extend, get, instant, reserve, showtime, showtime_now, state, these},
};

on_both_stores!(
    holds_go_with_their_showtime,
    sales_are_given_up_only_if_that_is_forced,
    a_showtime_that_has_ended_cannot_be_cancelled,
    a_showtime_at_another_revision_than_expected_is_not_cancelled,
);

async fn holds_go_with_their_showtime(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("they are free");
    let other = reserve(&world, these(&showtime, "bob", "B1")).await.expect("it is free");
    let off = call_off(&world, &showtime, false).await.expect("nothing was sold");
    assert_eq!((off.state(), off.revision, off.available_count), (ShowtimeState::Cancelled, 4, 34));
    assert_eq!(showtime_now(&world, &showtime).await, off);
    for reservation in [&held, &other] {
        let gone = get(&world, reservation).await.expect("it is found");
        assert_eq!((gone.state(), gone.revision), (ReservationState::Cancelled, 4));
        assert_eq!((gone.cancel_time, gone.time_left), (off.cancel_time, None));
        for refused in [confirm(&world, reservation).await, extend(&world, reservation).await] {
            let status = refused.expect_err("it is no hold");
            assert_refused(&status, Code::FailedPrecondition, "RESERVATION_NOT_HELD");
        }
    }
    let status = reserve(&world, these(&showtime, "ada", "C1")).await.expect_err("it will not play");
    let about = assert_refused(&status, Code::FailedPrecondition, "SHOWTIME_CANCELLED");
    assert_eq!((about["showtime_id"].as_str(), about["revision"].as_str()), (&*showtime.showtime_id, "4"));
    assert_eq!(about["cancel_time"].parse(), Ok(instant(off.cancel_time)));
    let status = call_off(&world, &showtime, true).await.expect_err("once is enough");
    assert_refused(&status, Code::FailedPrecondition, "SHOWTIME_CANCELLED");
}

async fn sales_are_given_up_only_if_that_is_forced(world: World) {
    let showtime = showtime(&world).await;
    let sold = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("they are free");
    let sold = confirm(&world, &sold).await.expect("it is held");
    let held = reserve(&world, these(&showtime, "bob", "B1")).await.expect("it is free");
    let given_up = reserve(&world, these(&showtime, "cyd", "C1")).await.expect("it is free");
    let given_up = cancel(&world, &given_up).await.expect("it is held");
    let status = call_off(&world, &showtime, false).await.expect_err("seats were sold");
    let about = assert_refused(&status, Code::FailedPrecondition, "SHOWTIME_HAS_SALES");
    assert_eq!((about["confirmed_count"].as_str(), about["revision"].as_str()), ("1", "6"));
    assert_eq!(state(&world, &held).await, ReservationState::Held, "a refusal leaves no trace");
    let off = call_off(&world, &showtime, true).await.expect("it is forced");
    assert_eq!((off.state(), off.revision, off.available_count), (ShowtimeState::Cancelled, 7, 34));
    let gone = get(&world, &sold).await.expect("it is found");
    assert_eq!((gone.state(), gone.cancel_time), (ReservationState::Cancelled, off.cancel_time));
    assert_eq!(gone.confirm_time, sold.confirm_time, "that it was sold is not forgotten");
    assert_eq!(state(&world, &held).await, ReservationState::Cancelled);
    // What was over before stays as it was.
    assert_eq!(get(&world, &given_up).await.expect("it is found"), given_up);
}

async fn a_showtime_that_has_ended_cannot_be_cancelled(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("it is free");
    // Nothing can be scheduled in the past, and what is known of a showtime is kept in memory.
    world.stop().await;
    let long_ago = "UPDATE showtimes SET start_time = '2020-01-01T18:00:00+00:00', \
                    end_time = '2020-01-01T20:00:00+00:00', free_again = '2020-01-01T20:15:00+00:00'";
    world.ground.sql(long_ago).await.expect("it is only a row");
    let world = World { server: world.server.setup().clone().start().await, ground: world.ground };
    let status = call_off(&world, &showtime, true).await.expect_err("it has played");
    let about = assert_refused(&status, Code::FailedPrecondition, "SHOWTIME_OVER");
    assert_eq!(about["showtime_id"], showtime.showtime_id);
    assert!(about.contains_key("end_time") && about.contains_key("revision"), "{about:?}");
    let status = reserve(&world, these(&showtime, "ada", "A2")).await.expect_err("it has played");
    assert_refused(&status, Code::FailedPrecondition, "SALES_CLOSED");
    let status = confirm(&world, &held).await.expect_err("it has played");
    assert_refused(&status, Code::FailedPrecondition, "SALES_CLOSED");
}

async fn a_showtime_at_another_revision_than_expected_is_not_cancelled(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("it is free");
    let expecting = |expected_revision| CancelShowtimeRequest {
        showtime_id: showtime.showtime_id.clone(),
        expected_revision,
        ..Default::default()
    };
    let status = world.showtimes().cancel_showtime(expecting(1)).await.expect_err("a seat was held since");
    let about = assert_refused(&status, Code::FailedPrecondition, "REVISION_DIFFERS");
    assert_eq!((&*about["revision"], &*about["expected_revision"]), ("2", "1"), "{about:?}");
    confirm(&world, &held).await.expect("the hold was not touched");
    let answer = world.showtimes().cancel_showtime(CancelShowtimeRequest { force: true, ..expecting(3) }).await;
    assert_eq!(answer.expect("it is the revision").into_inner().showtime.map(|showtime| showtime.revision), Some(4));
}

async fn call_off(server: &Server, showtime: &Showtime, force: bool) -> Result<Showtime, Status> {
    let request = CancelShowtimeRequest {
        showtime_id: showtime.showtime_id.clone(),
        request_id: String::new(),
        force,
        expected_revision: 0,
    };
    let answer = server.showtimes().cancel_showtime(request).await?;
    Ok(answer.into_inner().showtime.expect("the answer has the showtime"))
}
