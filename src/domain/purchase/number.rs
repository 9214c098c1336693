//! Purchase numbers, which are read aloud and written down.

use std::fmt;

use crate::domain::violations::Violations;

/// Crockford's alphabet: no I, L, O or U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// The characters before the check character: 45 random bits.
const RANDOM: usize = 9;

/// A number of 10 characters, of which the last one checks the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PurchaseNumber(String);

impl PurchaseNumber {
    /// A number made of random bits.
    #[must_use]
    pub fn of(random: [u8; 8]) -> Self {
        let bits = u64::from_be_bytes(random);
        let digits: Vec<_> = (0..RANDOM).map(|at| (bits >> (5 * at)) as usize & 31).collect();
        let all = digits.iter().copied().chain([check(&digits)]);
        Self(all.map(|digit| char::from(ALPHABET[digit])).collect())
    }

    /// Reads a number that somebody wrote: case, spaces and hyphens do not count, and O is 0, I and L are 1.
    ///
    /// # Errors
    /// It is no number of a purchase. The path of the violation is empty.
    pub fn parse(text: &str) -> Result<Self, Violations> {
        let flaw = || Violations::one("", "must be a purchase number, such as 7ZK4M0QX3D");
        let written = text.chars().filter(|one| !matches!(one, ' ' | '-')).take(RANDOM + 2);
        let digits: Option<Vec<_>> = written.map(digit).collect();
        let digits = digits.filter(|digits| digits.len() == RANDOM + 1).ok_or_else(flaw)?;
        if check(&digits[..RANDOM]) != digits[RANDOM] {
            return Err(flaw());
        }
        Ok(Self(digits.into_iter().map(|digit| char::from(ALPHABET[digit])).collect()))
    }

    /// A number that was stored, which is trusted.
    #[must_use]
    pub fn restore(text: String) -> Self {
        Self(text)
    }

    /// The number as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PurchaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The check digit: the sum of the digits, each times its place, from 1, modulo 31. A wrong digit is found unless it is a Z read
/// for a 0, and two neighbours that were exchanged are found too, since neighbouring places differ by 1.
fn check(digits: &[usize]) -> usize {
    digits.iter().enumerate().map(|(at, digit)| (at + 1) * digit).sum::<usize>() % 31
}

fn digit(character: char) -> Option<usize> {
    let upper = match character.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    ALPHABET.iter().position(|one| char::from(*one) == upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_as_it_is_spoken_and_written() {
        let number = PurchaseNumber::of([0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0]);
        assert_eq!(number.as_str().len(), 10);
        let spoken = number.as_str().to_lowercase().replace('0', "o").replace('1', "l");
        let written = format!("{}-{} {}", &spoken[..4], &spoken[4..7], &spoken[7..]);
        assert_eq!(PurchaseNumber::parse(&written), Ok(number));
    }

    #[test]
    fn wrong_characters_and_exchanged_neighbours_are_found() {
        for seed in 0..200_u64 {
            let number = PurchaseNumber::of((seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes());
            let text = number.as_str().as_bytes();
            for at in 0..9 {
                let mut wrong = text.to_vec();
                let now = digit(char::from(wrong[at])).expect("a digit");
                wrong[at] = ALPHABET[(now + 1) % 32];
                if now != 31 {
                    assert!(PurchaseNumber::parse(&String::from_utf8_lossy(&wrong)).is_err(), "{number} at {at}");
                }
                if at < 8 && text[at] != text[at + 1] && text[at] != b'Z' && text[at + 1] != b'Z' {
                    let mut exchanged = text.to_vec();
                    exchanged.swap(at, at + 1);
                    assert!(PurchaseNumber::parse(&String::from_utf8_lossy(&exchanged)).is_err(), "{number} at {at}");
                }
            }
        }
        for wrong in ["", "123", "7ZK4M0QX3DD", "7ZK4M0QXU!", "0000000001"] {
            assert!(PurchaseNumber::parse(wrong).is_err(), "{wrong}");
        }
        assert!(PurchaseNumber::parse("0000000000").is_ok());
    }
}
