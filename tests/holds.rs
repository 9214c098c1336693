//! The life of a hold: it ends at its time, or is sold, given up or prolonged before. Nobody sweeps here unless it is said.

use boxoffice::pb::boxoffice::v1::{
    ConfirmReservationRequest, CreateShowtimeRequest, Reservation, ReservationState, ReserveSeatsRequest, Showtime,
    Tender,
};
use chrono::{DateTime, TimeDelta, Utc};
use tonic::{Code, Status};

use crate::harness::{
    Server, Store, World, assert_refused, assert_violates, eventually, in_hours,
    requests::seconds,
    seats::{
        HALL, assert_unavailable, best, cancel, confirm, extend, get, instant, lasting, reserve, showtime,
        showtime_now, showtime_with, state, these,
    },
};

on_both_stores!(
    with |setup| setup.with("--sweep", "false").with("--hold-extension", "1h");
    a_hold_ends_at_its_time_though_nobody_sweeps,
    what_is_over_cannot_be_changed,
    the_time_that_others_are_told_is_the_time_of_the_hold,
    confirming_sells_the_seats_once,
    what_is_sold_stays_sold,
    a_tender_is_kept_and_must_not_differ,
    giving_up_frees_the_seats_at_once,
    a_hold_is_prolonged_once,
    a_prolonged_hold_outlives_its_first_end,
    nothing_is_sold_once_the_showtime_has_begun,
);

async fn a_hold_ends_at_its_time_though_nobody_sweeps(world: World) {
    let showtime = brief(&world).await;
    let first = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("they are free");
    assert_eq!(instant(first.expire_time) - instant(first.create_time), TimeDelta::seconds(2));
    // Somebody who asks all the time: refused to the very end, and not a moment longer.
    let second =
        eventually("the seats are free", async || match reserve(&world, these(&showtime, "bob", "A2 A3")).await {
            Ok(second) => Some(second),
            Err(status) => {
                assert_unavailable(&status, "SEATS_UNAVAILABLE");
                None
            }
        });
    let second = second.await;
    assert!(instant(second.create_time) >= instant(first.expire_time), "{second:?} is before the end of {first:?}");
    assert_eq!(state(&world, &first).await, ReservationState::Expired);
    // Its end was written down by the revision that took its seat.
    assert_eq!(get(&world, &first).await.expect("it is found").revision, second.revision);
    reserve(&world, these(&showtime, "bob", "A1")).await.expect("the other seat is free as well");
}

