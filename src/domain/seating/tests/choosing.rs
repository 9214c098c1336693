//! The best seats, and the blocks that are offered.

use super::{OrphanRule, Refusal, Stage};
use crate::domain::seating::{Obstacle, Unavailable};

fn best(stage: &mut Stage, count: u16) -> String {
    let made = stage.best("ann", count).unwrap();
    stage.labels(made.first_block)
}

fn offers(stage: &mut Stage, labels: &str) -> Vec<String> {
    match stage.reserve("eve", labels) {
        Err(Refusal::Unavailable(Unavailable { offers, .. })) => stage.offered(&offers),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_best_seats_are_in_the_middle_of_the_auditorium() {
    let rows = ["sssssss", "sssssss", "sssssss"];
    assert_eq!(best(&mut Stage::new(&rows), 3), "B3 B4 B5");
    assert_eq!(best(&mut Stage::new(&rows), 1), "B4");
    assert_eq!(best(&mut Stage::new(&rows), 7), "B1 B2 B3 B4 B5 B6 B7");
    // Aisles and gaps count: the middle is between the fourth and the fifth cell.
    assert_eq!(best(&mut Stage::new(&["ssss_..ss"]), 1), "A4");
}

#[test]
fn seats_beside_each_other_are_nearer_than_rows_behind_each_other() {
    let mut stage = Stage::new(&["sssssssss"; 3]);
    for expected in ["B5", "B4", "B6", "A5", "B3"] {
        assert_eq!(best(&mut stage, 1), expected, "a row is as far as two seats, and the screen better than the back");
    }
}

#[test]
fn the_best_seats_have_nothing_between_them() {
    let mut stage = Stage::new(&["ss_ss_ss", "sss_sss"]);
    assert_eq!(best(&mut stage, 3), "B4 B5 B6", "the second row ends where the aisle of the first is");
    assert_eq!(best(&mut stage, 3), "B1 B2 B3");
    let Err(Refusal::Unavailable(none)) = stage.best("ann", 3) else { panic!("six are free, but no three together") };
    assert_eq!((none.seats, none.offers), (vec![], vec![]));
}

#[test]
fn the_best_seats_leave_no_orphan_where_others_leave_none() {
    for orphan_rule in [OrphanRule::Allow, OrphanRule::Refuse] {
        // The middle of five would leave an orphan on either side.
        let mut stage = Stage::with(&["sssss"], |rules| rules.orphan_rule = orphan_rule);
        assert_eq!(best(&mut stage, 3), "A1 A2 A3");
        // The middle of four would leave two orphans, the sides none.
        let mut stage = Stage::with(&["ssss"], |rules| rules.orphan_rule = orphan_rule);
        assert_eq!(best(&mut stage, 2), "A1 A2");
        // Where every block leaves an orphan, none is refused for it.
        let mut stage = Stage::with(&["sss"], |rules| rules.orphan_rule = orphan_rule);
        assert_eq!(best(&mut stage, 2), "A1 A2");
    }
}

#[test]
fn a_seat_that_had_no_free_neighbour_before_is_no_orphan() {
    let mut stage = Stage::with(&["s_sss"], |rules| rules.orphan_rule = OrphanRule::Refuse);
    stage.reserve("ann", "A1").expect("it has no neighbours");
    stage.reserve("ann", "A2").expect("A3 still has one");
    stage.reserve("ann", "A3 A4").unwrap();
}

#[test]
fn a_lapsed_hold_is_a_free_neighbour() {
    let mut stage = Stage::with(&["ssss", "sss"], |rules| rules.orphan_rule = OrphanRule::Refuse);
    let held = stage.reserve("ann", "A1 A2").unwrap();
    let Err(Refusal::LeavesOrphan(alone)) = stage.reserve("bob", "A4") else { panic!("A3 would be an orphan") };
    assert_eq!(alone.seats, [(2, Obstacle::Orphan)]);
    assert_eq!(stage.offered(&alone.offers), ["B3", "B1"]);
    stage.now = held.expire_time();
    stage.reserve("bob", "A4").unwrap();
}

#[test]
fn seats_that_some_need_are_the_last_to_be_given_to_others() {
    let mut stage = Stage::new(&["ss", "ac", "ss"]);
    assert_eq!(best(&mut stage, 2), "A1 A2");
    assert_eq!(best(&mut stage, 2), "C1 C2");
    assert_eq!(best(&mut stage, 2), "B1 B2");
}

#[test]
fn for_an_accessible_seat_other_accessible_seats_are_offered() {
    let mut stage = Stage::new(&["assss", "sssss", "assss", "sssss", "assss"]);
    stage.reserve("ann", "A1").unwrap();
    assert_eq!(offers(&mut stage, "A1"), ["C1", "E1", "A2"]);
    assert_eq!(offers(&mut stage, "A1 A2"), ["C1 C2", "E1 E2", "A2 A3"]);
}

#[test]
fn offers_are_the_nearest_blocks_and_share_no_seat() {
    let mut stage = Stage::with(&["ssssssss", "ssssssss", "ssssssss"], |rules| rules.max_customer_seats = 100);
    stage.reserve("ann", "B3 B4 B5").unwrap();
    assert_eq!(offers(&mut stage, "B4 B5 B6"), ["A4 A5 A6", "B6 B7 B8", "C4 C5 C6"]);
    stage.reserve("ann", "A1 A2 A3 A4 A5 A6 A7 A8").unwrap();
    stage.reserve("ann", "C1 C2 C3 C4 C5 C6 C7").unwrap();
    assert_eq!(offers(&mut stage, "C1 C2"), ["B1 B2", "B6 B7"]);
    assert_eq!(offers(&mut stage, "C1"), ["B6", "C8", "B8"], "B1 and B2 would leave each other as orphans");
}

#[test]
fn offers_that_leave_an_orphan_come_last_or_not_at_all() {
    let taken = |orphan_rule| {
        let mut stage = Stage::with(&["sss_ssss"], |rules| rules.orphan_rule = orphan_rule);
        stage.reserve("ann", "A1").unwrap_or_else(|refusal| panic!("{refusal:?}"));
        stage
    };
    // A2 A3 and the outer pairs of four leave no orphan.
    assert_eq!(offers(&mut taken(OrphanRule::Allow), "A1 A2"), ["A2 A3", "A4 A5", "A6 A7"]);
    // One of A2 and A3 leaves the other as an orphan.
    assert_eq!(offers(&mut taken(OrphanRule::Allow), "A1"), ["A4", "A7", "A2"]);
    assert_eq!(offers(&mut taken(OrphanRule::Refuse), "A1"), ["A4", "A7"]);
}
