//! Seats of a reservation that are exchanged for others, in one decision.

use boxoffice::pb::boxoffice::{
    events::v1::{self as events, event::Payload},
    v1::{
        CancelShowtimeRequest, CreateShowtimeRequest, ExchangeSeatsRequest, Line, PriceList, Reservation,
        ReservationState, ReserveSeatsRequest, Seat, SeatState, Showtime, SubscribeEventsRequest,
        watch_seat_map_response::Event,
    },
};
use tonic::Code;

use crate::harness::{
    Server, Store, World, assert_not_found, assert_refused, assert_violates, euros,
    events::{subscribe, until},
    eventually, in_hours, request_id,
    requests::{seconds, three_types, tickets},
    seats::{
        HALL, assert_unavailable, cancel, confirm, extend, get, lasting, name, names, reserve, seats, showtime,
        showtime_now, showtime_with, state, these,
    },
    staff::{block, exchange, release, to_exchange},
    watching::{Copy, map, states, watch},
    world::Storage,
};

on_both_stores!(
    a_hold_keeps_its_time_and_is_priced_anew,
    the_lines_of_a_sale_keep_their_prices,
    seats_that_overlap_are_exchanged_in_one_revision,
    a_repeated_request_has_one_effect_and_the_first_reservation_is_still_answered,
    what_was_given_back_stays_so_and_may_be_had_again,
    seats_that_cannot_be_had_are_refused,
    a_reservation_that_has_ended_is_refused,
    events_have_the_seats_before_and_after,
    invalid_requests_are_refused_for_every_flaw,
);
on_both_stores!(
    with |setup| setup.with("--orphan-seats", "refuse");
    an_exchange_that_leaves_an_orphan_is_refused,
);

/// A showtime with three ticket types. Row B is of premium seats.
async fn priced(server: &Server) -> Showtime {
    let price_list = Some(PriceList { fee: None, tax_basis_points: 0, ..three_types() });
    let with_list = |request| CreateShowtimeRequest { price: None, price_list, ..request };
    showtime_with(server, &[("A", "sssss"), ("B", "ppppp")], in_hours(0), with_list).await
}

/// A hold of A1 for a child and A2 for an adult.
async fn held(server: &Server, showtime: &Showtime) -> Reservation {
    let ticket_types = tickets("child 1 adult 1");
    let request = ReserveSeatsRequest { ticket_types, ..these(showtime, "ada", "A1 A2") };
    reserve(server, request).await.expect("the seats are free")
}

/// The seat, the ticket type and the total of each line.
fn lines(reservation: &Reservation) -> Vec<(String, &str, i64)> {
    let line = |line: &Line| line.seat.as_ref().map(name).unwrap_or_default();
    let cents =
        |line: &Line| line.total.as_ref().map_or(0, |total| total.units * 100 + i64::from(total.nanos) / 10_000_000);
    reservation.lines.iter().map(|one| (line(one), &*one.ticket_type, cents(one))).collect()
}

async fn a_hold_keeps_its_time_and_is_priced_anew(world: World) {
    let showtime = priced(&world).await;
    let held = held(&world, &showtime).await;
    let held = extend(&world, &held).await.expect("it is held");
    let other = exchange(&world, &held, "B4 B3").await.expect("the seats are free");
    assert_eq!((names(&other.seats), other.state()), ("B3 B4".to_owned(), ReservationState::Held));
    assert_eq!(lines(&other), [("B3".to_owned(), "child", 1_150), ("B4".to_owned(), "adult", 1_550)]);
    assert_eq!((&other.total_price, other.expire_time), (&Some(euros(27, 0)), held.expire_time));
    assert!(other.extended && other.time_left.is_some() && other.create_time == held.create_time, "{other:?}");
    assert_eq!(other.revision, held.revision + 1);
    assert_eq!(lasting(get(&world, &held).await.expect("it is found")), lasting(other.clone()));
    let world = world.restart().await;
    assert_eq!(lasting(get(&world, &held).await.expect("it is found")), lasting(other.clone()));
    let sold = confirm(&world, &held).await.expect("it is held");
    assert_eq!((lines(&sold), &sold.total_price), (lines(&other), &other.total_price));
    reserve(&world, these(&showtime, "bob", "A1 A2")).await.expect("they are free");
    reserve(&world, these(&showtime, "bob", "B3")).await.expect_err("it is sold");
}

