//! The layout of an auditorium: rows of seats, aisles and gaps.
//!
//! A layout has two forms. Callers write rows as strings that people can read, and get them back as they were written. Each
//! row is also read into cells, on which decisions are made.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::violations::Violations;

/// The most rows of a layout.
pub const MAX_ROWS: usize = 100;
/// The most characters of a row: seats, aisles and gaps.
pub const MAX_PLACES: usize = 100;
/// The most seats of a layout.
pub const MAX_SEATS: usize = 2_000;
const MAX_NUMBER: i32 = 999;

/// A row as its author wrote it. `Row` in `auditoriums.proto` describes the notation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutRow {
    /// The label of the row, such as "A".
    pub label: String,
    /// One character for each cell, such as `sssss_sssss`.
    pub places: String,
    /// The numbers of the seats. Empty: they are counted from 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<i32>,
}

/// The kind of a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeatKind {
    /// A seat without special use.
    Standard,
    /// A place for a wheelchair.
    Accessible,
    /// A seat for the companion of somebody in an accessible seat.
    Companion,
    /// A better seat, such as a recliner.
    Premium,
}

/// One cell of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutCell {
    /// A seat.
    Seat {
        /// The number of the seat in its row.
        number: i32,
        /// The kind of the seat.
        kind: SeatKind,
    },
    /// An aisle.
    Aisle,
    /// A gap where a seat is missing, such as a pillar.
    Missing,
}

/// A row whose cells were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The label of the row.
    pub label: String,
    /// The cells from left to right.
    pub cells: Vec<LayoutCell>,
}

/// A valid layout: labels are unique, numbers are unique in their row, every row has a seat, and all limits are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    written: Vec<LayoutRow>,
    rows: Vec<Row>,
    seat_count: i32,
}

impl Layout {
    /// Reads a layout from its rows.
    ///
    /// # Errors
    /// Names every flaw of every row.
    pub fn new(written: Vec<LayoutRow>) -> Result<Self, Violations> {
        let mut violations = Violations::new();
        if written.is_empty() || written.len() > MAX_ROWS {
            violations.add("rows", format!("must have 1 to {MAX_ROWS} rows"));
            return Err(violations);
        }
        let mut labels = HashSet::new();
        let mut rows = Vec::with_capacity(written.len());
        let mut seat_count = 0;
        for (index, row) in written.iter().enumerate() {
            let path = format!("rows[{index}]");
            if !labels.insert(row.label.as_str()) {
                violations.add(format!("{path}.label"), "must be unique in the layout");
            }
            if let Some(cells) = violations.take(&path, read_row(row)) {
                seat_count += cells.iter().filter(|cell| matches!(cell, LayoutCell::Seat { .. })).count();
                rows.push(Row { label: row.label.clone(), cells });
            }
        }
        if seat_count > MAX_SEATS {
            violations.add("rows", format!("must have at most {MAX_SEATS} seats altogether"));
        }
        if violations.is_empty() { Ok(Self { written, rows, seat_count: seat_count as i32 }) } else { Err(violations) }
    }

    /// The layout as it was written.
    #[must_use]
    pub fn rows_as_written(&self) -> &[LayoutRow] {
        &self.written
    }

    /// The rows from the screen to the back.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The number of seats.
    #[must_use]
    pub fn seat_count(&self) -> i32 {
        self.seat_count
    }
}

fn read_row(row: &LayoutRow) -> Result<Vec<LayoutCell>, Violations> {
    let mut violations = Violations::new();
    if !fits_label(&row.label) {
        violations.add("label", "must have 1 to 4 upper-case letters");
    }
    violations.take("numbers", check_numbers(&row.numbers));
    let cells = violations.take("", read_cells(row));
    match cells {
        Some(cells) if violations.is_empty() => Ok(cells),
        _ => Err(violations),
    }
}

/// Digits are not allowed: seat 1 of a row A1 and seat 11 of row A would both be called A11.
fn fits_label(label: &str) -> bool {
    (1..=4).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_uppercase())
}

fn check_numbers(numbers: &[i32]) -> Result<(), Violations> {
    let mut violations = Violations::new();
    if numbers.len() > MAX_PLACES {
        violations.add("", format!("must have at most {MAX_PLACES} numbers"));
        return Err(violations);
    }
    let mut seen = HashSet::new();
    for (index, number) in numbers.iter().enumerate() {
        if !(1..=MAX_NUMBER).contains(number) {
            violations.add(format!("[{index}]"), format!("must be from 1 to {MAX_NUMBER}"));
        }
        if !seen.insert(number) {
            violations.add(format!("[{index}]"), "must be unique in its row");
        }
    }
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

/// Reads the characters of a row. Where seats are counted, a missing seat is counted too.
fn read_cells(row: &LayoutRow) -> Result<Vec<LayoutCell>, Violations> {
    let length = row.places.chars().count();
    if length == 0 || length > MAX_PLACES {
        return Err(Violations::one("places", format!("must have 1 to {MAX_PLACES} places")));
    }
    let mut given = row.numbers.iter().copied();
    let mut counted = 0;
    let mut seats = 0;
    let mut cells = Vec::with_capacity(length);
    for character in row.places.chars() {
        let kind = match character {
            's' => SeatKind::Standard,
            'a' => SeatKind::Accessible,
            'c' => SeatKind::Companion,
            'p' => SeatKind::Premium,
            '_' => {
                cells.push(LayoutCell::Aisle);
                continue;
            }
            '.' => {
                counted += 1;
                cells.push(LayoutCell::Missing);
                continue;
            }
            _ => return Err(Violations::one("places", "must be made of s, a, c, p, _ and . only")),
        };
        counted += 1;
        seats += 1;
        cells.push(LayoutCell::Seat { number: given.next().unwrap_or(counted), kind });
    }
    if seats == 0 {
        return Err(Violations::one("places", "must have at least one seat"));
    }
    if !row.numbers.is_empty() && row.numbers.len() != seats {
        let what = format!("must be one for each of the row's {seats} seats, or left out");
        return Err(Violations::one("numbers", what));
    }
    Ok(cells)
}
