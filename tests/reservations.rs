//! `ReserveSeats`: the answer, valid and invalid choices of seats, and limits.

use boxoffice::pb::boxoffice::v1::{
    CancelReservationRequest, ConfirmReservationRequest, ExtendReservationRequest, GetReservationRequest,
    ListReservationsRequest, ReservationState, ReserveSeatsRequest, Seat,
};
use chrono::TimeDelta;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{
    Store, World, assert_not_found, assert_refused, assert_violates, euros, in_hours,
    refusals::violations,
    request_id,
    requests::seconds,
    seats::{
        assert_unavailable, best, cancel, confirm, get, instant, lasting, names, reserve, seats, showtime,
        showtime_now, showtime_with, these,
    },
};

on_both_stores!(
    a_hold_is_answered_with_all_its_fields,
    a_single_seat_is_a_block,
    neighbours_may_be_named_in_any_order,
    seats_that_are_no_neighbours_are_refused,
    an_invalid_choice_is_refused_seat_by_seat,
    all_seats_or_none,
    a_seat_has_one_reservation,
    the_best_seats_are_neighbours_near_the_centre,
    a_customer_has_a_limited_number_of_seats,
    validating_does_nothing,
    every_change_is_a_revision,
    an_unknown_or_foreign_reservation_is_not_found,
);

async fn a_hold_is_answered_with_all_its_fields(world: World) {
    let showtime = showtime(&world).await;
    let answer =
        world.reservations().reserve_seats(these(&showtime, "ada", "B4 B3")).await.expect("the seats are free");
    let answer = answer.into_inner();
    let held = answer.reservation.expect("the answer has the reservation");
    assert_eq!((answer.revision, held.revision), (2, 2));
    assert!(uuid::Uuid::parse_str(&held.reservation_id).is_ok(), "{held:?}");
    assert_eq!((&held.showtime_id, &*held.customer_id), (&showtime.showtime_id, "ada"));
    assert_eq!(held.state(), ReservationState::Held);
    assert_eq!((&*names(&held.seats), held.seat_count), ("B3 B4", 2));
    assert_eq!((&held.auditorium, &held.movie), (&showtime.auditorium, &showtime.movie));
    assert_eq!((&held.total_price, held.start_time), (&Some(euros(19, 0)), showtime.start_time));
    let (made, ends) = (instant(held.create_time), instant(held.expire_time));
    assert_eq!(ends - made, TimeDelta::minutes(10));
    // The answer is as of the time of the decision.
    assert_eq!(held.time_left, Some(seconds(600)));
    assert_eq!((held.confirm_time, held.cancel_time, held.tender.clone(), held.extended), (None, None, None, false));
    let found = get(&world, &held).await.expect("it is found");
    let left = found.time_left.expect("the reservation is held");
    assert!((1..600).contains(&left.seconds), "{left:?}");
    assert_eq!(lasting(found), lasting(held));
}

async fn a_single_seat_is_a_block(world: World) {
    let showtime = showtime(&world).await;
    for name in ["A5", "C3", "D8"] {
        let held = reserve(&world, these(&showtime, "ada", name)).await.expect("the seat is free");
        assert_eq!(names(&held.seats), name);
    }
}

async fn neighbours_may_be_named_in_any_order(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "D3 D5 D2 D4")).await.expect("the seats are free");
    assert_eq!(names(&held.seats), "D2 D3 D4 D5");
}

async fn seats_that_are_no_neighbours_are_refused(world: World) {
    let showtime = showtime(&world).await;
    for (choice, gap) in [
        ("D1 D3", "D1 and D3"),
        // The third seat is not a neighbour.
        ("D1 D2 D4", "D2 and D4"),
        // There is an aisle between the seats.
        ("A5 A6", "A5 and A6"),
        // There is a missing seat between the seats.
        ("C3 C5", "C3 and C5"),
        // The seats are in two rows.
        ("A1 B1", "A1 and B1"),
        ("A10 B1", "A10 and B1"),
    ] {
        let status = reserve(&world, these(&showtime, "ada", choice)).await.expect_err(choice);
        let about = assert_refused(&status, Code::InvalidArgument, "SEATS_NOT_CONTIGUOUS");
        assert_eq!((about["showtime_id"].as_str(), about["revision"].as_str()), (&*showtime.showtime_id, "1"));
        assert_eq!(violations(&status), [("seats".to_owned(), format!("{gap} are not neighbours"))], "{choice}");
    }
    assert_eq!(showtime_now(&world, &showtime).await, showtime);
}