async fn the_lines_of_a_sale_keep_their_prices(world: World) {
    let showtime = priced(&world).await;
    let sold = confirm(&world, &held(&world, &showtime).await).await.expect("it is held");
    let other = exchange(&world, &sold, "B3 B4").await.expect("the seats are free");
    assert_eq!((names(&other.seats), other.state()), ("B3 B4".to_owned(), ReservationState::Confirmed));
    assert_eq!(lines(&other), [("B3".to_owned(), "child", 800), ("B4".to_owned(), "adult", 1_200)]);
    assert_eq!((&other.total_price, other.confirm_time), (&sold.total_price, sold.confirm_time));
    let world = world.restart().await;
    assert_eq!(get(&world, &sold).await.expect("it is found"), other);
    assert_eq!(exchange(&world, &sold, "B4 B3").await.expect("it has these seats"), other, "that changes nothing");
    assert_eq!(showtime_now(&world, &showtime).await.revision, other.revision);
}

async fn seats_that_overlap_are_exchanged_in_one_revision(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "D1 D2 D3")).await.expect("the seats are free");
    let sold = confirm(&world, &held).await.expect("it is held");
    let mut watch = watch(&world.showtimes(), &showtime.showtime_id, 0, "").await.expect("the showtime exists");
    let mut copy = Copy::begin(&mut watch).await;
    let other = exchange(&world, &sold, "D2 D3 D4").await.expect("one is free, and it has the others");
    assert_eq!((names(&other.seats), other.revision), ("D2 D3 D4".to_owned(), sold.revision + 1));
    // There is no moment in which it has no seats.
    loop {
        let event = copy.read(&mut watch).await;
        assert_eq!([copy.states["D2"], copy.states["D3"]], [SeatState::Sold; 2], "{event:?}");
        if let Event::Delta(delta) = event {
            let changed: Vec<_> = delta.seats.iter().map(|seat| (seat.seat.as_ref().map(name), seat.state())).collect();
            assert!(changed.contains(&(Some("D1".to_owned()), SeatState::Free)), "{changed:?}");
            assert!(changed.contains(&(Some("D4".to_owned()), SeatState::Sold)), "{changed:?}");
            break;
        }
    }
    assert_eq!(copy.revision, other.revision);
    assert_eq!(copy.states, states(&map(&mut world.showtimes(), &showtime.showtime_id, other.revision).await));
    assert_eq!(showtime_now(&world, &showtime).await.available_count, 31);
    reserve(&world, these(&showtime, "bob", "D1")).await.expect("it is free");
    // Also for a hold, back to where it was.
    let held = reserve(&world, these(&showtime, "eve", "A1 A2")).await.expect("the seats are free");
    exchange(&world, &held, "A2 A3").await.expect("one is free, and it has the other");
    let back = exchange(&world, &held, "A1 A2").await.expect("one is free, and it has the other");
    copy.read_until(&mut watch, back.revision).await;
    assert_eq!(["A1", "A2", "A3"].map(|seat| copy.states[seat]), [SeatState::Held, SeatState::Held, SeatState::Free]);
}

