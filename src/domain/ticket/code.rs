//! The code of a ticket, which a door scans: 93 bytes, or 140 characters of base45.
//!
//! | bytes | content |
//! |---|---|
//! | 1 | version: 1 is the ticket of one seat, 2 is the code of a purchase for all its tickets |
//! | 2 | id of the key that signed it |
//! | 8 | random bits, which make the code unguessable and tell a ticket from the one that replaced it; for a purchase, bits made of its id |
//! | 16 | id of the showtime, or of the purchase |
//! | 2 | number of the seat, or 0 for a purchase |
//! | 64 | Ed25519 signature over "boxoffice-ticket" and the 29 bytes before |
//!
//! Integers are big-endian. Codes are printed and stay valid for as long as their showtime, so this layout never changes:
//! another layout has another version. Whether a signature is right is decided by `signing`, not here.

use std::fmt;

use uuid::Uuid;

use super::base45::{self, NotBase45};

/// The bytes before the signature.
const CONTENT: usize = 29;
/// The bytes of a signature.
const SIGNATURE: usize = 64;
/// The bytes of a code.
const CODE_BYTES: usize = CONTENT + SIGNATURE;
/// The characters of a code.
pub const CODE_CHARACTERS: usize = 140;

/// What is signed starts with these bytes, so that a signature for another purpose is never one of a ticket.
const CONTEXT: &[u8; 16] = b"boxoffice-ticket";

/// What a code admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodeKind {
    /// One ticket: the number of its seat in the auditorium.
    Seat(u16),
    /// All unused tickets of a purchase.
    Purchase,
}

impl CodeKind {
    const fn version(self) -> u8 {
        match self {
            Self::Seat(_) => 1,
            Self::Purchase => 2,
        }
    }
}

/// Why something is not the code of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotACode {
    /// The text does not have the length of a code.
    #[error("a ticket code has {CODE_CHARACTERS} characters, not {0}; a space at its start or inside belongs to it")]
    Characters(usize),
    /// There are not as many bytes as a code has.
    #[error("a ticket code has {CODE_BYTES} bytes, not {0}")]
    Bytes(usize),
    /// The text is not base45.
    #[error("a ticket code is base45")]
    Text(#[from] NotBase45),
    /// The version is neither 1 nor 2.
    #[error("a ticket code has version 1 or 2, not {0}")]
    Version(u8),
    /// The code of a purchase names a seat.
    #[error("the code of a purchase has seat 0, not {0}")]
    Seat(u16),
}

/// The content of a code that is not signed yet.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UnsignedCode {
    kind: CodeKind,
    key_id: u16,
    random: [u8; 8],
    /// The showtime, or the purchase.
    of: Uuid,
}

impl UnsignedCode {
    /// The bytes that are signed.
    #[must_use]
    pub fn signed_bytes(&self) -> [u8; CONTEXT.len() + CONTENT] {
        let mut bytes = [0; CONTEXT.len() + CONTENT];
        bytes[..CONTEXT.len()].copy_from_slice(CONTEXT);
        bytes[CONTEXT.len()..].copy_from_slice(&self.content());
        bytes
    }

    /// The code with its signature.
    #[must_use]
    pub fn with_signature(self, signature: [u8; SIGNATURE]) -> TicketCode {
        TicketCode { content: self, signature }
    }

    fn content(&self) -> [u8; CONTENT] {
        let seat = match self.kind {
            CodeKind::Seat(seat) => seat,
            CodeKind::Purchase => 0,
        };
        let mut bytes = [0; CONTENT];
        bytes[0] = self.kind.version();
        bytes[1..3].copy_from_slice(&self.key_id.to_be_bytes());
        bytes[3..11].copy_from_slice(&self.random);
        bytes[11..27].copy_from_slice(self.of.as_bytes());
        bytes[27..].copy_from_slice(&seat.to_be_bytes());
        bytes
    }

