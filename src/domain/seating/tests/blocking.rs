//! Seats that are kept back from sale.

use uuid::Uuid;

use super::{
    Block, BlockReason, Blockage, Choice, Command, HOLD, MICRO, OrphanRule, Refusal, ReservationId, Seating, Stage,
    State, Wish, check, close, minutes, plan, seats, wish,
};
use crate::domain::{
    seat_index::BadKind,
    seating::{Change, Obstacle, Unavailable},
};

fn from_block(labels: &str) -> Wish {
    Wish { from_block: true, ..wish(Choice::Seats(seats(labels))) }
}

fn unavailable<T: std::fmt::Debug>(answer: Result<T, Refusal>) -> (Vec<(u16, Obstacle)>, Vec<Block>) {
    match answer {
        Err(Refusal::Unavailable(Unavailable { seats, offers })) => (seats, offers),
        other => panic!("{other:?}"),
    }
}

#[test]
fn blocked_seats_cannot_be_had_and_are_not_offered() {
    let mut stage = Stage::new(&["sssss", "sssss"]);
    stage.block("A3 B3").unwrap();
    assert_eq!(stage.seating.unclaimed_count(), 8);
    let (seats, offers) = unavailable(stage.reserve("ann", "A2 A3"));
    assert_eq!(
        (seats, stage.offered(&offers)),
        (vec![(2, Obstacle::Blocked)], vec!["A1 A2".into(), "A4 A5".into(), "B1 B2".into()])
    );
    assert_eq!(unavailable(stage.best("ann", 3)), (vec![], vec![]), "no three together are left");
    let best = stage.best("ann", 2).unwrap();
    assert_eq!(stage.labels(best.first_block), "A1 A2");
}

#[test]
fn seats_are_blocked_in_any_order_and_need_not_be_neighbours() {
    let mut stage = Stage::new(&["ss_ss", "ss"]);
    let blockage = Blockage { reason: BlockReason::Company, note: "the band".to_owned() };
    let command = Command::Block { seats: seats("B2 A4 A1"), blockage: blockage.clone() };
    let decision = stage.ask(&command).unwrap();
    assert_eq!(decision.changes, [Change::Blocked { seats: vec![0, 3, 5], blockage }]);
    assert_eq!((decision.reservation, stage.seating.revision()), (None, 2));
    let changes = stage.unblock("A4 B2").unwrap();
    assert_eq!(changes, [Change::Unblocked { seats: vec![3, 5] }]);
    stage.reserve("ann", "B1 B2").expect("both are free");
    stage.reserve("ann", "A1").expect_err("it is still blocked");
}

#[test]
fn all_seats_are_blocked_or_none() {
    let mut stage = Stage::new(&["sssss"]);
    let until = stage.reserve("ann", "A1").unwrap().expire_time();
    let sold = stage.reserve("bob", "A2").unwrap();
    stage.confirm(&sold).unwrap();
    stage.block("A3").unwrap();
    let revision = stage.seating.revision();
    let (seats, offers) = unavailable(stage.block("A4 A3 A2 A1"));
    let expected = [(0, Obstacle::Held { until }), (1, Obstacle::Sold), (2, Obstacle::Blocked)];
    assert_eq!((&*seats, offers), (&expected[..], vec![]));
    assert_eq!((stage.seating.revision(), stage.seating.unclaimed_count()), (revision, 2));
    assert_eq!(unavailable(stage.block("A3")).0, [(2, Obstacle::Blocked)], "it is blocked already");
}

#[test]
fn all_seats_are_unblocked_or_none() {
    let mut stage = Stage::new(&["sssss"]);
    stage.block("A1 A2").unwrap();
    stage.reserve("ann", "A4").unwrap();
    let not_blocked = |seats: &[u16]| Err(Refusal::NotBlocked { seats: seats.to_vec() });
    assert_eq!(stage.unblock("A1 A3 A4"), not_blocked(&[2, 3]));
    stage.reserve("bob", "A1").expect_err("it is still blocked");
    stage.unblock("A1 A2").unwrap();
    assert_eq!(stage.unblock("A2"), not_blocked(&[1]), "it is unblocked already");
    stage.reserve("bob", "A1 A2").unwrap();
}

#[test]
fn seats_that_are_unknown_repeated_or_not_named_are_refused() {
    let mut stage = Stage::new(&["sssss"]);
    for (labels, kind) in [("A1 Z9", BadKind::Unknown), ("A1 A2 A1", BadKind::Repeated), ("", BadKind::Unknown)] {
        for answer in [stage.block(labels), stage.unblock(labels)] {
            let Err(Refusal::BadChoice(bad)) = answer else { panic!("{answer:?}") };
            assert_eq!(bad.kind, kind, "{labels}");
        }
    }
}

#[test]
fn a_hold_that_has_lapsed_is_recorded_by_what_blocks_its_seats() {
    let mut stage = Stage::new(&["sssss"]);
    let held = stage.reserve("ann", "A1 A2").unwrap();
    let beside = stage.reserve("bob", "A5").unwrap();
    stage.now = held.expire_time() - MICRO;
    unavailable(stage.block("A2 A3"));
    stage.now = held.expire_time();
    let changes = stage.block("A2 A3").unwrap();
    let [Change::Expired(ended), Change::Blocked { seats, .. }] = &*changes else { panic!("{changes:?}") };
    assert_eq!((ended.reservation_id, &**seats), (held.reservation_id, &[1, 2][..]));
    assert_eq!(stage.seating.next_lapse(), Some(beside.expire_time()), "nobody asked for that one");
    assert_eq!(stage.confirm(&held), Err(Refusal::Expired { at: held.expire_time() }));
    assert_eq!(stage.seating.unclaimed_count(), 2);
}

