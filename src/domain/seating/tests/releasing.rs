//! Seats of a sale that are given back.

use std::sync::Arc;

use uuid::Uuid;

use super::{Command, HOLD, Phase, Refusal, Reservation, ReservationId, Stage, close, minutes, tender};
use crate::domain::{
    ids::PurchaseId,
    prices::Line,
    reservation::{Sale, State},
    seat_index::BadKind,
    seating::{Change, Decision, Obstacle, Unavailable},
};

/// A sale of A1 A2 A3 in two rows of five.
fn sold() -> (Stage, Arc<Reservation>) {
    let mut stage = Stage::new(&["sssss", "sssss"]);
    let held = stage.reserve("ann", "A1 A2 A3").unwrap();
    let sold = stage.confirm(&held).unwrap();
    (stage, sold)
}

#[test]
fn a_seat_that_is_given_back_is_free_at_once_and_the_others_stay_sold() {
    let (mut stage, sold) = sold();
    let rest = stage.release(&sold, "A2").unwrap();
    assert_eq!((stage.has(&rest), rest.seat_count(), rest.state()), ("A1 A3".to_owned(), 2, sold.state()));
    assert_eq!((rest.revision(), rest.is_released()), (sold.revision() + 1, false));
    stage.reserve("bob", "A2").expect("it is free");
    let Err(Refusal::Unavailable(Unavailable { seats, .. })) = stage.reserve("bob", "A3") else { panic!("it is sold") };
    assert_eq!(seats, [(2, Obstacle::Sold)]);
}

#[test]
fn a_release_says_what_each_seat_was_sold_for_and_the_sale_keeps_its_lines() {
    let (mut stage, sold) = sold();
    let seats = super::seats("A3 A1");
    let command = Command::Release { reservation_id: sold.reservation_id, seats, reason: "a leak".to_owned() };
    let Decision { changes, reservation } = stage.ask(&command).unwrap();
    let [Change::Released { reservation: rest, seats, lines, reason }] = &*changes else { panic!("{changes:?}") };
    assert_eq!(Some(rest), reservation.as_ref());
    assert_eq!((&**seats, reason.as_str()), (&[0, 2][..], "a leak"));
    assert_eq!(lines.iter().map(Line::total).collect::<Vec<_>>(), [950, 950]);
    assert_eq!((rest.total().minor, rest.remaining_total().minor), (2_850, 950));
    assert!(rest.lines().iter().eq(sold.lines().iter()));
    let given_back: Vec<_> = rest.all_seats().map(|one| one.released).collect();
    assert_eq!(given_back, [true, false, true]);
}

#[test]
fn once_no_seat_is_left_the_reservation_is_cancelled_and_its_sale_is_kept() {
    for (first, last) in [("", None), ("A1 A2 A3", None), ("A1 A3", Some("A2")), ("A1 A3", Some(""))] {
        let (mut stage, sold) = sold();
        stage.now += minutes(3);
        let mut rest = stage.release(&sold, first).unwrap();
        if let Some(last) = last {
            assert_eq!(rest.phase(stage.now), Phase::Confirmed);
            rest = stage.release(&rest, last).unwrap();
        }
        let sale = sold.sale().cloned();
        assert_eq!(*rest.state(), State::Cancelled { at: stage.now, sale: sale.clone() });
        assert_eq!((rest.sale().cloned(), rest.seat_count(), rest.is_released()), (sale, 0, true));
        assert_eq!((rest.total().minor, rest.remaining_total().minor), (2_850, 0));
        assert_eq!((stage.seating.unclaimed_count(), stage.seating.live_count()), (10, 0));
    }
}

#[test]
fn what_was_given_back_cannot_be_given_back_again() {
    let (mut stage, sold) = sold();
    stage.release(&sold, "A1").unwrap();
    let again = Refusal::NotSold { seats: vec![0], phase: Phase::Confirmed };
    assert_eq!(stage.release(&sold, "A1"), Err(again.clone()));
    assert_eq!(stage.release(&sold, "A1 A2"), Err(again), "all or nothing");
    stage.release(&sold, "").expect("those that are left");
    for seats in ["", "A1", "Z1"] {
        assert_eq!(stage.release(&sold, seats), Err(Refusal::Released));
    }
    assert_eq!(stage.confirm(&sold), Err(Refusal::NotHeld { phase: Phase::Cancelled }));
    assert_eq!(stage.cancel(&sold), Err(Refusal::NotHeld { phase: Phase::Cancelled }));
    assert_eq!(stage.extend(&sold), Err(Refusal::NotHeld { phase: Phase::Cancelled }));
    assert_eq!(stage.exchange(&sold, "B1 B2 B3"), Err(Refusal::Released));
    assert_eq!(stage.confirm_late(&sold, tender("card")), Err(Refusal::Released));
}

