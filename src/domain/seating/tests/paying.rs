//! Payments that are under way: their seats are kept until the ledger ends them, whatever the time is.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::{
    Change, Choice, Command, HOLD, MICRO, Phase, PurchaseId, Refusal, Reservation, Stage, close, customer, minutes,
    seats, tender, wish,
};
use crate::domain::{
    reservation::{Paying, Sale, State},
    seat_map::{Delta, SeatMap, Status},
    seating::{Obstacle, Unavailable},
    showtime,
};

const SPAN: Duration = Duration::from_mins(2);
const OURS: u128 = 1;
const ANOTHER: u128 = 2;

fn purchase(number: u128) -> PurchaseId {
    PurchaseId(Uuid::from_u128(number))
}

/// A hold of A1 A2.
fn held() -> (Stage, Arc<Reservation>) {
    let mut stage = Stage::new(&["ssssss"]);
    let held = stage.reserve("ann", "A1 A2").unwrap();
    (stage, held)
}

/// A payment for A1 A2 that has just begun, a minute after the seats were held.
fn paying() -> (Stage, Arc<Reservation>) {
    let (mut stage, held) = held();
    stage.now += minutes(1);
    let paying = stage.pay(&held, OURS, SPAN).unwrap();
    (stage, paying)
}

/// The refusal of any other command while the payment is under way.
fn pending(of: &Reservation) -> Refusal {
    Refusal::PaymentPending { purchase_id: of.purchase_id().unwrap(), until: of.pay_until().unwrap() }
}

#[test]
fn the_payment_of_a_hold_begins_and_does_not_end_by_the_clock() {
    let (mut stage, held) = held();
    stage.now = held.expire_time() - MICRO;
    let paying = stage.pay(&held, OURS, SPAN).unwrap();
    let pay_until = stage.now + minutes(2);
    assert_eq!(*paying.state(), State::Paying(Paying { purchase_id: purchase(OURS), pay_until }));
    assert_eq!((paying.pay_until(), paying.purchase_id()), (Some(pay_until), Some(purchase(OURS))));
    assert_eq!((paying.expire_time(), paying.revision()), (held.expire_time(), stage.seating.revision()));
    assert_eq!(paying.as_made(), *held, "the first answer stays what it was");
    for now in [stage.now, held.expire_time(), pay_until, close() + minutes(600)] {
        assert_eq!(paying.phase(now), Phase::Paying);
        stage.now = now;
        assert_eq!((stage.expire(), stage.seating.next_lapse()), (vec![], None));
    }
}

#[test]
fn a_payment_is_given_time_until_the_sale_closes_at_the_latest() {
    let (mut stage, held) = held();
    let paying = stage.pay(&held, OURS, HOLD * 1_000).unwrap();
    assert_eq!(paying.pay_until(), Some(close()));
    stage.now = close() + minutes(1);
    let revision = stage.seating.revision();
    assert_eq!(stage.pay(&held, OURS, SPAN).as_ref(), Ok(&paying));
    assert_eq!(stage.seating.revision(), revision, "nothing changed");
}

#[test]
fn the_same_purchase_gives_its_payment_another_time() {
    let (mut stage, paying) = paying();
    let revision = stage.seating.revision();
    assert_eq!(stage.pay(&paying, OURS, SPAN).as_ref(), Ok(&paying));
    assert_eq!(stage.seating.revision(), revision, "nothing changed");
    let earlier = stage.pay(&paying, OURS, SPAN / 2).unwrap();
    assert_eq!((earlier.pay_until(), earlier.revision()), (Some(stage.now + minutes(1)), revision + 1));
    stage.now += HOLD * 2;
    let later = stage.pay(&paying, OURS, SPAN).unwrap();
    assert_eq!(later.pay_until(), Some(stage.now + minutes(2)), "its time was over, and its seats were kept");
    assert_eq!(stage.pay(&paying, ANOTHER, SPAN), Err(pending(&later)));
}

#[test]
fn only_a_hold_that_has_not_lapsed_and_is_on_sale_can_be_paid_for() {
    let (mut stage, held) = held();
    let stranger = Some(customer("eve"));
    let (reservation_id, purchase_id, span) = (held.reservation_id, purchase(OURS), SPAN);
    let of_another = Command::Pay { reservation_id, customer_id: stranger, purchase_id, span };
    assert_eq!(stage.named(&of_another), Err(Refusal::NoReservation));
    stage.now = held.expire_time();
    assert_eq!(stage.pay(&held, OURS, SPAN), Err(Refusal::Expired { at: held.expire_time() }));
    for (end, phase) in
        [(Stage::confirm as fn(&mut Stage, &Reservation) -> _, Phase::Confirmed), (Stage::cancel, Phase::Cancelled)]
    {
        let other = stage.reserve("bob", if phase == Phase::Confirmed { "A3" } else { "A4" }).unwrap();
        end(&mut stage, &other).unwrap();
        assert_eq!(stage.pay(&other, OURS, SPAN), Err(Refusal::NotHeld { phase }));
    }
    let last = Stage { now: close() - MICRO, ..stage };
    let mut stage = last;
    let late = stage.reserve("joe", "A5").unwrap();
    assert_eq!(late.expire_time(), close());
    stage.now = close();
    assert_eq!(stage.pay(&late, OURS, SPAN), Err(Refusal::Expired { at: close() }));
}

