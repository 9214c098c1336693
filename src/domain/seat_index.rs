//! The seats of a house, counted: the form of a layout that decisions are made on.
//!
//! Seats are numbered through, row by row and from left to right, aisles and gaps left out. Neighbours have consecutive
//! numbers, so a block of seats is its first seat and a length, and nothing else.

#[cfg(test)]
mod tests;

use std::{collections::HashMap, fmt, ops::Range};

use super::{
    layout::{Layout, LayoutCell, LayoutRow, SeatKind},
    violations::Violations,
};

/// The letters on a row: one to four of them, upper case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowLabel([u8; 4]);

impl RowLabel {
    /// Reads a label.
    ///
    /// # Errors
    /// Says, under an empty path, what a label is.
    pub fn parse(text: &str) -> Result<Self, Violations> {
        let bytes = text.as_bytes();
        if !(1..=4).contains(&bytes.len()) || !bytes.iter().all(u8::is_ascii_uppercase) {
            return Err(Violations::one("", "must have 1 to 4 upper-case letters"));
        }
        let mut label = [0; 4];
        label[..bytes.len()].copy_from_slice(bytes);
        Ok(Self(label))
    }

    /// The letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(4);
        // They are ASCII.
        std::str::from_utf8(&self.0[..length]).unwrap_or_default()
    }
}

impl fmt::Display for RowLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A seat as people call it: "F7".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeatName {
    /// "F"
    pub row: RowLabel,
    /// 7
    pub number: i32,
}

impl fmt::Display for SeatName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.row, self.number)
    }
}

/// Neighbouring seats: the first of them, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Block {
    /// Counted through the house, from 0.
    pub first: u16,
    /// At least 1.
    pub count: u16,
}

impl Block {
    /// The seats' numbers through the house.
    #[must_use]
    pub fn seats(self) -> Range<u16> {
        self.first..self.first + self.count
    }

    /// Whether a seat is in both.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.first < other.first + other.count && other.first < self.first + self.count
    }
}

/// A choice of seats that is wrong, whoever has them: what is wrong in the first place, and all that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadChoice {
    /// Of the flaws' kinds the one that [`BadKind`] names first.
    pub kind: BadKind,
    /// Every flaw.
    pub violations: Violations,
}

/// What can be wrong with a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BadKind {
    /// The house has no such seat.
    Unknown,
    /// A seat was named twice.
    Repeated,
    /// There is an aisle, a gap, a row or another seat between them.
    NotContiguous,
    /// More than one reservation may have.
    TooMany,
}

/// Where a seat is.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeatPosition {
    name: SeatName,
    pub(super) kind: SeatKind,
    /// From the screen.
    pub(super) row: u16,
    /// From the left; aisles and gaps count.
    pub(super) column: u16,
    /// Which of the runs it is in.
    run: u16,
}

/// All seats of an auditorium.
#[derive(Debug)]
pub struct SeatIndex {
    /// As it was written.
    written: Vec<LayoutRow>,
    positions: Vec<SeatPosition>,
    /// Seats without anything between them, from aisle to aisle.
    runs: Vec<Range<u16>>,
    by_name: HashMap<SeatName, u16>,
    /// Twice the middle, so that it is whole: of rows, and of columns.
    pub(super) centre: (i32, i32),
}