    /// Reads the content. `None`: there are too few bytes.
    fn read(bytes: &[u8]) -> Option<Result<Self, NotACode>> {
        let (&[version], rest) = bytes.split_first_chunk()?;
        let (&key_id, rest) = rest.split_first_chunk()?;
        let (&random, rest) = rest.split_first_chunk()?;
        let (&of, rest) = rest.split_first_chunk()?;
        let (&seat, _) = rest.split_first_chunk()?;
        let kind = match (version, u16::from_be_bytes(seat)) {
            (1, seat) => CodeKind::Seat(seat),
            (2, 0) => CodeKind::Purchase,
            (2, seat) => return Some(Err(NotACode::Seat(seat))),
            (version, _) => return Some(Err(NotACode::Version(version))),
        };
        let key_id = u16::from_be_bytes(key_id);
        Some(Ok(Self { kind, key_id, random, of: Uuid::from_bytes(of) }))
    }
}

/// A code with a signature, which may be wrong.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TicketCode {
    content: UnsignedCode,
    signature: [u8; SIGNATURE],
}

impl TicketCode {
    /// The content of a code that is to be signed: for a seat of this showtime, or for this purchase.
    #[must_use]
    pub fn unsigned(kind: CodeKind, key_id: u16, random: [u8; 8], of: Uuid) -> UnsignedCode {
        UnsignedCode { kind, key_id, random, of }
    }

    /// Reads a code from its bytes.
    ///
    /// # Errors
    /// The bytes are not a code. The signature is not looked at.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotACode> {
        let whole = bytes.split_last_chunk().filter(|_| bytes.len() == CODE_BYTES);
        let (content, signature) = whole.ok_or(NotACode::Bytes(bytes.len()))?;
        let content = UnsignedCode::read(content).ok_or(NotACode::Bytes(bytes.len()))??;
        Ok(content.with_signature(*signature))
    }

    /// Reads a code from the text that a scanner read. Nothing is trimmed, because a space is a character of base45.
    ///
    /// # Errors
    /// The text is not a code. The signature is not looked at.
    pub fn parse(text: &str) -> Result<Self, NotACode> {
        let characters = text.chars().count();
        if characters != CODE_CHARACTERS {
            return Err(NotACode::Characters(characters));
        }
        Self::from_bytes(&base45::decode(text)?)
    }

    /// The bytes of the code.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; CODE_BYTES] {
        let mut bytes = [0; CODE_BYTES];
        bytes[..CONTENT].copy_from_slice(&self.content.content());
        bytes[CONTENT..].copy_from_slice(&self.signature);
        bytes
    }

    /// The text of the code, which is what its QR code contains.
    #[must_use]
    pub fn to_text(&self) -> String {
        base45::encode(&self.to_bytes())
    }

    /// What the code admits.
    #[must_use]
    pub fn kind(&self) -> CodeKind {
        self.content.kind
    }

    /// The number of the seat. `None`: it is the code of a purchase.
    #[must_use]
    pub fn seat(&self) -> Option<u16> {
        match self.content.kind {
            CodeKind::Seat(seat) => Some(seat),
            CodeKind::Purchase => None,
        }
    }

    /// The id of the key that is said to have signed it.
    #[must_use]
    pub fn key_id(&self) -> u16 {
        self.content.key_id
    }

    /// The id of the purchase. `None`: it is the code of a ticket.
    #[must_use]
    pub fn purchase(&self) -> Option<Uuid> {
        match self.content.kind {
            CodeKind::Seat(_) => None,
            CodeKind::Purchase => Some(self.content.of),
        }
    }

    /// The random bytes.
    #[must_use]
    pub fn random(&self) -> [u8; 8] {
        self.content.random
    }

    /// The id of the showtime. The code of a purchase has the id of the purchase in its place.
    #[must_use]
    pub fn showtime(&self) -> Uuid {
        self.content.of
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn signed_bytes(&self) -> [u8; CONTEXT.len() + CONTENT] {
        self.content.signed_bytes()
    }

    /// The signature.
    #[must_use]
    pub fn signature(&self) -> &[u8; SIGNATURE] {
        &self.signature
    }
}

