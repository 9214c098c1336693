//! Money that was taken in any case: a hold that has ended gets a verdict. Its seats are sold after all, or the money is due.

use boxoffice::pb::boxoffice::{
    events::v1::event::Payload,
    v1::{
        CancelShowtimeRequest, ConfirmReservationRequest, ConfirmVerdict, CreateShowtimeRequest,
        ListReservationsRequest, RefundDue, Reservation, ReservationState, ReserveSeatsRequest, Seat, SeatState,
        Showtime, SubscribeEventsRequest, Tender,
    },
};
use tonic::Code;

use crate::harness::{
    Server, Store, World, assert_not_found, assert_refused, assert_violates, euros,
    events::{subscribe, until},
    eventually, in_hours, request_id,
    requests::seconds,
    seats::{HALL, cancel, confirm, get, instant, lasting, names, reserve, showtime, showtime_with, state, these},
    staff::{answer_to, block, confirm_late, exchange, release, sales, tender, to_confirm_late},
    watching::{map, states},
    world::Storage,
};

on_both_stores!(
    with |setup| setup.with("--sweep", "false").with("--max-customer-seats", "3").with("--max-seats", "3");
    a_hold_that_has_not_lapsed_is_confirmed,
    free_seats_of_a_hold_that_has_lapsed_are_sold,
    money_for_seats_that_others_have_is_due,
    money_for_what_was_cancelled_is_due,
    money_for_more_seats_than_allowed_or_after_the_sale_is_due,
    a_repeated_request_gets_the_same_verdict,
    reservations_with_a_refund_due_are_listed,
    invalid_requests_are_refused_for_every_flaw,
);

/// A showtime whose holds lapse after a second.
async fn brief(server: &Server) -> Showtime {
    let brief = |request| CreateShowtimeRequest { hold_duration: Some(seconds(1)), ..request };
    showtime_with(server, &HALL, in_hours(0), brief).await
}

/// A hold that has lapsed.
async fn lapsed(server: &Server, showtime: &Showtime, customer: &str, seats: &str) -> Reservation {
    let held = reserve(server, these(showtime, customer, seats)).await.expect("the seats are free");
    let has_lapsed = async || (state(server, &held).await == ReservationState::Expired).then_some(());
    eventually("the hold has lapsed", has_lapsed).await;
    held
}

/// Asserts that the money is due, and returns the reservation.
async fn assert_due(server: &Server, reservation: &Reservation, state: ReservationState) -> Reservation {
    let (verdict, due) = confirm_late(server, reservation, "card").await.expect("the money is noted");
    assert_eq!((verdict, due.state()), (ConfirmVerdict::RefundDue, state));
    let RefundDue { amount, tender: paid, create_time } = due.refund_due.clone().expect("a refund is due");
    assert_eq!((&amount, paid), (&due.total_price, Some(tender("card"))));
    assert!(instant(create_time) >= instant(due.create_time), "{due:?}");
    assert_eq!(get(server, reservation).await.expect("it is found"), due);
    // A repetition, with a request id or without one, changes nothing, and another tender is refused.
    let again = confirm_late(server, reservation, "card").await.expect("it is noted");
    assert_eq!(again, (ConfirmVerdict::RefundDue, due.clone()));
    let status = confirm_late(server, reservation, "cash").await.expect_err("it was paid otherwise");
    assert_refused(&status, Code::FailedPrecondition, "TENDER_DIFFERS");
    due
}

async fn a_hold_that_has_not_lapsed_is_confirmed(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
    let (verdict, sold) = confirm_late(&world, &held, "card").await.expect("it is held");
    assert_eq!((verdict, sold.state()), (ConfirmVerdict::Confirmed, ReservationState::Confirmed));
    assert_eq!((&sold.tender, &sold.refund_due), (&Some(tender("card")), &None));
    let again = confirm_late(&world, &held, "card").await.expect("it is confirmed");
    assert_eq!(again, (ConfirmVerdict::Confirmed, sold.clone()));
    let without = ConfirmReservationRequest { late: false, ..to_confirm_late(&held, "card") };
    assert_eq!(answer_to(&world, without).await.expect("it is confirmed"), (ConfirmVerdict::Confirmed, sold));
    let status = confirm_late(&world, &held, "cash").await.expect_err("it was paid otherwise");
    assert_refused(&status, Code::FailedPrecondition, "TENDER_DIFFERS");
    let other = reserve(&world, these(&showtime, "bob", "B1")).await.expect("the seat is free");
    let whose = ConfirmReservationRequest { customer_id: "ada".to_owned(), ..to_confirm_late(&other, "card") };
    let status = answer_to(&world, whose).await.expect_err("it is of another customer");
    assert_not_found(&status, "RESERVATION_NOT_FOUND", &other.reservation_id);
}

