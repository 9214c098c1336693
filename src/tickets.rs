//! Signatures of the codes of tickets, QR codes of them, and the secrets of purchases.

mod purchases;
mod qr;
mod signing;

pub use purchases::PurchaseKey;
pub use qr::{QrError, Symbol};
pub use signing::{SigningKey, WrongSeed, has_signed};