async fn an_invalid_choice_is_refused_seat_by_seat(world: World) {
    let showtime = showtime(&world).await;
    let refused = async |request: ReserveSeatsRequest, reason: &str| -> Vec<String> {
        let status = reserve(&world, request).await.expect_err(reason);
        assert_refused(&status, Code::InvalidArgument, reason);
        violations(&status).into_iter().map(|(field, _)| field).collect()
    };
    for unknown in ["E1", "A11", "C4", "AA1"] {
        assert_eq!(refused(these(&showtime, "ada", unknown), "SEAT_UNKNOWN").await, ["seats[0]"]);
    }
    assert_eq!(refused(these(&showtime, "ada", "A1 A2 A1"), "SEAT_REPEATED").await, ["seats[2]"]);
    let several = these(&showtime, "ada", "A1 E1 A1 Z9");
    assert_eq!(refused(several, "SEAT_UNKNOWN").await, ["seats[1]", "seats[2]", "seats[3]"]);
    let many = these(&showtime, "ada", "A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 B1");
    assert_eq!(refused(many, "SEATS_NOT_CONTIGUOUS").await.last().map(String::as_str), Some("seats"));
    assert_eq!(refused(best(&showtime, "ada", 11), "TOO_MANY_SEATS").await, ["seat_count"]);
    // What is invalid for every auditorium is refused before the showtime is read.
    let status = reserve(&world, ReserveSeatsRequest::default()).await.expect_err("the request is empty");
    assert_violates(&status, &["showtime_id", "seats", "seat_count", "customer_id"]);
    let both = ReserveSeatsRequest { seat_count: 2, ..these(&showtime, "ada", "A1") };
    assert_violates(
        &reserve(&world, both).await.expect_err("seats and their number exclude each other"),
        &["seats", "seat_count"],
    );
    let invalid = ReserveSeatsRequest {
        showtime_id: "no".to_owned(),
        seats: vec![Seat { row: "a".to_owned(), number: 0 }, Seat { row: "A".to_owned(), number: 1000 }],
        customer_id: "\n".to_owned(),
        request_id: "no".to_owned(),
        ..Default::default()
    };
    let status = reserve(&world, invalid).await.expect_err("the request is invalid");
    let fields = ["showtime_id", "seats[0].row", "seats[0].number", "seats[1].number", "customer_id", "request_id"];
    assert_violates(&status, &fields);
}

async fn all_seats_or_none(world: World) {
    let showtime = showtime(&world).await;
    reserve(&world, these(&showtime, "ada", "B2")).await.expect("the seat is free");
    let status = reserve(&world, these(&showtime, "bob", "B1 B2 B3")).await.expect_err("one seat is held");
    assert_unavailable(&status, "SEATS_UNAVAILABLE");
    assert_eq!(showtime_now(&world, &showtime).await.available_count, 33);
    for free in ["B1", "B3"] {
        reserve(&world, these(&showtime, "bob", free)).await.expect("nothing was held");
    }
}

/// A seat that is held or sold cannot be reserved again, neither by another customer nor by the same one.
async fn a_seat_has_one_reservation(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
    for _ in 0..2 {
        for customer in ["ada", "bob"] {
            for choice in ["A1 A2", "A2 A3", "A1"] {
                let status = reserve(&world, these(&showtime, customer, choice)).await.expect_err(choice);
                assert_unavailable(&status, "SEATS_UNAVAILABLE");
            }
        }
        confirm(&world, &held).await.expect("it is held, or confirmed");
    }
}

async fn the_best_seats_are_neighbours_near_the_centre(world: World) {
    let showtime = showtime(&world).await;
    let mut reserved: Vec<String> = Vec::new();
    // The auditorium has room for eight groups of three.
    for number in 0..8 {
        let held =
            reserve(&world, best(&showtime, &format!("customer {number}"), 3)).await.expect("there are free seats");
        let seats = &held.seats;
        let neighbours = |pair: &[Seat]| pair[0].row == pair[1].row && pair[0].number + 1 == pair[1].number;
        assert!(seats.len() == 3 && seats.windows(2).all(neighbours), "{seats:?}");
        assert!(number > 0 || names(seats) == "C5 C6 C7", "not the seats near the centre: {seats:?}");
        for name in names(seats).split(' ') {
            assert!(!reserved.iter().any(|other| other == name), "{name} is reserved twice");
            reserved.push(name.to_owned());
        }
    }
    let status = reserve(&world, best(&showtime, "late", 9)).await.expect_err("no row has nine seats side by side");
    let none = assert_unavailable(&status, "SEATS_UNAVAILABLE");
    assert!(none.seats.is_empty() && none.offers.is_empty(), "{none:?}");
}

