//! Holding seats: which choices are refused, and how.

use std::time::Duration;

use super::{Choice, HOLD, MICRO, OrphanRule, Phase, Refusal, Stage, check, close, customer, minutes, opening, plan};
use crate::domain::{
    reservation::State,
    seat_index::BadKind,
    seating::{Change, Command, Decision, Obstacle, Seating, Unavailable},
    showtime,
};

fn bad(refusal: &Refusal) -> (BadKind, Vec<String>) {
    let Refusal::BadChoice(bad) = refusal else { panic!("another refusal: {refusal:?}") };
    (bad.kind, bad.violations.list().iter().map(|flaw| format!("{} {}", flaw.field, flaw.description)).collect())
}

fn unavailable(refusal: Refusal) -> Unavailable {
    match refusal {
        Refusal::Unavailable(what) => what,
        other => panic!("another refusal: {other:?}"),
    }
}

#[test]
fn a_single_seat_is_contiguous() {
    let mut stage = Stage::new(&["ss_s"]);
    for label in ["A2", "A3", "A1"] {
        assert_eq!(stage.reserve("ann", label).unwrap().seat_count(), 1);
    }
}

#[test]
fn a_reservation_says_all_that_is_frozen() {
    let mut stage = Stage::new(&["ssss", "ssss"]);
    let made = stage.reserve("ann", "B3 B1 B2").unwrap();
    assert_eq!(stage.labels(made.first_block), "B1 B2 B3", "from left to right, in whichever order they were named");
    assert_eq!(made.customer_id, customer("ann"));
    assert_eq!(made.total().to_string(), "28.50 EUR");
    assert_eq!((made.create_time, made.expire_time()), (opening(), opening() + HOLD));
    assert_eq!((made.first_expire_time, made.extended()), (made.expire_time(), false));
    assert_eq!((made.state(), made.first_revision, made.revision()), (&State::Held, 2, 2));
    assert_eq!(*made, made.as_made());
}

#[test]
fn a_third_seat_that_does_not_touch_is_refused() {
    let mut stage = Stage::new(&["sssss"]);
    let refusal = stage.reserve("ann", "A1 A2 A4").unwrap_err();
    assert_eq!(bad(&refusal), (BadKind::NotContiguous, vec!["seats A2 and A4 are not neighbours".to_owned()]));
    assert_eq!(stage.seating.unclaimed_count(), 5, "all or nothing");
}

#[test]
fn seats_across_an_aisle_a_gap_or_rows_are_not_neighbours() {
    let mut stage = Stage::new(&["ss_ss", "ss.ss"]);
    for (labels, pair) in [("A2 A3", "A2 and A3"), ("B2 B4", "B2 and B4"), ("A4 B1", "A4 and B1")] {
        let (kind, flaws) = bad(&stage.reserve("ann", labels).unwrap_err());
        assert_eq!(kind, BadKind::NotContiguous, "{labels}");
        assert_eq!(flaws, [format!("seats {pair} are not neighbours")]);
    }
}

#[test]
fn a_seat_asked_for_twice_is_refused() {
    let mut stage = Stage::new(&["ssss"]);
    let (kind, flaws) = bad(&stage.reserve("ann", "A1 A2 A1").unwrap_err());
    assert_eq!((kind, flaws), (BadKind::Repeated, vec!["seats[2] A1 is named twice".to_owned()]));
}

#[test]
fn a_seat_that_is_not_there_is_refused() {
    let mut stage = Stage::new(&["s.s"]);
    for labels in ["A2", "A4", "C1", "AA1", "A0", "A-1"] {
        let (kind, flaws) = bad(&stage.reserve("ann", labels).unwrap_err());
        assert_eq!(
            (kind, flaws),
            (BadKind::Unknown, vec![format!("seats[0] {labels} is not a seat of this auditorium")])
        );
    }
}

#[test]
fn more_seats_than_one_reservation_may_have_are_refused() {
    let mut stage = Stage::with(&["ssssss"], |rules| rules.max_seats = 3);
    assert_eq!(bad(&stage.reserve("ann", "A1 A2 A3 A4").unwrap_err()).0, BadKind::TooMany);
    let (kind, flaws) = bad(&stage.best("ann", 4).unwrap_err());
    assert_eq!(
        (kind, flaws),
        (BadKind::TooMany, vec!["seat_count must be at most 3, the most seats of one reservation".to_owned()])
    );
    stage.best("ann", 3).unwrap();
}

