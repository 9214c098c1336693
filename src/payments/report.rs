//! What the gateway says about a payment, read from its messages.
//!
//! Pure. Whatever the gateway sends becomes a valid [`PaymentReport`], or [`Trouble::Differs`] with the part that breaks the
//! contract. Texts and lists are bounded. A part that has no meaning in the payment's state is ignored.

use chrono::{DateTime, Utc};

use super::{money, trouble::Trouble};
use crate::{
    domain::{
        money::{Currency, Money},
        reservation::contains_card_number,
    },
    pb::{google::r#type::Money as MoneyMessage, payments::v1 as pb},
};

/// The longest key in bytes.
const MAX_KEY: usize = 256;
/// The number of characters taken from a code. Further ones are cut off.
const MAX_CODE: usize = 100;
/// The longest URI in bytes.
const MAX_URI: usize = 4_000;
/// The most operations of one payment.
const MAX_OPERATIONS: usize = 1_000;
/// The longest token of a page or of a stream, in bytes.
pub(super) const MAX_TOKEN: usize = 1_024;

/// A payment as the gateway reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentReport {
    /// The payment's key.
    pub key: String,
    /// The amount that was to be authorised, in the smallest units of the currency.
    pub amount_minor: i64,
    /// The currency of all amounts.
    pub currency: Currency,
    /// The state of the payment.
    pub state: GatewayState,
    /// What was captured: at most the amount.
    pub captured_minor: i64,
    /// The sum of the refunds that are done: at most what was captured.
    pub refunded_minor: i64,
    /// All operations, in the gateway's order.
    pub operations: Vec<OperationReport>,
}

/// The state of a payment at the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayState {
    /// The gateway has not decided yet.
    Pending,
    /// The customer has to act.
    ActionRequired {
        /// Where: an http or https URI.
        redirect_uri: String,
        /// Until when, if the gateway says so.
        expire_time: Option<DateTime<Utc>>,
    },
    /// The amount is reserved.
    Authorized {
        /// Until when it can be captured, if the gateway says so.
        capture_before: Option<DateTime<Utc>>,
    },
    /// No money was taken, and none will be.
    Declined {
        /// The gateway's word for the reason; `unspecified` if there is none.
        code: String,
        /// Whether another token may succeed.
        retryable: bool,
    },
    /// The payment was voided: no money was taken, and none will be.
    Voided,
    /// The money was taken.
    Captured,
}

/// One operation on a payment, as the gateway reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationReport {
    /// The operation's key.
    pub key: String,
    /// What it does.
    pub kind: OperationKind,
    /// Its amount, in the smallest units of the payment's currency.
    pub amount_minor: i64,
    /// Its state.
    pub state: OperationState,
    /// When the gateway received it.
    pub create_time: Option<DateTime<Utc>>,
    /// When it was done or failed.
    pub end_time: Option<DateTime<Utc>>,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// It reserves money.
    Authorize,
    /// It takes money that was reserved.
    Capture,
    /// It ends a payment of which nothing was taken.
    Void,
    /// It gives money back.
    Refund,
}

/// The state of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationState {
    /// It is not decided yet.
    Pending,
    /// It was done.
    Done,
    /// It was not done, and will not be.
    Failed {
        /// The gateway's word for the reason; `unspecified` if there is none.
        code: String,
    },
}

/// A page of the gateway's report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The payments of the page.
    pub payments: Vec<PaymentReport>,
    /// The number of payments of the page that could not be read.
    pub unreadable: usize,
    /// The token of the next page; empty: this is the last one.
    pub next_page_token: String,
}

impl PaymentReport {
    /// The operation with this key.
    #[must_use]
    pub fn operation(&self, key: &str) -> Option<&OperationReport> {
        self.operations.iter().find(|operation| operation.key == key)
    }

    /// Reads a payment.
    pub(super) fn read(payment: &pb::Payment) -> Result<Self, Trouble> {
        let key = key(&payment.payment_key).ok_or(differs("the payment's key is not valid"))?;
        let invalid = differs("an amount is not valid");
        let amount = payment.amount.as_ref().and_then(money::parse).ok_or_else(|| invalid.clone())?;
        let captured_minor = part(payment.captured_amount.as_ref(), amount).ok_or_else(|| invalid.clone())?;
        let captured = Money { minor: captured_minor, ..amount };
        let refunded_minor = part(payment.refunded_amount.as_ref(), captured).ok_or_else(|| invalid.clone())?;
        if payment.operations.len() > MAX_OPERATIONS {
            return Err(differs("there are too many operations"));
        }
        let state = state(payment)?;
        let operations = payment.operations.iter().map(|operation| OperationReport::read(operation, amount.currency));
        let operations = operations.collect::<Result<_, _>>()?;
        let (amount_minor, currency) = (amount.minor, amount.currency);
        Ok(Self { key, amount_minor, currency, state, captured_minor, refunded_minor, operations })
    }

