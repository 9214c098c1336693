//! Accessible seats, and companion seats beside them, that are kept for those who ask.

use std::{sync::Arc, time::Duration};

use super::{AccessibleSeats, Choice, MICRO, Refusal, Reservation, Stage, Wish, minutes, seats, tender, wish};
use crate::domain::seating::{Obstacle, OrphanRule, Unavailable};

const OPEN_BEFORE: Duration = Duration::from_hours(1);

/// A showtime with these rows whose accessible seats are kept until an hour before the start.
fn kept(rows: &[&str]) -> Stage {
    let on_request = AccessibleSeats::OnRequest { open_before: OPEN_BEFORE };
    Stage::with(rows, |rules| rules.accessible_seats = on_request)
}

/// Asks for accessible seats.
fn ask(stage: &mut Stage, choice: Choice) -> Result<Arc<Reservation>, Refusal> {
    stage.wish("ann", Wish { accessible: true, ..wish(choice) })
}

fn ask_for(stage: &mut Stage, labels: &str) -> Result<Arc<Reservation>, Refusal> {
    ask(stage, Choice::Seats(seats(labels)))
}

/// The seats that are kept, and what is offered instead.
fn refused(stage: &Stage, answer: Result<Arc<Reservation>, Refusal>) -> (String, Vec<String>) {
    let Err(Refusal::AccessibleOnly(Unavailable { seats, offers })) = answer else { panic!("{answer:?}") };
    assert!(seats.iter().all(|(_, obstacle)| *obstacle == Obstacle::AccessibleOnly), "{seats:?}");
    let seat_index = &stage.seating.plan().seat_index;
    let names: Vec<_> = seats.iter().map(|(seat, _)| seat_index.name(*seat).to_string()).collect();
    (names.join(" "), stage.offered(&offers))
}

#[test]
fn where_they_are_open_everybody_may_have_them() {
    let mut stage = Stage::new(&["ssacss"]);
    stage.reserve("bob", "A4").expect("a companion seat alone");
    stage.reserve("bob", "A3").expect("an accessible seat");
}

#[test]
fn who_did_not_ask_gets_no_accessible_seat_and_no_companion_seat_beside_one() {
    let mut stage = kept(&["ssacss"]);
    for (labels, found) in [("A3", "A3"), ("A4", "A4"), ("A2 A3", "A3"), ("A4 A5", "A4"), ("A2 A3 A4", "A3")] {
        let answer = stage.reserve("bob", labels);
        assert_eq!(refused(&stage, answer).0, found, "{labels}");
    }
    let answer = stage.reserve("bob", "A3 A4");
    assert_eq!(refused(&stage, answer), ("A3".to_owned(), vec!["A1 A2".to_owned(), "A5 A6".to_owned()]));
    assert_eq!(stage.seating.unclaimed_count(), 6, "nothing was taken");
    stage.reserve("bob", "A1 A2").unwrap();
}

#[test]
fn who_asks_gets_companion_seats_together_with_the_accessible_seat_beside_them() {
    let mut stage = kept(&["ssacss"]);
    for labels in ["A4", "A4 A5"] {
        let answer = ask_for(&mut stage, labels);
        assert_eq!(refused(&stage, answer).0, "A4", "{labels}");
    }
    for labels in ["A3", "A3 A4", "A2 A3 A4", "A3 A4 A5 A6", "A1", "A5 A6"] {
        let made = ask_for(&mut stage, labels).unwrap_or_else(|refusal| panic!("{labels}: {refusal:?}"));
        stage.cancel(&made).unwrap();
    }
}

#[test]
fn a_companion_seat_needs_the_accessible_seat_beside_it_and_not_another_one() {
    let mut stage = kept(&["acsca"]);
    let answer = ask_for(&mut stage, "A1 A2 A3 A4");
    assert_eq!(refused(&stage, answer).0, "A4", "A5 is the one beside it");
    ask_for(&mut stage, "A1 A2 A3").unwrap();
    ask_for(&mut stage, "A4 A5").unwrap();
}

#[test]
fn a_companion_seat_beside_no_accessible_seat_is_for_everybody() {
    let mut stage = kept(&["scs", "a_cs", "a.cs", "a", "c"]);
    for labels in ["A2 A3", "B2 B3", "C3 C4", "E1"] {
        stage.reserve("bob", labels).unwrap_or_else(|refusal| panic!("{labels}: {refusal:?}"));
    }
}

#[test]
fn a_companion_seat_is_kept_even_where_the_accessible_seat_is_taken() {
    let mut stage = kept(&["acss"]);
    ask_for(&mut stage, "A1").unwrap();
    let answer = stage.reserve("bob", "A2");
    assert_eq!(refused(&stage, answer), ("A2".to_owned(), vec!["A4".to_owned(), "A3".to_owned()]));
}

#[test]
fn that_a_seat_is_taken_is_said_before_that_another_is_kept() {
    let mut stage = kept(&["sacs"]);
    let held = ask_for(&mut stage, "A2").unwrap();
    let Err(Refusal::Unavailable(Unavailable { seats, .. })) = stage.reserve("bob", "A2 A3") else {
        panic!("it is held")
    };
    assert_eq!(seats, [(1, Obstacle::Held { until: held.expire_time() })]);
}

