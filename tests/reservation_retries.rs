//! A repeated request that changes seats has one effect, for every method and whatever happened in between.

use std::collections::BTreeSet;

use boxoffice::pb::boxoffice::v1::{
    CancelReservationRequest, CancelShowtimeRequest, ConfirmReservationRequest, CreateShowtimeRequest,
    ExtendReservationRequest, Reservation, ReservationState, ReserveSeatsRequest, ReserveSeatsResponse, Tender,
};
use futures_util::future::join_all;
use tonic::{Code, Request, Response, Status};

use crate::harness::{
    Server, World, assert_refused, assert_violates, eventually, in_hours, request_id,
    requests::seconds,
    seats::{
        HALL, assert_unavailable, best, cancel, confirm, extend, lasting, names, reserve, showtime, showtime_now,
        showtime_with, state, these,
    },
};

on_both_stores!(
    with |setup| setup.with("--sweep", "false");
    a_repeated_reserve_answers_as_the_first_did,
    a_repeated_reserve_of_the_best_seats_gets_the_same,
    a_repeat_after_the_end_of_the_hold_answers_as_the_first_did,
    an_id_used_with_other_content_is_refused,
    a_refusal_is_not_stored,
    every_change_can_be_repeated,
    an_answer_without_a_change_can_be_repeated,
    ids_belong_to_their_methods,
    an_idempotency_key_is_a_request_id,
    the_nil_id_is_refused,
    concurrent_repeats_have_one_effect,
    an_id_counts_once_over_all_showtimes_and_servers,
    a_repeated_request_does_not_fail_the_others_of_its_batch,
    answers_survive_a_restart,
);

async fn a_repeated_reserve_answers_as_the_first_did(world: World) {
    let showtime = showtime(&world).await;
    let request = with_id(these(&showtime, "ada", "A1 A2"));
    let first = send(&world, request.clone()).await.expect("the seats are free");
    assert!(!is_repeated(&first), "{first:?}");
    let (first, revision) = parts(first);
    // The answer is the same after every later change.
    let again = async || {
        let answer = send(&world, request.clone()).await.expect("a repeated request is answered");
        assert!(is_repeated(&answer), "{answer:?}");
        let (again, repeated) = parts(answer);
        assert!(again.time_left.is_some(), "{again:?}");
        assert_eq!((lasting(again), repeated), (lasting(first.clone()), revision));
    };
    again().await;
    extend(&world, &first).await.expect("the reservation is held");
    again().await;
    confirm(&world, &first).await.expect("the reservation is held");
    again().await;
    assert_eq!(state(&world, &first).await, ReservationState::Confirmed);
    assert_eq!(showtime_now(&world, &showtime).await.revision, 4, "repetitions raise no revision");
}

async fn the_nil_id_is_refused(world: World) {
    let showtime = showtime(&world).await;
    let nil = "00000000-0000-0000-0000-000000000000".to_owned();
    let request = ReserveSeatsRequest { request_id: nil, ..these(&showtime, "ada", "A1 A2") };
    let refused = send(&world, request).await.expect_err("the nil UUID is no id");
    assert_violates(&refused, &["request_id"]);
    assert_eq!(showtime_now(&world, &showtime).await.revision, 1, "nothing is held");
}

async fn a_repeated_reserve_of_the_best_seats_gets_the_same(world: World) {
    let showtime = showtime(&world).await;
    let request = with_id(best(&showtime, "ada", 3));
    let (first, _) = parts(send(&world, request.clone()).await.expect("there are free seats"));
    let (again, _) = parts(send(&world, request).await.expect("a repeated request is answered"));
    assert_eq!(names(&again.seats), names(&first.seats));
    assert_eq!(showtime_now(&world, &showtime).await.available_count, 31);
}

async fn a_repeat_after_the_end_of_the_hold_answers_as_the_first_did(world: World) {
    let brief = |request| CreateShowtimeRequest { hold_duration: Some(seconds(1)), ..request };
    let showtime = showtime_with(&world, &HALL, in_hours(0), brief).await;
    let request = with_id(these(&showtime, "ada", "A1"));
    let (first, revision) = parts(send(&world, request.clone()).await.expect("the seat is free"));
    let taken =
        eventually("the hold has lapsed", async || reserve(&world, these(&showtime, "bob", "A1")).await.ok()).await;
    let (again, repeated) = parts(send(&world, request).await.expect("a repeated request is answered"));
    // The stored answer says HELD; GetReservation says that the hold has lapsed.
    assert_eq!((again.state(), again.time_left), (ReservationState::Held, Some(seconds(0))));
    assert_eq!((lasting(again), repeated), (lasting(first.clone()), revision));
    assert_eq!(state(&world, &first).await, ReservationState::Expired);
    assert_ne!(taken.reservation_id, first.reservation_id);
}