async fn a_customer_has_a_limited_number_of_seats(world: World) {
    let (one, other) = (showtime(&world).await, showtime(&world).await);
    let five = reserve(&world, these(&one, "ada", "A1 A2 A3 A4 A5")).await.expect("the seats are free");
    confirm(&world, &five).await.expect("the reservation is held");
    let four = reserve(&world, these(&one, "ada", "B1 B2 B3 B4")).await.expect("nine seats are allowed");
    let status = reserve(&world, best(&one, "ada", 2)).await.expect_err("eleven seats are too many");
    let about = assert_refused(&status, Code::ResourceExhausted, "HOLD_LIMIT");
    assert_eq!((about["seats"].as_str(), about["limit"].as_str(), about["revision"].as_str()), ("9", "10", "4"));
    let quota = status.get_details_quota_failure().expect("a QuotaFailure");
    assert_eq!(quota.violations.len(), 1, "{quota:?}");
    // When the customer's next hold lapses, the request may succeed.
    let wait = status.get_details_retry_info().and_then(|retry| retry.retry_delay).expect("a RetryInfo");
    assert!((1..=600).contains(&wait.as_secs()), "{wait:?}");
    // The limit counts for one customer in one showtime, and only for live reservations.
    reserve(&world, best(&one, "bob", 2)).await.expect("another customer");
    reserve(&world, best(&other, "ada", 10 - 5)).await.expect("another showtime");
    reserve(&world, best(&one, "ada", 1)).await.expect("ten seats are allowed");
    cancel(&world, &four).await.expect("the reservation is held");
    reserve(&world, best(&one, "ada", 4)).await.expect("cancelled reservations do not count");
}

async fn validating_does_nothing(world: World) {
    let showtime = showtime(&world).await;
    let validate = |request| ReserveSeatsRequest { validate_only: true, request_id: request_id(), ..request };
    let request = validate(these(&showtime, "ada", "A1 A2"));
    for _ in 0..2 {
        let answer =
            world.reservations().reserve_seats(request.clone()).await.expect("the seats are free").into_inner();
        assert_eq!(answer.revision, 1);
        let would_be = answer.reservation.expect("the answer has a reservation");
        assert_eq!((&*would_be.reservation_id, would_be.revision), ("", 0));
        assert_eq!((would_be.state(), &*names(&would_be.seats)), (ReservationState::Held, "A1 A2"));
        assert_eq!(would_be.total_price, Some(euros(19, 0)));
    }
    assert_eq!(showtime_now(&world, &showtime).await, showtime);
    let list = ListReservationsRequest { customer_id: "ada".to_owned(), ..Default::default() };
    let list = world.reservations().list_reservations(list).await.expect("a list").into_inner();
    assert!(list.reservations.is_empty(), "{list:?}");
    // Validating refuses what reserving refuses.
    reserve(&world, these(&showtime, "bob", "A2")).await.expect("nothing was held");
    let status = reserve(&world, validate(these(&showtime, "ada", "A1 A2"))).await.expect_err("one seat is held");
    assert_unavailable(&status, "SEATS_UNAVAILABLE");
    let status = reserve(&world, validate(these(&showtime, "ada", "A5 A6"))).await.expect_err("no neighbours");
    assert_refused(&status, Code::InvalidArgument, "SEATS_NOT_CONTIGUOUS");
}

async fn every_change_is_a_revision(world: World) {
    let showtime = showtime(&world).await;
    let one = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let other = reserve(&world, these(&showtime, "bob", "A2")).await.expect("the seat is free");
    assert_eq!((one.revision, other.revision), (2, 3));
    let status = reserve(&world, these(&showtime, "bob", "A1")).await.expect_err("the seat is held");
    assert_eq!(assert_unavailable(&status, "SEATS_UNAVAILABLE").revision, 3);
    let reservation_id = other.reservation_id.clone();
    let extend = ExtendReservationRequest { reservation_id: reservation_id.clone(), ..Default::default() };
    assert_eq!(world.reservations().extend_reservation(extend).await.expect("held").into_inner().revision, 4);
    let confirm = ConfirmReservationRequest { reservation_id, ..Default::default() };
    assert_eq!(world.reservations().confirm_reservation(confirm).await.expect("held").into_inner().revision, 5);
    let cancel = CancelReservationRequest { reservation_id: one.reservation_id.clone(), ..Default::default() };
    assert_eq!(world.reservations().cancel_reservation(cancel).await.expect("held").into_inner().revision, 6);
    let now = showtime_now(&world, &showtime).await;
    assert_eq!((now.revision, now.available_count), (6, 33));
    assert_eq!(get(&world, &other).await.expect("it is found").revision, 5);
}

