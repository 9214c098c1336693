//! How a sale was paid for, outside of this service.

use super::card_number::card_scheme;
use crate::domain::violations::{Violations, printable};

/// The most characters of a method of payment.
pub const MAX_METHOD: usize = 64;
/// The most characters of a transaction id.
pub const MAX_TRANSACTION: usize = 128;

/// How a sale was paid for, as the caller states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tender {
    /// The method of payment, such as "cash".
    pub method: String,
    /// The payment's id in the till; may be empty.
    pub transaction_id: String,
}

impl Tender {
    /// Checks a tender that a caller wrote.
    ///
    /// # Errors
    /// Names every flaw under its field.
    pub fn check(method: String, transaction_id: String) -> Result<Self, Violations> {
        let mut violations = Violations::new();
        violations.take("method", printable(&method, MAX_METHOD));
        if !transaction_id.is_empty() {
            violations.take("transaction_id", printable(&transaction_id, MAX_TRANSACTION));
        }
        for (field, text) in [("method", &method), ("transaction_id", &transaction_id)] {
            if let Some(scheme) = card_scheme(text) {
                let what = "must not contain a card number";
                let why = format!("these digits have the prefix, the length and the check digit of {scheme} cards");
                violations.add(field, format!("{what}: {why}"));
            }
        }
        if violations.is_empty() { Ok(Self { method, transaction_id }) } else { Err(violations) }
    }
}
