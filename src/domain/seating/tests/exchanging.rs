//! Seats of a reservation that are exchanged for others.

use std::sync::Arc;

use super::{Command, HOLD, MICRO, OrphanRule, Phase, Refusal, Reservation, Stage, close, customer, minutes, opening};
use crate::domain::{
    layout::SeatKind,
    prices::{PriceList, TicketCount, TicketType},
    seat_index::BadKind,
    seating::{Change, Choice, Decision, Obstacle, Unavailable, Wish},
};

/// A hold of A1 A2 in two rows of five.
fn held() -> (Stage, Arc<Reservation>) {
    let mut stage = Stage::new(&["sssss", "sssss"]);
    let held = stage.reserve("ann", "A1 A2").unwrap();
    (stage, held)
}

fn sold() -> (Stage, Arc<Reservation>) {
    let (mut stage, held) = held();
    let sold = stage.confirm(&held).unwrap();
    (stage, sold)
}

/// A premium seat costs 3 more than another.
fn prices() -> PriceList {
    let of = |code: &str, minor| TicketType { code: code.to_owned(), name: code.to_owned(), minor };
    let ticket_types = vec![of("adult", 1_200), of("child", 800)];
    let supplements = vec![(SeatKind::Premium, 300)];
    PriceList { ticket_types, supplements, ..PriceList::plain(super::plan(&["s"]).facts.prices.price()) }
}

/// A hold of A1 for a child and A2 for an adult. Row B is of premium seats.
fn priced() -> (Stage, Arc<Reservation>) {
    let mut stage = Stage::priced(&["sssss", "ppppp"], prices());
    let ticket = |code: &str| TicketCount { code: code.to_owned(), count: 1 };
    let choice = Choice::Seats(super::seats("A1 A2"));
    let wish = Wish { tickets: vec![ticket("child"), ticket("adult")], ..super::wish(choice) };
    let held = stage.wish("ann", wish).unwrap();
    (stage, held)
}

fn totals(reservation: &Reservation) -> Vec<i64> {
    reservation.lines().iter().map(|line| line.total()).collect()
}

#[test]
fn a_hold_keeps_its_time_and_is_priced_anew() {
    let (mut stage, held) = priced();
    assert_eq!(totals(&held), [800, 1_200]);
    stage.now += minutes(4);
    let other = stage.exchange(&held, "B4 B5").unwrap();
    assert_eq!((stage.has(&other), totals(&other)), ("B4 B5".to_owned(), vec![1_100, 1_500]), "a child and an adult");
    assert_eq!((other.expire_time(), other.extended(), other.total().minor), (held.expire_time(), false, 2_600));
    assert_eq!((other.phase(stage.now), other.revision()), (Phase::Held, held.revision() + 1));
    assert_eq!(other.as_made(), *held, "a repeated request gets the first answer");
    let sold = stage.confirm(&other).unwrap();
    assert_eq!((stage.has(&sold), totals(&sold)), ("B4 B5".to_owned(), vec![1_100, 1_500]));
    stage.reserve("bob", "A1 A2").expect("they are free");
}

#[test]
fn the_lines_of_a_sale_keep_their_prices() {
    let (mut stage, held) = priced();
    let sold = stage.confirm(&held).unwrap();
    let other = stage.exchange(&sold, "B4 B5").unwrap();
    assert_eq!((stage.has(&other), other.state()), ("B4 B5".to_owned(), sold.state()));
    assert!(other.lines().iter().eq(sold.lines().iter()));
    assert_eq!(totals(&other), [800, 1_200]);
}

#[test]
fn an_exchange_names_the_seats_before_and_frees_them() {
    let (mut stage, sold) = sold();
    let seats = super::seats("B2 B1");
    let command = Command::Exchange { reservation_id: sold.reservation_id, customer_id: None, seats };
    let Decision { changes, reservation } = stage.ask(&command).unwrap();
    let [Change::Exchanged { reservation: other, before }] = &*changes else { panic!("{changes:?}") };
    assert_eq!((Some(other), &**before), (reservation.as_ref(), &[0, 1][..]));
    assert_eq!(
        (stage.has(other), stage.seating.unclaimed_count()),
        ("B1 B2".to_owned(), 8),
        "in the order of the layout"
    );
    stage.reserve("bob", "A1 A2").expect("they are free");
    stage.reserve("eve", "B2").expect_err("it is sold");
}

#[test]
fn seats_may_be_exchanged_for_seats_that_overlap_them() {
    for (mut stage, of) in [held(), sold()] {
        let other = stage.exchange(&of, "A2 A3").unwrap();
        assert_eq!((stage.has(&other), stage.seating.unclaimed_count()), ("A2 A3".to_owned(), 8));
        stage.reserve("bob", "A1").expect("it is free");
        stage.reserve("bob", "A2").expect_err("it is taken");
        let back = stage.exchange(&of, "A3 A4").unwrap();
        assert_eq!(stage.has(&back), "A3 A4");
    }
}

