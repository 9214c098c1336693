//! The requests of the contract, read and checked. What looks like a card number is refused, and not repeated in the refusal.

use sha2::{Digest as _, Sha256};
use tonic::Status;

use super::token::Token;
use crate::{
    domain::{money::Money, reservation::contains_card_number},
    payments::money,
    pb::{
        google::r#type::Money as MoneyMessage,
        payments::v1::{AuthorizeRequest, OperationKind},
    },
};

const MAX_KEY: usize = 128;
const MAX_METHOD: usize = 64;
const MAX_TOKEN: usize = 256;
const MAX_URI: usize = 2_000;

/// An operation that is asked for.
pub(super) struct Request {
    pub(super) kind: OperationKind,
    pub(super) payment_key: String,
    pub(super) operation_key: String,
    pub(super) amount: Money,
    /// What the token makes the gateway do. Only an authorisation has one.
    pub(super) token: Token,
    /// A digest of the whole content.
    pub(super) fingerprint: Vec<u8>,
}

impl Request {
    pub(super) fn authorize(message: &AuthorizeRequest) -> Result<Self, Status> {
        let AuthorizeRequest { payment_key, operation_key, amount, method, token, return_uri } = message;
        if [token, method, return_uri].into_iter().any(|text| contains_card_number(text)) {
            return Err(Status::invalid_argument("a card number was sent: send a token of the gateway instead"));
        }
        let upper = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
        if method.is_empty() || method.len() > MAX_METHOD || !method.bytes().all(upper) {
            return Err(Status::invalid_argument("method must be 1 to 64 upper-case letters and underscores"));
        }
        if token.is_empty() || token.len() > MAX_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Status::invalid_argument("token must be 1 to 256 visible ASCII characters"));
        }
        let web = return_uri.starts_with("http://") || return_uri.starts_with("https://");
        if !return_uri.is_empty() && (!web || return_uri.len() > MAX_URI) {
            return Err(Status::invalid_argument("return_uri must be http or https and at most 2000 characters long"));
        }
        let rest = [method.as_str(), token, return_uri];
        let read = Token::read(token);
        Self::read(OperationKind::Authorize, payment_key, operation_key, amount.as_ref(), read, &rest)
    }

    /// Reads a capture, a void or a refund.
    pub(super) fn operation(
        kind: OperationKind,
        payment_key: &str,
        operation_key: &str,
        amount: Option<&MoneyMessage>,
    ) -> Result<Self, Status> {
        Self::read(kind, payment_key, operation_key, amount, Token::Unknown, &[])
    }

    fn read(
        kind: OperationKind,
        payment_key: &str,
        operation_key: &str,
        amount: Option<&MoneyMessage>,
        token: Token,
        rest: &[&str],
    ) -> Result<Self, Status> {
        key("payment_key", payment_key)?;
        key("operation_key", operation_key)?;
        let amount = amount.and_then(money::parse).filter(|amount| amount.minor > 0);
        let amount = amount
            .ok_or_else(|| Status::invalid_argument("amount must be more than zero and valid for its currency"))?;
        let mut digest = Sha256::new();
        for part in
            [payment_key, kind.as_str_name(), &amount.minor.to_string(), amount.currency.code()].iter().chain(rest)
        {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        let (payment_key, operation_key) = (payment_key.to_owned(), operation_key.to_owned());
        Ok(Self { kind, payment_key, operation_key, amount, token, fingerprint: digest.finalize().to_vec() })
    }
}

/// Checks a key.
pub(super) fn key(name: &str, key: &str) -> Result<(), Status> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    if key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(allowed) {
        return Err(Status::invalid_argument(format!("{name} must be 1 to {MAX_KEY} letters, digits and -_.:/")));
    }
    // Keys are made of random ids, in which a card number can be found by chance: so of a key only the whole counts.
    let is_number = key.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-' || byte == b'.');
    if is_number && contains_card_number(key) {
        return Err(Status::invalid_argument(format!("{name} looks like a card number")));
    }
    Ok(())
}
