//! Seats, their numbers and their names.

use super::{Block, RowLabel, SeatIndex, SeatName};
use crate::domain::layout::{Layout, LayoutRow};

fn seat_index() -> SeatIndex {
    let row = |label: &str, places: &str, numbers: &[i32]| LayoutRow {
        label: label.to_owned(),
        places: places.to_owned(),
        numbers: numbers.to_vec(),
    };
    let rows = vec![row("A", "ss_s", &[]), row("BC", "_.ss.s", &[]), row("Z", "sss", &[5, 3, 1])];
    SeatIndex::new(&Layout::new(rows).unwrap())
}

#[test]
fn seats_are_counted_row_by_row_and_have_their_own_names() {
    let seat_index = seat_index();
    let names: Vec<String> = (0..seat_index.seat_count()).map(|seat| seat_index.name(seat).to_string()).collect();
    assert_eq!(names, ["A1", "A2", "A3", "BC2", "BC3", "BC5", "Z5", "Z3", "Z1"]);
    assert_eq!(seat_index.runs(), [0..2, 2..3, 3..5, 5..6, 6..9]);
    for (seat, run) in (0..).zip([0..2, 0..2, 2..3, 3..5, 3..5, 5..6, 6..9, 6..9, 6..9]) {
        assert_eq!(seat_index.run_of(seat), run, "{seat}");
    }
    assert_eq!(seat_index.centre, (2, 5), "twice the second row, and twice between the third and the fourth cell");
}

#[test]
fn neighbours_sit_beside_each_other_whatever_their_numbers() {
    let seat_index = seat_index();
    let block = |labels: &[(&str, i32)]| {
        let name = |(row, number): &(&str, i32)| SeatName { row: RowLabel::parse(row).unwrap(), number: *number };
        seat_index.block(&labels.iter().map(name).collect::<Vec<_>>(), 10).map_err(|bad| bad.kind)
    };
    assert_eq!(block(&[("Z", 1), ("Z", 3)]), Ok(Block { first: 7, count: 2 }));
    assert_eq!(block(&[("Z", 1), ("Z", 5), ("Z", 3)]), Ok(Block { first: 6, count: 3 }));
    block(&[("Z", 1), ("Z", 5)]).unwrap_err();
    block(&[("Z", 1), ("Z", 2)]).unwrap_err();
    assert_eq!(seat_index.names(Block { first: 6, count: 3 }).map(|name| name.number).collect::<Vec<_>>(), [5, 3, 1]);
}

#[test]
fn blocks_overlap_if_a_seat_is_in_both() {
    let block = |first, count| Block { first, count };
    let sets = |block: Block| block.seats().collect::<std::collections::HashSet<_>>();
    for (one, other) in (0..5).flat_map(|first| (0..5).map(move |second| (block(first, 2), block(second, 3)))) {
        assert_eq!(one.overlaps(other), !sets(one).is_disjoint(&sets(other)), "{one:?} {other:?}");
    }
}

#[test]
fn a_label_has_one_to_four_capitals() {
    for label in ["A", "ZZ", "ABC", "ABCD"] {
        assert_eq!(RowLabel::parse(label).unwrap().as_str(), label);
    }
    for label in ["", "a", "A1", "ABCDE", "Ä", "A "] {
        RowLabel::parse(label).unwrap_err();
    }
}