#[test]
fn only_seats_of_the_sale_can_be_given_back() {
    let (mut stage, sold) = sold();
    let other = stage.reserve("bob", "B1").unwrap();
    stage.confirm(&other).unwrap();
    let others = Refusal::NotSold { seats: vec![3, 5], phase: Phase::Confirmed };
    assert_eq!(stage.release(&sold, "B1 A1 A4"), Err(others));
    for (labels, kind) in [("A1 Z1", BadKind::Unknown), ("A1 A2 A1", BadKind::Repeated)] {
        let Err(Refusal::BadChoice(bad)) = stage.release(&sold, labels) else { panic!("{labels}") };
        assert_eq!(bad.kind, kind);
    }
    assert_eq!(stage.seating.reservation(sold.reservation_id), Some(&sold), "a refusal changes nothing");
}

#[test]
fn what_is_not_sold_cannot_be_given_back() {
    let mut stage = Stage::new(&["sssss"]);
    let held = stage.reserve("ann", "A1 A2").unwrap();
    let refused = |seats: &[u16], phase| Err(Refusal::NotSold { seats: seats.to_vec(), phase });
    assert_eq!(stage.release(&held, ""), refused(&[0, 1], Phase::Held));
    assert_eq!(stage.release(&held, "A2"), refused(&[1], Phase::Held));
    let cancelled = stage.reserve("ann", "A4").unwrap();
    stage.cancel(&cancelled).unwrap();
    assert_eq!(stage.release(&cancelled, ""), refused(&[3], Phase::Cancelled));
    stage.now += HOLD;
    assert_eq!(stage.release(&held, ""), refused(&[0, 1], Phase::Expired), "whether or not the lapse is recorded");
    stage.expire();
    assert_eq!(stage.release(&held, ""), refused(&[0, 1], Phase::Expired));
    let unknown = ReservationId(Uuid::from_u128(7));
    let command = Command::Release { reservation_id: unknown, seats: Vec::new(), reason: "a leak".to_owned() };
    assert_eq!(stage.ask(&command), Err(Refusal::NoReservation));
}

#[test]
fn seats_that_were_given_back_do_not_count_towards_the_limit_of_the_customer() {
    let mut stage = Stage::with(&["sssss"], |rules| rules.max_customer_seats = 2);
    let held = stage.reserve("ann", "A1 A2").unwrap();
    let sold = stage.confirm(&held).unwrap();
    stage.reserve("ann", "A3").expect_err("two are as many as she may have");
    stage.release(&sold, "A1").unwrap();
    stage.reserve("ann", "A3").expect("she has one");
    let limit = Refusal::CustomerLimit { has: 2, most: 2, until: Some(stage.now + HOLD) };
    assert_eq!(stage.reserve("ann", "A4"), Err(limit));
}

#[test]
fn seats_are_given_back_after_the_sale_has_closed_and_after_the_showtime() {
    let (mut stage, sold) = sold();
    stage.now = close() + minutes(1);
    stage.release(&sold, "A1").unwrap();
    stage.now = stage.seating.plan().facts.end_time + minutes(1);
    stage.release(&sold, "A2").unwrap();
}

#[test]
fn a_showtime_is_cancelled_with_what_is_left_of_its_sales() {
    let cancel = |force| Command::CancelShowtime { force, expected_revision: None };
    let (mut stage, part) = sold();
    let held = stage.reserve("bob", "B1 B2").unwrap();
    let whole = stage.confirm(&held).unwrap();
    stage.release(&whole, "").unwrap();
    stage.release(&part, "A2").unwrap();
    assert_eq!(stage.ask(&cancel(false)), Err(Refusal::HasSales { count: 1 }));
    let Decision { changes, .. } = stage.ask(&cancel(true)).unwrap();
    let [Change::Cancelled(ended), Change::ShowtimeCancelled { confirmed_count: 1, .. }] = &*changes else {
        panic!("{changes:?}")
    };
    assert_eq!((stage.has(ended), ended.remaining_total().minor), ("A1 A3".to_owned(), 1_900));
    assert_eq!(ended.sale(), part.sale());
    let Err(Refusal::NotSold { seats, phase: Phase::Cancelled }) = stage.release(&part, "") else { panic!("not sold") };
    assert_eq!(seats, [0, 2], "they are not given back, but cancelled");
    // A showtime whose sales were all given back has none.
    let (mut stage, sold) = self::sold();
    stage.release(&sold, "").unwrap();
    stage.ask(&cancel(false)).unwrap();
}

#[test]
fn a_sale_that_was_confirmed_again_has_what_is_left() {
    let (mut stage, sold) = sold();
    let rest = stage.release(&sold, "A1").unwrap();
    assert_eq!(stage.confirm(&sold), Ok(rest));
    assert_eq!(
        *sold.state(),
        State::Confirmed(Sale {
            at: super::opening(),
            tender: None,
            purchase_id: Some(PurchaseId::at_till(sold.reservation_id))
        })
    );
}