async fn an_id_used_with_other_content_is_refused(world: World) {
    let showtime = showtime(&world).await;
    let request = with_id(these(&showtime, "ada", "A1 A2"));
    let (held, _) = parts(send(&world, request.clone()).await.expect("the seats are free"));
    for other in [
        ReserveSeatsRequest { customer_id: "bob".to_owned(), ..request.clone() },
        ReserveSeatsRequest { seats: these(&showtime, "", "A1").seats, ..request.clone() },
        ReserveSeatsRequest { seats: Vec::new(), seat_count: 2, ..request.clone() },
    ] {
        let status = send(&world, other.clone()).await.expect_err("it is another request");
        assert_refused(&status, Code::InvalidArgument, "REQUEST_ID_REUSED");
    }
    let confirm = ConfirmReservationRequest {
        reservation_id: held.reservation_id.clone(),
        request_id: request_id(),
        ..Default::default()
    };
    world.reservations().confirm_reservation(confirm.clone()).await.expect("the reservation is held");
    let tender = Some(Tender { method: "cash".to_owned(), transaction_id: String::new() });
    let other = ConfirmReservationRequest { tender, ..confirm };
    let status = world.reservations().confirm_reservation(other).await.expect_err("it is another request");
    assert_refused(&status, Code::InvalidArgument, "REQUEST_ID_REUSED");
}

async fn a_refusal_is_not_stored(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let request = with_id(these(&showtime, "bob", "A1"));
    assert_unavailable(&send(&world, request.clone()).await.expect_err("the seat is held"), "SEATS_UNAVAILABLE");
    cancel(&world, &held).await.expect("the reservation is held");
    let answer = send(&world, request).await.expect("the seat is free again");
    assert!(!is_repeated(&answer), "{answer:?}");
}

/// A reservation is extended and confirmed, another is cancelled, and the showtime is cancelled. Then each request is repeated.
async fn every_change_can_be_repeated(world: World) {
    let showtime = showtime(&world).await;
    let sold = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let second = reserve(&world, these(&showtime, "ada", "A2")).await.expect("the seat is free");
    let mut client = world.reservations();
    let reservation_id = sold.reservation_id.clone();
    let tender = Some(Tender { method: "cash".to_owned(), transaction_id: "7".to_owned() });
    let extend = ExtendReservationRequest { reservation_id, request_id: request_id(), ..Default::default() };
    let reservation_id = sold.reservation_id.clone();
    let confirm = ConfirmReservationRequest { reservation_id, request_id: request_id(), tender, ..Default::default() };
    let reservation_id = second.reservation_id.clone();
    let cancel = CancelReservationRequest { reservation_id, request_id: request_id(), ..Default::default() };
    let extended = client.extend_reservation(extend.clone()).await.expect("the reservation is held");
    let confirmed = client.confirm_reservation(confirm.clone()).await.expect("the reservation is held");
    let cancelled = client.cancel_reservation(cancel.clone()).await.expect("the reservation is held");
    let cancel_showtime = CancelShowtimeRequest {
        showtime_id: showtime.showtime_id.clone(),
        request_id: request_id(),
        force: true,
        expected_revision: 0,
    };
    let showtime_cancelled =
        world.showtimes().cancel_showtime(cancel_showtime.clone()).await.expect("the cancellation is forced");
    assert!(
        ![is_repeated(&extended), is_repeated(&confirmed), is_repeated(&cancelled), is_repeated(&showtime_cancelled)]
            .contains(&true)
    );

    let (first, again) =
        (extended.into_inner(), client.extend_reservation(extend).await.expect("a repeated request is answered"));
    assert!(is_repeated(&again), "{again:?}");
    let again = again.into_inner();
    assert_eq!((again.reservation.map(lasting), again.revision), (first.reservation.map(lasting), first.revision));
    let again = client.confirm_reservation(confirm).await.expect("a repeated request is answered");
    assert!(is_repeated(&again), "{again:?}");
    assert_eq!(again.into_inner(), confirmed.into_inner());
    let again = client.cancel_reservation(cancel).await.expect("a repeated request is answered");
    assert!(is_repeated(&again), "{again:?}");
    assert_eq!(again.into_inner(), cancelled.into_inner());
    let again =
        world.showtimes().cancel_showtime(cancel_showtime.clone()).await.expect("a repeated request is answered");
    assert!(is_repeated(&again), "{again:?}");
    assert_eq!(again.into_inner(), showtime_cancelled.into_inner());
    let without_force = CancelShowtimeRequest { force: false, ..cancel_showtime };
    let status = world.showtimes().cancel_showtime(without_force).await.expect_err("it is another request");
    assert_refused(&status, Code::InvalidArgument, "REQUEST_ID_REUSED");
    assert_eq!(state(&world, &sold).await, ReservationState::Cancelled);
}

