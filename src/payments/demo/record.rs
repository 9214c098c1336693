//! What the demo gateway stores of one payment, and how its parts are read.

use chrono::{DateTime, Utc};
use prost::Message;
use prost_types::Timestamp;

use super::token::Token;
use crate::{
    domain::money::Money,
    payments::money,
    pb::payments::v1::{OperationKind, OperationState, Payment, PaymentState},
};

/// One payment as it is stored: in memory, and in the file as a record.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Record {
    /// The payment as callers see it.
    #[prost(message, required, tag = "1")]
    pub(super) payment: Payment,
    /// The number of its last change. Numbers grow over all payments.
    #[prost(uint64, tag = "2")]
    pub(super) change: u64,
    /// What its token makes the gateway do.
    #[prost(enumeration = "Token", tag = "3")]
    pub(super) token: i32,
    /// What is not shown of each operation, in the order of `payment.operations`.
    #[prost(message, repeated, tag = "4")]
    pub(super) hidden: Vec<Hidden>,
}

/// What is not shown of an operation.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Hidden {
    /// A digest of everything that was asked, by which a repeated request is distinguished from another one.
    #[prost(bytes = "vec", tag = "1")]
    pub(super) fingerprint: Vec<u8>,
    /// When the operation ends by itself, if it is PENDING and does.
    #[prost(message, optional, tag = "2")]
    pub(super) due: Option<Timestamp>,
}

impl Record {
    pub(super) fn key(&self) -> &str {
        &self.payment.payment_key
    }

    /// The amount, which was valid when it was stored.
    pub(super) fn amount(&self) -> Option<Money> {
        money::parse(self.payment.amount.as_ref()?)
    }

    pub(super) fn captured(&self) -> i64 {
        self.payment.captured_amount.as_ref().and_then(money::parse).map_or(0, |amount| amount.minor)
    }

    /// The sum of the refunds that are done or may be.
    pub(super) fn refunds(&self) -> i64 {
        self.sum_of_refunds(|state| state != OperationState::Failed)
    }

    pub(super) fn refunds_done(&self) -> i64 {
        self.sum_of_refunds(|state| state == OperationState::Done)
    }

    fn sum_of_refunds(&self, counts: impl Fn(OperationState) -> bool) -> i64 {
        let refunds = self.payment.operations.iter().filter(|one| one.kind() == OperationKind::Refund);
        let amounts = refunds.filter(|one| counts(one.state())).filter_map(|one| money::parse(one.amount.as_ref()?));
        amounts.map(|amount| amount.minor).sum()
    }

    /// When the payment changes by itself next, if it does.
    pub(super) fn due(&self) -> Option<DateTime<Utc>> {
        let expires =
            self.payment.expire_time.as_ref().filter(|_| self.payment.state() == PaymentState::ActionRequired);
        self.hidden.iter().filter_map(|hidden| hidden.due.as_ref()).chain(expires).map(time).min()
    }
}

pub(super) fn timestamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp { seconds: time.timestamp(), nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap_or_default() }
}

/// The reverse of [`timestamp`].
pub(super) fn time(timestamp: &Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp(timestamp.seconds, timestamp.nanos.try_into().unwrap_or_default()).unwrap_or_default()
}
