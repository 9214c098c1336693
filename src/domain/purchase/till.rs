//! Sales at tills: the money is taken there, and the gateway never hears of it.

use chrono::{DateTime, NaiveDate, Utc};

use super::{
    Failure, FailureReason, Payment, PaymentMethod, PaymentState, Position, Purchase, PurchaseFacts, StepName,
    StepState, outcomes::PAID_AT_TILL,
};
use crate::domain::{
    money::Money,
    reservation::Tender,
    violations::{Violations, printable},
};

/// The most characters of a till's name.
pub const MAX_TILL: usize = 64;

/// What a till has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtTill {
    /// The till; empty if it gave no name.
    pub till: String,
    /// How it was paid, in the till's words; empty if it was not named.
    pub tender: String,
    /// The till's name for the payment; may be empty.
    pub transaction_id: String,
    /// The date, where the cinema is. `None`: the sale was made by a release that had no purchases.
    pub local_date: Option<NaiveDate>,
}

impl AtTill {
    /// What a sale with this tender says.
    #[must_use]
    pub fn of(tender: Option<&Tender>, till: &str, local_date: Option<NaiveDate>) -> Self {
        let (tender, transaction_id) = match tender {
            Some(Tender { method, transaction_id }) => (method.clone(), transaction_id.clone()),
            None => (String::new(), String::new()),
        };
        Self { till: till.to_owned(), tender, transaction_id, local_date }
    }

    /// The method of payment that the till's words mean.
    #[must_use]
    pub fn method(&self) -> PaymentMethod {
        match self.tender.to_lowercase().replace([' ', '-'], "_").as_str() {
            "cash" => PaymentMethod::Cash,
            "card" | "credit_card" => PaymentMethod::CreditCard,
            "debit_card" => PaymentMethod::DebitCard,
            "paypal" => PaymentMethod::PayPal,
            "apple_pay" => PaymentMethod::ApplePay,
            "google_pay" => PaymentMethod::GooglePay,
            "bank_transfer" => PaymentMethod::BankTransfer,
            _ => PaymentMethod::Other,
        }
    }
}

/// Checks the name of a till that a caller wrote. It may be empty.
///
/// # Errors
/// Names the flaw, under no field.
pub fn check_till(till: &str) -> Result<(), Violations> {
    if till.is_empty() { Ok(()) } else { printable(till, MAX_TILL) }
}

impl Purchase {
    /// The purchase that a sale at a till is.
    #[must_use]
    pub fn sold_at_till(facts: PurchaseFacts, total: Money, payment: Payment, sale_time: DateTime<Utc>) -> Self {
        let mut purchase = Self::begin(facts, total, payment);
        purchase.record.steps.work(StepName::ReserveSeats).end(StepState::Done, "", sale_time);
        purchase.record.steps.work(StepName::Pay).end(StepState::Done, PAID_AT_TILL, sale_time);
        purchase.confirmed(sale_time);
        purchase
    }

    /// The purchase that remains if a till has taken money for seats that could not be sold any more. Its payment is to be given
    /// back.
    #[must_use]
    pub fn paid_too_late(facts: PurchaseFacts, total: Money, payment: Payment, now: DateTime<Utc>) -> Self {
        let mut purchase = Self::begin(facts, total, payment);
        let why = "the reservation had ended";
        purchase.record.steps.work(StepName::ReserveSeats).end(StepState::Failed, why, now);
        purchase.record.steps.work(StepName::Pay).end(StepState::Done, PAID_AT_TILL, now);
        purchase.decide_payment(PaymentState::Completed, "", now);
        let reason = FailureReason::NotSold;
        purchase.record.failure = Some(Failure { reason, decline_code: String::new(), retryable: false });
        purchase.enter(Position::Compensated, now);
        purchase
    }

    /// Why the gateway has nothing to do with the present payment. `None`: it has.
    pub(super) fn without_gateway(&self) -> Option<&'static str> {
        let at_till = self.payment().is_some_and(|payment| payment.at_till.is_some());
        if self.record.total.minor == 0 {
            Some(super::outcomes::FREE_OF_CHARGE)
        } else {
            at_till.then_some(PAID_AT_TILL)
        }
    }

    /// Whether the seats are sold next without asking the gateway before or after it.
    #[must_use]
    pub fn sells_without_gateway(&self) -> bool {
        self.record.position == Position::Confirming && self.without_gateway().is_some()
    }
}