/// Prints neither the random bytes nor the signature: a log must not contain a code that admits somebody.
impl fmt::Debug for TicketCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.content.fmt(f)
    }
}

/// Prints no random bytes.
impl fmt::Debug for UnsignedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = f.debug_struct("TicketCode");
        all.field("kind", &self.kind).field("key_id", &self.key_id).field("of", &self.of);
        all.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWTIME: Uuid = Uuid::from_u128(0x0192_f3a4_b5c6_7d8e_9fa0_b1c2_d3e4_f506);

    fn code(kind: CodeKind) -> TicketCode {
        TicketCode::unsigned(kind, 0x0203, *b"\x10\x11\x12\x13\x14\x15\x16\x17", SHOWTIME).with_signature([0xab; 64])
    }

    #[test]
    fn each_part_is_at_its_place() {
        let bytes = code(CodeKind::Seat(0x0405)).to_bytes();
        assert_eq!(bytes[..3], [1, 2, 3]);
        assert_eq!(bytes[3..11], [0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17]);
        assert_eq!(bytes[11..27], *SHOWTIME.as_bytes());
        assert_eq!(bytes[27..29], [4, 5]);
        assert_eq!(bytes[29..], [0xab; 64]);
        let signed = code(CodeKind::Seat(0x0405)).signed_bytes();
        assert_eq!((&signed[..16], &signed[16..]), (&b"boxoffice-ticket"[..], &bytes[..29]));
    }

    #[test]
    fn a_code_is_read_as_it_was_written() {
        for kind in [CodeKind::Seat(0), CodeKind::Seat(u16::MAX), CodeKind::Purchase] {
            let code = code(kind);
            let text = code.to_text();
            assert_eq!(text.len(), CODE_CHARACTERS);
            assert_eq!(TicketCode::parse(&text).as_ref(), Ok(&code));
            assert_eq!(TicketCode::from_bytes(&code.to_bytes()).as_ref(), Ok(&code));
            assert_eq!((code.kind(), code.key_id(), code.showtime()), (kind, 0x0203, SHOWTIME));
        }
        assert_eq!(code(CodeKind::Seat(7)).seat(), Some(7));
        assert_eq!(code(CodeKind::Purchase).seat(), None);
        assert_eq!((code(CodeKind::Seat(7)).purchase(), code(CodeKind::Purchase).purchase()), (None, Some(SHOWTIME)));
    }

    #[test]
    fn what_is_not_a_code_is_refused_with_the_reason() {
        let text = code(CodeKind::Seat(7)).to_text();
        for (wrong, reason) in [
            (String::new(), NotACode::Characters(0)),
            (text[..139].to_owned(), NotACode::Characters(139)),
            (format!("{text} "), NotACode::Characters(141)),
            (format!("{}é", &text[..139]), NotACode::Text(NotBase45::Character(139))),
            (text.to_lowercase(), NotACode::Text(NotBase45::Character(0))),
            (format!("{}::", &text[..138]), NotACode::Text(NotBase45::Overflow(138))),
            (format!(":::{}", &text[3..]), NotACode::Text(NotBase45::Overflow(0))),
        ] {
            assert_eq!(TicketCode::parse(&wrong), Err(reason), "{wrong}");
        }
        let mut bytes = code(CodeKind::Seat(7)).to_bytes();
        assert_eq!(TicketCode::from_bytes(&bytes[..92]), Err(NotACode::Bytes(92)));
        assert_eq!(TicketCode::from_bytes(&[1; 94]), Err(NotACode::Bytes(94)));
        bytes[0] = 2;
        assert_eq!(TicketCode::from_bytes(&bytes), Err(NotACode::Seat(7)));
        for version in [0, 3, 255] {
            bytes[0] = version;
            assert_eq!(TicketCode::from_bytes(&bytes), Err(NotACode::Version(version)));
        }
    }

    #[test]
    fn a_log_contains_no_code() {
        let printed = format!("{:?}", code(CodeKind::Seat(7)));
        assert_eq!(printed, format!("TicketCode {{ kind: Seat(7), key_id: 515, of: {SHOWTIME}, .. }}"));
    }
}
