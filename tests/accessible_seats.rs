//! Accessible seats, and companion seats beside them, that a deployment keeps for those who ask.

use boxoffice::{
    clock::Clock,
    pb::boxoffice::v1::{AccessibleSeats, GetRulesRequest, Reservation, ReserveSeatsRequest, SeatState, Showtime},
};
use chrono::TimeDelta;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{
    Server, World, assert_refused, in_hours, request_id,
    requests::seconds,
    seats::{assert_unavailable, best, name, names, reserve, showtime_with, these},
    staff::{confirm_late, exchange, to_exchange},
};

on_both_stores!(
    with |setup| setup.with("--accessible-seats", "on_request").with("--accessible-seats-open-before", "1h");
    accessible_seats_are_had_by_those_who_ask,
    companion_seats_are_had_together_with_the_seat_beside_them,
    the_best_seats_are_those_that_may_be_had,
    shortly_before_the_start_they_are_open_to_everybody,
    only_who_has_one_exchanges_it_for_another,
    a_repeated_request_asks_for_the_same,
);
on_both_stores!(where_they_are_open_everybody_may_have_them);

/// In both rows the third seat is accessible, and the fourth is for a companion.
const ROWS: [(&str, &str); 2] = [("A", "ssacss"), ("B", "ssacss")];

async fn showtime(server: &Server) -> Showtime {
    showtime_with(server, &ROWS, in_hours(0), |request| request).await
}

/// Asks for accessible seats.
async fn ask(server: &Server, request: ReserveSeatsRequest) -> Result<Reservation, Status> {
    reserve(server, ReserveSeatsRequest { accessible: true, ..request }).await
}

