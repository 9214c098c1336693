//! The life of a hold: it is confirmed, cancelled, extended, or lapses.

use std::{sync::Arc, time::Duration};

use super::{
    Command, EXTENSION, HOLD, MICRO, Phase, Refusal, Reservation, Stage, TimeDelta, close, customer, minutes, opening,
    tender,
};
use crate::domain::{
    ids::{PurchaseId, ReservationId},
    reservation::{Sale, State, Tender},
    seating::{Change, Decision},
};

fn held() -> (Stage, Arc<Reservation>) {
    let mut stage = Stage::new(&["sssss", "sssss"]);
    let held = stage.reserve("ann", "A1 A2").unwrap();
    (stage, held)
}

fn confirm_with(stage: &mut Stage, of: &Reservation, tender: Option<Tender>) -> Result<Decision, Refusal> {
    stage.ask(&Command::Confirm {
        reservation_id: of.reservation_id,
        customer_id: None,
        tender,
        purchase_id: None,
        late: false,
    })
}

#[test]
fn a_confirm_one_microsecond_before_expiry_sells() {
    let (mut stage, held) = held();
    stage.now = held.expire_time() - MICRO;
    let sold = stage.confirm(&held).unwrap();
    assert_eq!(
        *sold.state(),
        State::Confirmed(Sale {
            at: stage.now,
            tender: None,
            purchase_id: Some(PurchaseId::at_till(sold.reservation_id))
        })
    );
    assert_eq!((sold.revision(), sold.first_revision, sold.total()), (3, 2, held.total()));
    stage.now = close() + minutes(1);
    assert_eq!(sold.phase(stage.now), Phase::Confirmed, "for good");
    assert_eq!(stage.seating.next_lapse(), None);
    assert_eq!(stage.expire(), []);
}

#[test]
fn a_confirm_at_expiry_is_refused() {
    let (mut stage, held) = held();
    for late in [held.expire_time(), held.expire_time() + MICRO, held.expire_time() + minutes(60)] {
        stage.now = late;
        assert_eq!(stage.confirm(&held), Err(Refusal::Expired { at: held.expire_time() }));
    }
    assert_eq!(stage.seating.revision(), held.revision(), "a refusal leaves no trace");
}

#[test]
fn a_confirm_after_the_lapse_was_recorded_is_refused_alike() {
    let (mut stage, held) = held();
    stage.now = held.expire_time();
    stage.expire();
    assert_eq!(stage.confirm(&held), Err(Refusal::Expired { at: held.expire_time() }));
    assert_eq!(stage.cancel(&held), Err(Refusal::Expired { at: held.expire_time() }));
    assert_eq!(stage.extend(&held), Err(Refusal::Expired { at: held.expire_time() }));
}

#[test]
fn a_repeated_confirm_answers_the_same() {
    let (mut stage, held) = held();
    let Decision { changes, reservation } = confirm_with(&mut stage, &held, Some(tender("cash"))).unwrap();
    assert_eq!(changes.len(), 1);
    let sold = reservation.unwrap();
    for (later, again) in [(0, None), (1, Some(tender("cash"))), (60 * 24, None)] {
        stage.now += minutes(later);
        let repeated = confirm_with(&mut stage, &held, again).unwrap();
        assert_eq!(repeated, Decision { changes: vec![], reservation: Some(Arc::clone(&sold)) });
    }
    for other in [tender("card"), Tender { transaction_id: String::new(), ..tender("cash") }] {
        assert_eq!(confirm_with(&mut stage, &held, Some(other)), Err(Refusal::TenderDiffers));
    }
}

#[test]
fn a_tender_cannot_be_added_to_a_sale() {
    let (mut stage, held) = held();
    stage.confirm(&held).unwrap();
    assert_eq!(confirm_with(&mut stage, &held, Some(tender("cash"))), Err(Refusal::TenderDiffers));
}

#[test]
fn cancelled_then_confirmed_is_refused_and_the_other_way_round() {
    let (mut stage, held) = held();
    let other = stage.reserve("bob", "A3").unwrap();
    stage.now += minutes(1);
    let cancelled = stage.cancel(&held).unwrap();
    assert_eq!(*cancelled.state(), State::Cancelled { at: stage.now, sale: None });
    assert_eq!(stage.confirm(&held), Err(Refusal::NotHeld { phase: Phase::Cancelled }));
    stage.confirm(&other).unwrap();
    assert_eq!(stage.cancel(&other), Err(Refusal::NotHeld { phase: Phase::Confirmed }));
    stage.now = held.expire_time();
    assert_eq!(stage.confirm(&held), Err(Refusal::NotHeld { phase: Phase::Cancelled }), "it never expires");
}

