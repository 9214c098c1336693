//! Detects card numbers, which are neither stored nor logged. They may come from callers and from the payment gateway.
//!
//! A number counts as a card number if it has the prefix and the length of a card scheme and passes the Luhn check. One in
//! ten numbers passes the Luhn check alone, and so would transaction ids made of a time or a counter. Two ranges are left
//! out for their sake: Maestro, which has not been issued since 2023 and whose prefixes and lengths fit one number in seven,
//! and Visa numbers of 13 digits, which have not been issued for decades. About three in a hundred random numbers of
//! 16 digits have all that a card number has; of other lengths it is less.

#[cfg(test)]
mod tests;

use std::ops::{Range, RangeInclusive};

/// A range of card numbers.
struct CardRange {
    scheme: &'static str,
    /// The first digits, from the first to the last number of the range. Both have the same number of digits.
    prefix: RangeInclusive<u32>,
    lengths: RangeInclusive<usize>,
}

const fn range(scheme: &'static str, prefix: RangeInclusive<u32>, lengths: RangeInclusive<usize>) -> CardRange {
    CardRange { scheme, prefix, lengths }
}

const RANGES: [CardRange; 14] = [
    range("Visa", 4..=4, 16..=16),
    range("Visa", 4..=4, 19..=19),
    range("Mastercard", 51..=55, 16..=16),
    range("Mastercard", 2_221..=2_720, 16..=16),
    range("American Express", 34..=34, 15..=15),
    range("American Express", 37..=37, 15..=15),
    range("Discover", 6_011..=6_011, 16..=19),
    range("Discover", 644..=649, 16..=19),
    range("Discover", 65..=65, 16..=19),
    range("Diners Club", 300..=305, 14..=19),
    range("Diners Club", 36..=36, 14..=19),
    range("Diners Club", 38..=39, 14..=19),
    range("JCB", 3_528..=3_589, 16..=19),
    range("UnionPay", 62..=62, 16..=19),
];

/// Whether a card number stands in the text.
#[must_use]
pub fn contains_card_number(text: &str) -> bool {
    card_scheme(text).is_some()
}

/// The scheme of a card number that stands in the text.
///
/// The number is written without separators, or in groups of four (the last may be shorter) with one space or one hyphen
/// between them; American Express numbers also in groups of 4, 6 and 5, Diners Club numbers in groups of 4, 6 and 4. A part
/// of a longer run of digits is not a number by itself, nor are groups that end at a letter.
pub(super) fn card_scheme(text: &str) -> Option<&'static str> {
    let bytes = text.as_bytes();
    let runs: Vec<_> = digit_runs(bytes).collect();
    (0..runs.len()).find_map(|first| {
        let in_groups = |separator| grouped(bytes, &runs[first..], separator);
        scheme(&bytes[runs[first].clone()]).or_else(|| in_groups(b' ')).or_else(|| in_groups(b'-'))
    })
}

/// Where the text has digits: each longest run of them.
fn digit_runs(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut end = 0;
    text.chunk_by(|one, next| one.is_ascii_digit() == next.is_ascii_digit()).filter_map(move |run| {
        let start = end;
        end += run.len();
        run[0].is_ascii_digit().then_some(start..end)
    })
}

/// The scheme of a number in groups that begins with the first of these runs.
fn grouped(text: &[u8], runs: &[Range<usize>], separator: u8) -> Option<&'static str> {
    const MOST_GROUPS: usize = 5;
    let (mut digits, mut sizes) = (Vec::new(), Vec::new());
    for (at, run) in runs.iter().take(MOST_GROUPS).enumerate() {
        if at > 0 && text[runs[at - 1].end..run.start] != [separator] {
            return None;
        }
        digits.extend_from_slice(&text[run.clone()]);
        sizes.push(run.len());
        // The groups of a UUID may look like those of a card, up to the first letter.
        let is_cut_off = text.get(run.end).is_some_and(u8::is_ascii_alphabetic);
        if let Some(found) = scheme(&digits).filter(|_| is_grouping(&sizes) && !is_cut_off) {
            return Some(found);
        }
    }
    None
}

fn is_grouping(sizes: &[usize]) -> bool {
    match sizes {
        [4, 6, 4 | 5] => true,
        [fours @ .., last] => fours.iter().all(|size| *size == 4) && (1..=4).contains(last),
        [] => false,
    }
}

/// The scheme, if the whole of these digits is a card number.
fn scheme(digits: &[u8]) -> Option<&'static str> {
    let value = |digits: &[u8]| digits.iter().fold(0, |value, digit| 10 * value + u32::from(digit - b'0'));
    let fits = |range: &&CardRange| {
        let prefix = digits.get(..range.prefix.start().ilog10() as usize + 1);
        range.lengths.contains(&digits.len()) && prefix.is_some_and(|prefix| range.prefix.contains(&value(prefix)))
    };
    RANGES.iter().find(fits).filter(|_| passes_luhn(digits)).map(|range| range.scheme)
}

/// Whether the last digit is the check digit of the others.
fn passes_luhn(digits: &[u8]) -> bool {
    let worth = |(at, digit): (usize, &u8)| match (at % 2, u32::from(digit - b'0')) {
        (0, digit) => digit,
        (_, digit) if digit > 4 => 2 * digit - 9,
        (_, digit) => 2 * digit,
    };
    digits.iter().rev().enumerate().map(worth).sum::<u32>().is_multiple_of(10)
}
