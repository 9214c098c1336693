//! Showtimes that are cancelled.

use super::{Change, Command, Decision, HOLD, MICRO, Phase, Refusal, Stage, State, TimeDelta, close, minutes, opening};
use crate::domain::{
    ids::PurchaseId,
    reservation::{self, Sale},
};

fn cancel(stage: &mut Stage, force: bool) -> Result<Vec<Change>, Refusal> {
    cancel_at(stage, force, None)
}

fn cancel_at(stage: &mut Stage, force: bool, expected_revision: Option<i64>) -> Result<Vec<Change>, Refusal> {
    let Decision { changes, reservation } = stage.ask(&Command::CancelShowtime { force, expected_revision })?;
    assert_eq!(reservation, None);
    Ok(changes)
}

#[test]
fn a_showtime_without_reservations_is_cancelled_and_no_longer_sold() {
    for force in [false, true] {
        let mut stage = Stage::new(&["ss"]);
        // It is cancelled later than it was scheduled.
        let at = stage.now + MICRO;
        assert_eq!(cancel(&mut stage, force), Ok(vec![Change::ShowtimeCancelled { at, confirmed_count: 0 }]));
        assert_eq!((stage.seating.state(), stage.seating.revision()), (State::Cancelled { at }, 2));
        stage.now += minutes(1);
        assert_eq!(stage.reserve("ann", "A1"), Err(Refusal::ShowtimeCancelled { at }));
        assert_eq!(stage.best("ann", 1), Err(Refusal::ShowtimeCancelled { at }));
        for again in [false, true] {
            assert_eq!(cancel(&mut stage, again), Err(Refusal::ShowtimeCancelled { at }));
        }
        stage.now = close();
        assert_eq!(stage.reserve("ann", "A1"), Err(Refusal::ShowtimeCancelled { at }), "whatever the time");
    }
}

#[test]
fn a_showtime_with_sales_is_cancelled_only_by_force() {
    let mut stage = Stage::new(&["sssss"]);
    let sold = stage.reserve("ann", "A1 A2").unwrap();
    let also = stage.reserve("bob", "A3").unwrap();
    stage.confirm(&sold).unwrap();
    stage.confirm(&also).unwrap();
    stage.reserve("eve", "A4").unwrap();
    assert_eq!(cancel(&mut stage, false), Err(Refusal::HasSales { count: 2 }));
    assert_eq!(stage.seating.revision(), 6);
    cancel(&mut stage, true).unwrap();
}

#[test]
fn a_showtime_with_holds_is_cancelled_without_force() {
    let mut stage = Stage::new(&["ss"]);
    let held = stage.reserve("ann", "A1").unwrap();
    cancel(&mut stage, false).unwrap();
    assert_eq!(stage.confirm(&held), Err(Refusal::NotHeld { phase: Phase::Cancelled }));
    assert_eq!(stage.cancel(&held), Err(Refusal::NotHeld { phase: Phase::Cancelled }));
}

#[test]
fn what_was_held_or_sold_is_cancelled_with_its_showtime_and_what_had_lapsed_is_not() {
    let mut stage = Stage::new(&["ssssss"]);
    let lapsed = stage.reserve("ann", "A1").unwrap();
    let sold = stage.reserve("bob", "A2 A3").unwrap();
    let sold = stage.confirm(&sold).unwrap();
    stage.now = opening() + minutes(1);
    let held = stage.reserve("eve", "A5").unwrap();
    let at = opening() + HOLD;
    stage.now = at;
    let changes = cancel(&mut stage, true).unwrap();
    let cancelled = |sale| reservation::State::Cancelled { at, sale };
    let sale = Sale { at: opening(), tender: None, purchase_id: Some(PurchaseId::at_till(sold.reservation_id)) };
    let expected = [(lapsed, reservation::State::Expired), (sold, cancelled(Some(sale))), (held, cancelled(None))];
    let mut ended = Vec::new();
    for change in &changes {
        match change {
            Change::Expired(over) | Change::Cancelled(over) => ended.push((over.reservation_id, over.state().clone())),
            other => assert_eq!(*other, Change::ShowtimeCancelled { at, confirmed_count: 1 }),
        }
    }
    assert_eq!(ended, expected.map(|(one, state)| (one.reservation_id, state)));
    assert_eq!((changes.len(), stage.seating.revision()), (4, 6));
    assert_eq!((stage.seating.unclaimed_count(), stage.seating.next_lapse()), (6, None));
    assert_eq!(stage.expire(), []);
}

#[test]
fn a_confirm_that_is_repeated_after_its_showtime_was_cancelled_is_refused() {
    let mut stage = Stage::new(&["ss"]);
    let held = stage.reserve("ann", "A1").unwrap();
    stage.confirm(&held).unwrap();
    cancel(&mut stage, true).unwrap();
    assert_eq!(stage.confirm(&held), Err(Refusal::NotHeld { phase: Phase::Cancelled }));
}

#[test]
fn a_showtime_is_cancelled_only_at_the_expected_revision() {
    let mut stage = Stage::new(&["sss"]);
    let sold = stage.reserve("ann", "A1").unwrap();
    stage.confirm(&sold).unwrap();
    for expected in [0, 1, 2, 4] {
        assert_eq!(cancel_at(&mut stage, true, Some(expected)), Err(Refusal::RevisionDiffers { expected }));
    }
    assert_eq!(cancel_at(&mut stage, false, Some(3)), Err(Refusal::HasSales { count: 1 }));
    cancel_at(&mut stage, true, Some(3)).unwrap();
    let at = stage.now + MICRO;
    for expected in [3, 4] {
        assert_eq!(cancel_at(&mut stage, true, Some(expected)), Err(Refusal::ShowtimeCancelled { at }));
    }
}

#[test]
fn a_cancel_can_be_repeated_also_after_its_showtime_was_cancelled_but_not_if_that_ended_the_hold() {
    let mut stage = Stage::new(&["sss"]);
    let gone = stage.reserve("ann", "A1").unwrap();
    let held = stage.reserve("bob", "A2").unwrap();
    let gone = stage.cancel(&gone).unwrap();
    // By the clock both are cancelled at the same time.
    cancel(&mut stage, false).unwrap();
    assert_eq!(stage.seating.state(), State::Cancelled { at: stage.now + MICRO }, "it is later than the change before");
    assert_eq!(stage.cancel(&gone), Ok(gone));
    assert_eq!(stage.cancel(&held), Err(Refusal::NotHeld { phase: Phase::Cancelled }));
}

#[test]
fn a_showtime_is_cancelled_until_it_is_over() {
    let end = Stage::new(&["ss"]).seating.plan().facts.end_time;
    assert_eq!(end, opening() + TimeDelta::hours(8));
    let mut stage = Stage::new(&["ss"]);
    stage.now = end;
    for force in [false, true] {
        assert_eq!(cancel(&mut stage, force), Err(Refusal::ShowtimeOver { end }));
    }
    let mut stage = Stage::new(&["ss"]);
    stage.now = end - MICRO;
    cancel(&mut stage, false).expect("also while it plays");
}
