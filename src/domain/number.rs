//! Numbers of tickets and purchases, which are read aloud and written down.

use std::fmt;

use crate::domain::violations::Violations;

/// Crockford's alphabet: no I, L, O or U.
pub(super) const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// The characters before the check character: 45 random bits.
const RANDOM: usize = 9;
/// The characters of a number.
const LENGTH: usize = RANDOM + 1;
/// The characters of a prefix.
const PREFIX: usize = 3;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// A number made of random bits.
            #[must_use]
            pub fn of(random: [u8; 8]) -> Self {
                Self(of(random))
            }

            /// Reads a number that somebody wrote, with or without its prefix: case, spaces and hyphens do not count, and
            /// O is 0, I and L are 1.
            ///
            /// # Errors
            /// The text is no number of this kind. The path of the violation is empty.
            pub fn parse(text: &str) -> Result<Self, Violations> {
                parse(text, $prefix).map(Self).ok_or_else(|| Violations::one("", $rule))
            }

            /// A number that was stored, which is trusted.
            #[must_use]
            pub fn restore(text: String) -> Self {
                Self(text)
            }

            /// The 10 characters of the number, as they are stored.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        /// The number as people see it: with its prefix, in groups of five.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let (first, second) = self.0.split_at_checked(LENGTH / 2).unwrap_or((&self.0, ""));
                write!(f, "{}-{first}-{second}", $prefix)
            }
        }
    };
}

number!(
    /// The number of a ticket, such as TKT-7ZK4M-0QX3B.
    TicketNumber,
    "TKT",
    "must be a ticket number, such as TKT-7ZK4M-0QX3B"
);
number!(
    /// The number of a purchase, such as PUR-7ZK4M-0QX3B.
    PurchaseNumber,
    "PUR",
    "must be a purchase number, such as PUR-7ZK4M-0QX3B"
);

fn of(random: [u8; 8]) -> String {
    let bits = u64::from_be_bytes(random);
    let digits: Vec<_> = (0..RANDOM).map(|at| (bits >> (5 * at)) as usize & 31).collect();
    let all = digits.iter().copied().chain([check(&digits)]);
    all.map(|digit| char::from(ALPHABET[digit])).collect()
}

fn parse(text: &str, prefix: &str) -> Option<String> {
    // One more than the longest, so that a text that is too long is noticed.
    let written = text.chars().filter(|one| !matches!(one, ' ' | '-')).take(PREFIX + LENGTH + 1);
    let written: Vec<_> = written.collect();
    // TKT can be the start of a number, so it is a prefix only if a whole number follows.
    let bare = match written.split_at_checked(PREFIX) {
        Some((start, bare)) if bare.len() == LENGTH => {
            start.iter().zip(prefix.chars()).all(|(one, other)| one.eq_ignore_ascii_case(&other)).then_some(bare)?
        }
        Some(_) | None => &written,
    };
    let digits: Vec<_> = bare.iter().copied().map(digit).collect::<Option<_>>()?;
    let (last, first) = digits.split_last().filter(|(_, first)| first.len() == RANDOM)?;
    (check(first) == *last).then(|| digits.iter().map(|digit| char::from(ALPHABET[*digit])).collect())
}

/// The check digit: the sum of the digits, each times its place, from 1, modulo 31. A wrong digit is found unless it is a Z read
/// for a 0, and two neighbours that were exchanged are found too, since neighbouring places differ by 1.
fn check(digits: &[usize]) -> usize {
    digits.iter().enumerate().map(|(at, digit)| (at + 1) * digit).sum::<usize>() % 31
}

/// The place of a character in the alphabet. Case does not count, O is 0, and I and L are 1.
pub(super) fn digit(character: char) -> Option<usize> {
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

    const RANDOM_BITS: [u8; 8] = [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0];

    #[test]
    fn a_number_is_read_as_it_is_spoken_and_written() {
        let number = PurchaseNumber::of(RANDOM_BITS);
        assert_eq!(number.as_str().len(), 10);
        let spoken = number.as_str().to_lowercase().replace('0', "o").replace('1', "l");
        let written = format!("{}-{} {}", &spoken[..4], &spoken[4..7], &spoken[7..]);
        assert_eq!(PurchaseNumber::parse(&written), Ok(number.clone()));
        for prefix in ["PUR-", "pur ", "Pur", "p-u-r"] {
            assert_eq!(PurchaseNumber::parse(&format!("{prefix}{written}")), Ok(number.clone()), "{prefix}");
        }
    }

    #[test]
    fn a_number_is_stored_bare_and_shown_with_its_prefix() {
        let number = TicketNumber::restore("7ZK4M0QX3B".to_owned());
        assert_eq!((number.as_str(), number.to_string().as_str()), ("7ZK4M0QX3B", "TKT-7ZK4M-0QX3B"));
        assert_eq!(TicketNumber::parse(&number.to_string()), Ok(number));
        let number = PurchaseNumber::restore("7ZK4M0QX3B".to_owned());
        assert_eq!(number.to_string(), "PUR-7ZK4M-0QX3B");
        assert_eq!(PurchaseNumber::parse(&number.to_string()), Ok(number));
        for wrong in ["", "7ZK", "ééé7"] {
            let _ = TicketNumber::restore(wrong.to_owned()).to_string();
        }
    }

    #[test]
    fn a_number_of_the_other_kind_is_refused() {
        let ticket = TicketNumber::of(RANDOM_BITS);
        let purchase = PurchaseNumber::of(RANDOM_BITS);
        assert!(PurchaseNumber::parse(&ticket.to_string()).is_err());
        assert!(TicketNumber::parse(&purchase.to_string()).is_err());
        // Without a prefix, the two kinds look the same.
        assert_eq!(TicketNumber::parse(purchase.as_str()), Ok(ticket));
    }

    #[test]
    fn a_number_that_starts_like_a_prefix_is_read_with_and_without_one() {
        let starts = |start: &str| {
            let mut digits: Vec<_> = start.chars().filter_map(digit).collect();
            digits.resize(RANDOM, 7);
            digits.push(check(&digits));
            digits.into_iter().map(|digit| char::from(ALPHABET[digit])).collect::<String>()
        };
        for start in ["TKT", "TKTTKT", "TKTTKTTKT"] {
            let bare = starts(start);
            let number = TicketNumber::restore(bare.clone());
            assert_eq!(TicketNumber::parse(&bare), Ok(number.clone()), "{bare}");
            assert_eq!(TicketNumber::parse(&number.to_string()), Ok(number), "{bare}");
            let number = PurchaseNumber::restore(bare.clone());
            assert_eq!(PurchaseNumber::parse(&bare), Ok(number.clone()), "{bare}");
            assert_eq!(PurchaseNumber::parse(&number.to_string()), Ok(number), "{bare}");
            assert!(TicketNumber::parse(&bare[3..]).is_err());
            assert!(TicketNumber::parse(&format!("TKT{}", &bare[..9])).is_err());
            assert!(TicketNumber::parse(&format!("TKTTKT{bare}")).is_err());
        }
        // U is no character of a number.
        assert!(PurchaseNumber::parse("PUR7777777").is_err());
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
        for wrong in ["", "123", "7ZK4M0QX3BB", "7ZK4M0QXU!", "7ZK4M0QX3D", "0000000001", "PUR-", "TKT", "é7ZK4M0QX3"]
        {
            assert!(PurchaseNumber::parse(wrong).is_err(), "{wrong}");
        }
        assert!(PurchaseNumber::parse("0000000000").is_ok());
    }
}
