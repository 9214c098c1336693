//! The refusal of seats that are not available names each of them, its state, and until when it is held, and offers other seats.

use boxoffice::pb::boxoffice::v1::SeatState;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::{
    Store, World, in_hours,
    seats::{assert_unavailable, best, confirm, instant, name, names, reserve, seats, showtime, showtime_with, these},
};

on_both_stores!(
    every_unavailable_seat_is_named,
    offered_seats_can_be_reserved,
    many_concurrent_requests_are_all_refused_with_the_current_state,
);

async fn every_unavailable_seat_is_named(world: World) {
    let showtime = showtime(&world).await;
    let held = reserve(&world, these(&showtime, "ada", "D3 D4")).await.expect("the seats are free");
    let sold = reserve(&world, these(&showtime, "bob", "D6")).await.expect("the seat is free");
    confirm(&world, &sold).await.expect("the reservation is held");
    let status = reserve(&world, these(&showtime, "cyd", "D2 D3 D4 D5 D6 D7")).await.expect_err("three are taken");
    let refusal = assert_unavailable(&status, "SEATS_UNAVAILABLE");
    let found: Vec<_> = refusal.seats.iter().map(|seat| (seat.seat.clone(), seat.state(), seat.held_until)).collect();
    let [d3, d4, d6] = ["D3", "D4", "D6"].map(|name| Some(seats(name)[0].clone()));
    let until = held.expire_time;
    assert_eq!(found, [(d3, SeatState::Held, until), (d4, SeatState::Held, until), (d6, SeatState::Sold, None)]);
    assert_eq!(refusal.revision, 4);
    // The standard detail of google.rpc names the same seats.
    let standard = status.get_details_precondition_failure().expect("a PreconditionFailure").violations;
    let standard: Vec<_> = standard.iter().map(|one| (&*one.r#type, &*one.subject, &*one.description)).collect();
    let ends = instant(until).to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
    let description = format!("held until {ends}");
    let expected =
        [("SEAT_HELD", "D3", &*description), ("SEAT_HELD", "D4", &*description), ("SEAT_SOLD", "D6", "sold")];
    assert_eq!(standard, expected);
    let info = status.get_details_error_info().expect("an ErrorInfo").metadata;
    assert_eq!((&info["showtime_id"], &*info["revision"]), (&showtime.showtime_id, "4"));
    // The message names them too. No row has six free neighbouring seats, so nothing is offered.
    assert_eq!(status.message(), format!("D3, D4 are held until {ends}, D6 is sold"));
    assert!(refusal.offers.is_empty(), "{refusal:?}");
}

async fn offered_seats_can_be_reserved(world: World) {
    let showtime = showtime(&world).await;
    reserve(&world, these(&showtime, "ada", "B2 B3")).await.expect("the seats are free");
    let status = reserve(&world, these(&showtime, "bob", "B1 B2 B3")).await.expect_err("two are held");
    let offers = assert_unavailable(&status, "SEATS_UNAVAILABLE").offers;
    assert_eq!(offers.len(), 3, "{offers:?}");
    let mut labels = Vec::new();
    for offer in &offers {
        let offered = names(&offer.seats);
        assert_eq!(offer.seats.len(), 3);
        labels.push(format!("{}-{}", name(&offer.seats[0]), name(&offer.seats[2])));
        // All offers can be reserved, because no two have a seat in common.
        let reserved = reserve(&world, these(&showtime, &offered, &offered)).await.expect("the block is offered");
        assert_eq!(reserved.seats, offer.seats);
    }
    let expected = format!("free instead: {}", labels.join(", "));
    assert!(status.message().ends_with(&expected), "{}", status.message());
}

/// Of many concurrent requests for the same seats, each is refused with the seats as they are at that time.
async fn many_concurrent_requests_are_all_refused_with_the_current_state(world: World) {
    let showtime = showtime(&world).await;
    let mut held = reserve(&world, these(&showtime, "ada", "A1 A2")).await.expect("the seats are free");
    for round in 0..3 {
        let calls = (0..40).map(|number| {
            let customer = format!("customer {number}");
            let request = these(&showtime, &customer, if number % 2 == 0 { "A1 A2" } else { "A2 A3" });
            let world = &world;
            async move { (number, reserve(world, request).await.expect_err("the seats are held")) }
        });
        for (number, status) in futures_util::future::join_all(calls).await {
            let refusal = assert_unavailable(&status, "SEATS_UNAVAILABLE");
            let unavailable: Vec<_> = refusal.seats.iter().filter_map(|seat| seat.seat.clone()).collect();
            assert_eq!(names(&unavailable), if number % 2 == 0 { "A1 A2" } else { "A2" });
            assert_eq!((refusal.revision, refusal.seats[0].held_until), (held.revision, held.expire_time));
        }
        if round == 0 {
            // The refusals of the next round name the new expire time.
            held = crate::harness::seats::extend(&world, &held).await.expect("the reservation is held");
        }
    }
}

/// A refusal is sent in trailers, and clients accept at most 8 KiB of them.
#[tokio::test]
async fn a_refusal_of_100_seats_fits_into_trailers() {
    let many =
        |setup: crate::harness::server::Setup| setup.with("--max-seats", "100").with("--max-customer-seats", "2000");
    let world = World::with(Store::Sqlite, many).await;
    let row = "s".repeat(100);
    let labels = ["AAAA", "AAAB", "AAAC", "AAAD", "AAAE"];
    let rows: Vec<_> = labels.iter().map(|label| (*label, row.as_str())).collect();
    let showtime = showtime_with(&world, &rows, in_hours(0), |request| request).await;
    let whole: Vec<_> = (1..=100).map(|number| format!("AAAC{number}")).collect();
    // Each seat has a reservation of its own, so that the message cannot name several seats together.
    for name in &whole {
        reserve(&world, these(&showtime, "ada", name)).await.expect("the seat is free");
    }
    let status = reserve(&world, these(&showtime, "bob", &whole.join(" "))).await.expect_err("all are held");
    let refusal = assert_unavailable(&status, "SEATS_UNAVAILABLE");
    assert_eq!(refusal.seats.len(), 100, "every seat is named");
    assert!(status.message().ends_with("; and more"), "{}", status.message());
    let size = status.message().len() + status.details().len() * 4 / 3;
    assert!(size < 7_000, "{size} bytes of trailers");
    // This choice has 100 violations.
    let unknown: Vec<_> = (1..=100).map(|number| format!("Z{number}")).collect();
    let status = reserve(&world, these(&showtime, "bob", &unknown.join(" "))).await.expect_err("there is no row Z");
    assert_eq!(status.code(), Code::InvalidArgument);
    let size = status.message().len() + status.details().len() * 4 / 3;
    assert!(size < 7_000, "{size} bytes of trailers");
    reserve(&world, best(&showtime, "bob", 100)).await.expect("other rows are free");
}