#[test]
fn every_flaw_of_a_choice_is_named() {
    let mut stage = Stage::with(&["sssss"], |rules| rules.max_seats = 2);
    let (kind, flaws) = bad(&stage.reserve("ann", "A1 A1 A5").unwrap_err());
    assert_eq!(kind, BadKind::Repeated);
    let expected = [
        "seats[1] A1 is named twice",
        "seats A1 and A5 are not neighbours",
        "seats must name at most 2 seats, and names 3",
    ];
    assert_eq!(flaws, expected);
    let (kind, flaws) = bad(&stage.reserve("ann", "A1 A1 Z1 A5").unwrap_err());
    assert_eq!(kind, BadKind::Unknown, "the gravest, though not the first");
    let expected = [
        "seats[1] A1 is named twice",
        "seats[2] Z1 is not a seat of this auditorium",
        "seats must name at most 2 seats, and names 4",
    ];
    assert_eq!(flaws, expected);
    assert_eq!(bad(&stage.reserve("ann", "").unwrap_err()).1, ["seats must name a seat"]);
}

#[test]
fn a_refusal_names_every_seat_in_the_way_and_what_could_be_had() {
    let mut stage = Stage::new(&["ssssss", "ssssss"]);
    let sold = stage.reserve("ann", "A2").unwrap();
    stage.confirm(&sold).unwrap();
    stage.now += minutes(1);
    let held = stage.reserve("bob", "A4 A5").unwrap();
    let Unavailable { seats, offers } = unavailable(stage.reserve("eve", "A1 A2 A3 A4").unwrap_err());
    let until = held.expire_time();
    let expected = [(stage.number("A2"), Obstacle::Sold), (stage.number("A4"), Obstacle::Held { until })];
    assert_eq!(seats, expected);
    assert_eq!(stage.offered(&offers), ["B1 B2 B3 B4"], "one of four fits only once");
    stage.best("joe", 6).unwrap();
    let refusal = unavailable(stage.best("eve", 6).unwrap_err());
    assert_eq!((refusal.seats, refusal.offers), (vec![], vec![]), "nobody's seat in particular is in the way");
}

#[test]
fn a_held_seat_is_anybodys_from_the_very_moment_of_expiry() {
    let mut stage = Stage::new(&["ss"]);
    let held = stage.reserve("ann", "A1 A2").unwrap();
    stage.now = held.expire_time() - MICRO;
    let Unavailable { seats, .. } = unavailable(stage.reserve("bob", "A1").unwrap_err());
    assert_eq!(seats, [(0, Obstacle::Held { until: held.expire_time() })]);
    stage.now = held.expire_time();
    stage.reserve("bob", "A1").unwrap();
    assert_eq!(stage.confirm(&held), Err(Refusal::Expired { at: held.expire_time() }));
}

#[test]
fn a_choice_over_lapsed_holds_records_their_lapse_in_the_same_decision() {
    let mut stage = Stage::new(&["sssssss"]);
    let one = stage.reserve("ann", "A1 A2").unwrap();
    let other = stage.reserve("bob", "A3 A4").unwrap();
    let beside = stage.reserve("eve", "A6 A7").unwrap();
    stage.now = opening() + HOLD;
    let command = Command::Reserve {
        reservation_id: crate::domain::ids::ReservationId(uuid::Uuid::from_u128(7)),
        customer_id: customer("joe"),
        wish: super::wish(Choice::Seats(super::seats("A2 A3"))),
    };
    let Decision { changes, reservation } = stage.ask(&command).unwrap();
    let made = reservation.unwrap();
    let [Change::Expired(first), Change::Expired(second), Change::Reserved(third)] = &*changes else {
        panic!("other changes: {changes:?}")
    };
    assert_eq!((first.reservation_id, second.reservation_id), (one.reservation_id, other.reservation_id));
    assert_eq!(*third, made);
    assert_eq!((first.state(), second.state()), (&State::Expired, &State::Expired));
    assert_eq!((first.revision(), second.revision(), third.revision()), (5, 5, 5), "one step");
    assert_eq!(stage.seating.unclaimed_count(), 3, "A1, A4 and A5");
    assert_eq!(stage.seating.next_lapse(), Some(beside.expire_time()), "nobody asked for those");
}

#[test]
fn a_sold_seat_is_never_available_again() {
    let mut stage = Stage::new(&["ss"]);
    let held = stage.reserve("ann", "A1 A2").unwrap();
    stage.confirm(&held).unwrap();
    stage.now = close() - MICRO;
    let Unavailable { seats, offers } = unavailable(stage.reserve("bob", "A2").unwrap_err());
    assert_eq!((seats, offers), (vec![(1, Obstacle::Sold)], vec![]));
    assert!(stage.expire().is_empty());
}