async fn a_repeated_request_has_one_effect_and_the_first_reservation_is_still_answered(world: World) {
    let showtime = showtime(&world).await;
    let reserving = ReserveSeatsRequest { request_id: request_id(), ..these(&showtime, "ada", "A1 A2") };
    let made = reserve(&world, reserving.clone()).await.expect("the seats are free");
    let request = ExchangeSeatsRequest { request_id: request_id(), ..to_exchange(&made, "B1 B2") };
    let first = world.reservations().exchange_seats(request.clone()).await.expect("the seats are free").into_inner();
    let first_made = first.reservation.clone().expect("the answer has the reservation");
    assert_eq!(first.revision, first_made.revision);
    let later = exchange(&world, &made, "C1 C2").await.expect("the seats are free");
    reserve(&world, these(&showtime, "bob", "A1 B2")).await.expect_err("they are no neighbours");
    reserve(&world, these(&showtime, "bob", "B2")).await.expect("it is free");
    confirm(&world, &made).await.expect("it is held");
    let mut world = world;
    for is_restarted in [false, true] {
        if is_restarted {
            world = world.restart().await;
        }
        let again = reserve(&world, reserving.clone()).await.expect("it is repeated");
        assert_eq!(lasting(again), lasting(made.clone()), "the first answer");
        let again = world.reservations().exchange_seats(request.clone()).await.expect("it is repeated");
        assert!(again.metadata().contains_key("idempotent-replayed"), "{:?}", again.metadata());
        let again = again.into_inner().reservation.expect("the answer has the reservation");
        assert_eq!(lasting(again), lasting(first_made.clone()));
    }
    let other = ExchangeSeatsRequest { seats: seats("B3 B4"), ..request };
    let status = world.reservations().exchange_seats(other).await.expect_err("the content differs");
    assert_refused(&status, Code::InvalidArgument, "REQUEST_ID_REUSED");
    assert_eq!(names(&get(&world, &made).await.expect("it is found").seats), names(&later.seats));
}

async fn what_was_given_back_stays_so_and_may_be_had_again(world: World) {
    let showtime = priced(&world).await;
    let ticket_types = tickets("child 1 adult 2");
    let request = ReserveSeatsRequest { ticket_types, ..these(&showtime, "ada", "A1 A2 A3") };
    let sold = reserve(&world, request).await.expect("the seats are free");
    let sold = confirm(&world, &sold).await.expect("it is held");
    release(&world, &sold, "A2").await.expect("it is sold");
    let status = exchange(&world, &sold, "B1 B2 B3").await.expect_err("it has two seats");
    let about = assert_refused(&status, Code::InvalidArgument, "SEATS_DIFFER");
    assert_eq!(about["reservation_id"], sold.reservation_id);
    let other = exchange(&world, &sold, "B1 B2").await.expect("the seats are free");
    assert_eq!((names(&other.seats), other.seat_count), ("B1 B2".to_owned(), 2));
    let given_back = |of: &Reservation| of.lines.iter().map(|line| line.released).collect::<Vec<_>>();
    assert_eq!(given_back(&other), [false, true, false]);
    let expected =
        [("B1".to_owned(), "child", 800), ("A2".to_owned(), "adult", 1_200), ("B2".to_owned(), "adult", 1_200)];
    assert_eq!((lines(&other), &other.total_price), (expected.to_vec(), &sold.total_price));
    // The seat that was given back is free, so it may be had again.
    let again = exchange(&world, &sold, "A2 A3").await.expect("both are free");
    assert_eq!((names(&again.seats), given_back(&again)), ("A2 A3".to_owned(), vec![false, true, false]));
    reserve(&world, these(&showtime, "bob", "A2")).await.expect_err("it is sold");
    let world = world.restart().await;
    assert_eq!(get(&world, &sold).await.expect("it is found"), again);
    let rest = release(&world, &sold, "A2").await.expect("it is sold");
    assert_eq!((names(&rest.seats), given_back(&rest)), ("A3".to_owned(), vec![true, true, false]));
    reserve(&world, these(&showtime, "bob", "A2")).await.expect("it is free");
}