async fn free_seats_of_a_hold_that_has_lapsed_are_sold(world: World) {
    let mut events = subscribe(&world, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let showtime = brief(&world).await;
    let held = lapsed(&world, &showtime, "ada", "A1 A2").await;
    let status = confirm(&world, &held).await.expect_err("it has lapsed");
    assert_refused(&status, Code::FailedPrecondition, "RESERVATION_EXPIRED");
    let (verdict, sold) = confirm_late(&world, &held, "card").await.expect("the seats are free");
    assert_eq!((verdict, sold.state()), (ConfirmVerdict::Recovered, ReservationState::Confirmed));
    assert_eq!((names(&sold.seats), &sold.tender), ("A1 A2".to_owned(), &Some(tender("card"))));
    assert!(instant(sold.confirm_time) >= instant(sold.expire_time), "{sold:?}");
    assert_eq!((sold.expire_time, &sold.total_price, sold.time_left), (held.expire_time, &held.total_price, None));
    assert_eq!((sold.revision, &sold.refund_due), (held.revision + 1, &None));
    let again = confirm_late(&world, &held, "card").await.expect("it is sold");
    assert_eq!(again, (ConfirmVerdict::Recovered, sold.clone()));
    let without = ConfirmReservationRequest { late: false, ..to_confirm_late(&held, "card") };
    assert_eq!(answer_to(&world, without).await.expect("it is sold"), (ConfirmVerdict::Confirmed, sold.clone()));
    let read = until(&mut events, &showtime.showtime_id, sold.revision, "ReservationConfirmed").await;
    let types: Vec<_> = read.iter().map(|event| event.r#type.trim_start_matches("boxoffice.v1.")).collect();
    let expected =
        ["ShowtimeCreated", "ReservationCreated", "ReservationExpired", "SeatsReleased", "ReservationConfirmed"];
    assert_eq!(types, expected);
    let Some(Payload::ReservationConfirmed(event)) = read[4].data.clone().and_then(|event| event.payload) else {
        panic!("another event: {:?}", read[4])
    };
    assert_eq!((event.recovered, event.seats.len(), event.lines.len()), (true, 2, 2));
    reserve(&world, these(&showtime, "bob", "A2")).await.expect_err("it is sold");
    // Also if its lapse was recorded before, by what took the seats for a while.
    let second = lapsed(&world, &showtime, "bob", "B1 B2").await;
    let between = lapsed(&world, &showtime, "cem", "B2 B3").await;
    let world = world.restart().await;
    let (verdict, sold) = confirm_late(&world, &second, "card").await.expect("the seats are free");
    assert_eq!((verdict, names(&sold.seats)), (ConfirmVerdict::Recovered, "B1 B2".to_owned()));
    let ended = get(&world, &between).await.expect("it is found");
    assert_eq!((ended.state(), ended.revision), (ReservationState::Expired, sold.revision));
    let map = map(&mut world.showtimes(), &showtime.showtime_id, sold.revision).await;
    assert_eq!(["B1", "B2", "B3"].map(|seat| states(&map)[seat]), [SeatState::Sold, SeatState::Sold, SeatState::Free]);
    assert_eq!(sales(&world, &showtime).await.seat_count, 4);
    // It is a sale like any other.
    let moved = exchange(&world, &second, "C1 C2").await.expect("the seats are free");
    assert_eq!(moved.state(), ReservationState::Confirmed);
    release(&world, &second, "").await.expect("they are sold");
}

async fn money_for_seats_that_others_have_is_due(world: World) {
    let mut events = subscribe(&world, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let showtime = brief(&world).await;
    let held = lapsed(&world, &showtime, "ada", "A1 A2").await;
    let other = reserve(&world, these(&showtime, "bob", "A2")).await.expect("it is free");
    let other = confirm(&world, &other).await.expect("it is held");
    let due = assert_due(&world, &held, ReservationState::Expired).await;
    assert_eq!((&due.tender, due.confirm_time, names(&due.seats)), (&None, None, "A1 A2".to_owned()));
    assert_eq!(due.total_price, Some(euros(19, 0)));
    let read = until(&mut events, &showtime.showtime_id, due.revision, "RefundDue").await;
    let last = read.last().expect("an event");
    assert_eq!(last.subject, held.reservation_id);
    let Some(Payload::RefundDue(event)) = last.data.clone().and_then(|event| event.payload) else {
        panic!("another event: {last:?}")
    };
    assert_eq!((event.amount, &*event.customer_id), (Some(euros(19, 0)), "ada"));
    assert_eq!(event.tender.map(|tender| tender.method), Some("card".to_owned()));
    // The money does not make a reservation of it.
    let status = confirm(&world, &held).await.expect_err("it has lapsed");
    assert_refused(&status, Code::FailedPrecondition, "RESERVATION_EXPIRED");
    assert_eq!(get(&world, &other).await.expect("it is found"), other, "nobody lost a seat");
    reserve(&world, these(&showtime, "eve", "A1")).await.expect("it is free");
    // Blocked seats and held ones are not taken either.
    let held = lapsed(&world, &showtime, "ada", "B1 B2").await;
    block(&world, &showtime, "B1").await.expect("it is free");
    assert_due(&world, &held, ReservationState::Expired).await;
    let calm = self::showtime(&world).await;
    let held = reserve(&world, these(&calm, "eve", "D1 D2")).await.expect("the seats are free");
    // Holds of this showtime last long, so the test changes the row of this one. The server has it in memory.
    world.stop().await;
    let long_ago = "UPDATE reservations SET first_expire_time = '2020-01-01T18:00:00+00:00', \
                    expire_time = '2020-01-01T18:00:00+00:00' WHERE customer_id = 'eve' AND state = 'held'";
    world.storage.sql(long_ago).await.expect("the row is changed");
    let world = World { server: world.server.setup().clone().start().await, storage: world.storage };
    let other = reserve(&world, these(&calm, "bob", "D2")).await.expect("it is free");
    assert_due(&world, &held, ReservationState::Expired).await;
    assert_eq!(state(&world, &other).await, ReservationState::Held);
}

async fn money_for_what_was_cancelled_is_due(world: World) {
    let showtime = showtime(&world).await;
    let cancelled = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    cancel(&world, &cancelled).await.expect("it is held");
    let due = assert_due(&world, &cancelled, ReservationState::Cancelled).await;
    assert_eq!(due.tender, None, "it is no sale");
    let held = reserve(&world, these(&showtime, "bob", "A2")).await.expect("the seat is free");
    let sold = reserve(&world, these(&showtime, "cem", "B1 B2")).await.expect("the seats are free");
    let (_, sold) = confirm_late(&world, &sold, "card").await.expect("it is held");
    release(&world, &sold, "B1").await.expect("it is sold");
    let untold = reserve(&world, these(&showtime, "dan", "C1")).await.expect("the seat is free");
    confirm(&world, &untold).await.expect("it is held");
    let request =
        CancelShowtimeRequest { showtime_id: showtime.showtime_id.clone(), force: true, ..Default::default() };
    world.showtimes().cancel_showtime(request).await.expect("it is forced");
    let world = world.restart().await;
    assert_due(&world, &held, ReservationState::Cancelled).await;
    let due = assert_due(&world, &untold, ReservationState::Cancelled).await;
    assert!(due.confirm_time.is_some() && due.tender == Some(tender("card")), "that was the money for it: {due:?}");
    let status = confirm_late(&world, &sold, "cash").await.expect_err("it was paid otherwise");
    assert_refused(&status, Code::FailedPrecondition, "TENDER_DIFFERS");
    let (verdict, due) = confirm_late(&world, &sold, "card").await.expect("the money is noted");
    let amount = due.refund_due.and_then(|due| due.amount);
    assert_eq!(
        (verdict, amount),
        (ConfirmVerdict::RefundDue, Some(euros(9, 500_000_000))),
        "one was given back before"
    );
    assert_eq!(due.total_price, Some(euros(19, 0)));
}

async fn money_for_more_seats_than_allowed_or_after_the_sale_is_due(world: World) {
    let showtime = brief(&world).await;
    let first = lapsed(&world, &showtime, "ada", "A1 A2").await;
    let second = reserve(&world, these(&showtime, "ada", "B1 B2")).await.expect("the first has lapsed");
    confirm(&world, &second).await.expect("it is held");
    assert_due(&world, &first, ReservationState::Expired).await;
    let late = reserve(&world, these(&showtime, "bob", "C1")).await.expect("the seat is free");
    world.stop().await;
    let move_to_the_past = "UPDATE showtimes SET start_time = '2020-01-01T18:00:00+00:00', \
                    end_time = '2020-01-01T20:00:00+00:00', free_again = '2020-01-01T20:15:00+00:00'";
    world.storage.sql(move_to_the_past).await.expect("the row is changed");
    let world = World { server: world.server.setup().clone().start().await, storage: world.storage };
    let has_lapsed = async || (state(&world, &late).await == ReservationState::Expired).then_some(());
    eventually("the hold has lapsed", has_lapsed).await;
    assert_due(&world, &late, ReservationState::Expired).await;
}

async fn a_repeated_request_gets_the_same_verdict(world: World) {
    let calm = showtime(&world).await;
    let showtime = brief(&world).await;
    let held = reserve(&world, these(&calm, "ada", "A1")).await.expect("the seat is free");
    let recovered = lapsed(&world, &showtime, "ada", "A1").await;
    let cancelled = reserve(&world, these(&calm, "bob", "B1")).await.expect("the seat is free");
    cancel(&world, &cancelled).await.expect("it is held");
    let mut first = Vec::new();
    for (reservation, expected) in [
        (&held, ConfirmVerdict::Confirmed),
        (&recovered, ConfirmVerdict::Recovered),
        (&cancelled, ConfirmVerdict::RefundDue),
    ] {
        let request = ConfirmReservationRequest { request_id: request_id(), ..to_confirm_late(reservation, "card") };
        let answer = answer_to(&world, request.clone()).await.expect("there is a verdict");
        assert_eq!(answer.0, expected);
        first.push((request, answer));
    }
    // What happens later does not change the answers.
    for sold in [&held, &recovered] {
        release(&world, sold, "").await.expect("it is sold");
    }
    let world = world.restart().await;
    for (request, answer) in &first {
        let again = world.reservations().confirm_reservation(request.clone()).await.expect("it is repeated");
        assert!(again.metadata().contains_key("idempotent-replayed"), "{:?}", again.metadata());
        let again = again.into_inner();
        assert_eq!((again.verdict(), again.reservation.map(lasting)), (answer.0, Some(lasting(answer.1.clone()))));
        for other in [
            ConfirmReservationRequest { late: false, ..request.clone() },
            ConfirmReservationRequest { tender: Some(tender("cash")), ..request.clone() },
        ] {
            let status = answer_to(&world, other).await.expect_err("the content differs");
            assert_refused(&status, Code::InvalidArgument, "REQUEST_ID_REUSED");
        }
    }
}

async fn reservations_with_a_refund_due_are_listed(world: World) {
    let (one, other) = (showtime(&world).await, showtime(&world).await);
    let mut due = Vec::new();
    for (showtime, customer, seat) in [(&one, "ada", "A1"), (&one, "bob", "B1"), (&other, "ada", "A1")] {
        let held = reserve(&world, these(showtime, customer, seat)).await.expect("the seat is free");
        cancel(&world, &held).await.expect("it is held");
        due.push(confirm_late(&world, &held, "card").await.expect("the money is noted").1);
        // Those for which no refund is due are not listed.
        let held = reserve(&world, these(showtime, customer, seat)).await.expect("the seat is free");
        confirm_late(&world, &held, "card").await.expect("it is held");
    }
    let list = async |request: ListReservationsRequest| {
        let request = ListReservationsRequest { refund_due: true, ..request };
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let page = ListReservationsRequest { page_token: token, ..request.clone() };
            let page = world.reservations().list_reservations(page).await.expect("a list").into_inner();
            found.extend(page.reservations);
            token = page.next_page_token;
            if token.is_empty() {
                return found;
            }
        }
    };
    let newest_first = |which: &[usize]| which.iter().map(|at| due[*at].clone()).collect::<Vec<_>>();
    for page_size in [0, 1, 2] {
        let all = ListReservationsRequest { page_size, ..Default::default() };
        assert_eq!(list(all).await, newest_first(&[2, 1, 0]));
    }
    let of_customer = ListReservationsRequest { customer_id: "ada".to_owned(), ..Default::default() };
    assert_eq!(list(of_customer.clone()).await, newest_first(&[2, 0]));
    let of_showtime = ListReservationsRequest { showtime_id: one.showtime_id.clone(), ..Default::default() };
    assert_eq!(list(of_showtime).await, newest_first(&[1, 0]));
    let of_state = |state: ReservationState| ListReservationsRequest { state: state.into(), ..Default::default() };
    assert_eq!(list(of_state(ReservationState::Cancelled)).await.len(), 3);
    assert_eq!(list(of_state(ReservationState::Expired)).await, []);
    let token = {
        let request = ListReservationsRequest { refund_due: true, page_size: 1, ..of_customer.clone() };
        world.reservations().list_reservations(request).await.expect("a list").into_inner().next_page_token
    };
    let without = ListReservationsRequest { page_token: token, page_size: 1, ..of_customer };
    let status = world.reservations().list_reservations(without).await.expect_err("the token is of another filter");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let nothing = world.reservations().list_reservations(ListReservationsRequest::default()).await;
    assert_violates(&nothing.expect_err("no filter is set"), &["customer_id"]);
}

async fn invalid_requests_are_refused_for_every_flaw(world: World) {
    let wrong = ConfirmReservationRequest {
        reservation_id: "7".to_owned(),
        request_id: "7".to_owned(),
        customer_id: "c".repeat(129),
        tender: None,
        late: true,
        till: "t".repeat(65),
    };
    let status = answer_to(&world, wrong.clone()).await.expect_err("all is wrong");
    assert_violates(&status, &["reservation_id", "request_id", "customer_id", "tender", "till"]);
    let tender = Some(Tender { method: String::new(), transaction_id: "4111 1111 1111 1111".to_owned() });
    let status = answer_to(&world, ConfirmReservationRequest { tender, ..wrong }).await.expect_err("all is wrong");
    assert_violates(
        &status,
        &["reservation_id", "request_id", "customer_id", "tender.method", "tender.transaction_id", "till"],
    );
    let nothing = Reservation { reservation_id: request_id(), ..Reservation::default() };
    let status = confirm_late(&world, &nothing, "card").await.expect_err("there is none");
    assert_not_found(&status, "RESERVATION_NOT_FOUND", &nothing.reservation_id);
}

#[tokio::test]
async fn other_instances_see_what_was_recovered_and_what_is_due() {
    let storage = Storage::new(Store::Postgres).await;
    let setup = storage.setup().with("--sweep", "false");
    let (one, other) = (setup.clone().start().await, setup.start().await);
    let showtime = brief(&one).await;
    let first = lapsed(&one, &showtime, "ada", "A1 A2").await;
    let second = lapsed(&one, &showtime, "bob", "B1 B2").await;
    // The other one records the lapse of the first, and has all seats in memory.
    block(&other, &showtime, "B1").await.expect("it is free");
    map(&mut other.showtimes(), &showtime.showtime_id, 0).await;
    let (verdict, sold) = confirm_late(&one, &first, "card").await.expect("the seats are free");
    assert_eq!(verdict, ConfirmVerdict::Recovered);
    let seen = map(&mut other.showtimes(), &showtime.showtime_id, sold.revision).await;
    assert_eq!(states(&seen)["A2"], SeatState::Sold);
    reserve(&other, these(&showtime, "eve", "A1")).await.expect_err("it is sold");
    assert_eq!(confirm_late(&other, &first, "card").await.expect("it is sold"), (ConfirmVerdict::Recovered, sold));
    release(&other, &first, "A1").await.expect("it is sold");
    let (verdict, due) = confirm_late(&other, &second, "card").await.expect("the money is noted");
    assert_eq!(verdict, ConfirmVerdict::RefundDue);
    assert_eq!(confirm_late(&one, &second, "card").await.expect("it is noted"), (ConfirmVerdict::RefundDue, due));
    let status = confirm_late(&one, &second, "cash").await.expect_err("it was paid otherwise");
    assert_refused(&status, Code::FailedPrecondition, "TENDER_DIFFERS");
    let request =
        ReserveSeatsRequest { seats: vec![Seat { row: "A".to_owned(), number: 1 }], ..these(&showtime, "eve", "") };
    reserve(&one, request).await.expect("it was given back");
}
