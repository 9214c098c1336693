//! Payments of purchases.

use chrono::{DateTime, Utc};

use crate::domain::{ids::PaymentId, money::Money};

/// How a payment is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentMethod {
    /// A credit card.
    CreditCard,
    /// A debit card.
    DebitCard,
    /// `PayPal`.
    PayPal,
    /// Apple Pay.
    ApplePay,
    /// Google Pay.
    GooglePay,
    /// A bank transfer.
    BankTransfer,
    /// Anything else that the gateway knows.
    Other,
}

/// The state of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentState {
    /// The gateway has not been asked, or has not answered.
    Pending,
    /// The gateway works on it, or waits for the customer.
    Processing,
    /// The money is kept for us and not taken.
    Authorized,
    /// The money was taken.
    Completed,
    /// The gateway declined it.
    Declined,
    /// The money was taken, and a part of it was given back.
    PartiallyRefunded,
    /// All of the money was given back.
    Refunded,
    /// It was given up before the money was taken.
    Voided,
}

/// One payment: one token, tried until its outcome is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Identifies it, also at the gateway.
    pub payment_id: PaymentId,
    /// How it is made.
    pub method: PaymentMethod,
    /// What the gateway takes it from. Empty once that is known.
    pub token: String,
    /// What is taken.
    pub amount: Money,
    /// What was given back of it.
    pub refunded_minor: i64,
    /// Its state.
    pub state: PaymentState,
    /// Why the gateway declined it; else empty.
    pub decline_code: String,
    /// When it began.
    pub create_time: DateTime<Utc>,
    /// When its outcome was known.
    pub process_time: Option<DateTime<Utc>>,
}

impl Payment {
    /// The gateway's name for it.
    #[must_use]
    pub fn key(&self) -> String {
        self.payment_id.to_string()
    }

    /// The name of an operation on it. It is the same for all attempts, before and after a restart, so that the gateway does it
    /// once.
    #[must_use]
    pub fn operation_key(&self, operation: &str) -> String {
        format!("{}/{operation}", self.payment_id)
    }
}