async fn seats_that_cannot_be_had_are_refused(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "D1 D2")).await.expect("the seats are free");
    let other = reserve(&world, these(&showtime, "bob", "D3")).await.expect("the seat is free");
    let sold = reserve(&world, these(&showtime, "bob", "D5")).await.expect("the seat is free");
    confirm(&world, &sold).await.expect("it is held");
    block(&world, &showtime, "D7").await.expect("the seat is free");
    for (wanted, state, until) in [
        ("D2 D3", SeatState::Held, other.expire_time),
        ("D5 D6", SeatState::Sold, None),
        ("D7 D8", SeatState::Blocked, None),
    ] {
        let status = exchange(&world, &held, wanted).await.expect_err("a seat is taken");
        let refusal = assert_unavailable(&status, "SEATS_UNAVAILABLE");
        let found: Vec<_> = refusal.seats.iter().map(|seat| (seat.state(), seat.held_until)).collect();
        assert_eq!(found, [(state, until)], "{wanted}");
        assert!(!refusal.offers.is_empty(), "{refusal:?}");
    }
    for (wanted, reason) in [
        ("A1 Z1", "SEAT_UNKNOWN"),
        ("A1 A2 A1", "SEAT_REPEATED"),
        ("A1 A3", "SEATS_NOT_CONTIGUOUS"),
        ("A5 A6", "SEATS_NOT_CONTIGUOUS"),
        ("A1", "SEATS_DIFFER"),
        ("A1 A2 A3", "SEATS_DIFFER"),
    ] {
        let status = exchange(&world, &held, wanted).await.expect_err("the seats are wrong");
        assert_refused(&status, Code::InvalidArgument, reason);
    }
    let whose = ExchangeSeatsRequest { customer_id: "bob".to_owned(), ..to_exchange(&held, "A1 A2") };
    let status = world.reservations().exchange_seats(whose.clone()).await.expect_err("it is of another customer");
    assert_not_found(&status, "RESERVATION_NOT_FOUND", &held.reservation_id);
    let nothing = Reservation { reservation_id: request_id(), ..held.clone() };
    let status = exchange(&world, &nothing, "A1 A2").await.expect_err("there is none");
    assert_not_found(&status, "RESERVATION_NOT_FOUND", &nothing.reservation_id);
    assert_eq!(names(&get(&world, &held).await.expect("it is found").seats), "D1 D2", "a refusal changes nothing");
    let whose = ExchangeSeatsRequest { customer_id: "ada".to_owned(), ..whose };
    world.reservations().exchange_seats(whose).await.expect("it is hers");
}

async fn a_reservation_that_has_ended_is_refused(world: World) {
    let brief = |request| CreateShowtimeRequest { hold_duration: Some(seconds(1)), ..request };
    let brief = showtime_with(&world, &HALL, in_hours(0), brief).await;
    let lapsed = reserve(&world, these(&brief, "ada", "A1")).await.expect("the seat is free");
    let has_lapsed = async || (state(&world, &lapsed).await == ReservationState::Expired).then_some(());
    eventually("the hold has lapsed", has_lapsed).await;
    let status = exchange(&world, &lapsed, "A2").await.expect_err("it has lapsed");
    let about = assert_refused(&status, Code::FailedPrecondition, "RESERVATION_EXPIRED");
    assert!(about.contains_key("expire_time"), "{about:?}");
    let showtime = showtime(&world).await;
    let cancelled = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    cancel(&world, &cancelled).await.expect("it is held");
    let held = reserve(&world, these(&showtime, "ada", "B1")).await.expect("the seat is free");
    let sold = reserve(&world, these(&showtime, "ada", "B2")).await.expect("the seat is free");
    confirm(&world, &sold).await.expect("it is held");
    let request =
        CancelShowtimeRequest { showtime_id: showtime.showtime_id.clone(), force: true, ..Default::default() };
    world.showtimes().cancel_showtime(request).await.expect("it is forced");
    for ended in [&cancelled, &held, &sold] {
        let status = exchange(&world, ended, "C1").await.expect_err("it has ended");
        let about = assert_refused(&status, Code::FailedPrecondition, "RESERVATION_NOT_HELD");
        assert_eq!(about["state"], "CANCELLED");
    }
}

