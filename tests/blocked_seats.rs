//! Seats that are kept back from sale: nobody can have them, staff sees why, and everybody else sees only that.

use boxoffice::pb::boxoffice::{
    events::v1::{self as events, event::Payload},
    v1::{
        BlockReason, BlockSeatsRequest, BlockedSeats, CancelShowtimeRequest, CreateShowtimeRequest,
        ListSeatBlocksRequest, ListSeatBlocksResponse, ReservationState, ReserveSeatsRequest, Seat, SeatCounts,
        SeatState, SubscribeEventsRequest, UnblockSeatsRequest,
    },
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::{
    Store, World, assert_not_found, assert_refused, assert_violates,
    events::{subscribe, until},
    eventually, in_hours, request_id,
    requests::seconds,
    seats::{
        HALL, assert_unavailable, best, cancel, confirm, name, names, reserve, seats, showtime, showtime_now,
        showtime_with, state, these,
    },
    staff::{block, blocked, to_block, to_unblock, unblock},
    watching::{Copy, map, states, watch},
    world::Storage,
};

on_both_stores!(
    with |setup| setup.with("--sweep", "false");
    blocked_seats_cannot_be_had_and_show_as_blocked,
    only_the_list_for_staff_has_reasons_and_notes,
    a_list_is_by_the_calls_without_what_was_unblocked,
    seats_that_are_not_free_are_not_blocked,
    seats_that_are_not_blocked_are_not_unblocked,
    a_repeated_request_has_one_effect,
    a_watcher_sees_what_is_blocked_and_unblocked,
    staff_reserves_blocked_seats_which_are_blocked_no_more,
    a_lapse_is_recorded_by_what_blocks_the_seats,
    invalid_requests_are_refused_for_every_flaw,
    after_the_showtime_nothing_is_blocked,
);

async fn blocked_seats_cannot_be_had_and_show_as_blocked(world: World) {
    let showtime = showtime(&world).await;
    let made = block(&world, &showtime, "B3 A1").await.expect("the seats are free");
    assert_eq!((made.revision, names(&made.seats)), (2, "A1 B3".to_owned()), "in the order of the layout");
    let status = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect_err("a seat is blocked");
    let refusal = assert_unavailable(&status, "SEATS_UNAVAILABLE");
    let found: Vec<_> = refusal.seats.iter().map(|seat| (seat.seat.clone(), seat.state(), seat.held_until)).collect();
    assert_eq!(found, [(Some(seats("A1")[0].clone()), SeatState::Blocked, None)]);
    assert!(refusal.offers.iter().all(|offer| !names(&offer.seats).contains("A1")) && refusal.offers.len() == 3);
    let standard = status.get_details_precondition_failure().expect("a PreconditionFailure").violations;
    let standard: Vec<_> = standard.iter().map(|one| (&*one.r#type, &*one.subject, &*one.description)).collect();
    assert_eq!(standard, [("SEAT_BLOCKED", "A1", "kept back from sale")]);
    assert!(status.message().starts_with("A1 is kept back from sale; free instead: "), "{status:?}");
    let held = reserve(&world, these(&showtime, "ada", "D1 D2 D3")).await.expect("the seats are free");
    let sold = reserve(&world, these(&showtime, "bob", "D8")).await.expect("the seat is free");
    let sold = confirm(&world, &sold).await.expect("it is held");
    let map = map(&mut world.showtimes(), &showtime.showtime_id, sold.revision).await;
    assert_eq!(
        ["A1", "B3", "A2"].map(|seat| states(&map)[seat]),
        [SeatState::Blocked, SeatState::Blocked, SeatState::Free]
    );
    assert_eq!(map.counts, Some(SeatCounts { free: 28, held: 3, sold: 1, blocked: 2 }));
    let of_map = map.seats.iter().find(|seat| seat.state() == SeatState::Blocked).expect("a seat is blocked");
    assert_eq!((name(of_map.seat.as_ref().expect("a name")), of_map.held_until), ("A1".to_owned(), None));
    assert_eq!(showtime_now(&world, &showtime).await.available_count, 28);
    let freed = unblock(&world, &showtime, "A1").await.expect("it is blocked");
    assert_eq!((freed.revision, names(&freed.seats)), (sold.revision + 1, "A1".to_owned()));
    cancel(&world, &held).await.expect("it is held");
    assert_eq!(showtime_now(&world, &showtime).await.available_count, 32);
    reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
}

const NOTE: &str = "for the ambassador";

async fn only_the_list_for_staff_has_reasons_and_notes(world: World) {
    let mut events = subscribe(&world, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let showtime = showtime(&world).await;
    let request = BlockSeatsRequest {
        reason: BlockReason::Company.into(),
        note: NOTE.to_owned(),
        ..to_block(&showtime, "A1 C3")
    };
    let made = world.showtimes().block_seats(request).await.expect("the seats are free").into_inner();
    let refused = reserve(&world, these(&showtime, "ada", "A1")).await.expect_err("it is blocked");
    let again = block(&world, &showtime, "A1").await.expect_err("it is blocked");
    let map = map(&mut world.showtimes(), &showtime.showtime_id, made.revision).await;
    unblock(&world, &showtime, "C3").await.expect("it is blocked");
    let read = until(&mut events, &showtime.showtime_id, 3, "SeatsUnblocked").await;
    let payloads: Vec<_> = read.iter().filter_map(|event| event.data.clone()?.payload).collect();
    let [Payload::ShowtimeCreated(_), Payload::SeatsBlocked(on), Payload::SeatsUnblocked(off)] = &payloads[..] else {
        panic!("other events: {payloads:?}")
    };
    let names = |seats: &[events::Seat]| {
        seats.iter().map(|seat| format!("{}{}", seat.row, seat.number)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!((names(&on.seats), names(&off.seats)), ("A1 C3".to_owned(), "C3".to_owned()));
    let list = blocked(&world, &showtime).await;
    assert_eq!((list.blocks[0].reason(), &*list.blocks[0].note), (BlockReason::Company, NOTE));
    let public = format!("{made:?} {refused:?} {again:?} {map:?} {read:?}");
    let in_bytes = |bytes: &[u8]| bytes.windows(NOTE.len()).any(|part| part == NOTE.as_bytes());
    assert!(!public.contains(NOTE) && !in_bytes(refused.details()) && !in_bytes(again.details()), "{public}");
    let log = world.console().to_string();
    assert!(!log.contains(NOTE), "{log}");
}

async fn a_list_is_by_the_calls_without_what_was_unblocked(world: World) {
    let showtime = showtime(&world).await;
    assert_eq!(blocked(&world, &showtime).await.blocks, []);
    block(&world, &showtime, "D1 D2").await.expect("the seats are free");
    let reason = BlockReason::Maintenance.into();
    let request = BlockSeatsRequest { reason, note: "broken".to_owned(), ..to_block(&showtime, "C1 A1 A3") };
    world.showtimes().block_seats(request).await.expect("the seats are free");
    block(&world, &showtime, "A2").await.expect("the seat is free");
    let listed = |list: &ListSeatBlocksResponse| {
        let one = |one: &BlockedSeats| (names(&one.seats), one.reason(), one.note.clone(), one.revision);
        list.blocks.iter().map(one).collect::<Vec<_>>()
    };
    let all = blocked(&world, &showtime).await;
    let house = |names: &str, revision| (names.to_owned(), BlockReason::House, String::new(), revision);
    let broken = |names: &str| (names.to_owned(), BlockReason::Maintenance, "broken".to_owned(), 3);
    assert_eq!(listed(&all), [house("D1 D2", 2), broken("A1 A3 C1"), house("A2", 4)], "the oldest first");
    assert_eq!(all.revision, 4);
    assert!(all.blocks.iter().all(|block| block.create_time.is_some()), "{all:?}");
    let times: Vec<_> =
        all.blocks.iter().filter_map(|block| block.create_time).map(|time| (time.seconds, time.nanos)).collect();
    assert!(times.is_sorted(), "{times:?}");
    unblock(&world, &showtime, "A3 D1 D2").await.expect("they are blocked");
    let sold = reserve(&world, these(&showtime, "ada", "D1")).await.expect("it is free");
    let world = world.restart().await;
    let left = blocked(&world, &showtime).await;
    assert_eq!((listed(&left), left.revision), (vec![broken("A1 C1"), house("A2", 4)], sold.revision));
    reserve(&world, these(&showtime, "ada", "A1")).await.expect_err("it is blocked, also after a restart");
}

async fn seats_that_are_not_free_are_not_blocked(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "A1")).await.expect("the seat is free");
    let sold = reserve(&world, these(&showtime, "bob", "A2")).await.expect("the seat is free");
    confirm(&world, &sold).await.expect("it is held");
    block(&world, &showtime, "A3").await.expect("the seat is free");
    let status = block(&world, &showtime, "A4 A3 A2 A1").await.expect_err("three are not free");
    let refusal = assert_unavailable(&status, "SEATS_UNAVAILABLE");
    let found: Vec<_> = refusal.seats.iter().map(|seat| (seat.state(), seat.held_until)).collect();
    let expected = [(SeatState::Held, held.expire_time), (SeatState::Sold, None), (SeatState::Blocked, None)];
    assert_eq!((&found[..], refusal.offers.len(), refusal.revision), (&expected[..], 0, 5));
    let info = status.get_details_error_info().expect("an ErrorInfo").metadata;
    assert_eq!((&info["showtime_id"], &*info["revision"]), (&showtime.showtime_id, "5"));
    reserve(&world, these(&showtime, "ada", "A4")).await.expect("it is not blocked");
    for (names, reason, field) in [("A1 Z1", "SEAT_UNKNOWN", "seats[1]"), ("B1 B2 B1", "SEAT_REPEATED", "seats[2]")] {
        let on = block(&world, &showtime, names).await.expect_err("a seat is wrong");
        let off = unblock(&world, &showtime, names).await.expect_err("a seat is wrong");
        for status in [on, off] {
            assert_refused(&status, Code::InvalidArgument, reason);
            let violations = status.get_details_bad_request().expect("a BadRequest").field_violations;
            assert_eq!(violations[0].field, field);
        }
    }
}

async fn seats_that_are_not_blocked_are_not_unblocked(world: World) {
    let showtime = showtime(&world).await;
    block(&world, &showtime, "A1 A2").await.expect("the seats are free");
    let status = unblock(&world, &showtime, "B1 A1 A5").await.expect_err("two are not blocked");
    let about = assert_refused(&status, Code::FailedPrecondition, "SEAT_NOT_BLOCKED");
    assert_eq!((&about["showtime_id"], &*about["revision"]), (&showtime.showtime_id, "2"));
    let named = status.get_details_precondition_failure().expect("a PreconditionFailure").violations;
    let named: Vec<_> = named.iter().map(|one| (&*one.r#type, &*one.subject)).collect();
    assert_eq!(named, [("SEAT_NOT_BLOCKED", "A5"), ("SEAT_NOT_BLOCKED", "B1")]);
    assert_eq!(status.message(), "A5, B1 are not blocked");
    reserve(&world, these(&showtime, "ada", "A1")).await.expect_err("it is still blocked");
}

async fn a_repeated_request_has_one_effect(world: World) {
    let showtime = showtime(&world).await;
    let on = BlockSeatsRequest { request_id: request_id(), ..to_block(&showtime, "A1 A2") };
    let first = world.showtimes().block_seats(on.clone()).await.expect("the seats are free").into_inner();
    let off = UnblockSeatsRequest { request_id: on.request_id.clone(), ..to_unblock(&showtime, "A2") };
    let freed = world.showtimes().unblock_seats(off.clone()).await.expect("ids count per method").into_inner();
    reserve(&world, these(&showtime, "ada", "A2")).await.expect("it is free");
    let world = world.restart().await;
    for _ in 0..2 {
        let again = world.showtimes().block_seats(on.clone()).await.expect("it is repeated");
        assert!(again.metadata().contains_key("idempotent-replayed"), "{:?}", again.metadata());
        assert_eq!(again.into_inner(), first);
        let again = world.showtimes().unblock_seats(off.clone()).await.expect("it is repeated");
        assert_eq!(again.into_inner(), freed);
    }
    let other = BlockSeatsRequest { note: "another".to_owned(), ..on };
    let status = world.showtimes().block_seats(other).await.expect_err("the content differs");
    assert_refused(&status, Code::InvalidArgument, "REQUEST_ID_REUSED");
    let other = UnblockSeatsRequest { seats: seats("A1"), ..off };
    let status = world.showtimes().unblock_seats(other).await.expect_err("the content differs");
    assert_refused(&status, Code::InvalidArgument, "REQUEST_ID_REUSED");
    assert_eq!(showtime_now(&world, &showtime).await.revision, 4);
}

async fn a_watcher_sees_what_is_blocked_and_unblocked(world: World) {
    let showtime = showtime(&world).await;
    let mut watch = watch(&world.showtimes(), &showtime.showtime_id, 0, "").await.expect("the showtime exists");
    let mut copy = Copy::begin(&mut watch).await;
    let mut see = async |revision, expected| {
        copy.read_until(&mut watch, revision).await;
        assert_eq!((copy.states["A1"], copy.states["A2"]), expected);
        assert_eq!(copy.states, states(&map(&mut world.showtimes(), &showtime.showtime_id, revision).await));
    };
    let made = block(&world, &showtime, "A1 A2").await.expect("the seats are free");
    see(made.revision, (SeatState::Blocked, SeatState::Blocked)).await;
    let freed = unblock(&world, &showtime, "A1").await.expect("it is blocked");
    see(freed.revision, (SeatState::Free, SeatState::Blocked)).await;
    let request = ReserveSeatsRequest { from_block: true, ..these(&showtime, "ada", "A1 A2") };
    let held = reserve(&world, request).await.expect("one is free, and the other blocked");
    see(held.revision, (SeatState::Held, SeatState::Held)).await;
    let cancelled = cancel(&world, &held).await.expect("it is held");
    see(cancelled.revision, (SeatState::Free, SeatState::Free)).await;
}

async fn staff_reserves_blocked_seats_which_are_blocked_no_more(world: World) {
    let mut events = subscribe(&world, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let showtime = showtime(&world).await;
    block(&world, &showtime, "A2 A5").await.expect("the seats are free");
    let request = ReserveSeatsRequest { from_block: true, ..these(&showtime, "ada", "A1 A2 A3") };
    let checked = ReserveSeatsRequest { validate_only: true, ..request.clone() };
    reserve(&world, checked).await.expect("it could be done");
    assert_eq!(names(&blocked(&world, &showtime).await.blocks[0].seats), "A2 A5", "that changes nothing");
    let request = ReserveSeatsRequest { request_id: request_id(), ..request };
    let held = reserve(&world, request.clone()).await.expect("two are free, and one is blocked");
    assert_eq!(names(&held.seats), "A1 A2 A3");
    assert_eq!(names(&blocked(&world, &showtime).await.blocks[0].seats), "A5");
    let read = until(&mut events, &showtime.showtime_id, held.revision, "ReservationCreated").await;
    let of_revision =
        read.iter().filter(|event| event.data.as_ref().is_some_and(|data| data.revision == held.revision));
    let payloads: Vec<_> = of_revision.filter_map(|event| event.data.clone()?.payload).collect();
    let [Payload::SeatsUnblocked(off), Payload::ReservationCreated(_)] = &payloads[..] else { panic!("{payloads:?}") };
    assert_eq!(off.seats.len(), 1, "{off:?}");
    cancel(&world, &held).await.expect("it is held");
    assert_eq!(reserve(&world, request.clone()).await.expect("it is repeated").reservation_id, held.reservation_id);
    reserve(&world, these(&showtime, "bob", "A1 A2 A3")).await.expect("they are free, and blocked no more");
    let other = ReserveSeatsRequest { from_block: false, ..request };
    let status = reserve(&world, other).await.expect_err("the content differs");
    assert_refused(&status, Code::InvalidArgument, "REQUEST_ID_REUSED");
    let status = reserve(&world, ReserveSeatsRequest { from_block: true, ..best(&showtime, "ada", 2) }).await;
    assert_violates(&status.expect_err("no seat is named"), &["from_block"]);
}

async fn a_lapse_is_recorded_by_what_blocks_the_seats(world: World) {
    let mut events = subscribe(&world, SubscribeEventsRequest::default()).await.expect("the feed is read");
    let brief = |request| CreateShowtimeRequest { hold_duration: Some(seconds(1)), ..request };
    let showtime = showtime_with(&world, &HALL, in_hours(0), brief).await;
    let held = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
    let made = eventually("the hold has lapsed", async || block(&world, &showtime, "A2 A3").await.ok()).await;
    assert_eq!(made.revision, 3);
    assert_eq!(state(&world, &held).await, ReservationState::Expired);
    let read = until(&mut events, &showtime.showtime_id, 3, "SeatsBlocked").await;
    let types: Vec<_> = read.iter().map(|event| event.r#type.trim_start_matches("boxoffice.v1.")).collect();
    let expected = ["ShowtimeCreated", "ReservationCreated", "ReservationExpired", "SeatsReleased", "SeatsBlocked"];
    assert_eq!(types, expected);
    reserve(&world, these(&showtime, "ada", "A2")).await.expect_err("it is blocked");
    reserve(&world, these(&showtime, "ada", "A1")).await.expect("it is free");
}

async fn invalid_requests_are_refused_for_every_flaw(world: World) {
    let request = BlockSeatsRequest {
        showtime_id: "7".to_owned(),
        seats: vec![Seat { row: "a".to_owned(), number: 0 }],
        reason: 9,
        note: "n".repeat(201),
        request_id: "7".to_owned(),
    };
    let fields = ["showtime_id", "seats[0].row", "seats[0].number", "reason", "note", "request_id"];
    let status = world.showtimes().block_seats(request.clone()).await.expect_err("all is wrong");
    assert_violates(&status, &fields);
    let unspecified = BlockSeatsRequest { seats: vec![], reason: 0, note: "a\u{7}".to_owned(), ..request.clone() };
    let status = world.showtimes().block_seats(unspecified).await.expect_err("all is wrong");
    assert_violates(&status, &["showtime_id", "seats", "reason", "note", "request_id"]);
    let BlockSeatsRequest { showtime_id, seats, request_id, .. } = request;
    let wrong = UnblockSeatsRequest { showtime_id, seats, request_id };
    let status = world.showtimes().unblock_seats(wrong).await.expect_err("all is wrong");
    assert_violates(&status, &["showtime_id", "seats[0].row", "seats[0].number", "request_id"]);
    let mut showtime = showtime(&world).await;
    showtime.showtime_id = crate::harness::request_id();
    let id = &showtime.showtime_id;
    for status in [
        block(&world, &showtime, "A1").await.expect_err("there is none"),
        unblock(&world, &showtime, "A1").await.expect_err("there is none"),
        world
            .showtimes()
            .list_seat_blocks(ListSeatBlocksRequest { showtime_id: id.clone() })
            .await
            .expect_err("there is none"),
    ] {
        assert_not_found(&status, "SHOWTIME_NOT_FOUND", id);
    }
}

async fn after_the_showtime_nothing_is_blocked(world: World) {
    let cancelled = showtime(&world).await;
    block(&world, &cancelled, "A1").await.expect("the seat is free");
    let request = CancelShowtimeRequest { showtime_id: cancelled.showtime_id.clone(), ..Default::default() };
    world.showtimes().cancel_showtime(request).await.expect("nothing is sold");
    let over = showtime(&world).await;
    block(&world, &over, "A1").await.expect("the seat is free");
    world.stop().await;
    let move_to_the_past = "UPDATE showtimes SET start_time = '2020-01-01T18:00:00+00:00', \
                    end_time = '2020-01-01T20:00:00+00:00', free_again = '2020-01-01T20:15:00+00:00'";
    world.storage.sql(move_to_the_past).await.expect("the row is changed");
    let world = World { server: world.server.setup().clone().start().await, storage: world.storage };
    for (showtime, reason) in [(&cancelled, "SHOWTIME_CANCELLED"), (&over, "SHOWTIME_OVER")] {
        let status = block(&world, showtime, "A2").await.expect_err("it is too late");
        assert_refused(&status, Code::FailedPrecondition, reason);
        let status = unblock(&world, showtime, "A1").await.expect_err("it is too late");
        assert_refused(&status, Code::FailedPrecondition, reason);
        assert_eq!(names(&blocked(&world, showtime).await.blocks[0].seats), "A1", "staff can still see why");
    }
}

#[tokio::test]
async fn other_instances_see_what_is_blocked() {
    let storage = Storage::new(Store::Postgres).await;
    let (one, other) = (storage.setup().start().await, storage.setup().start().await);
    let showtime = showtime(&one).await;
    // The other one has the seats in memory before they are blocked.
    reserve(&other, these(&showtime, "ada", "D1")).await.expect("the seat is free");
    map(&mut other.showtimes(), &showtime.showtime_id, 0).await;
    let made = block(&one, &showtime, "A1 A2").await.expect("the seats are free");
    let seen = map(&mut other.showtimes(), &showtime.showtime_id, made.revision).await;
    assert_eq!(states(&seen)["A2"], SeatState::Blocked);
    let status = reserve(&other, these(&showtime, "ada", "A1")).await.expect_err("it is blocked");
    assert_eq!(assert_unavailable(&status, "SEATS_UNAVAILABLE").seats[0].state(), SeatState::Blocked);
    unblock(&other, &showtime, "A1").await.expect("it is blocked");
    reserve(&one, these(&showtime, "bob", "A1")).await.expect("it is free");
    let request = ReserveSeatsRequest { from_block: true, ..these(&showtime, "bob", "A2") };
    reserve(&one, request).await.expect("it is blocked");
    unblock(&other, &showtime, "A2").await.expect_err("it is held");
}

/// A program of the release before that knows nothing of blocked seats counts them as available.
#[tokio::test]
async fn blocked_seats_stay_so_when_the_count_of_available_seats_is_wrong() {
    for store in [Store::Sqlite, Store::Postgres] {
        let storage = Storage::new(store).await;
        let server = storage.setup().start().await;
        let showtime = showtime(&server).await;
        block(&server, &showtime, "A1 A2").await.expect("the seats are free");
        server.stop().await;
        storage.sql("UPDATE standings SET available_count = available_count + 2").await.expect("one row");
        let server = storage.setup().start().await;
        let status = reserve(&server, these(&showtime, "ada", "A1")).await.expect_err("it is blocked");
        assert_eq!(assert_unavailable(&status, "SEATS_UNAVAILABLE").seats[0].state(), SeatState::Blocked);
        unblock(&server, &showtime, "A1").await.expect("it is blocked");
        let left = map(&mut server.showtimes(), &showtime.showtime_id, 0).await;
        let counts = left.counts.expect("counts");
        let now = showtime_now(&server, &showtime).await;
        assert_eq!((counts.blocked, counts.free), (1, now.available_count));
    }
}
