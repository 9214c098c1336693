//! Finds card numbers in texts, so that none is stored, logged or passed on.

/// The digits of a card number: as few as the shortest, as many as the longest.
const SHORTEST: usize = 12;
const LONGEST: usize = 19;

/// Whether a part of the text looks like a card number: 12 to 19 digits, bare or in groups, with a check digit that is right.
/// Letters beside the digits do not matter, because `tok_4111111111111111` has the number of a card, too.
pub(super) fn is_in(text: &str) -> bool {
    let mut digits = Vec::new();
    let mut separated = false;
    for c in text.chars().chain([';']) {
        match c.to_digit(10) {
            Some(digit) => {
                digits.push(digit);
                separated = false;
            }
            // A group may follow.
            None if matches!(c, ' ' | '-' | '.') && !separated => separated = true,
            None => {
                if is_card(&digits) {
                    return true;
                }
                digits.clear();
                separated = false;
            }
        }
    }
    false
}

/// Whether the whole text is digits and separators, and looks like a card number. Keys are made of random ids, in which a card
/// number can be found by chance: that is why of a key only the whole counts.
pub(super) fn is(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || matches!(c, ' ' | '-' | '.')) && is_in(text)
}

fn is_card(digits: &[u32]) -> bool {
    (SHORTEST..=LONGEST).contains(&digits.len()) && digits.iter().any(|digit| *digit != 0) && has_check_digit(digits)
}

/// The rule of Luhn: with every second digit from the right doubled, the sum of all digits ends in 0.
fn has_check_digit(digits: &[u32]) -> bool {
    let doubled = |digit: u32| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let weighed = digits.iter().rev().enumerate().map(|(at, digit)| if at % 2 == 1 { doubled(*digit) } else { *digit });
    weighed.sum::<u32>() % 10 == 0
}

#[cfg(test)]
mod tests {
    use super::{is, is_in};

    #[test]
    fn card_numbers_are_found_bare_and_in_groups() {
        for card in [
            "4111111111111111",
            "4111 1111 1111 1111",
            "card 3782-822463-10005.",
            "tok_5555555555554444",
            "6304000000000000",
        ] {
            assert!(is_in(card), "{card}");
        }
        for other in
            ["4111111111111112", "tok_ok", "41111111111", "000000000000", "01890a5d-ac96-774b-bcce-b302099a8057", ""]
        {
            assert!(!is_in(other), "{other}");
        }
        assert!(is("4111 1111 1111 1111") && !is("pay-4111111111111111"));
    }
}