#[test]
fn an_exchange_for_the_same_seats_changes_nothing() {
    for (mut stage, of) in [held(), sold()] {
        let seats = super::seats("A2 A1");
        let command = Command::Exchange { reservation_id: of.reservation_id, customer_id: None, seats };
        let expected = Decision { changes: Vec::new(), reservation: Some(Arc::clone(&of)) };
        assert_eq!(stage.ask(&command), Ok(expected));
        assert_eq!(stage.seating.revision(), of.revision());
    }
}

#[test]
fn what_was_given_back_stays_given_back_and_the_others_are_exchanged() {
    let (mut stage, held) = priced();
    let held = stage.exchange(&held, "A2 A3").unwrap();
    let third = stage.reserve("bob", "B1 B2 B3").unwrap();
    let sold = stage.confirm(&third).unwrap();
    stage.release(&sold, "B2").unwrap();
    let Err(Refusal::BadChoice(bad)) = stage.exchange(&sold, "A3 A4 A5") else { panic!("it has two seats") };
    assert_eq!(bad.kind, BadKind::SeatsDiffer);
    let other = stage.exchange(&sold, "A4 A5").unwrap();
    assert_eq!((stage.has(&other), other.seat_count()), ("A4 A5".to_owned(), 2));
    let all: Vec<_> = other.all_seats().map(|one| (one.seat, one.released)).collect();
    assert_eq!(all, [(3, false), (6, true), (4, false)], "the line in the middle was given back");
    assert_eq!((totals(&other), other.remaining_total().minor), (vec![1_500; 3], 3_000));
    assert_eq!(stage.has(&held), "A2 A3", "the hold of another one is as it was");
}

#[test]
fn a_seat_that_was_given_back_may_be_had_again() {
    let mut stage = Stage::new(&["sssss"]);
    let held = stage.reserve("ann", "A1 A2 A3").unwrap();
    let sold = stage.confirm(&held).unwrap();
    stage.release(&sold, "A1").unwrap();
    let again = stage.exchange(&sold, "A1 A2").unwrap();
    assert_eq!((stage.has(&again), again.remaining_total().minor), ("A1 A2".to_owned(), 1_900));
    stage.reserve("bob", "A1").expect_err("it is sold");
    // And given back again: its first line stays as it was.
    let rest = stage.release(&sold, "A1").unwrap();
    assert_eq!((stage.has(&rest), rest.remaining_total().minor), ("A2".to_owned(), 950));
    stage.reserve("bob", "A1").expect("it is free");
    let Err(Refusal::NotSold { seats, .. }) = stage.release(&sold, "A1") else { panic!("it is no longer hers") };
    assert_eq!(seats, [0]);
}

#[test]
fn seats_that_others_have_are_refused_with_what_could_be_had_and_its_own_are_among_it() {
    let (mut stage, of) = sold();
    let until = stage.reserve("bob", "A3").unwrap().expire_time();
    stage.block("B2").unwrap();
    let taken = stage.reserve("eve", "B5").unwrap();
    stage.confirm(&taken).unwrap();
    let refused = |refusal| match refusal {
        Err(Refusal::Unavailable(Unavailable { seats, offers })) => (seats, offers),
        other => panic!("{other:?}"),
    };
    let (seats, offers) = refused(stage.exchange(&of, "A2 A3"));
    assert_eq!(seats, [(2, Obstacle::Held { until })]);
    assert_eq!(stage.offered(&offers), ["A1 A2", "A4 A5", "B3 B4"]);
    assert_eq!(refused(stage.exchange(&of, "B1 B2")).0, [(6, Obstacle::Blocked)]);
    assert_eq!(refused(stage.exchange(&of, "B4 B5")).0, [(9, Obstacle::Sold)]);
    assert_eq!(stage.seating.reservation(of.reservation_id), Some(&of), "it has its seats");
}

#[test]
fn lapsed_holds_of_the_new_seats_are_recorded_in_the_same_decision() {
    let (mut stage, sold) = sold();
    let lapsed = stage.reserve("bob", "A3 A4").unwrap();
    let beside = stage.reserve("eve", "B1").unwrap();
    stage.now += HOLD;
    let seats = super::seats("A2 A3");
    let command = Command::Exchange { reservation_id: sold.reservation_id, customer_id: None, seats };
    let changes = stage.ask(&command).unwrap().changes;
    let [Change::Expired(ended), Change::Exchanged { reservation, .. }] = &*changes else { panic!("{changes:?}") };
    assert_eq!((ended.reservation_id, ended.revision()), (lapsed.reservation_id, reservation.revision()));
    assert_eq!(stage.seating.next_lapse(), Some(beside.expire_time()), "nobody asked for that one");
}

