//! Money that was taken in any case, also for a reservation that has ended.

use std::sync::Arc;

use super::{Command, HOLD, MICRO, Phase, Refusal, Reservation, Stage, TimeDelta, close, customer, minutes, tender};
use crate::domain::{
    ids::PurchaseId,
    reservation::{RefundDue, Sale, State},
    seating::{Change, Decision},
};

/// A hold of A1 A2.
fn held() -> (Stage, Arc<Reservation>) {
    let mut stage = Stage::new(&["sssss", "sssss"]);
    let held = stage.reserve("ann", "A1 A2").unwrap();
    (stage, held)
}

/// A hold of A1 A2 that has just lapsed.
fn lapsed() -> (Stage, Arc<Reservation>) {
    let (mut stage, held) = held();
    stage.now = held.expire_time();
    (stage, held)
}

/// The sale of a reservation that was confirmed now, at a till.
fn sale(stage: &Stage, of: &Reservation) -> Sale {
    let purchase_id = Some(PurchaseId::at_till(of.reservation_id));
    Sale { at: stage.now, tender: Some(tender("card")), purchase_id }
}

fn confirm(stage: &mut Stage, of: &Reservation) -> Vec<Change> {
    let (reservation_id, tender) = (of.reservation_id, Some(tender("card")));
    stage
        .ask(&Command::Confirm { reservation_id, customer_id: None, tender, purchase_id: None, late: true })
        .unwrap()
        .changes
}

/// Asserts that the money is due, and that a repetition changes nothing.
fn assert_due(stage: &mut Stage, of: &Reservation) -> Arc<Reservation> {
    let changes = confirm(stage, of);
    let Some(Change::RefundDue(due)) = changes.last() else { panic!("{changes:?}") };
    assert_eq!(due.refund_due(), Some(&RefundDue { at: stage.now, tender: tender("card") }));
    assert_eq!(due.revision(), stage.seating.revision());
    stage.now += MICRO;
    assert_eq!(confirm(stage, of), []);
    assert_eq!(stage.confirm_late(of, tender("card")).as_ref(), Ok(due));
    assert_eq!(stage.confirm_late(of, tender("cash")), Err(Refusal::TenderDiffers));
    Arc::clone(due)
}

#[test]
fn a_hold_that_has_not_lapsed_is_confirmed() {
    let (mut stage, held) = held();
    stage.now = held.expire_time() - MICRO;
    let changes = confirm(&mut stage, &held);
    let [Change::Confirmed(sold)] = &*changes else { panic!("{changes:?}") };
    assert_eq!(*sold.state(), State::Confirmed(sale(&stage, sold)));
    stage.now += HOLD;
    assert_eq!(confirm(&mut stage, &held), [], "it was confirmed before");
    assert_eq!(stage.confirm_late(&held, tender("cash")), Err(Refusal::TenderDiffers));
}

#[test]
fn seats_of_a_hold_that_has_lapsed_are_sold_if_they_are_free() {
    for is_recorded in [false, true] {
        let (mut stage, held) = lapsed();
        if is_recorded {
            stage.expire();
        }
        let revision = stage.seating.revision() + 1;
        let changes = confirm(&mut stage, &held);
        let sold = match &*changes {
            [Change::Expired(ended), Change::Recovered(sold)] if !is_recorded => {
                assert_eq!((ended.reservation_id, ended.revision()), (held.reservation_id, revision));
                sold
            }
            [Change::Recovered(sold)] if is_recorded => sold,
            other => panic!("{other:?}"),
        };
        assert_eq!(*sold.state(), State::Confirmed(sale(&stage, sold)));
        assert_eq!((stage.has(sold), sold.revision(), sold.refund_due()), ("A1 A2".to_owned(), revision, None));
        assert_eq!((sold.expire_time(), sold.total()), (held.expire_time(), held.total()));
        stage.reserve("bob", "A2").expect_err("it is sold");
        assert_eq!(confirm(&mut stage, &held), [], "it is sold");
        stage.release(&held, "A1").expect("it is a sale");
    }
}

#[test]
fn without_late_a_hold_that_has_lapsed_is_refused_whatever_came_of_the_money() {
    let (mut stage, held) = lapsed();
    let expired = Refusal::Expired { at: held.expire_time() };
    assert_eq!(stage.confirm(&held), Err(expired.clone()));
    stage.reserve("bob", "A2").unwrap();
    assert_due(&mut stage, &held);
    assert_eq!(stage.confirm(&held), Err(expired));
}

#[test]
fn seats_that_others_have_are_not_taken() {
    let ways: [fn(&mut Stage); 3] = [
        |stage| drop(stage.reserve("bob", "A2").unwrap()),
        |stage| {
            let held = stage.reserve("bob", "A2 A3").unwrap();
            stage.confirm(&held).unwrap();
        },
        |stage| drop(stage.block("A1").unwrap()),
    ];
    for take in ways {
        let (mut stage, held) = lapsed();
        take(&mut stage);
        let unclaimed = stage.seating.unclaimed_count();
        let due = assert_due(&mut stage, &held);
        assert_eq!((due.phase(stage.now), due.sale()), (Phase::Expired, None));
        assert_eq!(due.remaining_total(), held.total());
        assert_eq!(stage.seating.unclaimed_count(), unclaimed, "nobody lost a seat");
    }
}

#[test]
fn seats_that_others_had_for_a_while_are_sold_and_that_lapse_is_recorded() {
    let (mut stage, held) = lapsed();
    let other = stage.reserve("bob", "A2 A3").unwrap();
    stage.now = other.expire_time();
    let changes = confirm(&mut stage, &held);
    let [Change::Expired(ended), Change::Recovered(sold)] = &*changes else { panic!("{changes:?}") };
    assert_eq!((ended.reservation_id, stage.has(sold)), (other.reservation_id, "A1 A2".to_owned()));
    stage.reserve("eve", "A3").expect("it is free");
}