#[test]
fn a_cancelled_holds_seats_are_free_at_once() {
    let (mut stage, held) = held();
    stage.cancel(&held).unwrap();
    assert_eq!(stage.seating.unclaimed_count(), 10);
    stage.reserve("bob", "A1 A2").unwrap();
    assert_eq!(stage.confirm(&held), Err(Refusal::NotHeld { phase: Phase::Cancelled }));
}

#[test]
fn a_cancel_at_expiry_is_refused() {
    let (mut stage, held) = held();
    stage.now = held.expire_time();
    assert_eq!(stage.cancel(&held), Err(Refusal::Expired { at: held.expire_time() }));
}

#[test]
fn a_hold_is_extended_once() {
    let (mut stage, held) = held();
    stage.now = held.expire_time() - MICRO;
    let longer = stage.extend(&held).unwrap();
    assert_eq!(longer.expire_time(), held.expire_time() + EXTENSION, "from its end, not from now");
    assert_eq!((longer.first_expire_time, longer.extended(), longer.revision()), (held.expire_time(), true, 3));
    assert_eq!(longer.as_made(), *held);
    assert_eq!(stage.seating.next_lapse(), Some(longer.expire_time()));
    stage.now = longer.expire_time() - MICRO;
    stage.reserve("bob", "A1").expect_err("it is still held");
    stage.confirm(&held).unwrap();
}

#[test]
fn an_extension_can_be_repeated_while_the_hold_lasts_and_extends_it_once() {
    let (mut stage, held) = held();
    let longer = stage.extend(&held).unwrap();
    for now in [opening(), held.expire_time(), longer.expire_time() - MICRO] {
        stage.now = now;
        assert_eq!(stage.extend(&held), Ok(Arc::clone(&longer)));
    }
    assert_eq!(stage.seating.revision(), longer.revision(), "a repeated command is no change");
    stage.rules.closing = Duration::from_hours(6);
    assert_eq!(stage.extend(&held), Ok(longer), "also when the showtime is no longer sold, as a confirmation can");
    stage.cancel(&held).unwrap();
    assert_eq!(stage.extend(&held), Err(Refusal::NotHeld { phase: Phase::Cancelled }));
}

#[test]
fn a_cancel_can_be_repeated_at_any_time() {
    let (mut stage, held) = held();
    let cancelled = stage.cancel(&held).unwrap();
    stage.reserve("bob", "A1 A2").expect("they are free again");
    let revision = stage.seating.revision();
    for later in [opening(), held.expire_time(), close(), close() + minutes(10_000)] {
        stage.now = later;
        assert_eq!(stage.cancel(&held), Ok(Arc::clone(&cancelled)));
    }
    assert_eq!(stage.seating.revision(), revision, "a repeated command is no change");
    stage.seating.evict_ended();
    stage.seating.recall(Arc::clone(&cancelled));
    assert_eq!(stage.cancel(&held), Ok(cancelled), "also when it was read from the store");
}

#[test]
fn an_extended_hold_ends_on_time() {
    let (mut stage, held) = held();
    let longer = stage.extend(&held).unwrap();
    stage.now = longer.expire_time();
    assert_eq!(stage.extend(&held), Err(Refusal::Expired { at: longer.expire_time() }));
    assert_eq!(stage.confirm(&held), Err(Refusal::Expired { at: longer.expire_time() }));
    stage.reserve("bob", "A1 A2").unwrap();
}

#[test]
fn an_extension_at_expiry_is_refused() {
    let (mut stage, held) = held();
    stage.now = held.expire_time();
    assert_eq!(stage.extend(&held), Err(Refusal::Expired { at: held.expire_time() }));
}

#[test]
fn what_is_not_held_is_not_extended() {
    let (mut stage, held) = held();
    let other = stage.reserve("bob", "A4").unwrap();
    stage.confirm(&held).unwrap();
    stage.cancel(&other).unwrap();
    assert_eq!(stage.extend(&held), Err(Refusal::NotHeld { phase: Phase::Confirmed }));
    assert_eq!(stage.extend(&other), Err(Refusal::NotHeld { phase: Phase::Cancelled }));
}

#[test]
fn no_hold_is_extended_beyond_the_sales() {
    let mut stage = Stage::new(&["ss"]);
    stage.now = close() - minutes(12);
    let held = stage.reserve("ann", "A1").unwrap();
    let longer = stage.extend(&held).unwrap();
    assert_eq!(longer.expire_time(), close(), "three minutes shorter than usual");
    assert_eq!(stage.extend(&held), Ok(longer));
    stage.now = close() - minutes(2);
    let late = stage.reserve("ann", "A2").unwrap();
    assert_eq!(stage.extend(&late), Err(Refusal::SalesClosed { at: close() }), "it lasts as long as it can");
    stage.now = close();
    assert_eq!(stage.confirm(&held), Err(Refusal::Expired { at: close() }));
}

