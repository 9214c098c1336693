//! Seats of a sale that are given back: they are free at once, the others stay sold, and events say what they were sold for.

use boxoffice::pb::boxoffice::{
    events::v1::{self as events, SeatsReleasedReason, event::Payload},
    v1::{
        CancelShowtimeRequest, CreateShowtimeRequest, GetShowtimeRequest, ListReservationsRequest, ReleaseSeatsRequest,
        Reservation, ReservationState, ReserveSeatsRequest, Seat, SeatCounts, SeatState, Showtime,
        SubscribeEventsRequest, TicketTypeSales,
    },
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::{
    Server, Store, World, assert_not_found, assert_refused, assert_violates, euros,
    events::{subscribe, until},
    in_hours, request_id,
    requests::{three_types, tickets},
    seats::{
        assert_unavailable, cancel, confirm, get, names, reserve, seats, showtime, showtime_now, showtime_with, these,
    },
    staff::{answer_to, confirm_late, exchange, release, sales, tender, to_confirm_late, to_release},
    watching::{Copy, map, states, watch},
    world::Storage,
};

on_both_stores!(
    a_seat_that_is_given_back_is_free_at_once_and_the_others_stay_sold,
    once_all_seats_are_given_back_the_reservation_is_cancelled,
    what_is_not_sold_by_the_reservation_is_not_given_back,
    a_repeated_request_has_one_effect,
    events_say_what_each_seat_was_sold_for,
    what_was_sold_is_summed_by_ticket_type_without_what_was_given_back,
    invalid_requests_are_refused_for_every_flaw,
);

/// A showtime with three ticket types. In row B the last two seats are premium.
async fn priced(server: &Server) -> Showtime {
    let with_list = |request| CreateShowtimeRequest { price: None, price_list: Some(three_types()), ..request };
    showtime_with(server, &[("A", "sssss"), ("B", "ssspp")], in_hours(0), with_list).await
}

/// A sale of B2 to a child, B3 and B4 to adults, paid by card.
async fn sold(server: &Server, showtime: &Showtime) -> Reservation {
    let ticket_types = tickets("child 1 adult 2");
    let request = ReserveSeatsRequest { ticket_types, ..these(showtime, "ada", "B2 B3 B4") };
    let held = reserve(server, request).await.expect("the seats are free");
    confirm_late(server, &held, "card").await.expect("it is held").1
}

async fn a_seat_that_is_given_back_is_free_at_once_and_the_others_stay_sold(world: World) {
    let showtime = priced(&world).await;
    let sold = sold(&world, &showtime).await;
    let mut watch = watch(&world.showtimes(), &showtime.showtime_id, 0, "").await.expect("the showtime exists");
    let mut copy = Copy::begin(&mut watch).await;
    let rest = release(&world, &sold, "B3").await.expect("it is sold");
    assert_eq!(
        (names(&rest.seats), rest.seat_count, rest.state()),
        ("B2 B4".to_owned(), 2, ReservationState::Confirmed)
    );
    assert_eq!((rest.revision, &rest.total_price, rest.cancel_time), (sold.revision + 1, &sold.total_price, None));
    let given_back: Vec<_> = rest.lines.iter().map(|line| line.released).collect();
    assert_eq!(given_back, [false, true, false]);
    let prices = |of: &Reservation| of.lines.iter().map(|line| line.total.clone()).collect::<Vec<_>>();
    assert_eq!(prices(&rest), prices(&sold));
    copy.read_until(&mut watch, rest.revision).await;
    assert_eq!([copy.states["B2"], copy.states["B3"]], [SeatState::Sold, SeatState::Free]);
    let map = map(&mut world.showtimes(), &showtime.showtime_id, rest.revision).await;
    assert_eq!(states(&map), copy.states);
    assert_eq!(map.counts, Some(SeatCounts { free: 8, held: 0, sold: 2, blocked: 0 }));
    assert_eq!(showtime_now(&world, &showtime).await.available_count, 8);
    reserve(&world, these(&showtime, "bob", "B3")).await.expect("it is free");
    let status = reserve(&world, these(&showtime, "bob", "B4")).await.expect_err("it is sold");
    assert_eq!(assert_unavailable(&status, "SEATS_UNAVAILABLE").seats[0].state(), SeatState::Sold);
    let world = world.restart().await;
    assert_eq!(get(&world, &sold).await.expect("it is found"), rest);
    let request = ListReservationsRequest { customer_id: "ada".to_owned(), ..Default::default() };
    let listed = world.reservations().list_reservations(request).await.expect("a list").into_inner().reservations;
    assert_eq!(listed, std::slice::from_ref(&rest));
    // What was given back before the restart stays given back.
    let status = release(&world, &sold, "B3").await.expect_err("it was given back");
    assert_refused(&status, Code::FailedPrecondition, "SEAT_NOT_SOLD");
    assert_eq!(confirm(&world, &sold).await.expect("it was confirmed before"), rest);
}

async fn once_all_seats_are_given_back_the_reservation_is_cancelled(world: World) {
    let showtime = priced(&world).await;
    let sold = sold(&world, &showtime).await;
    let first = release(&world, &sold, "B4 B2").await.expect("they are sold");
    assert_eq!(first.state(), ReservationState::Confirmed);
    // Without names the others are given back.
    let gone = release(&world, &sold, "").await.expect("one is left");
    assert_eq!((gone.state(), names(&gone.seats), gone.seat_count), (ReservationState::Cancelled, String::new(), 0));
    assert!(gone.cancel_time.is_some() && gone.lines.iter().all(|line| line.released), "{gone:?}");
    assert_eq!(
        (gone.confirm_time, &gone.tender, &gone.total_price),
        (sold.confirm_time, &sold.tender, &sold.total_price)
    );
    assert_eq!(gone.refund_due, None, "the caller makes the refund");
    let world = world.restart().await;
    assert_eq!(get(&world, &sold).await.expect("it is found"), gone);
    let again = release(&world, &sold, "").await.expect_err("nothing is left");
    let moved = exchange(&world, &sold, "A1 A2 A3").await.expect_err("nothing is left");
    let late = confirm_late(&world, &sold, "card").await.expect_err("nothing is left");
    for status in [again, moved, late] {
        let about = assert_refused(&status, Code::FailedPrecondition, "RESERVATION_RELEASED");
        assert_eq!(about["reservation_id"], sold.reservation_id);
    }
    let status = confirm_late(&world, &sold, "cash").await.expect_err("it was paid otherwise");
    assert_refused(&status, Code::FailedPrecondition, "TENDER_DIFFERS");
    for status in [confirm(&world, &sold).await, cancel(&world, &sold).await] {
        let about =
            assert_refused(&status.expect_err("it is cancelled"), Code::FailedPrecondition, "RESERVATION_NOT_HELD");
        assert_eq!(about["state"], "CANCELLED");
    }
    assert_eq!(showtime_now(&world, &showtime).await.available_count, 10);
    // A showtime whose sales were all given back has none.
    let request = CancelShowtimeRequest { showtime_id: showtime.showtime_id, ..Default::default() };
    world.showtimes().cancel_showtime(request).await.expect("it is not forced");
}

async fn what_is_not_sold_by_the_reservation_is_not_given_back(world: World) {
    let showtime = priced(&world).await;
    let sold = sold(&world, &showtime).await;
    let other = reserve(&world, these(&showtime, "bob", "A1 A2")).await.expect("the seats are free");
    let refused = async |of: &Reservation, names: &str, state: &str, named: &[&str]| {
        let status = release(&world, of, names).await.expect_err("it is not sold");
        let about = assert_refused(&status, Code::FailedPrecondition, "SEAT_NOT_SOLD");
        assert_eq!((&*about["state"], &about["reservation_id"]), (state, &of.reservation_id));
        assert_eq!(about["showtime_id"], showtime.showtime_id);
        let found = status.get_details_precondition_failure().expect("a PreconditionFailure").violations;
        let found: Vec<_> = found.iter().map(|one| (&*one.r#type, &*one.subject)).collect();
        assert_eq!(found, named.iter().map(|name| ("SEAT_NOT_SOLD", *name)).collect::<Vec<_>>());
        status.message().to_owned()
    };
    let message = refused(&sold, "A1 B2 A5", "CONFIRMED", &["A1", "A5"]).await;
    assert_eq!(message, "A1, A5 are not among the seats that the reservation has");
    let message = refused(&other, "A2", "HELD", &["A2"]).await;
    assert_eq!(message, "A2 is not sold: the reservation is held");
    refused(&other, "", "HELD", &["A1", "A2"]).await;
    cancel(&world, &other).await.expect("it is held");
    refused(&other, "", "CANCELLED", &["A1", "A2"]).await;
    for (names, reason) in [("B2 Z1", "SEAT_UNKNOWN"), ("B2 B3 B2", "SEAT_REPEATED")] {
        let status = release(&world, &sold, names).await.expect_err("a seat is wrong");
        assert_refused(&status, Code::InvalidArgument, reason);
    }
    assert_eq!(get(&world, &sold).await.expect("it is found"), sold, "a refusal changes nothing");
    let nothing = Reservation { reservation_id: request_id(), ..sold };
    let status = release(&world, &nothing, "").await.expect_err("there is none");
    assert_not_found(&status, "RESERVATION_NOT_FOUND", &nothing.reservation_id);
}

async fn a_repeated_request_has_one_effect(world: World) {
    let showtime = priced(&world).await;
    let sold = sold(&world, &showtime).await;
    let request = ReleaseSeatsRequest { request_id: request_id(), ..to_release(&sold, "B2") };
    let answer = world.reservations().release_seats(request.clone()).await.expect("it is sold").into_inner();
    assert_eq!(answer.reservation.as_ref().map(|rest| rest.revision), Some(answer.revision));
    // What happens later does not change the answer.
    release(&world, &sold, "B3").await.expect("it is sold");
    reserve(&world, these(&showtime, "bob", "B2")).await.expect("it is free");
    let world = world.restart().await;
    for _ in 0..2 {
        let again = world.reservations().release_seats(request.clone()).await.expect("it is repeated");
        assert!(again.metadata().contains_key("idempotent-replayed"), "{:?}", again.metadata());
        assert_eq!(again.into_inner(), answer);
    }
    let other = ReleaseSeatsRequest { reason: "another".to_owned(), ..request };
    let status = world.reservations().release_seats(other).await.expect_err("the content differs");
    assert_refused(&status, Code::InvalidArgument, "REQUEST_ID_REUSED");
    assert_eq!(names(&get(&world, &sold).await.expect("it is found").seats), "B4");
}

async fn events_say_what_each_seat_was_sold_for(world: World) {
    let mut events = subscribe(&world, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let showtime = priced(&world).await;
    let sold = sold(&world, &showtime).await;
    release(&world, &sold, "B4 B2").await.expect("they are sold");
    let gone = release(&world, &sold, "").await.expect("one is left");
    let read = until(&mut events, &showtime.showtime_id, gone.revision, "SeatsReleased").await;
    let about: Vec<_> =
        read.iter().map(|event| (event.r#type.rsplit('.').next().unwrap_or_default(), &*event.subject)).collect();
    let id = sold.reservation_id.as_str();
    assert_eq!(about[3..], [("SeatsReleased", id), ("ReservationCancelled", id), ("SeatsReleased", id)]);
    let payloads: Vec<_> = read.iter().filter_map(|event| event.data.clone()?.payload).collect();
    let [.., Payload::SeatsReleased(first), Payload::ReservationCancelled(end), Payload::SeatsReleased(last)] =
        &payloads[..]
    else {
        panic!("{payloads:?}")
    };
    for (released, seats, amount) in [
        // 8 + 0.75 and 12 + 3.50 + 0.75; then 12 + 0.75.
        (
            first,
            vec![("B", 2, "child", euros(8, 750_000_000)), ("B", 4, "adult", euros(16, 250_000_000))],
            euros(25, 0),
        ),
        (last, vec![("B", 3, "adult", euros(12, 750_000_000))], euros(12, 750_000_000)),
    ] {
        assert_eq!(released.reason(), SeatsReleasedReason::GivenBack);
        assert_eq!((&*released.note, &*released.customer_id), ("the projector failed", "ada"));
        assert_eq!(released.amount.as_ref(), Some(&amount));
        let line = |line: &events::Line| (line.seat.clone(), line.ticket_type.clone(), line.total.clone());
        let expected = seats.iter().map(|(row, number, ticket_type, total)| {
            let seat = events::Seat { row: (*row).to_owned(), number: *number };
            (Some(seat), (*ticket_type).to_owned(), Some(total.clone()))
        });
        assert_eq!(released.lines.iter().map(line).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        assert!(released.lines.iter().map(|line| line.seat.as_ref()).eq(released.seats.iter().map(Some)));
    }
    assert!(end.was_confirmed && end.customer_id == "ada" && end.seats == last.seats, "{end:?}");
    assert_eq!(end.total_price, last.amount);
}

async fn what_was_sold_is_summed_by_ticket_type_without_what_was_given_back(world: World) {
    let showtime = priced(&world).await;
    let nothing = sales(&world, &showtime).await;
    assert_eq!((nothing.seat_count, nothing.total, nothing.ticket_types, nothing.revision), (0, None, vec![], 1));
    let sold = sold(&world, &showtime).await;
    let held = ReserveSeatsRequest { ticket_types: tickets("senior 2"), ..these(&showtime, "bob", "A1 A2") };
    let held = reserve(&world, held).await.expect("the seats are free");
    let of = |code: &str, seat_count, total, tax| TicketTypeSales {
        code: code.to_owned(),
        seat_count,
        total: Some(total),
        tax: Some(tax),
    };
    // 12 + 0.75 and 12 + 3.50 + 0.75 for adults, with taxes of 2.21 and 2.82; 8 + 0.75 for a child, with 1.52.
    let adults = of("adult", 2, euros(29, 0), euros(5, 30_000_000));
    let child = of("child", 1, euros(8, 750_000_000), euros(1, 520_000_000));
    let found = sales(&world, &showtime).await;
    assert_eq!((found.seat_count, found.total), (3, Some(euros(37, 750_000_000))), "a hold is not a sale");
    assert_eq!((found.ticket_types, found.revision), (vec![adults, child.clone()], held.revision));
    // Exchanged seats keep their prices, and what is given back is not counted.
    confirm(&world, &held).await.expect("it is held");
    exchange(&world, &held, "A4 A5").await.expect("the seats are free");
    let rest = release(&world, &sold, "B4").await.expect("it is sold");
    let world = world.restart().await;
    let found = sales(&world, &showtime).await;
    let adult = of("adult", 1, euros(12, 750_000_000), euros(2, 210_000_000));
    let seniors = of("senior", 2, euros(20, 500_000_000), euros(3, 560_000_000));
    assert_eq!((found.seat_count, found.total, found.revision), (4, Some(euros(42, 0)), rest.revision));
    assert_eq!(found.ticket_types, [adult, child, seniors], "in the order of the list");
    let request = GetShowtimeRequest { showtime_id: showtime.showtime_id.clone(), ..Default::default() };
    let answer = world.showtimes().get_showtime(request).await.expect("it exists").into_inner();
    assert_eq!(answer.sales, None, "nobody asked for them");
    // Once all are given back, nothing is sold.
    release(&world, &sold, "").await.expect("two are left");
    release(&world, &held, "").await.expect("two are left");
    let nothing = sales(&world, &showtime).await;
    assert_eq!((nothing.seat_count, nothing.total, nothing.ticket_types), (0, None, vec![]));
}

async fn invalid_requests_are_refused_for_every_flaw(world: World) {
    let wrong = ReleaseSeatsRequest {
        reservation_id: "7".to_owned(),
        seats: vec![Seat { row: "a".to_owned(), number: 0 }],
        reason: String::new(),
        request_id: "7".to_owned(),
        till: "t".repeat(65),
    };
    let fields = ["reservation_id", "seats[0].row", "seats[0].number", "reason", "request_id", "till"];
    for reason in [String::new(), "r".repeat(201), "a\u{7}".to_owned()] {
        let request = ReleaseSeatsRequest { reason, ..wrong.clone() };
        let status = world.reservations().release_seats(request).await.expect_err("all is wrong");
        assert_violates(&status, &fields);
    }
    let many = ReleaseSeatsRequest { seats: vec![seats("A1")[0].clone(); 101], ..wrong };
    let status = world.reservations().release_seats(many).await.expect_err("all is wrong");
    assert_violates(&status, &["reservation_id", "seats", "reason", "request_id", "till"]);
}

#[tokio::test]
async fn other_instances_see_what_was_given_back() {
    let storage = Storage::new(Store::Postgres).await;
    let (one, other) = (storage.setup().start().await, storage.setup().start().await);
    let showtime = showtime(&one).await;
    let held = reserve(&one, these(&showtime, "ada", "A1 A2 A3")).await.expect("the seats are free");
    let sold = confirm_late(&one, &held, "card").await.expect("it is held").1;
    // The other one has the seats in memory before they are given back.
    reserve(&other, these(&showtime, "bob", "A2")).await.expect_err("it is sold");
    map(&mut other.showtimes(), &showtime.showtime_id, 0).await;
    let rest = release(&one, &sold, "A2").await.expect("it is sold");
    let seen = map(&mut other.showtimes(), &showtime.showtime_id, rest.revision).await;
    assert_eq!(states(&seen)["A2"], SeatState::Free);
    reserve(&other, these(&showtime, "bob", "A2")).await.expect("it is free");
    release(&other, &sold, "").await.expect("two are left");
    let status = release(&one, &sold, "").await.expect_err("nothing is left");
    assert_refused(&status, Code::FailedPrecondition, "RESERVATION_RELEASED");
    let request = to_confirm_late(&sold, "card");
    assert_eq!(request.tender, Some(tender("card")));
    let status = answer_to(&one, request).await.expect_err("nothing is left");
    assert_refused(&status, Code::FailedPrecondition, "RESERVATION_RELEASED");
}