#[test]
fn a_customer_does_not_get_more_seats_than_the_limit() {
    let (mut stage, held) = lapsed();
    stage.rules.max_customer_seats = 3;
    let other = stage.reserve("ann", "B1 B2").unwrap();
    assert_due(&mut stage, &held);
    // With one seat less it would have been allowed.
    let (mut stage, held) = lapsed();
    stage.rules.max_customer_seats = 3;
    stage.reserve("ann", "B1").unwrap();
    assert!(matches!(confirm(&mut stage, &held).last(), Some(Change::Recovered(_))));
    assert_eq!(other.seat_count(), 2);
}

#[test]
fn nothing_is_sold_after_the_close_of_the_sale() {
    let (mut stage, held) = lapsed();
    stage.now = close();
    assert_due(&mut stage, &held);
    let (mut stage, held) = lapsed();
    stage.now = close() - MICRO;
    assert!(matches!(confirm(&mut stage, &held).last(), Some(Change::Recovered(_))));
    // A hold that ends with the sale can no longer be recovered.
    let mut stage = Stage::new(&["ss"]);
    stage.now = close() - minutes(3);
    let held = stage.reserve("ann", "A1").unwrap();
    stage.now = held.expire_time();
    assert_due(&mut stage, &held);
}

#[test]
fn a_hold_that_was_cancelled_is_not_sold_though_its_seats_are_free() {
    let (mut stage, held) = held();
    let cancelled = stage.cancel(&held).unwrap();
    let due = assert_due(&mut stage, &held);
    assert_eq!(due.state(), cancelled.state(), "it stays cancelled");
    assert_eq!(stage.seating.unclaimed_count(), 10);
    assert_eq!(stage.cancel(&held), Ok(due), "a repeated cancellation gets its reservation");
}

#[test]
fn money_for_a_showtime_that_was_cancelled_is_due() {
    let (mut stage, held) = held();
    let lapsed = stage.reserve("bob", "B1").unwrap();
    stage.now += TimeDelta::seconds(1);
    let extended = stage.extend(&held).unwrap();
    stage.now = lapsed.expire_time();
    stage.ask(&Command::CancelShowtime { force: false, expected_revision: None }).unwrap();
    let due = assert_due(&mut stage, &extended);
    assert_eq!((due.phase(stage.now), due.remaining_total().minor), (Phase::Cancelled, 1_900));
    let due = assert_due(&mut stage, &lapsed);
    assert_eq!((due.phase(stage.now), due.remaining_total().minor), (Phase::Expired, 950));
}

#[test]
fn money_for_a_sale_that_was_cancelled_with_its_showtime_is_due_once_with_its_tender() {
    let (mut stage, held) = held();
    let sold = stage.confirm_late(&held, tender("card")).unwrap();
    stage.release(&sold, "A1").unwrap();
    let untold = stage.reserve("bob", "B1").unwrap();
    let untold = stage.confirm(&untold).unwrap();
    stage.ask(&Command::CancelShowtime { force: true, expected_revision: None }).unwrap();
    stage.now += minutes(1);
    assert_eq!(stage.confirm_late(&held, tender("cash")), Err(Refusal::TenderDiffers));
    let due = assert_due(&mut stage, &sold);
    assert_eq!((due.sale(), due.remaining_total().minor), (sold.sale(), 950), "the other seat was given back before");
    // Of a sale without a tender this was the money.
    let due = assert_due(&mut stage, &untold);
    let sale = Sale { tender: Some(tender("card")), ..untold.sale().unwrap().clone() };
    assert_eq!((due.sale(), due.remaining_total().minor), (Some(&sale), 950));
}

#[test]
fn money_for_a_sale_whose_seats_were_all_given_back_is_refused() {
    let (mut stage, held) = held();
    let sold = stage.confirm_late(&held, tender("card")).unwrap();
    stage.release(&sold, "").unwrap();
    assert_eq!(stage.confirm_late(&held, tender("card")), Err(Refusal::Released));
    assert_eq!(stage.confirm_late(&held, tender("cash")), Err(Refusal::TenderDiffers));
}

#[test]
fn a_hold_that_was_extended_or_exchanged_is_recovered_as_it_was_last() {
    let (mut stage, held) = held();
    let longer = stage.extend(&held).unwrap();
    stage.exchange(&held, "B2 B3").unwrap();
    stage.now = longer.expire_time() - MICRO;
    assert!(matches!(&*confirm(&mut stage, &held), [Change::Confirmed(_)]));
    let (mut stage, held) = self::held();
    let longer = stage.extend(&held).unwrap();
    stage.exchange(&held, "B2 B3").unwrap();
    stage.now = longer.expire_time();
    stage.reserve("bob", "A1 A2").expect("it has other seats");
    let changes = confirm(&mut stage, &held);
    let Some(Change::Recovered(sold)) = changes.last() else { panic!("{changes:?}") };
    assert_eq!((stage.has(sold), sold.extended()), ("B2 B3".to_owned(), true));
}

#[test]
fn money_for_the_reservation_of_another_customer_is_refused() {
    let (mut stage, held) = lapsed();
    let command = Command::Confirm {
        reservation_id: held.reservation_id,
        customer_id: Some(customer("bob")),
        tender: Some(tender("card")),
        purchase_id: None,
        late: true,
    };
    assert_eq!(stage.ask(&command), Err(Refusal::NoReservation));
    let Decision { changes, .. } = stage.ask(&Command::Expire).unwrap();
    assert_eq!(changes.len(), 1, "it has lapsed, and nothing else happened");
}