/// Asserts that these seats are kept for others. Returns what is offered instead.
fn assert_kept(status: &Status, kept: &[&str]) -> Vec<String> {
    let refusal = assert_unavailable(status, "ACCESSIBLE_ONLY");
    let found: Vec<_> = refusal.seats.iter().map(|seat| (seat.seat.as_ref().map(name), seat.state())).collect();
    let expected = kept.iter().map(|seat| (Some((*seat).to_owned()), SeatState::Free));
    assert_eq!(found, expected.collect::<Vec<_>>());
    let standard = status.get_details_precondition_failure().expect("a PreconditionFailure").violations;
    let standard: Vec<_> = standard.iter().map(|one| (&*one.r#type, &*one.subject)).collect();
    assert_eq!(standard, kept.iter().map(|seat| ("SEAT_ACCESSIBLE_ONLY", *seat)).collect::<Vec<_>>());
    let is = if kept.len() == 1 { "is" } else { "are" };
    let said = format!("{} {is} kept for those who ask for accessible seats", kept.join(", "));
    assert!(status.message().starts_with(&said), "{status:?}");
    refusal.offers.iter().map(|offer| names(&offer.seats)).collect()
}

async fn accessible_seats_are_had_by_those_who_ask(world: World) {
    let rules = world.reservations().get_rules(GetRulesRequest {}).await.expect("the rules").into_inner().rules;
    let rules = rules.expect("the answer has the rules");
    assert_eq!(rules.accessible_seats(), AccessibleSeats::OnRequest);
    assert_eq!(rules.accessible_seats_open_before, Some(seconds(3_600)));
    let showtime = showtime(&world).await;
    let status = reserve(&world, these(&showtime, "ada", "A2 A3")).await.expect_err("nobody asked for it");
    let offers = assert_kept(&status, &["A3"]);
    assert_eq!(offers, ["A1 A2", "B1 B2", "A5 A6"]);
    let info = status.get_details_error_info().expect("an ErrorInfo").metadata;
    assert_eq!((&info["showtime_id"], &*info["revision"]), (&showtime.showtime_id, "1"));
    let checked = ReserveSeatsRequest { validate_only: true, ..these(&showtime, "ada", "A3") };
    assert_kept(&reserve(&world, checked.clone()).await.expect_err("nobody asked for it"), &["A3"]);
    ask(&world, checked).await.expect("it was asked for");
    let made = ask(&world, these(&showtime, "ada", "A2 A3")).await.expect("it was asked for");
    assert_eq!(names(&made.seats), "A2 A3");
    // That a seat is taken is said first.
    let status = reserve(&world, these(&showtime, "bob", "A3 A4")).await.expect_err("one is held");
    assert_eq!(assert_unavailable(&status, "SEATS_UNAVAILABLE").seats.len(), 1);
}

async fn companion_seats_are_had_together_with_the_seat_beside_them(world: World) {
    let showtime = showtime(&world).await;
    for seats in ["A4", "A4 A5"] {
        assert_kept(&reserve(&world, these(&showtime, "ada", seats)).await.expect_err("A3 is not had"), &["A4"]);
        assert_kept(&ask(&world, these(&showtime, "ada", seats)).await.expect_err("A3 is not had"), &["A4"]);
    }
    assert_kept(&reserve(&world, these(&showtime, "ada", "A3 A4")).await.expect_err("nobody asked"), &["A3"]);
    ask(&world, these(&showtime, "ada", "A3 A4")).await.expect("it was asked for");
    ask(&world, these(&showtime, "bob", "B3")).await.expect("it was asked for");
    let status =
        reserve(&world, these(&showtime, "bob", "B4")).await.expect_err("it is for the companion of who has B3");
    assert_kept(&status, &["B4"]);
}

async fn the_best_seats_are_those_that_may_be_had(world: World) {
    let showtime = showtime(&world).await;
    let made = ask(&world, best(&showtime, "ada", 2)).await.expect("there are some");
    assert_eq!(names(&made.seats), "A3 A4", "an accessible seat, and the one beside it");
    for expected in ["A1 A2", "A5 A6", "B1 B2", "B5 B6"] {
        let made = reserve(&world, best(&showtime, expected, 2)).await.expect("there are some");
        assert!(!names(&made.seats).contains("B3") && made.seats.len() == 2, "{made:?}");
    }
    let status = reserve(&world, best(&showtime, "bob", 1)).await.expect_err("what is free is kept");
    let refusal = assert_unavailable(&status, "SEATS_UNAVAILABLE");
    assert_eq!((refusal.seats, refusal.offers), (vec![], vec![]));
    ask(&world, best(&showtime, "bob", 1)).await.expect("B3 is accessible");
    let status = ask(&world, best(&showtime, "bob", 1)).await.expect_err("no accessible seat is free");
    assert_unavailable(&status, "SEATS_UNAVAILABLE");
}

async fn shortly_before_the_start_they_are_open_to_everybody(world: World) {
    let soon = Clock::System.now() + TimeDelta::minutes(55);
    let showtime = showtime_with(&world, &ROWS, soon, |request| request).await;
    reserve(&world, these(&showtime, "ada", "A4")).await.expect("a companion seat alone");
    reserve(&world, these(&showtime, "ada", "A3")).await.expect("an accessible seat");
}

async fn only_who_has_one_exchanges_it_for_another(world: World) {
    let showtime = showtime(&world).await;
    let with = ask(&world, these(&showtime, "ada", "A3 A4")).await.expect("it was asked for");
    let without = reserve(&world, these(&showtime, "bob", "A1 A2")).await.expect("the seats are free");
    confirm_late(&world, &without, "card").await.expect("it is held");
    let status = exchange(&world, &without, "B3 B4").await.expect_err("it has none");
    assert_kept(&status, &["B3"]);
    let status = exchange(&world, &with, "B4 B5").await.expect_err("B3 is not had");
    assert_kept(&status, &["B4"]);
    let request = to_exchange(&with, "B3 B4");
    let answer = world.reservations().exchange_seats(request).await.expect("it has one").into_inner();
    assert_eq!(answer.reservation.map(|made| names(&made.seats)), Some("B3 B4".to_owned()));
}

async fn a_repeated_request_asks_for_the_same(world: World) {
    let showtime = showtime(&world).await;
    let request = ReserveSeatsRequest { request_id: request_id(), accessible: true, ..these(&showtime, "ada", "A3") };
    let made = reserve(&world, request.clone()).await.expect("it was asked for");
    let again = reserve(&world, request.clone()).await.expect("it is repeated");
    assert_eq!(again.reservation_id, made.reservation_id);
    let other = ReserveSeatsRequest { accessible: false, ..request };
    let status = reserve(&world, other).await.expect_err("the content differs");
    assert_refused(&status, Code::InvalidArgument, "REQUEST_ID_REUSED");
}

async fn where_they_are_open_everybody_may_have_them(world: World) {
    let rules = world.reservations().get_rules(GetRulesRequest {}).await.expect("the rules").into_inner().rules;
    let rules = rules.expect("the answer has the rules");
    assert_eq!((rules.accessible_seats(), rules.accessible_seats_open_before), (AccessibleSeats::Open, None));
    let showtime = showtime(&world).await;
    reserve(&world, these(&showtime, "bob", "A4")).await.expect("a companion seat alone");
    reserve(&world, these(&showtime, "bob", "A3")).await.expect("an accessible seat");
    // Who asks still gets one.
    let made = ask(&world, best(&showtime, "ada", 2)).await.expect("there are some");
    assert_eq!(names(&made.seats), "B3 B4");
}