#[test]
fn seats_that_are_paid_for_are_sold_at_any_time() {
    for now in [0, 3, 20, 1_000].map(minutes) {
        let (mut stage, paying) = paying();
        stage.now += now;
        let sold = stage.confirm_paid(&paying, OURS).unwrap();
        let sale =
            Sale { at: stage.now, tender: Some(tender("card")), purchase_id: Some(PurchaseId(Uuid::from_u128(OURS))) };
        assert_eq!((sold.state(), sold.refund_due()), (&State::Confirmed(sale), None));
        assert_eq!(sold.payment(), paying.payment(), "the sale belongs to the purchase");
        let revision = stage.seating.revision();
        for again in [stage.confirm_paid(&paying, OURS), stage.confirm(&paying)] {
            assert_eq!(again.as_ref(), Ok(&sold));
        }
        assert_eq!(stage.seating.revision(), revision, "nothing changed");
        let sold = Refusal::NotHeld { phase: Phase::Confirmed };
        assert_eq!(stage.confirm_paid(&paying, ANOTHER).as_ref(), Err(&sold));
        assert_eq!(stage.stop_payment(&paying, OURS).as_ref(), Err(&sold));
        assert_eq!(stage.pay(&paying, OURS, SPAN), Err(sold));
    }
}

#[test]
fn a_purchase_confirms_nothing_else_than_what_it_pays_for() {
    let (mut stage, held) = held();
    assert_eq!(stage.confirm_paid(&held, OURS), Err(Refusal::NotPaying));
    let paying = stage.pay(&held, OURS, SPAN).unwrap();
    assert_eq!(stage.confirm_paid(&held, ANOTHER), Err(pending(&paying)));
    let other = stage.reserve("bob", "A4").unwrap();
    stage.confirm(&other).unwrap();
    assert_eq!(stage.confirm_paid(&other, OURS), Err(Refusal::NotHeld { phase: Phase::Confirmed }));
    let lapsed = stage.reserve("bob", "A6").unwrap();
    stage.now = lapsed.expire_time();
    assert_eq!(stage.confirm_paid(&lapsed, OURS), Err(Refusal::Expired { at: stage.now }));
}

#[test]
fn who_abandons_a_purchase_gives_the_seats_up() {
    for now in [0, 3, 20, 1_000].map(minutes) {
        let (mut stage, paying) = paying();
        stage.now += now;
        assert_eq!(stage.stop_payment(&paying, ANOTHER), Err(pending(&paying)));
        let ended = stage.stop_payment(&paying, OURS).unwrap();
        assert_eq!(*ended.state(), State::Cancelled { at: stage.now, sale: None });
        assert_eq!((ended.payment(), stage.seating.unclaimed_count()), (paying.payment(), 6));
        for again in [OURS, ANOTHER] {
            assert_eq!(stage.stop_payment(&paying, again).as_ref(), Ok(&ended));
        }
        assert_eq!(stage.confirm_paid(&paying, OURS), Err(Refusal::NotHeld { phase: Phase::Cancelled }));
        assert_eq!(stage.cancel(&paying), Ok(ended), "it was cancelled before");
    }
}

#[test]
fn to_stop_what_has_not_begun_or_has_ended_changes_nothing() {
    let (mut stage, held) = held();
    assert_eq!(stage.stop_payment(&held, OURS).as_ref(), Ok(&held));
    stage.now = held.expire_time();
    assert_eq!(stage.stop_payment(&held, OURS).as_ref(), Ok(&held));
    let [Change::Expired(expired)] = &*stage.expire() else { panic!("it has lapsed") };
    assert_eq!(stage.stop_payment(&held, OURS).as_ref(), Ok(expired));
}