#[test]
fn the_seats_must_be_neighbours_and_as_many() {
    let (mut stage, of) = sold();
    let kind = |refusal| match refusal {
        Err(Refusal::BadChoice(bad)) => bad.kind,
        other => panic!("{other:?}"),
    };
    for labels in ["B1", "B1 B2 B3"] {
        assert_eq!(kind(stage.exchange(&of, labels)), BadKind::SeatsDiffer, "{labels}");
    }
    assert_eq!(kind(stage.exchange(&of, "B1 B3")), BadKind::NotContiguous);
    assert_eq!(kind(stage.exchange(&of, "A5 B1")), BadKind::NotContiguous);
    assert_eq!(kind(stage.exchange(&of, "B1 B1")), BadKind::Repeated);
    assert_eq!(kind(stage.exchange(&of, "B5 B6")), BadKind::Unknown);
    let Err(Refusal::BadChoice(bad)) = stage.exchange(&of, "B1") else { panic!("too few") };
    let said = &bad.violations.list()[0];
    assert_eq!((said.field.as_str(), said.description.contains("has: 2, and names 1")), ("seats", true), "{said:?}");
}

#[test]
fn a_reservation_that_has_ended_has_no_seats_to_exchange() {
    let (mut stage, held) = held();
    let cancelled = stage.reserve("ann", "A4").unwrap();
    stage.cancel(&cancelled).unwrap();
    assert_eq!(stage.exchange(&cancelled, "B1"), Err(Refusal::NotHeld { phase: Phase::Cancelled }));
    stage.now = held.expire_time() - MICRO;
    stage.exchange(&held, "B1 B2").unwrap();
    stage.now = held.expire_time();
    assert_eq!(stage.exchange(&held, "B2 B3"), Err(Refusal::Expired { at: held.expire_time() }));
    stage.expire();
    assert_eq!(stage.exchange(&held, "B2 B3"), Err(Refusal::Expired { at: held.expire_time() }));
    let whose = Command::Exchange {
        reservation_id: held.reservation_id,
        customer_id: Some(customer("bob")),
        seats: super::seats("B2 B3"),
    };
    assert_eq!(stage.ask(&whose), Err(Refusal::NoReservation), "it is of another customer");
}

#[test]
fn a_hold_is_exchanged_while_the_showtime_is_on_sale_and_a_sale_until_it_has_ended() {
    let (mut stage, sold) = sold();
    stage.now = close() - minutes(1);
    let held = stage.reserve("bob", "B1").unwrap();
    // Sales may close earlier after a restart.
    stage.rules.closing += std::time::Duration::from_mins(5);
    let closed = close() - minutes(5);
    assert_eq!(stage.exchange(&held, "B2"), Err(Refusal::SalesClosed { at: closed }));
    let end = stage.seating.plan().facts.end_time;
    stage.now = end - MICRO;
    stage.exchange(&sold, "A3 A4").unwrap();
    stage.now = end;
    assert_eq!(stage.exchange(&sold, "A1 A2"), Err(Refusal::ShowtimeOver { end }));
}

#[test]
fn after_its_showtime_was_cancelled_nothing_is_exchanged() {
    let (mut stage, sold) = sold();
    let held = stage.reserve("bob", "B1").unwrap();
    stage.ask(&Command::CancelShowtime { force: true, expected_revision: None }).unwrap();
    for (of, labels) in [(&sold, "A3 A4"), (&held, "B2")] {
        assert_eq!(stage.exchange(of, labels), Err(Refusal::NotHeld { phase: Phase::Cancelled }));
    }
}

#[test]
fn as_many_seats_as_it_has_are_never_too_many() {
    let (mut stage, sold) = sold();
    (stage.rules.max_seats, stage.rules.max_customer_seats) = (1, 1);
    stage.exchange(&sold, "B1 B2").expect("it has two");
}

#[test]
fn an_exchange_that_leaves_an_orphan_is_refused_where_another_leaves_none() {
    let mut stage = Stage::with(&["sssss"], |rules| rules.orphan_rule = OrphanRule::Refuse);
    let held = stage.reserve("ann", "A1 A2").unwrap();
    let Err(Refusal::LeavesOrphan(Unavailable { seats, offers })) = stage.exchange(&held, "A2 A3") else {
        panic!("A1 would be an orphan")
    };
    assert_eq!(seats, [(0, Obstacle::Orphan)]);
    assert_eq!(stage.offered(&offers), ["A1 A2", "A4 A5"], "its own seats are free for it");
    stage.exchange(&held, "A4 A5").unwrap();
    assert_eq!(stage.now, opening());
}