#[test]
fn a_cut_off_that_was_moved_ends_sales_and_not_holds() {
    let (mut stage, held) = held();
    stage.rules.closing = Duration::from_hours(6);
    let closed = Refusal::SalesClosed { at: opening() };
    assert_eq!(stage.confirm(&held), Err(closed.clone()));
    assert_eq!(stage.extend(&held), Err(closed));
    stage.cancel(&held).unwrap();
}

#[test]
fn an_extension_of_any_length_ends_when_the_sale_closes() {
    for long in [Duration::MAX, TimeDelta::MAX.to_std().unwrap()] {
        let (mut stage, held) = held();
        stage.rules.extension = long;
        assert_eq!(stage.extend(&held).unwrap().expire_time(), close());
    }
}

#[test]
fn the_reservation_of_another_customer_is_not_found() {
    let (mut stage, held) = held();
    let (mine, theirs) = (Some(customer("ann")), Some(customer("bob")));
    let id = held.reservation_id;
    let commands = |reservation_id, customer_id: &Option<_>| {
        let customer_id = || customer_id.clone();
        [
            Command::Extend { reservation_id, customer_id: customer_id() },
            Command::Confirm {
                reservation_id,
                customer_id: customer_id(),
                tender: None,
                purchase_id: None,
                late: false,
            },
            Command::Cancel { reservation_id, customer_id: customer_id() },
        ]
    };
    for command in commands(id, &theirs) {
        assert_eq!(stage.ask(&command), Err(Refusal::NoReservation), "{command:?}");
    }
    for command in commands(ReservationId(uuid::Uuid::from_u128(99)), &mine) {
        assert_eq!(stage.ask(&command), Err(Refusal::NoReservation), "{command:?}");
    }
    for command in &commands(id, &mine)[..2] {
        stage.ask(command).unwrap();
    }
    for command in commands(id, &theirs) {
        assert_eq!(stage.ask(&command), Err(Refusal::NoReservation), "sold, {command:?}");
    }
}

#[test]
fn lapses_are_recorded_in_one_step() {
    let (mut stage, first) = held();
    stage.now += minutes(1);
    let second = stage.reserve("bob", "A3").unwrap();
    let third = stage.reserve("eve", "B1").unwrap();
    assert_eq!(stage.expire(), [], "nothing is over yet");
    assert_eq!(stage.seating.next_lapse(), Some(first.expire_time()));
    stage.confirm(&third).unwrap();
    stage.now = second.expire_time();
    assert_eq!(stage.seating.unclaimed_count(), 6, "until it is recorded");
    let changes = stage.expire();
    let ids: Vec<_> = changes
        .iter()
        .map(|change| match change {
            Change::Expired(over) => (over.reservation_id, over.revision(), over.state().clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, [(first.reservation_id, 6, State::Expired), (second.reservation_id, 6, State::Expired)]);
    assert_eq!((stage.seating.unclaimed_count(), stage.seating.next_lapse()), (9, None));
    assert_eq!(stage.expire(), [], "once");
}

#[test]
fn a_clock_that_runs_back_revives_no_hold() {
    let (mut stage, held) = held();
    stage.now = held.expire_time();
    assert_eq!(stage.confirm(&held), Err(Refusal::Expired { at: held.expire_time() }));
    stage.now -= minutes(5);
    assert_eq!(stage.confirm(&held), Err(Refusal::Expired { at: held.expire_time() }));
    assert_eq!(stage.reserve("bob", "A1 A2").unwrap().create_time, opening() + HOLD, "time stood still");
}

#[test]
fn a_recalled_reservation_is_refused_by_name() {
    let (mut stage, held) = held();
    let cancelled = stage.cancel(&held).unwrap();
    stage.seating.evict_ended();
    assert_eq!(stage.confirm(&held), Err(Refusal::NoReservation));
    stage.seating.recall(cancelled);
    assert_eq!(stage.confirm(&held), Err(Refusal::NotHeld { phase: Phase::Cancelled }));
}

#[test]
fn a_record_that_is_out_of_date_sells_nothing() {
    let (mut stage, held) = held();
    stage.cancel(&held).unwrap();
    stage.reserve("bob", "A1 A2").unwrap();
    // It was read before it was cancelled.
    stage.seating.recall(Arc::clone(&held));
    assert_eq!(stage.confirm(&held), Err(Refusal::NotHeld { phase: Phase::Cancelled }));
    stage.seating.evict_ended();
    stage.seating.recall(Arc::clone(&held));
    assert_eq!(stage.confirm(&held), Err(Refusal::NoReservation));
}