#[test]
fn while_a_payment_is_under_way_nobody_else_comes_between() {
    let (mut stage, paying) = paying();
    for now in [0, 1, 30].map(minutes) {
        stage.now += now;
        let pending = pending(&paying);
        assert_eq!(stage.confirm(&paying).as_ref(), Err(&pending));
        assert_eq!(stage.confirm_late(&paying, tender("cash")).as_ref(), Err(&pending));
        assert_eq!(stage.cancel(&paying).as_ref(), Err(&pending));
        assert_eq!(stage.extend(&paying).as_ref(), Err(&pending));
        assert_eq!(stage.exchange(&paying, "A4 A5"), Err(pending));
        let not_sold = Refusal::NotSold { seats: vec![0, 1], phase: Phase::Paying };
        assert_eq!(stage.release(&paying, ""), Err(not_sold));
        let until = paying.pay_until().unwrap();
        let seats = vec![(1, Obstacle::Held { until })];
        assert_eq!(
            stage.block("A2 A3"),
            Err(Refusal::Unavailable(Unavailable { seats: seats.clone(), offers: vec![] }))
        );
        let Err(Refusal::Unavailable(taken)) = stage.reserve("bob", "A2 A3") else { panic!("the seat is not free") };
        assert_eq!(taken.seats, seats);
        assert_eq!(stage.best("bob", 5), Err(Refusal::Unavailable(Unavailable { seats: vec![], offers: vec![] })));
    }
}

#[test]
fn the_limit_of_a_customer_counts_what_is_being_paid_for() {
    let (mut stage, paying) = paying();
    stage.rules.max_customer_seats = 3;
    stage.now = paying.pay_until().unwrap() + HOLD;
    let held = stage.reserve("ann", "A3").unwrap();
    let limit = |until| Err(Refusal::CustomerLimit { has: 3, most: 3, until });
    assert_eq!(stage.reserve("ann", "A4"), limit(Some(held.expire_time())));
    stage.confirm(&held).unwrap();
    assert_eq!(stage.reserve("ann", "A4"), limit(None));
    stage.stop_payment(&paying, OURS).unwrap();
    stage.reserve("ann", "A4").unwrap();
}

#[test]
fn a_cancelled_showtime_ends_a_payment_like_a_hold() {
    for force in [false, true] {
        let (mut stage, paying) = paying();
        stage.now += HOLD * 2;
        let cancel = Command::CancelShowtime { force, expected_revision: None };
        let changes = stage.ask(&cancel).unwrap().changes;
        let [Change::Cancelled(ended), Change::ShowtimeCancelled { at, confirmed_count: 0 }] = &*changes else {
            panic!("{changes:?}");
        };
        assert_eq!(*ended.state(), State::Cancelled { at: *at, sale: None });
        assert_eq!(ended.payment(), paying.payment());
        assert_eq!(stage.confirm_paid(&paying, OURS), Err(Refusal::ShowtimeCancelled { at: *at }));
        assert_eq!(stage.stop_payment(&paying, OURS).as_ref(), Ok(ended));
        assert_eq!(stage.pay(&paying, OURS, SPAN), Err(Refusal::NotHeld { phase: Phase::Cancelled }));
    }
}

#[test]
fn seats_are_held_on_maps_until_the_payment_is_ended() {
    let (mut stage, held) = held();
    let plan = || Arc::clone(stage.seating.plan());
    let mut map = SeatMap::new(plan(), 1, showtime::State::Scheduled, []);
    let mut follow = |change: Change, revision: i64| {
        let mut delta = Delta { revision, ..Delta::from(revision - 1) };
        delta.note(&change);
        map.follow(&delta);
        map.clone()
    };
    follow(Change::Reserved(Arc::clone(&held)), 2);
    let paying = stage.pay(&held, OURS, SPAN).unwrap();
    let shown = follow(Change::Paying(Arc::clone(&paying)), 3);
    let until = paying.pay_until().unwrap();
    for now in [stage.now, held.expire_time(), until, close() + minutes(600)] {
        assert_eq!(
            shown.at(now).take(3).collect::<Vec<_>>(),
            [Status::Paying { until }, Status::Paying { until }, Status::Free]
        );
        assert_eq!((shown.next_lapse(stage.now), shown.lapsed(stage.now, now).count()), (None, 0));
    }
    let ended = stage.stop_payment(&held, OURS).unwrap();
    let shown = follow(Change::Cancelled(ended), 4);
    assert!(shown.at(stage.now).all(|status| status == Status::Free));
}

#[test]
fn best_seats_and_names_are_chosen_around_what_is_being_paid_for() {
    let (mut stage, paying) = paying();
    stage.now = paying.pay_until().unwrap() + HOLD;
    let other = stage.best("bob", 4).unwrap();
    assert_eq!(stage.has(&other), "A3 A4 A5 A6");
    let named = wish(Choice::Seats(seats("A1")));
    assert!(stage.wish("eve", named).is_err());
}
