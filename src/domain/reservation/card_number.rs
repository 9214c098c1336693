//! Card numbers: what must not be stored as the name of a payment.

/// Whether the text contains 13 to 19 digits, spaces and hyphens aside, that pass Luhn's check.
pub(super) fn contains_card_number(text: &str) -> bool {
    let other = |character: char| !character.is_ascii_digit() && character != ' ' && character != '-';
    text.split(other).any(|part| {
        let digits: Vec<u32> = part.chars().filter_map(|character| character.to_digit(10)).collect();
        (13..=19).contains(&digits.len()) && passes_luhn(&digits)
    })
}

/// Luhn's check: the last digit follows from the others.
fn passes_luhn(digits: &[u32]) -> bool {
    let doubled = |digit: u32| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let worth = |(at, digit): (usize, &u32)| if at % 2 == 1 { doubled(*digit) } else { *digit };
    digits.iter().rev().enumerate().map(worth).sum::<u32>().is_multiple_of(10)
}
