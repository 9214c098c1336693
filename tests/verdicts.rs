//! What a confirmation answers about a sale that was made late.

use boxoffice::pb::boxoffice::v1::{
    ConfirmReservationRequest, ConfirmVerdict, CreateShowtimeRequest, ReservationState,
};

use crate::harness::{
    World, eventually, in_hours,
    requests::seconds,
    seats::{HALL, lasting, reserve, showtime_with, state, these},
    staff::{answer_to, confirm_late},
};

on_both_stores!(a_confirmation_that_is_not_late_is_confirmed_also_where_the_sale_was_recovered);

async fn a_confirmation_that_is_not_late_is_confirmed_also_where_the_sale_was_recovered(world: World) {
    let brief = |request| CreateShowtimeRequest { hold_duration: Some(seconds(1)), ..request };
    let showtime = showtime_with(&world, &HALL, in_hours(0), brief).await;
    let held = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
    eventually("the hold lapses", async || (state(&world, &held).await == ReservationState::Expired).then_some(()))
        .await;
    let (verdict, recovered) = confirm_late(&world, &held, "card").await.expect("the seats are free");
    assert_eq!((verdict, recovered.state()), (ConfirmVerdict::Recovered, ReservationState::Confirmed));
    // Nothing about it is late for this caller, who finds it sold.
    let request = ConfirmReservationRequest { reservation_id: held.reservation_id.clone(), ..Default::default() };
    let (verdict, sold) = answer_to(&world, request).await.expect("it is sold");
    assert_eq!((verdict, lasting(sold)), (ConfirmVerdict::Confirmed, lasting(recovered.clone())));
    let (verdict, again) = confirm_late(&world, &held, "card").await.expect("it is sold");
    assert_eq!((verdict, lasting(again)), (ConfirmVerdict::Recovered, lasting(recovered)));
}