impl SeatIndex {
    /// Counts the seats of a layout.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        let written = layout.rows_as_written().to_vec();
        let mut seat_index =
            Self { written, positions: Vec::new(), runs: Vec::new(), by_name: HashMap::new(), centre: (0, 0) };
        for (row, plan) in layout.rows().iter().enumerate() {
            // A layout was checked when it was made.
            let Ok(label) = RowLabel::parse(&plan.label) else { continue };
            let mut open = false;
            for (column, cell) in plan.cells.iter().enumerate() {
                match cell {
                    LayoutCell::Seat { number, kind } => {
                        let name = SeatName { row: label, number: *number };
                        seat_index.add(name, *kind, row as u16, column as u16, open);
                        open = true;
                    }
                    LayoutCell::Aisle | LayoutCell::Missing => open = false,
                }
            }
        }
        let widest = layout.rows().iter().map(|row| row.cells.len()).max().unwrap_or(1);
        seat_index.centre = (layout.rows().len() as i32 - 1, widest as i32 - 1);
        seat_index
    }

    fn add(&mut self, name: SeatName, kind: SeatKind, row: u16, column: u16, beside_the_last: bool) {
        let seat = self.positions.len() as u16;
        match self.runs.last_mut() {
            Some(run) if beside_the_last => run.end = seat + 1,
            _ => self.runs.push(seat..seat + 1),
        }
        self.by_name.insert(name, seat);
        self.positions.push(SeatPosition { name, kind, row, column, run: self.runs.len() as u16 - 1 });
    }

    /// The layout as it was written.
    #[must_use]
    pub fn rows_as_written(&self) -> &[LayoutRow] {
        &self.written
    }

    /// How many people can sit.
    #[must_use]
    pub fn seat_count(&self) -> u16 {
        self.positions.len() as u16
    }

    /// Runs of neighbours, from the screen to the back.
    #[must_use]
    pub fn runs(&self) -> &[Range<u16>] {
        &self.runs
    }

    /// The run that a seat is in.
    #[must_use]
    pub fn run_of(&self, seat: u16) -> Range<u16> {
        self.runs[usize::from(self.positions[usize::from(seat)].run)].clone()
    }

    pub(super) fn position(&self, seat: u16) -> &SeatPosition {
        &self.positions[usize::from(seat)]
    }

    /// What people call a seat of this house.
    #[must_use]
    pub fn name(&self, seat: u16) -> SeatName {
        self.position(seat).name
    }

    /// What people call the seats of a block of this house.
    pub fn names(&self, block: Block) -> impl Iterator<Item = SeatName> + '_ {
        block.seats().map(|seat| self.name(seat))
    }

    /// The block that these seats are.
    ///
    /// # Errors
    /// Says, under `seats`, everything that keeps them from being one.
    pub fn block(&self, names: &[SeatName], most: u16) -> Result<Block, BadChoice> {
        let mut flaws = Flaws::default();
        let mut seats = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            match self.by_name.get(name) {
                None => flaws.add(
                    BadKind::Unknown,
                    &format!("[{index}]"),
                    format!("{name} is not a seat of this auditorium"),
                ),
                Some(seat) if seats.contains(seat) => {
                    flaws.add(BadKind::Repeated, &format!("[{index}]"), format!("{name} is named twice"));
                }
                Some(seat) => seats.push(*seat),
            }
        }
        seats.sort_unstable();
        // The unknown one may be what is missing between the others.
        let pairs = if flaws.has(BadKind::Unknown) { &[] } else { seats.as_slice() };
        for pair in pairs.windows(2) {
            if self.position(pair[0]).run != self.position(pair[1]).run || pair[1] != pair[0] + 1 {
                let what = format!("{} and {} are not neighbours", self.name(pair[0]), self.name(pair[1]));
                flaws.add(BadKind::NotContiguous, "", what);
            }
        }
        if names.len() > usize::from(most) {
            let what = format!("must name at most {most} seats, and names {}", names.len());
            flaws.add(BadKind::TooMany, "", what);
        }
        if names.is_empty() {
            flaws.add(BadKind::Unknown, "", "must name a seat".to_owned());
        }
        let first = seats.first().copied().unwrap_or_default();
        flaws.0.map_or(Ok(Block { first, count: seats.len() as u16 }), Err)
    }
}

impl BadChoice {
    /// A count that is more than one reservation may have.
    #[must_use]
    pub fn too_many(most: u16) -> Self {
        let violations = Violations::one("seat_count", format!("must be at most {most}"));
        Self { kind: BadKind::TooMany, violations }
    }
}

#[derive(Default)]
struct Flaws(Option<BadChoice>);

impl Flaws {
    fn has(&self, kind: BadKind) -> bool {
        self.0.as_ref().is_some_and(|bad| bad.kind == kind)
    }

    fn add(&mut self, kind: BadKind, cell: &str, what: String) {
        let bad = self.0.get_or_insert_with(|| BadChoice { kind, violations: Violations::new() });
        bad.kind = bad.kind.min(kind);
        bad.violations.add(format!("seats{cell}"), what);
    }
}