#[test]
fn a_customer_has_so_many_seats_held_and_sold_but_lapsed_ones_do_not_count() {
    let mut stage = Stage::with(&["ssssssssss"], |rules| rules.max_customer_seats = 4);
    let sold = stage.reserve("ann", "A1 A2").unwrap();
    stage.confirm(&sold).unwrap();
    stage.now += minutes(1);
    let held = stage.reserve("ann", "A3").unwrap();
    stage.now += minutes(1);
    let later = stage.reserve("ann", "A4").unwrap();
    let limit = |has, until| Refusal::CustomerLimit { has, most: 4, until };
    assert_eq!(stage.reserve("ann", "A5"), Err(limit(4, Some(held.expire_time()))));
    assert_eq!(stage.best("ann", 1), Err(limit(4, Some(held.expire_time()))), "of the best, too");
    stage.reserve("bob", "A5").expect("somebody else's seats do not count");
    stage.now = held.expire_time();
    assert_eq!(stage.reserve("ann", "A6 A7"), Err(limit(3, Some(later.expire_time()))));
    stage.reserve("ann", "A6").unwrap();
    let cancelled = stage.cancel(&later).unwrap();
    assert_eq!(cancelled.phase(stage.now), Phase::Cancelled);
    stage.reserve("ann", "A7").expect("what was given up does not count");
}

#[test]
fn sold_seats_alone_reach_the_limit_and_never_come_back() {
    let mut stage = Stage::with(&["ssss"], |rules| rules.max_customer_seats = 2);
    let sold = stage.reserve("ann", "A1 A2").unwrap();
    stage.confirm(&sold).unwrap();
    let limit = Refusal::CustomerLimit { has: 2, most: 2, until: None };
    assert_eq!(stage.reserve("ann", "A3"), Err(limit));
}

#[test]
fn a_hold_ends_with_the_sales() {
    let mut stage = Stage::new(&["ss"]);
    stage.now = close() - minutes(3);
    let held = stage.reserve("ann", "A1").unwrap();
    assert_eq!(held.expire_time(), close());
    stage.now = close() - MICRO;
    stage.confirm(&held).unwrap();
    stage.reserve("bob", "A2").unwrap();
}

#[test]
fn nothing_is_held_once_sales_are_closed() {
    let mut stage = Stage::new(&["ss"]);
    for late in [close(), close() + minutes(16), close() + minutes(10_000)] {
        stage.now = late;
        assert_eq!(stage.reserve("ann", "A1"), Err(Refusal::SalesClosed { at: close() }));
        assert_eq!(stage.best("ann", 1), Err(Refusal::SalesClosed { at: close() }));
        assert_eq!(stage.reserve("ann", "Z9"), Err(Refusal::SalesClosed { at: close() }), "before all else");
    }
}

#[test]
fn without_a_cut_off_a_showtime_is_sold_until_it_starts() {
    let mut stage = Stage::with(&["ss"], |rules| rules.closing = Duration::ZERO);
    let start = stage.seating.plan().facts.start_time;
    stage.now = start - MICRO;
    assert_eq!(stage.reserve("ann", "A1").unwrap().expire_time(), start);
    stage.now = start;
    assert_eq!(stage.reserve("ann", "A2"), Err(Refusal::SalesClosed { at: start }));
}

#[test]
fn a_choice_that_leaves_an_orphan_is_refused_where_another_leaves_none() {
    let mut stage = Stage::with(&["ssssss"], |rules| rules.orphan_rule = OrphanRule::Refuse);
    let Err(Refusal::LeavesOrphan(Unavailable { seats, offers })) = stage.reserve("ann", "A2 A3") else {
        panic!("A1 would be an orphan")
    };
    assert_eq!(seats, [(0, Obstacle::Orphan)]);
    assert_eq!(stage.offered(&offers), ["A1 A2", "A3 A4", "A5 A6"]);
    assert_eq!(stage.seating.unclaimed_count(), 6);
    stage.reserve("ann", "A3 A4").unwrap();
}

#[test]
fn where_every_choice_leaves_an_orphan_all_are_allowed_and_offered() {
    let mut stage = Stage::with(&["ssss"], |rules| rules.orphan_rule = OrphanRule::Refuse);
    stage.reserve("ann", "A1").unwrap();
    let refusal = unavailable(stage.reserve("bob", "A1 A2").unwrap_err());
    assert_eq!(stage.offered(&refusal.offers), ["A2 A3"], "it leaves A4 as an orphan, as A3 A4 would leave A2");
    stage.reserve("bob", "A2 A3").unwrap();
}

#[test]
fn a_showtime_is_rebuilt_from_what_is_live() {
    let mut stage = Stage::new(&["ssss"]);
    let held = stage.reserve("ann", "A1 A2").unwrap();
    let sold = stage.reserve("bob", "A4").unwrap();
    let sold = stage.confirm(&sold).unwrap();
    let live = [(*held).clone(), (*sold).clone()];
    let again = Seating::new(plan(&["ssss"]), showtime::State::Scheduled, 4, stage.now, live, []);
    check(&again);
    assert_eq!((again.revision(), again.latest(), again.unclaimed_count()), (4, stage.now, 1));
    assert_eq!(again.reservation(sold.reservation_id), Some(&sold));
    assert_eq!(again.next_lapse(), Some(held.expire_time()));
}
