//! Payments of purchases.

use chrono::{DateTime, Utc};

use super::AtTill;
use crate::domain::{ids::PaymentId, money::Money, prices::Split};

/// The account of the books that has the money of payments by the gateway.
pub const GATEWAY: &str = "gateway";
/// The account that has the money of payments at tills.
pub const TILL: &str = "till";
/// The account that has what is given back for no seat.
pub const REFUNDS: &str = "refunds";

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
    /// Cash, which only a till takes.
    Cash,
    /// Anything else that the gateway or the till knows.
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
    /// The gateway has refused the request for it, or has not taken the money that it had authorised. Nothing is kept or taken.
    Failed,
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
    /// What the till has taken. `None`: it goes by the gateway.
    pub at_till: Option<AtTill>,
}

impl Payment {
    /// The gateway's name for it.
    #[must_use]
    pub fn key(&self) -> String {
        self.payment_id.to_string()
    }

    /// The account of the books that has its money.
    #[must_use]
    pub fn account(&self) -> &'static str {
        if self.at_till.is_some() { TILL } else { GATEWAY }
    }

    /// What its money adds to each account once the seats are sold for it. Together it is nothing.
    #[must_use]
    pub fn sale_entries(&self, split: Split) -> Vec<(&'static str, i64)> {
        let accounts =
            [(self.account(), split.total()), ("sales", -split.sales), ("fees", -split.fees), ("tax", -split.tax)];
        accounts.into_iter().filter(|(_, minor)| *minor != 0).collect()
    }

    /// What its money adds to each account if it was taken for nothing, and is to be given back.
    #[must_use]
    pub fn excess_entries(&self) -> Vec<(&'static str, i64)> {
        vec![(self.account(), self.amount.minor), (REFUNDS, -self.amount.minor)]
    }

    /// The name of an operation on it. It is the same for all attempts, before and after a restart, so that the gateway does it
    /// once.
    #[must_use]
    pub fn operation_key(&self, operation: &str) -> String {
        format!("{}/{operation}", self.payment_id)
    }
}
