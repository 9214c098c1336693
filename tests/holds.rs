//! The life of a hold: it lapses at its expire time, unless it is confirmed, cancelled or extended before. No sweep runs,
//! except in the test of the sweep.

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
    a_hold_lapses_at_its_time_without_a_sweep,
    a_lapsed_hold_cannot_be_changed,
    a_refusal_names_the_expire_time_of_the_hold,
    confirming_sells_the_seats_once,
    sold_seats_stay_sold,
    a_tender_is_stored_and_must_not_differ,
    cancelling_frees_the_seats_at_once,
    a_hold_is_extended_once,
    an_extended_hold_does_not_lapse_at_its_first_expire_time,
    nothing_is_sold_once_the_showtime_has_begun,
);

async fn a_hold_lapses_at_its_time_without_a_sweep(world: World) {
    let showtime = showtime_with_short_holds(&world).await;
    let first = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
    assert_eq!(instant(first.expire_time) - instant(first.create_time), TimeDelta::seconds(2));
    // Requests for the held seats are refused until the hold lapses, and not longer.
    let second =
        eventually("the seats are free", async || match reserve(&world, these(&showtime, "bob", "A2 A3")).await {
            Ok(second) => Some(second),
            Err(status) => {
                assert_unavailable(&status, "SEATS_UNAVAILABLE");
                None
            }
        });
    let second = second.await;
    assert!(instant(second.create_time) >= instant(first.expire_time), "{second:?} was made before {first:?} lapsed");
    assert_eq!(state(&world, &first).await, ReservationState::Expired);
    // The revision that gave its seat to another reservation has recorded the lapse.
    assert_eq!(get(&world, &first).await.expect("it is found").revision, second.revision);
    reserve(&world, these(&showtime, "bob", "A1")).await.expect("the other seat is free as well");
}