/// A confirmation of seats that another request id has sold is accepted and changes nothing. Its answer is stored nevertheless.
async fn an_answer_without_a_change_can_be_repeated(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let mut client = world.reservations();
    let confirm = || ConfirmReservationRequest {
        reservation_id: held.reservation_id.clone(),
        request_id: request_id(),
        ..Default::default()
    };
    client.confirm_reservation(confirm()).await.expect("the reservation is held");
    let second = confirm();
    let answer = client.confirm_reservation(second.clone()).await.expect("it is sold");
    assert!(!is_repeated(&answer), "{answer:?}");
    assert_eq!(showtime_now(&world, &showtime).await.revision, 3, "the second confirmation changes nothing");
    let cancel_showtime = CancelShowtimeRequest {
        showtime_id: showtime.showtime_id.clone(),
        request_id: request_id(),
        force: true,
        expected_revision: 0,
    };
    world.showtimes().cancel_showtime(cancel_showtime).await.expect("the cancellation is forced");
    let world = world.restart().await;
    let mut client = world.reservations();
    let again = client.confirm_reservation(second.clone()).await.expect("a repeated request is answered");
    assert!(is_repeated(&again), "{again:?}");
    assert_eq!(again.into_inner(), answer.into_inner());
    let tender = Some(Tender { method: "cash".to_owned(), transaction_id: String::new() });
    let other = ConfirmReservationRequest { tender, ..second };
    let status = client.confirm_reservation(other).await.expect_err("it is another request");
    assert_refused(&status, Code::InvalidArgument, "REQUEST_ID_REUSED");
    assert_refused(
        &client.confirm_reservation(confirm()).await.expect_err("its showtime is cancelled"),
        Code::FailedPrecondition,
        "RESERVATION_NOT_HELD",
    );
}

async fn ids_belong_to_their_methods(world: World) {
    let showtime = showtime(&world).await;
    let request = with_id(these(&showtime, "ada", "A1"));
    let (held, _) = parts(send(&world, request.clone()).await.expect("the seat is free"));
    let (reservation_id, request_id) = (held.reservation_id.clone(), request.request_id);
    let request = ConfirmReservationRequest { reservation_id, request_id, ..Default::default() };
    let answer = world.reservations().confirm_reservation(request).await.expect("the id counts for each method");
    assert!(!is_repeated(&answer), "{answer:?}");
    assert_eq!(state(&world, &held).await, ReservationState::Confirmed);
}

async fn an_idempotency_key_is_a_request_id(world: World) {
    let showtime = showtime(&world).await;
    let request = with_id(these(&showtime, "ada", "A1"));
    let (held, _) = parts(send(&world, request.clone()).await.expect("the seat is free"));
    let mut by_metadata = Request::new(ReserveSeatsRequest { request_id: String::new(), ..request.clone() });
    by_metadata.metadata_mut().insert("idempotency-key", request.request_id.parse().expect("a UUID is ASCII"));
    let again = world.reservations().reserve_seats(by_metadata).await.expect("a repeated request is answered");
    assert!(is_repeated(&again), "{again:?}");
    assert_eq!(parts(again).0.reservation_id, held.reservation_id);
}