#[test]
fn the_best_seats_of_who_did_not_ask_are_none_that_are_kept() {
    let mut stage = kept(&["acssca"]);
    let best = stage.best("bob", 2).unwrap();
    assert_eq!(stage.labels(best.first_block), "A3 A4");
    let none = Refusal::Unavailable(Unavailable { seats: vec![], offers: vec![] });
    assert_eq!(stage.best("bob", 1), Err(none), "four seats are free, and kept");
}

#[test]
fn the_best_seats_of_who_asks_have_an_accessible_one_and_companion_seats_if_possible() {
    for mut stage in [kept(&["ssssssss", "sssacsss"]), Stage::new(&["ssssssss", "sssacsss"])] {
        for (count, labels) in [(1, "B4"), (2, "B4 B5"), (3, "B3 B4 B5")] {
            let made = ask(&mut stage, Choice::Best(count)).unwrap();
            assert_eq!(stage.labels(made.first_block), labels);
            stage.cancel(&made).unwrap();
        }
        ask_for(&mut stage, "B4").unwrap();
        let none = Refusal::Unavailable(Unavailable { seats: vec![], offers: vec![] });
        assert_eq!(ask(&mut stage, Choice::Best(1)), Err(none), "other seats are free, and none of them is accessible");
    }
}

#[test]
fn who_asks_is_offered_what_may_be_had() {
    let mut stage = kept(&["acss", "acss", "ssss"]);
    ask_for(&mut stage, "A1 A2").unwrap();
    let offers = |answer| match answer {
        Err(Refusal::Unavailable(Unavailable { offers, .. })) => offers,
        other => panic!("{other:?}"),
    };
    let offered = offers(ask_for(&mut stage, "A1 A2"));
    assert_eq!(stage.offered(&offered), ["B1 B2", "A3 A4", "B3 B4"]);
    let offered = offers(stage.reserve("bob", "A1 A2"));
    assert_eq!(stage.offered(&offered), ["A3 A4", "B3 B4", "C1 C2"]);
}

#[test]
fn some_time_before_the_start_they_are_open_to_everybody() {
    let mut stage = kept(&["acss", "ss"]);
    let opens = stage.seating.plan().facts.start_time - chrono::TimeDelta::from_std(OPEN_BEFORE).unwrap();
    stage.now = opens - MICRO;
    let answer = stage.reserve("bob", "A1");
    assert_eq!(refused(&stage, answer).0, "A1");
    stage.now = opens;
    stage.reserve("bob", "A2").expect("a companion seat alone");
    stage.reserve("bob", "A1").unwrap();
    // With nothing to wait for they are open from the first moment, and with no time before the start they never are.
    let mut stage = Stage::with(&["acss"], |rules| {
        rules.accessible_seats = AccessibleSeats::OnRequest { open_before: Duration::MAX };
    });
    stage.reserve("bob", "A1").unwrap();
    let mut stage = Stage::with(&["acss"], |rules| {
        rules.accessible_seats = AccessibleSeats::OnRequest { open_before: Duration::ZERO };
    });
    stage.now = super::close() - MICRO;
    let answer = stage.reserve("bob", "A1");
    assert_eq!(refused(&stage, answer).0, "A1");
}

#[test]
fn who_has_an_accessible_seat_may_exchange_it_for_another_and_nobody_else() {
    let mut stage = kept(&["acss", "acss"]);
    let with = ask_for(&mut stage, "A1 A2").unwrap();
    let without = stage.reserve("bob", "A3 A4").unwrap();
    let other = stage.exchange(&with, "B1 B2").unwrap();
    assert_eq!(stage.has(&other), "B1 B2");
    let answer = stage.exchange(&without, "A1 A2");
    assert_eq!(refused(&stage, answer), ("A1".to_owned(), vec!["A3 A4".to_owned(), "B3 B4".to_owned()]));
    // Once it has none, it has given the right away.
    let given_away = stage.exchange(&with, "B3 B4").unwrap();
    let answer = stage.exchange(&given_away, "B1 B2");
    assert_eq!(refused(&stage, answer).0, "B1");
    let answer = stage.exchange(&with, "B2 B3");
    assert_eq!(refused(&stage, answer).0, "B2");
}

#[test]
fn a_hold_of_accessible_seats_is_recovered_for_who_asked_for_them() {
    let mut stage = kept(&["acss"]);
    let held = ask_for(&mut stage, "A1 A2").unwrap();
    stage.now = held.expire_time() + minutes(1);
    let sold = stage.confirm_late(&held, tender("card")).unwrap();
    assert_eq!((stage.has(&sold), sold.refund_due()), ("A1 A2".to_owned(), None));
}

#[test]
fn a_seat_that_is_kept_is_still_a_free_neighbour() {
    let mut stage = kept(&["ass_sss"]);
    stage.rules.orphan_rule = OrphanRule::Refuse;
    stage.reserve("bob", "A3").expect("A2 has the free neighbour A1");
    let Err(Refusal::LeavesOrphan(Unavailable { seats, .. })) = stage.reserve("bob", "A5") else {
        panic!("A4 and A6 would be orphans")
    };
    assert_eq!(seats, [(3, Obstacle::Orphan), (5, Obstacle::Orphan)]);
}
