//! Base45 (RFC 9285): bytes as the characters that a QR code stores in 5.5 bits each.
//!
//! Decoding is strict. A text that is decoded is the only text of its bytes: lower case, line breaks, and groups whose value
//! is too large are refused. A space is a character like any other, so a text must not be trimmed.

/// The 45 characters, each at the place of its value.
const ALPHABET: &[u8; 45] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";

/// Why a text is not base45.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBase45 {
    /// The text has a character that base45 does not have.
    #[error("the character at position {0} is not one of base45")]
    Character(usize),
    /// A group of three characters is more than two bytes, or a group of two characters is more than one byte.
    #[error("the group of characters at position {0} has a value that is too large")]
    Overflow(usize),
    /// The last group is a single character. No byte is written in one character.
    #[error("a text of {0} characters is not whole: 1 character is left over")]
    Length(usize),
}

/// The value of each byte in base45, or `NONE`.
static VALUES: [u8; 256] = values();
const NONE: u8 = u8::MAX;

const fn values() -> [u8; 256] {
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < ALPHABET.len() {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    values
}

/// Whether a QR code stores the byte in its alphanumeric mode, which has the characters of base45.
#[must_use]
pub fn is_base45(byte: u8) -> bool {
    VALUES[usize::from(byte)] != NONE
}

/// The text of some bytes: three characters for two bytes, and two characters for a last single byte.
#[must_use]
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(2) * 3);
    for group in bytes.chunks(2) {
        let mut value = group.iter().fold(0, |value, byte| value << 8 | usize::from(*byte));
        for _ in 0..=group.len() {
            text.push(char::from(ALPHABET[value % 45]));
            value /= 45;
        }
    }
    text
}

/// The bytes of a text.
///
/// # Errors
/// The text is not base45. Positions count bytes from 0.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, NotBase45> {
    let text = text.as_bytes();
    if let Some(position) = text.iter().position(|byte| !is_base45(*byte)) {
        return Err(NotBase45::Character(position));
    }
    let mut bytes = Vec::with_capacity(text.len().div_ceil(3) * 2);
    for (index, group) in text.chunks(3).enumerate() {
        let value = group.iter().rev().fold(0, |value, byte| value * 45 + u32::from(VALUES[usize::from(*byte)]));
        let overflow = |_| NotBase45::Overflow(3 * index);
        match group.len() {
            3 => bytes.extend(u16::try_from(value).map_err(overflow)?.to_be_bytes()),
            2 => bytes.push(u8::try_from(value).map_err(overflow)?),
            _ => return Err(NotBase45::Length(text.len())),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_are_encoded_and_decoded() {
        for (bytes, text) in [
            (&b"AB"[..], "BB8"),
            (b"Hello!!", "%69 VD92EX0"),
            (b"base-45", "UJCLQE7W581"),
            (b"ietf!", "QED8WEX0"),
            (b"", ""),
            (b"\0", "00"),
            (b"\xff\xff", "FGW"),
        ] {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text), Ok(bytes.to_vec()));
        }
    }

    #[test]
    fn texts_that_are_not_canonical_are_refused() {
        assert_eq!(decode("GGW"), Err(NotBase45::Overflow(0)));
        assert_eq!(decode("BB8:::"), Err(NotBase45::Overflow(3)));
        assert_eq!(decode("U5"), Ok(vec![255]));
        assert_eq!(decode("V5"), Err(NotBase45::Overflow(0)));
        assert_eq!(decode("BB8A"), Err(NotBase45::Length(4)));
        for wrong in ["bb8", "BB\n", "BB_", "BBé", "BB8 \t"] {
            assert!(matches!(decode(wrong), Err(NotBase45::Character(_))), "{wrong:?}");
        }
    }

    #[test]
    fn every_text_of_three_characters_is_refused_or_the_only_one_of_its_bytes() {
        for number in 0..45_usize.pow(3) {
            let text: String = [number % 45, number / 45 % 45, number / 2025]
                .map(|value| char::from(ALPHABET[value]))
                .iter()
                .collect();
            match decode(&text) {
                Ok(bytes) => assert_eq!(encode(&bytes), text),
                Err(error) => assert!(error == NotBase45::Overflow(0) && number > 0xffff, "{text}: {error}"),
            }
        }
    }
}