async fn concurrent_repeats_have_one_effect(world: World) {
    let showtime = showtime(&world).await;
    let request = with_id(best(&showtime, "ada", 2));
    let answers = join_all((0..24).map(|_| send(&world, request.clone()))).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("all requests are answered")).collect();
    assert_eq!(answers.iter().filter(|answer| !is_repeated(answer)).count(), 1);
    let ids: BTreeSet<_> = answers.into_iter().map(|answer| parts(answer).0.reservation_id).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(showtime_now(&world, &showtime).await.available_count, 32);
}

/// Showtimes are decided independently and by several servers. A request id makes one reservation nevertheless.
async fn an_id_counts_once_over_all_showtimes_and_servers(world: World) {
    let mut others = Vec::new();
    if world.storage.is_postgres() {
        others.extend([world.setup().clone().start().await, world.setup().clone().start().await]);
    }
    let servers: Vec<&Server> = std::iter::once(&*world).chain(&others).collect();
    let request_id = request_id();
    let mut requests = Vec::new();
    for _ in 0..4 {
        requests
            .push(ReserveSeatsRequest { request_id: request_id.clone(), ..best(&showtime(&world).await, "ada", 2) });
    }
    let calls = (0..24).map(|at| send(servers[at % servers.len()], requests[at % 4].clone()));
    let (mut made, mut repeated) = (Vec::new(), Vec::new());
    for answer in join_all(calls).await {
        match answer {
            Ok(answer) if is_repeated(&answer) => repeated.push(parts(answer).0.reservation_id),
            Ok(answer) => made.push(parts(answer).0.reservation_id),
            Err(status) => drop(assert_refused(&status, Code::InvalidArgument, "REQUEST_ID_REUSED")),
        }
    }
    assert_eq!((made.len(), repeated), (1, vec![made[0].clone(); 5]));
}

/// A repetition is found when its batch is written. The other requests of the batch succeed at the first attempt.
async fn a_repeated_request_does_not_fail_the_others_of_its_batch(world: World) {
    let showtime = showtime(&world).await;
    let cancelled = with_id(these(&showtime, "ada", "A1"));
    let (first, _) = parts(send(&world, cancelled.clone()).await.expect("the seat is free"));
    cancel(&world, &first).await.expect("the reservation is held");
    let repeats = (0..8).map(|_| cancelled.clone());
    let others = (1..=8).map(|number| with_id(these(&showtime, &format!("other {number}"), &format!("B{number}"))));
    let answers = join_all(repeats.chain(others).map(|request| send(&world, request))).await;
    for (at, answer) in answers.into_iter().enumerate() {
        let answer = answer.expect("repeated requests and new ones are answered");
        assert_eq!(is_repeated(&answer), at < 8, "{answer:?}");
    }
    assert_eq!(state(&world, &first).await, ReservationState::Cancelled);
}

async fn answers_survive_a_restart(world: World) {
    let showtime = showtime(&world).await;
    let request = with_id(these(&showtime, "ada", "A1"));
    let (held, _) = parts(send(&world, request.clone()).await.expect("the seat is free"));
    let reservation_id = held.reservation_id.clone();
    let confirm = ConfirmReservationRequest { reservation_id, request_id: request_id(), ..Default::default() };
    let sold =
        world.reservations().confirm_reservation(confirm.clone()).await.expect("the reservation is held").into_inner();
    let world = world.restart().await;
    let again = send(&world, request).await.expect("a repeated request is answered");
    assert!(is_repeated(&again), "{again:?}");
    assert_eq!(lasting(parts(again).0), lasting(held));
    let again = world.reservations().confirm_reservation(confirm).await.expect("a repeated request is answered");
    assert!(is_repeated(&again), "{again:?}");
    assert_eq!(again.into_inner(), sold);
}

fn with_id(request: ReserveSeatsRequest) -> ReserveSeatsRequest {
    ReserveSeatsRequest { request_id: request_id(), ..request }
}

async fn send(server: &Server, request: ReserveSeatsRequest) -> Result<Response<ReserveSeatsResponse>, Status> {
    server.reservations().reserve_seats(request).await
}

/// Returns the reservation and the revision that made it.
fn parts(answer: Response<ReserveSeatsResponse>) -> (Reservation, i64) {
    let ReserveSeatsResponse { reservation, revision } = answer.into_inner();
    (reservation.expect("the answer has the reservation"), revision)
}

fn is_repeated<T>(answer: &Response<T>) -> bool {
    answer.metadata().get("idempotent-replayed").is_some_and(|value| value == "true")
}
