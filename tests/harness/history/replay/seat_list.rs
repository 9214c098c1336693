//! The seats of an auditorium, by name.

use boxoffice::pb::boxoffice::v1::Layout;

/// The row and number of a seat, such as ("F", 7).
pub(in super::super) type SeatName = (String, i32);

/// The seats of an auditorium, row by row from left to right.
#[derive(Clone)]
pub(in super::super) struct SeatList(Vec<ListedSeat>);

#[derive(Clone)]
struct ListedSeat {
    name: SeatName,
    /// The number of its run of neighbouring seats.
    run: usize,
    is_premium: bool,
}

impl SeatList {
    pub(in super::super) fn new(layout: &Layout) -> Self {
        let (mut seats, mut run) = (Vec::new(), 0);
        for row in &layout.rows {
            run += 1;
            let (mut number, mut numbers) = (0, row.numbers.iter());
            for cell in row.places.chars() {
                number += i32::from(cell != '_');
                match cell {
                    '_' | '.' => run += 1,
                    kind => {
                        let name = (row.label.clone(), *numbers.next().unwrap_or(&number));
                        seats.push(ListedSeat { name, run, is_premium: kind == 'p' });
                    }
                }
            }
        }
        Self(seats)
    }

    pub(in super::super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(in super::super) fn position(&self, name: &SeatName) -> Option<usize> {
        self.0.iter().position(|seat| seat.name == *name)
    }

    /// Returns up to `count` seats from the position `first` on. The tables use the same positions.
    pub(in super::super) fn names(&self, first: usize, count: usize) -> Vec<SeatName> {
        self.0.iter().skip(first).take(count).map(|seat| seat.name.clone()).collect()
    }

    pub(in super::super) fn is_premium(&self, name: &SeatName) -> bool {
        self.0.iter().any(|seat| seat.name == *name && seat.is_premium)
    }

    /// Returns the seats in the order of the layout.
    pub(in super::super) fn sorted(&self, mut seats: Vec<SeatName>) -> Vec<SeatName> {
        seats.sort_by_key(|name| self.position(name));
        seats
    }

    /// Whether the seats are neighbours without an aisle between them, from left to right.
    pub(in super::super) fn is_block(&self, seats: &[SeatName]) -> bool {
        let positions: Vec<_> = seats.iter().map(|seat| self.position(seat)).collect();
        let adjacent = |pair: &[Option<usize>]| match (pair[0], pair[1]) {
            (Some(one), Some(next)) => next == one + 1 && self.0[one].run == self.0[next].run,
            _ => false,
        };
        !seats.is_empty() && positions[0].is_some() && positions.windows(2).all(adjacent)
    }

    /// Returns all runs of this many neighbouring seats.
    pub(in super::super) fn blocks(&self, size: usize) -> impl Iterator<Item = Vec<SeatName>> {
        (0..self.0.len())
            .map(move |first| self.names(first, size))
            .filter(move |block| block.len() == size && self.is_block(block))
    }
}