async fn an_unknown_or_foreign_reservation_is_not_found(mut world: World) {
    let showtime = showtime(&world).await;
    let unknown = request_id();
    let nowhere = ReserveSeatsRequest { showtime_id: unknown.clone(), ..these(&showtime, "ada", "A1") };
    assert_not_found(&reserve(&world, nowhere).await.expect_err("no such showtime"), "SHOWTIME_NOT_FOUND", &unknown);
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    // The server that made the reservation and a restarted one answer the same.
    for _ in 0..2 {
        for (reservation_id, customer_id) in [(&unknown, ""), (&unknown, "bob"), (&held.reservation_id, "bob")] {
            for status in refusals_of_all_methods(&world, reservation_id, customer_id).await {
                // The message does not reveal whether another customer has the reservation.
                assert_not_found(&status, "RESERVATION_NOT_FOUND", reservation_id);
                assert_eq!(status.message(), format!("there is no reservation {reservation_id}"));
            }
        }
        world = world.restart().await;
    }
    for status in refusals_of_all_methods(&world, "7", "").await {
        assert_violates(&status, &["reservation_id"]);
    }
    let request = GetReservationRequest { reservation_id: held.reservation_id.clone(), customer_id: "ada".to_owned() };
    world.reservations().get_reservation(request).await.expect("the customer has the reservation");
}

/// Calls the four methods that name a reservation. All of them must refuse.
async fn refusals_of_all_methods(world: &World, reservation_id: &str, customer_id: &str) -> [Status; 4] {
    let (reservation_id, customer_id) = (reservation_id.to_owned(), customer_id.to_owned());
    let mut client = world.reservations();
    let id = || (reservation_id.clone(), customer_id.clone(), String::new());
    let (reservation_id, customer_id, request_id) = id();
    let confirm =
        ConfirmReservationRequest { reservation_id, request_id, customer_id, ..ConfirmReservationRequest::default() };
    let (reservation_id, customer_id, request_id) = id();
    let cancel = CancelReservationRequest { reservation_id, request_id, customer_id };
    let (reservation_id, customer_id, request_id) = id();
    let extend = ExtendReservationRequest { reservation_id, request_id, customer_id };
    let (reservation_id, customer_id, _) = id();
    [
        client.confirm_reservation(confirm).await.expect_err("there is no such reservation"),
        client.cancel_reservation(cancel).await.expect_err("there is no such reservation"),
        client.extend_reservation(extend).await.expect_err("there is no such reservation"),
        client.get_reservation(GetReservationRequest { reservation_id, customer_id }).await.expect_err("there is none"),
    ]
}

#[tokio::test]
async fn the_operator_limits_the_numbers_of_seats() {
    let world = World::with(Store::Sqlite, |setup| {
        setup.with("--max-seats", "3").with("--max-customer-seats", "4").with("--hold-extension", "90s")
    })
    .await;
    let showtime = showtime(&world).await;
    let status = reserve(&world, these(&showtime, "ada", "D1 D2 D3 D4")).await.expect_err("four seats are too many");
    assert_refused(&status, Code::InvalidArgument, "TOO_MANY_SEATS");
    assert_eq!(violations(&status), [("seats".to_owned(), "must name at most 3 seats, and names 4".to_owned())]);
    let held = reserve(&world, these(&showtime, "ada", "D1 D2 D3")).await.expect("three seats are allowed");
    let status = reserve(&world, these(&showtime, "ada", "D4 D5")).await.expect_err("five seats are too many");
    assert_refused(&status, Code::ResourceExhausted, "HOLD_LIMIT");
    let longer = crate::harness::seats::extend(&world, &held).await.expect("the reservation is held");
    assert_eq!(instant(longer.expire_time) - instant(held.expire_time), TimeDelta::seconds(90));
}

/// With `--orphan-seats refuse`, a choice that leaves an orphan seat is refused if another choice would leave none.
#[tokio::test]
async fn a_choice_that_leaves_an_orphan_is_refused_if_the_operator_says_so() {
    let world = World::with(Store::Sqlite, |setup| setup.with("--orphan-seats", "refuse")).await;
    let showtime = showtime(&world).await;
    let status = reserve(&world, these(&showtime, "ada", "D2 D3")).await.expect_err("D1 would be an orphan");
    let refusal = assert_unavailable(&status, "SEAT_STRANDED");
    assert_eq!(refusal.seats.len(), 1, "{refusal:?}");
    assert_eq!(refusal.seats[0].seat, Some(seats("D1")[0].clone()));
    for offer in &refusal.offers {
        let offered = these(&showtime, "offer", &names(&offer.seats));
        reserve(&world, ReserveSeatsRequest { validate_only: true, ..offered }).await.expect("the block is offered");
    }
    for number in 0..4 {
        let held = reserve(&world, best(&showtime, &number.to_string(), 4)).await.expect("there are free seats");
        let names = names(&held.seats);
        assert!(!["D2 D3 D4 D5", "D4 D5 D6 D7"].contains(&&*names), "{names} leaves an orphan");
    }
    // If every choice leaves an orphan, each is accepted.
    let narrow = showtime_with(&world, &[("A", "sss")], in_hours(0), |request| request).await;
    reserve(&world, these(&narrow, "ada", "A2")).await.expect_err("A1 and A3 would be orphans");
    reserve(&world, these(&narrow, "ada", "A2 A3")).await.expect("there is no better pair");
}