async fn what_is_over_cannot_be_changed(world: World) {
    let showtime = brief(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("it is free");
    over(&world, &held).await;
    let now = get(&world, &held).await.expect("it is found");
    assert_eq!((now.time_left, now.revision), (None, held.revision), "nobody has written it down: {now:?}");
    for taken in [false, true] {
        if taken {
            reserve(&world, these(&showtime, "bob", "A1")).await.expect("it is anybody's");
        }
        for refused in [confirm(&world, &held).await, cancel(&world, &held).await, extend(&world, &held).await] {
            let about =
                assert_refused(&refused.expect_err("it is over"), Code::FailedPrecondition, "RESERVATION_EXPIRED");
            assert_eq!(time(&about["expire_time"]), instant(held.expire_time));
            assert_eq!(about["reservation_id"], held.reservation_id);
        }
    }
}

async fn the_time_that_others_are_told_is_the_time_of_the_hold(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("it is free");
    let status = reserve(&world, these(&showtime, "bob", "A1")).await.expect_err("it is held");
    let in_the_way = assert_unavailable(&status, "SEATS_UNAVAILABLE").seats;
    assert_eq!(in_the_way[0].held_until, held.expire_time);
    assert!(held.expire_time.is_some());
    let longer = extend(&world, &held).await.expect("it is held");
    let status = reserve(&world, these(&showtime, "bob", "A1")).await.expect_err("it is held");
    assert_eq!(assert_unavailable(&status, "SEATS_UNAVAILABLE").seats[0].held_until, longer.expire_time);
    assert_ne!(longer.expire_time, held.expire_time);
}

async fn confirming_sells_the_seats_once(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("they are free");
    let sold = confirm(&world, &held).await.expect("it is held");
    let expected = Reservation {
        state: ReservationState::Confirmed.into(),
        confirm_time: sold.confirm_time,
        revision: held.revision + 1,
        ..lasting(held.clone())
    };
    assert_eq!(sold, expected);
    assert!((instant(held.create_time)..instant(held.expire_time)).contains(&instant(sold.confirm_time)), "{sold:?}");
    for _ in 0..2 {
        assert_eq!(confirm(&world, &held).await.expect("a repeat answers the same"), sold);
        assert_eq!(get(&world, &held).await.expect("it is found"), sold);
    }
    assert_eq!(showtime_now(&world, &showtime).await.revision, sold.revision, "repeats are no changes");
}

async fn what_is_sold_stays_sold(world: World) {
    let showtime = brief(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("it is free");
    let sold = confirm(&world, &held).await.expect("it is held");
    // A hold that was made later has ended: so has the time for which the first one was promised.
    over(&world, &reserve(&world, these(&showtime, "bob", "B1")).await.expect("it is free")).await;
    assert_eq!(get(&world, &held).await.expect("it is found"), sold);
    let status = reserve(&world, these(&showtime, "bob", "A1")).await.expect_err("it is sold");
    let in_the_way = assert_unavailable(&status, "SEATS_UNAVAILABLE").seats;
    assert_eq!(in_the_way[0].held_until, None, "{in_the_way:?}");
    assert_eq!(confirm(&world, &held).await.expect("a repeat answers the same"), sold);
}

async fn a_tender_is_kept_and_must_not_differ(world: World) {
    let showtime = showtime(&world).await;
    let cash = Tender { method: "cash".to_owned(), transaction_id: String::new() };
    let card = Tender { method: "card".to_owned(), transaction_id: "till 4, 2027-0001".to_owned() };
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("it is free");
    let sold = tendered(&world, &held, &card).await.expect("it is held");
    assert_eq!(sold.tender.as_ref(), Some(&card));
    for repeated in [tendered(&world, &held, &card).await, confirm(&world, &held).await] {
        assert_eq!(repeated.expect("the same, or left out"), sold);
    }
    let status = tendered(&world, &held, &cash).await.expect_err("it was paid for by card");
    let about = assert_refused(&status, Code::FailedPrecondition, "TENDER_DIFFERS");
    assert_eq!(about["reservation_id"], held.reservation_id);
    assert_eq!(get(&world, &held).await.expect("it is found"), sold);
    // Nobody wants to have that stored.
    let number = Tender { method: "card".to_owned(), transaction_id: "4111 1111 1111 1111".to_owned() };
    let other = reserve(&world, these(&showtime, "bob", "A2")).await.expect("it is free");
    let status = tendered(&world, &other, &number).await.expect_err("that is the number of a card");
    assert_violates(&status, &["tender.transaction_id"]);
    assert!(!format!("{status:?}").contains("4111"), "{status:?}");
}

async fn giving_up_frees_the_seats_at_once(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("they are free");
    let gone = cancel(&world, &held).await.expect("it is held");
    assert_eq!((gone.state(), gone.time_left), (ReservationState::Cancelled, None));
    assert!(instant(gone.cancel_time) >= instant(held.create_time), "{gone:?}");
    assert_eq!(get(&world, &held).await.expect("it is found"), gone);
    let sold = reserve(&world, these(&showtime, "bob", "A2 A3")).await.expect("they are free again");
    confirm(&world, &sold).await.expect("it is held");
    // Neither comes back.
    for (reservation, state) in [(&held, "CANCELLED"), (&sold, "CONFIRMED")] {
        let other = match state {
            "CANCELLED" => confirm(&world, reservation).await,
            _ => cancel(&world, reservation).await,
        };
        for refused in [extend(&world, reservation).await, other] {
            let status = refused.expect_err("it is no hold");
            let about = assert_refused(&status, Code::FailedPrecondition, "RESERVATION_NOT_HELD");
            assert_eq!(about["state"], state);
        }
    }
    assert_eq!(cancel(&world, &held).await.expect("a repeat answers the same"), gone);
}

async fn a_hold_is_prolonged_once(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("it is free");
    let longer = extend(&world, &held).await.expect("it is held");
    assert_eq!(instant(longer.expire_time) - instant(held.expire_time), TimeDelta::hours(1));
    assert!(longer.extended && !held.extended);
    assert!(longer.time_left.is_some_and(|left| left.seconds > 3600), "{longer:?}");
    let again = extend(&world, &held).await.expect("a repeat answers the same");
    assert_eq!(lasting(again), lasting(longer.clone()));
    assert_eq!(lasting(get(&world, &held).await.expect("it is found")), lasting(longer));
}

async fn a_prolonged_hold_outlives_its_first_end(world: World) {
    let showtime = brief(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("it is free");
    extend(&world, &held).await.expect("it is held");
    over(&world, &reserve(&world, these(&showtime, "bob", "B1")).await.expect("it is free")).await;
    assert_eq!(state(&world, &held).await, ReservationState::Held);
    let status = reserve(&world, these(&showtime, "bob", "A1")).await.expect_err("it is held");
    assert_unavailable(&status, "SEATS_UNAVAILABLE");
    confirm(&world, &held).await.expect("it is held");
}

async fn nothing_is_sold_once_the_showtime_has_begun(world: World) {
    let start = boxoffice::clock::Clock::System.now() + TimeDelta::seconds(3);
    let showtime = showtime_with(&world, &HALL, start, |request| request).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("it is free");
    assert_eq!(held.expire_time, showtime.start_time, "nobody is promised seats that cannot be bought");
    let status = extend(&world, &held).await.expect_err("it lasts as long as can be");
    assert_refused(&status, Code::FailedPrecondition, "SALES_CLOSED");
    let closed = eventually("it begins", async || {
        let wanted = ReserveSeatsRequest { validate_only: true, ..these(&showtime, "bob", "A2") };
        reserve(&world, wanted).await.map_or_else(Some, |held| {
            assert!(instant(held.create_time) < start, "{held:?}");
            None
        })
    });
    let about = assert_refused(&closed.await, Code::FailedPrecondition, "SALES_CLOSED");
    assert_eq!(time(&about["close_time"]), start);
    let status = confirm(&world, &held).await.expect_err("it is over");
    assert_refused(&status, Code::FailedPrecondition, "RESERVATION_EXPIRED");
}

#[tokio::test]
async fn when_sales_close_is_the_operators_choice() {
    let world = World::with(Store::Sqlite, |setup| setup.with("--sales-closing", "24h")).await;
    let soon = showtime_with(&world, &HALL, in_hours(-2), |request| request).await;
    let status = reserve(&world, these(&soon, "ada", "A1")).await.expect_err("it starts within a day");
    assert_refused(&status, Code::FailedPrecondition, "SALES_CLOSED");
    let later = showtime_with(&world, &HALL, in_hours(24), |request| request).await;
    let held = reserve(&world, these(&later, "ada", "A1")).await.expect("it starts in two days");
    assert!(instant(held.expire_time) <= instant(later.start_time) - TimeDelta::hours(24));
}

#[tokio::test]
async fn a_hold_lasts_as_long_as_the_operator_says() {
    let world = World::with(Store::Sqlite, |setup| setup.with("--hold-duration", "37s")).await;
    let showtime = showtime(&world).await;
    let held = reserve(&world, best(&showtime, "ada", 2)).await.expect("some are free");
    assert_eq!(instant(held.expire_time) - instant(held.create_time), TimeDelta::seconds(37));
}

/// With the sweep on, as it usually is: lists and counts need nobody who takes the seats.
#[tokio::test]
async fn a_sweep_writes_down_what_is_over() {
    for store in [Store::Sqlite, Store::Postgres] {
        let world = World::with(store, |setup| setup.with("--sweep-interval", "100ms")).await;
        let showtime = brief(&world).await;
        let held = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("they are free");
        let kept = reserve(&world, these(&showtime, "bob", "B1")).await.expect("it is free");
        confirm(&world, &kept).await.expect("it is held");
        let swept = eventually("it is swept", async || {
            let now = showtime_now(&world, &showtime).await;
            (now.available_count == 33).then_some(now)
        });
        assert_eq!(swept.await.revision, 5);
        let over = get(&world, &held).await.expect("it is found");
        assert_eq!((over.state(), over.revision), (ReservationState::Expired, 5));
    }
}

/// In which seats are held for two seconds only.
async fn brief(server: &Server) -> Showtime {
    let hold = |request| CreateShowtimeRequest { hold_duration: Some(seconds(2)), ..request };
    showtime_with(server, &HALL, in_hours(0), hold).await
}

/// Waits for the end of a hold.
async fn over(server: &Server, held: &Reservation) {
    eventually("the hold is over", async || (state(server, held).await == ReservationState::Expired).then_some(()))
        .await;
}

async fn tendered(server: &Server, held: &Reservation, tender: &Tender) -> Result<Reservation, Status> {
    let reservation_id = held.reservation_id.clone();
    let request = ConfirmReservationRequest { reservation_id, tender: Some(tender.clone()), ..Default::default() };
    let answer = server.reservations().confirm_reservation(request).await?;
    Ok(answer.into_inner().reservation.expect("the answer has the reservation"))
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time as RFC 3339 writes it")
}
