//! All seats of an auditorium, numbered: the form of a layout on which decisions are made.
//!
//! Seats are numbered from 0, row by row from the screen to the back and from left to right. Aisles and gaps have no
//! numbers. Neighbours have consecutive numbers, so the first seat and the number of seats describe a block.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    ops::Range,
};

use super::{
    layout::{Layout, LayoutCell, LayoutRow, SeatKind},
    violations::Violations,
};

/// The label of a row: one to four upper-case letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowLabel([u8; 4]);

impl RowLabel {
    /// Reads a label that a caller wrote.
    ///
    /// # Errors
    /// The text is not a label. The path of the violation is empty.
    pub fn parse(text: &str) -> Result<Self, Violations> {
        let bytes = text.as_bytes();
        if !(1..=4).contains(&bytes.len()) || !bytes.iter().all(u8::is_ascii_uppercase) {
            return Err(Violations::one("", "must have 1 to 4 upper-case letters"));
        }
        let mut label = [0; 4];
        label[..bytes.len()].copy_from_slice(bytes);
        Ok(Self(label))
    }

    /// The label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(4);
        // Labels are ASCII.
        std::str::from_utf8(&self.0[..length]).unwrap_or_default()
    }
}

impl fmt::Display for RowLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of a seat, such as "F7".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeatName {
    /// The label of the row, such as "F".
    pub row: RowLabel,
    /// The number in the row, such as 7.
    pub number: i32,
}

impl fmt::Display for SeatName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.row, self.number)
    }
}

/// Neighbouring seats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Block {
    /// The number of the first seat in the auditorium, from 0.
    pub first: u16,
    /// The number of seats, at least 1.
    pub count: u16,
}

impl Block {
    /// The numbers of the seats in the auditorium.
    #[must_use]
    pub fn seats(self) -> Range<u16> {
        self.first..self.first + self.count
    }

    /// Whether the blocks have a seat in common.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.first < other.first + other.count && other.first < self.first + self.count
    }
}

/// Why a choice of seats is invalid, whether or not the seats are free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadChoice {
    /// The first kind, in the order of [`BadKind`], that the violations have.
    pub kind: BadKind,
    /// Every violation.
    pub violations: Violations,
}

/// What can be wrong with a choice of seats, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BadKind {
    /// The auditorium has no such seat, or no seat was named.
    Unknown,
    /// A seat was named twice.
    Repeated,
    /// The seats are not neighbours in one row.
    NotContiguous,
    /// There are more seats than one reservation may have.
    TooMany,
    /// A ticket type is not in the showtime's price list.
    TicketTypeUnknown,
    /// There are not as many tickets as seats.
    TicketTypesDiffer,
    /// Seats are exchanged for another number of seats.
    SeatsDiffer,
}

/// The position of a seat in the auditorium.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeatPosition {
    name: SeatName,
    pub(super) kind: SeatKind,
    /// The row, counted from the screen.
    pub(super) row: u16,
    /// The cell of the row, counted from the left with aisles and gaps.
    pub(super) column: u16,
    /// The index of its run.
    run: u16,
}

/// All seats of an auditorium.
#[derive(Debug)]
pub struct SeatIndex {
    rows_as_written: Vec<LayoutRow>,
    positions: Vec<SeatPosition>,
    /// Seats without an aisle or a gap between them.
    runs: Vec<Range<u16>>,
    by_name: HashMap<SeatName, u16>,
    /// The row and the column in the middle, times two so that they are integers.
    pub(super) centre: (i32, i32),
}

