//! Signatures of the codes of tickets, and QR codes of them.

mod qr;
mod signing;

pub use qr::{QrError, Symbol};
pub use signing::{SigningKey, WrongSeed};
