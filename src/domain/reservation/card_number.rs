//! Card numbers, which must not be stored as the name of a payment.
//!
//! A number counts as a card's only if it has the prefix and the length of a card scheme and passes Luhn's check, and is
//! written bare or in groups of four (American Express also 4-6-5). The id of a payment that merely passes the check is
//! none. Maestro is left out apart from the numbers that it shares with others: its prefixes and lengths cover so much that
//! ids of payments would be refused.

use std::ops::RangeInclusive;

/// Prefixes of four digits and lengths, by scheme.
const SCHEMES: &[(RangeInclusive<u32>, &[usize])] = &[
    // Visa
    (4000..=4999, &[13, 16, 19]),
    // Mastercard
    (2221..=2720, &[16]),
    (5100..=5599, &[16]),
    // American Express
    (3400..=3499, &[15]),
    (3700..=3799, &[15]),
    // Discover
    (6011..=6011, &[16, 19]),
    (6440..=6599, &[16, 19]),
    // UnionPay
    (6200..=6299, &[16, 17, 18, 19]),
    // Diners Club
    (3000..=3059, &[14, 16]),
    (3600..=3699, &[14, 16]),
    (3800..=3999, &[14, 16]),
    // JCB
    (3528..=3589, &[16]),
];

/// Whether the text contains a card number, as a whole and not as a part of a longer number.
pub(super) fn contains_card_number(text: &str) -> bool {
    let other = |character: char| !character.is_ascii_digit() && character != ' ' && character != '-';
    text.split(other).any(|part| {
        let groups: Vec<&str> = part.split([' ', '-']).collect();
        let ends = 1..=groups.len();
        ends.clone().any(|end| (0..end).any(|start| is_card_number(&groups[start..end])))
    })
}

/// Whether these groups of digits, which stand between spaces or hyphens, are one card number.
fn is_card_number(groups: &[&str]) -> bool {
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let grouped = match lengths.split_last() {
        Some((last, [])) => *last > 4,
        Some((last, first)) => {
            first.iter().all(|length| *length == 4) && (1..=4).contains(last) || lengths == [4, 6, 5]
        }
        None => false,
    };
    let digits: Vec<u32> = groups.concat().chars().filter_map(|digit| digit.to_digit(10)).collect();
    grouped && of_a_scheme(&digits) && passes_luhn(&digits)
}

fn of_a_scheme(digits: &[u32]) -> bool {
    let prefix = digits.iter().take(4).fold(0, |prefix, digit| prefix * 10 + digit);
    SCHEMES.iter().any(|(prefixes, lengths)| prefixes.contains(&prefix) && lengths.contains(&digits.len()))
}

/// Luhn's check: the last digit follows from the others.
fn passes_luhn(digits: &[u32]) -> bool {
    let doubled = |digit: u32| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let worth = |(at, digit): (usize, &u32)| if at % 2 == 1 { doubled(*digit) } else { *digit };
    digits.iter().rev().enumerate().map(worth).sum::<u32>().is_multiple_of(10)
}