async fn events_have_the_seats_before_and_after(world: World) {
    let mut events = subscribe(&world, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let showtime = priced(&world).await;
    let held = held(&world, &showtime).await;
    exchange(&world, &held, "A2 A3").await.expect("the seats are free");
    confirm(&world, &held).await.expect("it is held");
    let last = exchange(&world, &held, "B4 B5").await.expect("the seats are free");
    let read = until(&mut events, &showtime.showtime_id, last.revision, "SeatsExchanged").await;
    let all: Vec<_> = read.iter().filter_map(|event| event.data.clone()?.payload).collect();
    let [_, _, Payload::SeatsExchanged(first), Payload::ReservationConfirmed(sold), Payload::SeatsExchanged(second)] =
        &all[..]
    else {
        panic!("{all:?}")
    };
    assert_eq!(read[2].subject, held.reservation_id);
    let names = |seats: &[events::Seat]| {
        seats.iter().map(|seat| format!("{}{}", seat.row, seat.number)).collect::<Vec<_>>().join(" ")
    };
    for (event, before, now, was_confirmed) in [(first, "A1 A2", "A2 A3", false), (second, "A2 A3", "B4 B5", true)] {
        assert_eq!((names(&event.previous_seats), names(&event.seats)), (before.to_owned(), now.to_owned()));
        assert_eq!((event.was_confirmed, &*event.customer_id), (was_confirmed, "ada"));
        assert_eq!((&event.reservation_id, &event.total_price), (&held.reservation_id, &Some(euros(20, 0))));
        let of_lines: Vec<_> = event.lines.iter().filter_map(|line| line.seat.clone()).collect();
        assert_eq!((of_lines, event.lines[0].total.clone()), (event.seats.clone(), Some(euros(8, 0))));
    }
    assert_eq!(names(&sold.seats), "A2 A3");
}

async fn invalid_requests_are_refused_for_every_flaw(world: World) {
    let wrong = ExchangeSeatsRequest {
        reservation_id: "7".to_owned(),
        seats: vec![Seat { row: "a".to_owned(), number: 0 }],
        request_id: "7".to_owned(),
        customer_id: "c".repeat(129),
    };
    let status = world.reservations().exchange_seats(wrong.clone()).await.expect_err("all is wrong");
    assert_violates(&status, &["reservation_id", "seats[0].row", "seats[0].number", "request_id", "customer_id"]);
    let none = ExchangeSeatsRequest { seats: vec![], ..wrong };
    let status = world.reservations().exchange_seats(none).await.expect_err("all is wrong");
    assert_violates(&status, &["reservation_id", "seats", "request_id", "customer_id"]);
}

async fn an_exchange_that_leaves_an_orphan_is_refused(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "D1 D2")).await.expect("the seats are free");
    let status = exchange(&world, &held, "D2 D3").await.expect_err("D1 would be an orphan");
    let refusal = assert_unavailable(&status, "SEAT_STRANDED");
    let found: Vec<_> = refusal.seats.iter().map(|seat| (seat.seat.as_ref().map(name), seat.state())).collect();
    assert_eq!(found, [(Some("D1".to_owned()), SeatState::Free)]);
    let offers: Vec<_> = refusal.offers.iter().map(|offer| names(&offer.seats)).collect();
    assert!(offers.contains(&"D1 D2".to_owned()), "its own seats are free for it: {offers:?}");
    exchange(&world, &held, "D3 D4").await.expect("D1 and D2 are free, and neighbours");
}

#[tokio::test]
async fn other_instances_see_what_was_exchanged() {
    let storage = Storage::new(Store::Postgres).await;
    let (one, other) = (storage.setup().start().await, storage.setup().start().await);
    let showtime = showtime(&one).await;
    let held = reserve(&one, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
    // The other one has the seats in memory before they are exchanged.
    reserve(&other, these(&showtime, "bob", "A1")).await.expect_err("it is held");
    map(&mut other.showtimes(), &showtime.showtime_id, 0).await;
    exchange(&one, &held, "A2 A3").await.expect("the seats are free");
    confirm(&other, &held).await.expect("it is held");
    let moved = exchange(&one, &held, "B1 B2").await.expect("the seats are free");
    let seen = map(&mut other.showtimes(), &showtime.showtime_id, moved.revision).await;
    let expected = [SeatState::Free, SeatState::Free, SeatState::Sold];
    assert_eq!(["A1", "A3", "B1"].map(|seat| states(&seen)[seat]), expected);
    reserve(&other, these(&showtime, "bob", "A1 A2")).await.expect("they are free");
    reserve(&other, these(&showtime, "eve", "B2")).await.expect_err("it is sold");
    exchange(&other, &held, "B2 B3").await.expect("one is free, and it has the other");
}