#[test]
fn seats_are_blocked_and_unblocked_until_the_showtime_has_ended() {
    let mut stage = Stage::new(&["sssss"]);
    let end = stage.seating.plan().facts.end_time;
    stage.now = close() + minutes(20);
    stage.block("A1 A2").unwrap();
    stage.now = end - MICRO;
    stage.unblock("A1").unwrap();
    stage.now = end;
    assert_eq!(stage.block("A3"), Err(Refusal::ShowtimeOver { end }));
    assert_eq!(stage.unblock("A2"), Err(Refusal::ShowtimeOver { end }));
}

#[test]
fn in_a_showtime_that_was_cancelled_nothing_is_blocked() {
    let mut stage = Stage::new(&["sssss"]);
    stage.block("A1").unwrap();
    stage.ask(&Command::CancelShowtime { force: false, expected_revision: None }).unwrap();
    let State::Cancelled { at } = stage.seating.state() else { panic!("it was cancelled") };
    assert_eq!(stage.block("A3"), Err(Refusal::ShowtimeCancelled { at }));
    assert_eq!(stage.unblock("A1"), Err(Refusal::ShowtimeCancelled { at }));
}

#[test]
fn who_asks_for_them_may_have_blocked_seats_together_with_free_ones() {
    let mut stage = Stage::new(&["sssss"]);
    stage.block("A2 A5").unwrap();
    let lapsed = stage.reserve("bob", "A3").unwrap();
    stage.now += HOLD;
    let (reservation_id, customer_id) = (ReservationId(Uuid::from_u128(7)), super::customer("ann"));
    let command = Command::Reserve { reservation_id, customer_id, wish: from_block("A1 A2 A3") };
    let changes = stage.ask(&command).unwrap().changes;
    let [Change::Expired(ended), Change::Unblocked { seats }, Change::Reserved(made)] = &*changes else {
        panic!("{changes:?}")
    };
    assert_eq!(
        (ended.reservation_id, &**seats, stage.has(made)),
        (lapsed.reservation_id, &[1][..], "A1 A2 A3".to_owned())
    );
    // They are blocked no more, whatever becomes of the reservation.
    stage.cancel(made).unwrap();
    stage.reserve("eve", "A1 A2 A3").expect("they are free");
    stage.reserve("eve", "A5").expect_err("nobody asked for that one");
}

#[test]
fn of_free_seats_alone_nothing_is_unblocked() {
    let mut stage = Stage::new(&["sssss"]);
    stage.block("A5").unwrap();
    let before = stage.seating.unclaimed_count();
    stage.wish("ann", from_block("A1 A2")).unwrap();
    assert_eq!(stage.seating.unclaimed_count(), before - 2);
}

#[test]
fn who_asks_for_blocked_seats_does_not_get_those_of_others() {
    let mut stage = Stage::new(&["sssss"]);
    stage.block("A1").unwrap();
    let until = stage.reserve("bob", "A2").unwrap().expire_time();
    assert_eq!(unavailable(stage.wish("ann", from_block("A1 A2"))).0, [(1, Obstacle::Held { until })]);
    stage.rules.max_customer_seats = 0;
    let Err(Refusal::CustomerLimit { has: 0, most: 0, until: None }) = stage.wish("ann", from_block("A1")) else {
        panic!("no rule gives way")
    };
    stage.reserve("eve", "A1").expect_err("a refusal unblocks nothing");
}

#[test]
fn a_blocked_seat_is_no_free_neighbour() {
    let mut stage = Stage::with(&["ssss"], |rules| rules.orphan_rule = OrphanRule::Refuse);
    stage.block("A3").unwrap();
    let Err(Refusal::LeavesOrphan(Unavailable { seats, offers })) = stage.reserve("ann", "A1") else {
        panic!("A2 would be an orphan")
    };
    assert_eq!((seats, stage.offered(&offers)), (vec![(1, Obstacle::Orphan)], vec!["A4".to_owned()]));
    let best = stage.best("ann", 1).unwrap();
    assert_eq!(stage.labels(best.first_block), "A4", "it was alone before");
    // Who blocks seats is not bound by the rule.
    stage.block("A1").unwrap();
}

#[test]
fn for_who_asks_for_blocked_seats_they_are_free_neighbours_only_if_they_are_named() {
    let mut stage = Stage::with(&["sssss"], |rules| rules.orphan_rule = OrphanRule::Refuse);
    stage.block("A1 A4").unwrap();
    let Err(Refusal::LeavesOrphan(Unavailable { seats, .. })) = stage.wish("ann", from_block("A2")) else {
        panic!("A3 would be an orphan")
    };
    assert_eq!(seats, [(2, Obstacle::Orphan)]);
    stage.wish("ann", from_block("A1")).expect("A2 and A3 are neighbours");
}

#[test]
fn a_showtime_is_rebuilt_from_what_is_blocked() {
    let mut stage = Stage::new(&["sssss"]);
    let held = stage.reserve("ann", "A1").unwrap();
    stage.block("A3 A5").unwrap();
    let live = [(*held).clone()];
    let mut again = Seating::new(plan(&["sssss"]), State::Scheduled, 3, stage.now, live, [2, 4]);
    check(&again);
    assert_eq!(again.unclaimed_count(), 2);
    let unblock = Command::Unblock { seats: seats("A3") };
    let changes = again.decide(&unblock, &stage.rules, stage.now).unwrap().changes;
    again.apply(&changes, stage.now);
    assert_eq!(again.unclaimed_count(), 3);
    check(&again);
}