    /// Checks that it is a payment of this amount, and that all of it was captured, or nothing: a part of a payment is never captured.
    ///
    /// # Errors
    /// [`Trouble::Differs`], which names what differs.
    pub fn check_whole(&self, amount: Money) -> Result<(), Trouble> {
        if (self.amount_minor, self.currency) != (amount.minor, amount.currency) {
            return Err(differs("the amount"));
        }
        let captured = if self.state == GatewayState::Captured { amount.minor } else { 0 };
        if self.captured_minor == captured { Ok(()) } else { Err(differs("the captured amount")) }
    }

    /// Checks that the answer is about this payment, and that it has this operation.
    ///
    /// # Errors
    /// [`Trouble::Differs`], which names what differs.
    pub fn check(&self, key: &str, operation: &str, kind: OperationKind, amount: Money) -> Result<(), Trouble> {
        if self.key != key {
            return Err(differs("the payment's key"));
        }
        let Some(found) = self.operation(operation).filter(|found| found.kind == kind) else {
            return Err(differs("the operation's key"));
        };
        let whole = kind != OperationKind::Authorize || self.amount_minor == amount.minor;
        if self.currency != amount.currency || found.amount_minor != amount.minor || !whole {
            return Err(differs("the amount"));
        }
        Ok(())
    }
}

impl OperationReport {
    fn read(operation: &pb::Operation, currency: Currency) -> Result<Self, Trouble> {
        let amount = operation.amount.as_ref().and_then(money::parse).filter(|amount| amount.currency == currency);
        let state = match operation.state() {
            pb::OperationState::Pending => OperationState::Pending,
            pb::OperationState::Done => OperationState::Done,
            pb::OperationState::Failed => OperationState::Failed { code: code(&operation.failure_code) },
            pb::OperationState::Unspecified => return Err(differs("an operation's state is not known")),
        };
        let kind = match operation.kind() {
            pb::OperationKind::Authorize => OperationKind::Authorize,
            pb::OperationKind::Capture => OperationKind::Capture,
            pb::OperationKind::Void => OperationKind::Void,
            pb::OperationKind::Refund => OperationKind::Refund,
            pb::OperationKind::Unspecified => return Err(differs("an operation's kind is not known")),
        };
        Ok(Self {
            key: key(&operation.operation_key).ok_or(differs("an operation's key is not valid"))?,
            kind,
            amount_minor: amount.ok_or(differs("an amount is not valid"))?.minor,
            state,
            create_time: operation.create_time.as_ref().and_then(time),
            end_time: operation.end_time.as_ref().and_then(time),
        })
    }
}

pub(super) fn differs(what: &'static str) -> Trouble {
    Trouble::Differs { what }
}

fn state(payment: &pb::Payment) -> Result<GatewayState, Trouble> {
    Ok(match payment.state() {
        pb::PaymentState::Unspecified => return Err(differs("the payment's state is not known")),
        pb::PaymentState::Pending => GatewayState::Pending,
        pb::PaymentState::ActionRequired => GatewayState::ActionRequired {
            redirect_uri: uri(&payment.redirect_uri).ok_or(differs("the redirect URI is not valid"))?,
            expire_time: payment.expire_time.as_ref().and_then(time),
        },
        pb::PaymentState::Authorized => {
            GatewayState::Authorized { capture_before: payment.capture_before.as_ref().and_then(time) }
        }
        pb::PaymentState::Declined => {
            GatewayState::Declined { code: code(&payment.decline_code), retryable: payment.retryable }
        }
        pb::PaymentState::Voided => GatewayState::Voided,
        pb::PaymentState::Captured => GatewayState::Captured,
    })
}

/// An amount that is a part of another one. Unset is zero.
fn part(message: Option<&MoneyMessage>, whole: Money) -> Option<i64> {
    let Some(message) = message else { return Some(0) };
    if *message == MoneyMessage::default() {
        return Some(0);
    }
    let part = money::parse(message)?;
    (part.currency == whole.currency && part.minor <= whole.minor).then_some(part.minor)
}

fn key(raw: &str) -> Option<String> {
    let fits = !raw.is_empty() && raw.len() <= MAX_KEY && raw.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| raw.to_owned())
}

/// The code as one word, so that it can stand in a log line. What looks like a card number is not a code.
fn code(raw: &str) -> String {
    let kept = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let code: String = raw.chars().filter(kept).take(MAX_CODE).collect();
    if code.is_empty() || contains_card_number(raw) { "unspecified".to_owned() } else { code }
}

/// The URI if it is http or https and not too long. Browsers open it, so `javascript:` must not pass.
fn uri(raw: &str) -> Option<String> {
    let fits = (raw.starts_with("https://") || raw.starts_with("http://"))
        && raw.len() <= MAX_URI
        && !raw.contains(|c: char| c.is_control() || c.is_whitespace());
    fits.then(|| raw.to_owned())
}

fn time(timestamp: &prost_types::Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(timestamp.seconds, u32::try_from(timestamp.nanos).ok()?)
}