impl SeatIndex {
    /// Numbers the seats of a layout.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        let rows_as_written = layout.rows_as_written().to_vec();
        let (positions, runs, by_name) = (Vec::new(), Vec::new(), HashMap::new());
        let mut seat_index = Self { rows_as_written, positions, runs, by_name, centre: (0, 0) };
        for (at, row) in layout.rows().iter().enumerate() {
            // Every label of a layout is valid.
            let Ok(label) = RowLabel::parse(&row.label) else { continue };
            let mut follows_seat = false;
            for (column, cell) in row.cells.iter().enumerate() {
                match cell {
                    LayoutCell::Seat { number, kind } => {
                        let name = SeatName { row: label, number: *number };
                        seat_index.add(name, *kind, at as u16, column as u16, follows_seat);
                        follows_seat = true;
                    }
                    LayoutCell::Aisle | LayoutCell::Missing => follows_seat = false,
                }
            }
        }
        let widest = layout.rows().iter().map(|row| row.cells.len()).max().unwrap_or(1);
        seat_index.centre = (layout.rows().len() as i32 - 1, widest as i32 - 1);
        seat_index
    }

    fn add(&mut self, name: SeatName, kind: SeatKind, row: u16, column: u16, follows_seat: bool) {
        let seat = self.positions.len() as u16;
        match self.runs.last_mut() {
            Some(run) if follows_seat => run.end = seat + 1,
            _ => self.runs.push(seat..seat + 1),
        }
        self.by_name.insert(name, seat);
        self.positions.push(SeatPosition { name, kind, row, column, run: self.runs.len() as u16 - 1 });
    }

    /// The layout as it was written.
    #[must_use]
    pub fn rows_as_written(&self) -> &[LayoutRow] {
        &self.rows_as_written
    }

    /// The number of seats.
    #[must_use]
    pub fn seat_count(&self) -> u16 {
        self.positions.len() as u16
    }

    /// The runs of neighbouring seats, from the screen to the back.
    #[must_use]
    pub fn runs(&self) -> &[Range<u16>] {
        &self.runs
    }

    /// The run of a seat.
    #[must_use]
    pub fn run_of(&self, seat: u16) -> Range<u16> {
        self.runs[usize::from(self.positions[usize::from(seat)].run)].clone()
    }

    pub(super) fn position(&self, seat: u16) -> &SeatPosition {
        &self.positions[usize::from(seat)]
    }

    /// The name of a seat.
    #[must_use]
    pub fn name(&self, seat: u16) -> SeatName {
        self.position(seat).name
    }

    /// The kind of a seat.
    #[must_use]
    pub fn kind(&self, seat: u16) -> SeatKind {
        self.position(seat).kind
    }

    /// The kinds of the seats of a block.
    #[must_use]
    pub fn kinds(&self, block: Block) -> impl ExactSizeIterator<Item = SeatKind> + '_ {
        block.seats().map(|seat| self.kind(seat))
    }

    /// Whether a seat of this kind is beside a seat, without an aisle between them.
    #[must_use]
    pub fn is_beside(&self, seat: u16, kind: SeatKind) -> bool {
        let run = self.run_of(seat);
        let beside = [seat.checked_sub(1), Some(seat + 1)].into_iter().flatten();
        beside.filter(|other| run.contains(other)).any(|other| self.kind(other) == kind)
    }

    /// The names of the seats of a block.
    pub fn names(&self, block: Block) -> impl Iterator<Item = SeatName> + '_ {
        block.seats().map(|seat| self.name(seat))
    }

    /// The block that consists of these seats, which may be named in any order. It has at most `most` seats.
    ///
    /// # Errors
    /// The seats are not a block. The violations name everything that is wrong, under `seats`.
    pub fn block(&self, names: &[SeatName], most: u16) -> Result<Block, BadChoice> {
        let mut flaws = Flaws::default();
        let seats = self.known(names, &mut flaws);
        // A seat that is not known may be the one that is missing between the others.
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
        flaws.check_any(names);
        let first = seats.first().copied().unwrap_or_default();
        flaws.0.map_or(Ok(Block { first, count: seats.len() as u16 }), Err)
    }

    /// The numbers of these seats, in the order of the layout. They need not be neighbours.
    ///
    /// # Errors
    /// A seat is not in the auditorium, one is named twice, or none is named. The violations name everything that is wrong, under
    /// `seats`.
    pub fn numbers(&self, names: &[SeatName]) -> Result<Vec<u16>, BadChoice> {
        let mut flaws = Flaws::default();
        let seats = self.known(names, &mut flaws);
        flaws.check_any(names);
        flaws.0.map_or(Ok(seats), Err)
    }

    /// The numbers of the seats that are known, in the order of the layout.
    fn known(&self, names: &[SeatName], flaws: &mut Flaws) -> Vec<u16> {
        let mut seats = BTreeSet::new();
        for (index, name) in names.iter().enumerate() {
            match self.by_name.get(name) {
                None => flaws.add(
                    BadKind::Unknown,
                    &format!("[{index}]"),
                    format!("{name} is not a seat of this auditorium"),
                ),
                Some(seat) if !seats.insert(*seat) => {
                    flaws.add(BadKind::Repeated, &format!("[{index}]"), format!("{name} is named twice"));
                }
                Some(_) => {}
            }
        }
        seats.into_iter().collect()
    }
}

impl BadChoice {
    /// A number of seats is more than one reservation may have.
    #[must_use]
    pub fn too_many(most: u16) -> Self {
        let violations =
            Violations::one("seat_count", format!("must be at most {most}, the most seats of one reservation"));
        Self { kind: BadKind::TooMany, violations }
    }

    /// Seats are exchanged for another number of seats than the reservation has.
    #[must_use]
    pub fn differ(has: u16, named: u16) -> Self {
        let what = format!("must name as many seats as the reservation has: {has}, and names {named}");
        Self { kind: BadKind::SeatsDiffer, violations: Violations::one("seats", what) }
    }
}

/// The violations of a choice, if there are any.
#[derive(Default)]
struct Flaws(Option<BadChoice>);

impl Flaws {
    fn has(&self, kind: BadKind) -> bool {
        self.0.as_ref().is_some_and(|bad| bad.kind == kind)
    }

    fn check_any(&mut self, names: &[SeatName]) {
        if names.is_empty() {
            self.add(BadKind::Unknown, "", "must name a seat".to_owned());
        }
    }

    fn add(&mut self, kind: BadKind, cell: &str, what: String) {
        let bad = self.0.get_or_insert_with(|| BadChoice { kind, violations: Violations::new() });
        bad.kind = bad.kind.min(kind);
        bad.violations.add(format!("seats{cell}"), what);
    }
}
