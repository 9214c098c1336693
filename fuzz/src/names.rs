//! Names that inputs use for what each service makes anew: ids, page tokens, the epoch.
//!
//! An input has the placeholder. Before it is sent, the placeholder is replaced by the value, which has the same length, so
//! that lengths in the encoded message stay right.

/// An auditorium with seats.
pub const AUDITORIUM: &str = "a0000000-0000-7000-8000-000000000001";
/// A scheduled showtime in it.
pub const SHOWTIME: &str = "b0000000-0000-7000-8000-000000000001";
/// A cancelled showtime.
pub const CANCELLED: &str = "b0000000-0000-7000-8000-000000000002";
/// The reservation that was made last.
pub const HELD: &str = "c0000000-0000-7000-8000-000000000001";
/// A confirmed reservation.
pub const CONFIRMED: &str = "c0000000-0000-7000-8000-000000000002";
/// The epoch of the seat maps.
pub const EPOCH: &str = "{epoch}";
/// The token of the second page of each list, with pages of one item and the simplest filter.
pub const TOKENS: [&str; 4] = ["{auditoriums}", "{movies}", "{showtimes}", "{reservations}"];

/// The placeholders and their values.
#[derive(Debug, Default)]
pub struct Names(Vec<(Vec<u8>, Vec<u8>)>);

impl Names {
    /// Gives a placeholder a value, or another one. It is filled up with `~` to the length of the value.
    pub fn set(&mut self, placeholder: &str, value: &str) {
        let width = value.len();
        let placeholder = format!("{placeholder:~<width$}").into_bytes();
        assert_eq!(placeholder.len(), width, "{value} is shorter than its placeholder");
        self.0.retain(|(known, _)| *known != placeholder);
        self.0.push((placeholder, value.into()));
    }

    /// The text with the placeholders filled up, as inputs have to have them.
    #[must_use]
    pub fn placeholders(&self) -> Vec<String> {
        self.0.iter().map(|(placeholder, _)| String::from_utf8_lossy(placeholder).into_owned()).collect()
    }

    /// Replaces the placeholders in `bytes` by their values.
    pub fn fill_in(&self, bytes: &mut [u8]) {
        for (placeholder, value) in &self.0 {
            let mut from = 0;
            while let Some(at) = find(&bytes[from..], placeholder) {
                bytes[from + at..][..value.len()].copy_from_slice(value);
                from += at + value.len();
            }
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = wanted.first()?;
    let last = bytes.len().checked_sub(wanted.len())?;
    (0..=last).find(|at| bytes[*at] == *first && bytes[*at..].starts_with(wanted))
}
