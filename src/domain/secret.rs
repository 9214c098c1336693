//! Secrets of purchases. The number of a purchase and its secret together give access to it, without an account.

use std::fmt;

use super::{
    number::{ALPHABET, digit},
    violations::Violations,
};

/// The characters of a secret, of 5 bits each.
const LENGTH: usize = 20;
/// The characters of a group.
const GROUP: usize = 5;

/// The secret of a purchase, such as 7ZK4M-0QX3B-NF1AS-SAK6S.
#[derive(Clone)]
pub struct PurchaseSecret([u8; LENGTH]);

impl PurchaseSecret {
    /// A secret of the first 100 of these bits.
    #[must_use]
    pub fn of(bits: [u8; 16]) -> Self {
        let bits = u128::from_be_bytes(bits);
        Self(std::array::from_fn(|at| ALPHABET[(bits >> (123 - 5 * at)) as usize & 31]))
    }

    /// Reads a secret that somebody wrote: case, spaces and hyphens do not count, O is 0, and I and L are 1.
    ///
    /// # Errors
    /// The text is no secret. The path of the violation is empty.
    pub fn parse(text: &str) -> Result<Self, Violations> {
        // One more than there are, so that a text that is too long is noticed.
        let written = text.chars().filter(|one| !matches!(one, ' ' | '-')).take(LENGTH + 1);
        let read: Option<Vec<_>> = written.map(|one| digit(one).map(|digit| ALPHABET[digit])).collect();
        let read = read.and_then(|read| read.try_into().ok());
        read.map(Self).ok_or_else(|| Violations::one("", "must be 20 characters, such as 7ZK4M-0QX3B-NF1AS-SAK6S"))
    }

    /// The characters of the secret, without hyphens.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The secret as its owner sees it: in groups of five.
    #[must_use]
    pub fn to_text(&self) -> String {
        let groups: Vec<_> =
            self.0.chunks(GROUP).map(|group| group.iter().copied().map(char::from).collect()).collect();
        let groups: &[String] = &groups;
        groups.join("-")
    }
}

/// Prints nothing of the secret: a log must not contain it.
impl fmt::Debug for PurchaseSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PurchaseSecret").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BITS: [u8; 16] = 0x0044_3214_c742_54b6_35cf_8465_3fff_ffff_u128.to_be_bytes();

    #[test]
    fn a_secret_has_the_first_100_bits_and_is_read_as_it_is_written() {
        let secret = PurchaseSecret::of(BITS);
        assert_eq!(secret.to_text(), "01234-56789-ABCDE-FGHJK");
        assert_eq!(PurchaseSecret::of([0xff; 16]).to_text(), "ZZZZZ-ZZZZZ-ZZZZZ-ZZZZZ");
        for written in
            ["01234-56789-ABCDE-FGHJK", "o1234 56789 abcde fghjk", "OL23456789abcdeFGHJK", " oi234--56789ABCDEFGHJK "]
        {
            assert_eq!(PurchaseSecret::parse(written).expect(written).as_bytes(), secret.as_bytes());
        }
        for wrong in [
            "",
            "01234-56789-ABCDE-FGHJ",
            "01234-56789-ABCDE-FGHJKK",
            "01234-56789-ABCDE-FGHJU",
            "01234_56789_ABCDE_FGHJK",
        ] {
            assert!(PurchaseSecret::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_log_contains_no_secret() {
        assert_eq!(format!("{:?}", PurchaseSecret::of(BITS)), "PurchaseSecret { .. }");
    }
}