async fn a_lapsed_hold_cannot_be_changed(world: World) {
    let showtime = showtime_with_short_holds(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    wait_until_lapsed(&world, &held).await;
    let now = get(&world, &held).await.expect("it is found");
    assert_eq!((now.time_left, now.revision), (None, held.revision), "the lapse is not recorded: {now:?}");
    for taken in [false, true] {
        if taken {
            reserve(&world, these(&showtime, "bob", "A1")).await.expect("the seat is free");
        }
        for refused in [confirm(&world, &held).await, cancel(&world, &held).await, extend(&world, &held).await] {
            let about = assert_refused(
                &refused.expect_err("the hold has lapsed"),
                Code::FailedPrecondition,
                "RESERVATION_EXPIRED",
            );
            assert_eq!(time(&about["expire_time"]), instant(held.expire_time));
            assert_eq!(about["reservation_id"], held.reservation_id);
        }
    }
}

async fn a_refusal_names_the_expire_time_of_the_hold(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let status = reserve(&world, these(&showtime, "bob", "A1")).await.expect_err("the seat is held");
    let in_the_way = assert_unavailable(&status, "SEATS_UNAVAILABLE").seats;
    assert_eq!(in_the_way[0].held_until, held.expire_time);
    assert!(held.expire_time.is_some());
    let longer = extend(&world, &held).await.expect("the reservation is held");
    let status = reserve(&world, these(&showtime, "bob", "A1")).await.expect_err("the seat is held");
    assert_eq!(assert_unavailable(&status, "SEATS_UNAVAILABLE").seats[0].held_until, longer.expire_time);
    assert_ne!(longer.expire_time, held.expire_time);
}

async fn confirming_sells_the_seats_once(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
    let sold = confirm(&world, &held).await.expect("the reservation is held");
    let expected = Reservation {
        state: ReservationState::Confirmed.into(),
        confirm_time: sold.confirm_time,
        revision: held.revision + 1,
        purchase_id: held.reservation_id.clone(),
        ..lasting(held.clone())
    };
    assert_eq!(sold, expected);
    assert!((instant(held.create_time)..instant(held.expire_time)).contains(&instant(sold.confirm_time)), "{sold:?}");
    for _ in 0..2 {
        assert_eq!(confirm(&world, &held).await.expect("a repeated request is answered"), sold);
        assert_eq!(get(&world, &held).await.expect("it is found"), sold);
    }
    assert_eq!(showtime_now(&world, &showtime).await.revision, sold.revision, "a repeated request changes nothing");
}

async fn sold_seats_stay_sold(world: World) {
    let showtime = showtime_with_short_holds(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let sold = confirm(&world, &held).await.expect("the reservation is held");
    // When a later hold has lapsed, the expire time of the first one is past, too.
    wait_until_lapsed(&world, &reserve(&world, these(&showtime, "bob", "B1")).await.expect("the seat is free")).await;
    assert_eq!(get(&world, &held).await.expect("it is found"), sold);
    let status = reserve(&world, these(&showtime, "bob", "A1")).await.expect_err("the seat is sold");
    let in_the_way = assert_unavailable(&status, "SEATS_UNAVAILABLE").seats;
    assert_eq!(in_the_way[0].held_until, None, "{in_the_way:?}");
    assert_eq!(confirm(&world, &held).await.expect("a repeated request is answered"), sold);
}

async fn a_tender_is_stored_and_must_not_differ(world: World) {
    let showtime = showtime(&world).await;
    let cash = Tender { method: "cash".to_owned(), transaction_id: String::new() };
    let card = Tender { method: "card".to_owned(), transaction_id: "till 4, 2027-0001".to_owned() };
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let sold = confirm_with(&world, &held, &card).await.expect("the reservation is held");
    assert_eq!(sold.tender.as_ref(), Some(&card));
    for repeated in [confirm_with(&world, &held, &card).await, confirm(&world, &held).await] {
        assert_eq!(repeated.expect("the tender is the same or left out"), sold);
    }
    let status = confirm_with(&world, &held, &cash).await.expect_err("it was paid for by card");
    let about = assert_refused(&status, Code::FailedPrecondition, "TENDER_DIFFERS");
    assert_eq!(about["reservation_id"], held.reservation_id);
    assert_eq!(get(&world, &held).await.expect("it is found"), sold);
    // The number of a card must not be stored.
    let card_number = Tender { method: "card".to_owned(), transaction_id: "4111 1111 1111 1111".to_owned() };
    let other = reserve(&world, these(&showtime, "bob", "A2")).await.expect("the seat is free");
    let status = confirm_with(&world, &other, &card_number).await.expect_err("the id is the number of a card");
    assert_violates(&status, &["tender.transaction_id"]);
    assert!(!format!("{status:?}").contains("4111"), "{status:?}");
}

async fn cancelling_frees_the_seats_at_once(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
    let cancelled = cancel(&world, &held).await.expect("the reservation is held");
    assert_eq!((cancelled.state(), cancelled.time_left), (ReservationState::Cancelled, None));
    assert!(instant(cancelled.cancel_time) >= instant(held.create_time), "{cancelled:?}");
    assert_eq!(get(&world, &held).await.expect("it is found"), cancelled);
    let sold = reserve(&world, these(&showtime, "bob", "A2 A3")).await.expect("the seats are free again");
    confirm(&world, &sold).await.expect("the reservation is held");
    // Neither state can change.
    for (reservation, state) in [(&held, "CANCELLED"), (&sold, "CONFIRMED")] {
        let other = match state {
            "CANCELLED" => confirm(&world, reservation).await,
            _ => cancel(&world, reservation).await,
        };
        for refused in [extend(&world, reservation).await, other] {
            let status = refused.expect_err("the reservation is not held");
            let about = assert_refused(&status, Code::FailedPrecondition, "RESERVATION_NOT_HELD");
            assert_eq!(about["state"], state);
        }
    }
    assert_eq!(cancel(&world, &held).await.expect("a repeated request is answered"), cancelled);
}

async fn a_hold_is_extended_once(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let longer = extend(&world, &held).await.expect("the reservation is held");
    assert_eq!(instant(longer.expire_time) - instant(held.expire_time), TimeDelta::hours(1));
    assert!(longer.extended && !held.extended);
    assert!(longer.time_left.is_some_and(|left| left.seconds > 3600), "{longer:?}");
    let again = extend(&world, &held).await.expect("a repeated request is answered");
    assert_eq!(lasting(again), lasting(longer.clone()));
    assert_eq!(lasting(get(&world, &held).await.expect("it is found")), lasting(longer));
}

async fn an_extended_hold_does_not_lapse_at_its_first_expire_time(world: World) {
    let showtime = showtime_with_short_holds(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    extend(&world, &held).await.expect("the reservation is held");
    wait_until_lapsed(&world, &reserve(&world, these(&showtime, "bob", "B1")).await.expect("the seat is free")).await;
    assert_eq!(state(&world, &held).await, ReservationState::Held);
    let status = reserve(&world, these(&showtime, "bob", "A1")).await.expect_err("the seat is held");
    assert_unavailable(&status, "SEATS_UNAVAILABLE");
    confirm(&world, &held).await.expect("the reservation is held");
}

async fn nothing_is_sold_once_the_showtime_has_begun(world: World) {
    let start = boxoffice::clock::Clock::System.now() + TimeDelta::seconds(3);
    let showtime = showtime_with(&world, &HALL, start, |request| request).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    assert_eq!(held.expire_time, showtime.start_time, "a hold does not last longer than the sale");
    let status = extend(&world, &held).await.expect_err("the hold ends when sales close");
    assert_refused(&status, Code::FailedPrecondition, "SALES_CLOSED");
    let closed = eventually("the showtime starts", async || {
        let request = ReserveSeatsRequest { validate_only: true, ..these(&showtime, "bob", "A2") };
        reserve(&world, request).await.map_or_else(Some, |held| {
            assert!(instant(held.create_time) < start, "{held:?}");
            None
        })
    });
    let about = assert_refused(&closed.await, Code::FailedPrecondition, "SALES_CLOSED");
    assert_eq!(time(&about["close_time"]), start);
    let status = confirm(&world, &held).await.expect_err("the hold has lapsed");
    assert_refused(&status, Code::FailedPrecondition, "RESERVATION_EXPIRED");
}

#[tokio::test]
async fn the_operator_decides_when_sales_close() {
    let world = World::with(Store::Sqlite, |setup| setup.with("--sales-closing", "24h")).await;
    let soon = showtime_with(&world, &HALL, in_hours(-2), |request| request).await;
    let status = reserve(&world, these(&soon, "ada", "A1")).await.expect_err("it starts within a day");
    assert_refused(&status, Code::FailedPrecondition, "SALES_CLOSED");
    let later = showtime_with(&world, &HALL, in_hours(24), |request| request).await;
    let held = reserve(&world, these(&later, "ada", "A1")).await.expect("it starts in two days");
    assert!(instant(held.expire_time) <= instant(later.start_time) - TimeDelta::hours(24));
}

#[tokio::test]
async fn the_operator_decides_how_long_a_hold_lasts() {
    let world = World::with(Store::Sqlite, |setup| setup.with("--hold-duration", "37s")).await;
    let showtime = showtime(&world).await;
    let held = reserve(&world, best(&showtime, "ada", 2)).await.expect("there are free seats");
    assert_eq!(instant(held.expire_time) - instant(held.create_time), TimeDelta::seconds(37));
}

/// With the sweep, lapsed holds are recorded even if no request takes their seats.
#[tokio::test]
async fn a_sweep_records_lapsed_holds() {
    for store in [Store::Sqlite, Store::Postgres] {
        let world = World::with(store, |setup| setup.with("--sweep-interval", "100ms")).await;
        let showtime = showtime_with_short_holds(&world).await;
        let held = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
        let sold = reserve(&world, these(&showtime, "bob", "B1")).await.expect("the seat is free");
        confirm(&world, &sold).await.expect("the reservation is held");
        let swept = eventually("the lapse is recorded", async || {
            let now = showtime_now(&world, &showtime).await;
            (now.available_count == 33).then_some(now)
        });
        assert_eq!(swept.await.revision, 5);
        let lapsed = get(&world, &held).await.expect("it is found");
        assert_eq!((lapsed.state(), lapsed.revision), (ReservationState::Expired, 5));
    }
}

/// Schedules a showtime with holds of two seconds.
async fn showtime_with_short_holds(server: &Server) -> Showtime {
    let hold = |request| CreateShowtimeRequest { hold_duration: Some(seconds(2)), ..request };
    showtime_with(server, &HALL, in_hours(0), hold).await
}

/// Waits until the hold has lapsed.
async fn wait_until_lapsed(server: &Server, held: &Reservation) {
    eventually("the hold has lapsed", async || (state(server, held).await == ReservationState::Expired).then_some(()))
        .await;
}

async fn confirm_with(server: &Server, held: &Reservation, tender: &Tender) -> Result<Reservation, Status> {
    let reservation_id = held.reservation_id.clone();
    let request = ConfirmReservationRequest { reservation_id, tender: Some(tender.clone()), ..Default::default() };
    let answer = server.reservations().confirm_reservation(request).await?;
    Ok(answer.into_inner().reservation.expect("the answer has the reservation"))
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time in the format of RFC 3339")
}
