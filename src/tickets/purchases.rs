//! What proves that somebody has bought something: the secret of a purchase, and the random bits of its code.
//!
//! Both are an HMAC-SHA256 of the id of the purchase, so each purchase has them, also one of an earlier release, and neither is stored.

use std::fmt;

use ring::hmac::{HMAC_SHA256, Key, sign, verify};

use crate::domain::{ids::PurchaseId, secret::PurchaseSecret};

/// What is signed starts with one of these, so that neither of the two is known from the other.
const OF_SECRET: &[u8] = b"boxoffice-purchase-secret";
const OF_CODE: &[u8] = b"boxoffice-purchase-code";

/// The key of which the secrets and codes of purchases are made.
pub struct PurchaseKey(Key);

impl PurchaseKey {
    /// The key of a secret that all instances share.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(Key::new(HMAC_SHA256, secret))
    }

    /// The secret of a purchase.
    #[must_use]
    pub fn secret(&self, id: PurchaseId) -> PurchaseSecret {
        PurchaseSecret::of(self.first(OF_SECRET, id))
    }

    /// Whether this is the secret of the purchase. It takes the same time for each secret that is wrong.
    #[must_use]
    pub fn is_secret_of(&self, id: PurchaseId, given: &PurchaseSecret) -> bool {
        let expected = sign(&self.0, self.secret(id).as_bytes());
        verify(&self.0, given.as_bytes(), expected.as_ref()).is_ok()
    }

    /// What stands in the code of a purchase in the place of the random bits.
    #[must_use]
    pub fn code_bits(&self, id: PurchaseId) -> [u8; 8] {
        self.first(OF_CODE, id)
    }

    /// The first bytes of the HMAC of a purchase.
    fn first<const BYTES: usize>(&self, context: &[u8], PurchaseId(id): PurchaseId) -> [u8; BYTES] {
        let tag = sign(&self.0, &[context, id.as_bytes()].concat());
        let mut first = [0; BYTES];
        first.copy_from_slice(&tag.as_ref()[..BYTES]);
        first
    }
}

/// Prints nothing of the key.
impl fmt::Debug for PurchaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PurchaseKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ID: PurchaseId = PurchaseId(Uuid::from_u128(0x0192_f3a4_b5c6_7d8e_9fa0_b1c2_d3e4_f506));

    #[test]
    fn each_purchase_has_a_secret_of_its_own_and_no_other_is_accepted() {
        let key = PurchaseKey::new(&[7; 32]);
        assert!(key.is_secret_of(ID, &key.secret(ID)));
        let other = PurchaseId(Uuid::from_u128(1));
        for wrong in [key.secret(other), PurchaseKey::new(&[8; 32]).secret(ID), PurchaseSecret::of([0; 16])] {
            assert!(!key.is_secret_of(ID, &wrong));
        }
        assert_ne!(key.code_bits(ID), key.code_bits(other));
    }

    #[test]
    fn secrets_that_were_told_do_not_change() {
        let key = PurchaseKey::new(&[7; 32]);
        // Python's `hmac` makes the same of this key and id.
        assert_eq!(key.secret(ID).to_text(), "6JQ9F-8W8KC-A3ZNH-NXJ3F");
        assert_eq!(u64::from_be_bytes(key.code_bits(ID)), 0xa545_969e_df98_8fdd);
    }

    #[test]
    fn a_log_contains_no_key() {
        assert_eq!(format!("{:?}", PurchaseKey::new(&[7; 32])), "PurchaseKey { .. }");
    }
}
