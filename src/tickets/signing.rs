//! Signatures of ticket codes: Ed25519, so that a door checks them with a public key and without a network.

use std::fmt;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use uuid::Uuid;

use crate::domain::ticket::{CodeKind, TicketCode};

/// The bytes of the seed from which a key pair is made.
const SEED_BYTES: usize = 32;

/// A seed does not have its 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the seed of a signing key has {SEED_BYTES} bytes, not {0}")]
pub struct WrongSeed(pub usize);

/// A key pair that signs ticket codes.
pub struct SigningKey {
    id: u16,
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// The key pair of a seed. The same seed makes the same key pair.
    ///
    /// # Errors
    /// The seed does not have 32 bytes.
    pub fn from_seed(id: u16, seed: &[u8]) -> Result<Self, WrongSeed> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| WrongSeed(seed.len()))?;
        Ok(Self { id, pair })
    }

    /// The id, which is a part of every code that this key signs.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.id
    }

    /// The 32 bytes of the public key.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// A signed code, for a seat of this showtime or for this purchase. Ed25519 signs the same content the same way.
    #[must_use]
    pub fn sign(&self, kind: CodeKind, random: [u8; 8], of: Uuid) -> TicketCode {
        let code = TicketCode::unsigned(kind, self.id, random, of);
        let mut signature = [0; 64];
        // ring returns its signatures in a buffer for the longest of all algorithms; that of Ed25519 has 64 bytes.
        signature.copy_from_slice(self.pair.sign(&code.signed_bytes()).as_ref());
        code.with_signature(signature)
    }
}

/// Whether the key pair of this public key has signed a code.
#[must_use]
pub fn has_signed(public_key: &[u8], code: &TicketCode) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key).verify(&code.signed_bytes(), code.signature()).is_ok()
}

/// Prints the id and the public key. The seed is a secret.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let public_key = self.public_key();
        f.debug_struct("SigningKey").field("id", &self.id).field("public_key", &public_key).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWTIME: Uuid = Uuid::from_u128(0x0192_f3a4_b5c6_7d8e_9fa0_b1c2_d3e4_f506);

    fn hex(text: &str) -> Vec<u8> {
        let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
        (0..text.len()).step_by(2).map(byte).collect()
    }

    fn key(id: u16, seed: u8) -> SigningKey {
        SigningKey::from_seed(id, &[seed; 32]).expect("32 bytes")
    }

    #[test]
    fn the_key_pair_and_the_signature_are_those_of_rfc_8032() {
        // Section 7.1, TEST 2.
        let seed = hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let key = SigningKey::from_seed(1, &seed).expect("32 bytes");
        assert_eq!(key.public_key(), hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"));
        assert_eq!(
            key.pair.sign(&[0x72]).as_ref(),
            hex("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                 085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00")
        );
    }

    #[test]
    fn a_code_verifies_with_its_key_only() {
        for kind in [CodeKind::Seat(0), CodeKind::Seat(411), CodeKind::Purchase] {
            let code = key(1, 1).sign(kind, [9; 8], SHOWTIME);
            assert_eq!((code.kind(), code.key_id(), code.showtime(), code.random()), (kind, 1, SHOWTIME, [9; 8]));
            assert!(has_signed(key(1, 1).public_key(), &code));
            assert!(!has_signed(key(1, 2).public_key(), &code));
            assert!(!has_signed(&[], &code));
            assert!(!has_signed(&[0xff; 32], &code));
        }
        assert_eq!(SigningKey::from_seed(1, &[1; 31]).map(|key| key.id()), Err(WrongSeed(31)));
    }

    #[test]
    fn each_flipped_bit_is_refused() {
        let key = key(0x0102, 3);
        for kind in [CodeKind::Seat(0), CodeKind::Seat(0xa5), CodeKind::Purchase] {
            let bytes = key.sign(kind, *b"\0\xff\x55\xaa1234", SHOWTIME).to_bytes();
            for bit in 0..bytes.len() * 8 {
                let mut wrong = bytes;
                wrong[bit / 8] ^= 1 << (bit % 8);
                let admitted = TicketCode::from_bytes(&wrong).is_ok_and(|code| has_signed(key.public_key(), &code));
                assert!(!admitted, "bit {bit} of {kind:?}");
            }
        }
    }

    #[test]
    fn each_changed_character_is_refused() {
        let key = key(1, 4);
        let text = key.sign(CodeKind::Seat(7), [8; 8], SHOWTIME).to_text();
        for at in 0..text.len() {
            let next = match &text[at..=at] {
                "0" => "1",
                "A" => "0",
                _ => "A",
            };
            let wrong = format!("{}{next}{}", &text[..at], &text[at + 1..]);
            let admitted = TicketCode::parse(&wrong).is_ok_and(|code| has_signed(key.public_key(), &code));
            assert!(!admitted, "character {at}");
        }
    }

    #[test]
    fn the_layout_that_is_printed_on_tickets_does_not_change() {
        let code = key(1, 7).sign(CodeKind::Seat(42), *b"\x01\x02\x03\x04\x05\x06\x07\x08", SHOWTIME);
        // Python's `cryptography` makes the same code of this key and content.
        assert_eq!(
            code.to_text(),
            "V50W50KB0*M0DY0O01:PI0$K84PG1I7EKFSON.S6Y0FI5KP1RLQ8/H41J-D4JY9JDB*%EZ58YL0/KOJJE$PD**CG8LKHSE85VGPP8JY.EN$RKL41+G-/V57ML6H:+S7\
             *RPO9CI6BBI90"
        );
    }

    #[test]
    fn a_log_contains_no_seed() {
        let printed = format!("{:?}", key(1, 0x5c));
        assert!(printed.starts_with("SigningKey { id: 1, public_key: ["), "{printed}");
        assert!(!printed.contains("92, 92"), "{printed}");
    }
}
