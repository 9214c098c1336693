//! Purchases: money is taken once and seats are sold for it, or everything is undone.
//!
//! A [`Purchase`] is at one [`Position`]. [`Purchase::next_action`] says what is to be done there. The
//! outcome goes to the methods of `outcomes.rs` and `stuck.rs`, which are the only code that moves a purchase. The purchase is stored
//! before the next action. Nothing here waits, calls or reads a clock, so a purchase that was interrupted anywhere goes on like one
//! that was not.

mod answer;
mod events;
mod outcomes;
mod payment;
mod steps;
mod stuck;
#[cfg(test)]
mod tests;
mod till;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    ids::{PurchaseId, ReservationId, ShowtimeId},
    money::Money,
    reservation::CustomerId,
};

pub use super::number::PurchaseNumber;
pub use answer::GatewayAnswer;
pub use events::PurchaseEvent;
pub use payment::{GATEWAY, Payment, PaymentMethod, PaymentState, REFUNDS, TILL};
pub use steps::{Step, StepName, StepState, Steps, Work};
pub(super) use stuck::BY_AN_OPERATOR;
pub use stuck::{NoteAction, PurchaseNote, Settlement};
pub use till::{AtTill, MAX_TILL, check_till};

/// The most payments of one purchase: each token that is tried is one.
pub const MAX_PAYMENTS: usize = 10;
/// The attempts after which a step that must be finished is left to an operator.
pub const MAX_ATTEMPTS: u32 = 25;
/// The most of the first pause between two attempts, and of the longest.
const FIRST_PAUSE: TimeDelta = TimeDelta::milliseconds(100);
const LONGEST_PAUSE: TimeDelta = TimeDelta::seconds(30);
/// How long the gateway may work on taking money or on voiding a payment before that is left to an operator.
const MAX_UNDECIDED: TimeDelta = TimeDelta::hours(1);
/// How often the gateway is asked for a payment that waits for its customer.
const ASK_EVERY: TimeDelta = TimeDelta::seconds(5);

/// Where a purchase is. What is to be done there was stored before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The seats are held, and their payment has not begun.
    Held,
    /// The gateway is asked to authorise the last payment.
    Authorizing,
    /// The customer has something to do at `redirect_uri`.
    AwaitingAction,
    /// The last payment was declined, and the customer may try another token.
    AwaitingToken,
    /// The payment is authorised, and the seats are to be sold.
    Confirming,
    /// The seats are sold, and the money is to be taken.
    Capturing,
    /// Everything is done.
    Completed,
    /// The purchase has failed, and the last payment must not succeed any more.
    Voiding,
    /// The purchase has failed, and money was taken: its refund is to begin, and the seats are to be given up.
    Refunding,
    /// The purchase has failed, no money was taken, and the seats are to be given up.
    Freeing,
    /// Everything is undone. The refund of money that was taken all the same goes on by itself.
    Compensated,
}

/// The state of a purchase as callers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurchaseState {
    /// It goes on by itself.
    Running,
    /// It goes on when the customer has done something.
    AwaitingCustomer,
    /// The seats are sold and the money is taken.
    Completed,
    /// It has failed, and everything is undone.
    Compensated,
    /// It cannot go on without an operator.
    Stuck,
}

/// Why a purchase fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason, such as `PAYMENT_DECLINED`.
    pub reason: FailureReason,
    /// The gateway's code; empty unless it declined the payment.
    pub decline_code: String,
    /// Whether another token may be tried.
    pub retryable: bool,
}

/// What makes a purchase fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureReason {
    /// The gateway declined the payment.
    PaymentDeclined,
    /// The gateway refused the request for the payment.
    PaymentRefused,
    /// The time for the payment has passed.
    PaymentExpired,
    /// The seats could not be sold.
    NotSold,
    /// The gateway did not take the money that it had authorised.
    CaptureFailed,
    /// The customer gave up.
    Cancelled,
}

/// What a purchase is about. It never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurchaseFacts {
    /// Identifies it.
    pub purchase_id: PurchaseId,
    /// Identifies it in speech and on paper.
    pub number: PurchaseNumber,
    /// The customer.
    pub customer_id: CustomerId,
    /// The showtime.
    pub showtime_id: ShowtimeId,
    /// The reservation that has the seats.
    pub reservation_id: ReservationId,
    /// Where the customer goes after an action; may be empty.
    pub return_uri: String,
    /// When it began.
    pub create_time: DateTime<Utc>,
}

/// How far a purchase is, as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it is.
    pub position: Position,
    /// Whether an operator must help.
    pub stuck: bool,
    /// Attempts at the present position that have failed.
    pub failed_attempts: u32,
    /// Since when the gateway works on what is to be done at the present position, or since an operator has let it go on.
    pub undecided_since: Option<DateTime<Utc>>,
    /// Nothing is attempted before this time.
    pub not_before: Option<DateTime<Utc>>,
    /// Until when the payment may be decided.
    pub pay_until: Option<DateTime<Utc>>,
    /// Where the customer has something to do; may be empty.
    pub redirect_uri: String,
    /// Whether the seats were sold.
    pub sold: bool,
    /// What the seats cost. Nothing before that is known.
    pub total: Money,
    /// The payments, the last one is the present one.
    pub payments: Vec<Payment>,
    /// The steps.
    pub steps: Steps,
    /// Why it fails, or why its last payment did.
    pub failure: Option<Failure>,
    /// When it ended.
    pub complete_time: Option<DateTime<Utc>>,
}

/// A purchase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purchase {
    /// What it is about.
    pub facts: PurchaseFacts,
    record: Record,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell the ledger that the payment begins.
    BeginPayment,
    /// Ask the gateway to authorise the last payment.
    Authorize,
    /// Ask the gateway how the last payment stands.
    AskGateway,
    /// Sell the seats.
    Confirm,
    /// Take the money.
    Capture,
    /// Make sure that the last payment cannot succeed.
    Void,
    /// Begin the refund of money that was taken, and give the seats up.
    BeginRefund,
    /// Give the seats up.
    Free,
    /// Do nothing until this time, or until the customer has done something.
    Wait(DateTime<Utc>),
    /// Nothing is left to do, or nothing without an operator.
    End,
}

impl Purchase {
    /// What is to be done at this time, after [`Purchase::notice_time`].
    #[must_use]
    pub fn next_action(&self, now: DateTime<Utc>) -> Action {
        if self.record.stuck {
            return Action::End;
        }
        if let Some(time) = self.record.not_before.filter(|time| now < *time) {
            return Action::Wait(time);
        }
        match self.record.position {
            Position::Held => Action::BeginPayment,
            Position::Authorizing => Action::Authorize,
            Position::AwaitingAction => Action::AskGateway,
            Position::AwaitingToken => Action::Wait(self.record.pay_until.unwrap_or(now)),
            Position::Confirming => Action::Confirm,
            Position::Capturing => Action::Capture,
            Position::Voiding => Action::Void,
            Position::Refunding => Action::BeginRefund,
            Position::Freeing => Action::Free,
            Position::Completed | Position::Compensated => Action::End,
        }
    }

    /// Whether the gateway was asked, has not decided, and is asked again after a pause.
    #[must_use]
    pub fn waits_for_gateway(&self) -> bool {
        let asks = matches!(
            self.record.position,
            Position::Authorizing | Position::AwaitingAction | Position::Capturing | Position::Voiding
        );
        asks && !self.record.stuck && self.record.not_before.is_some()
    }

    /// The state as callers see it.
    #[must_use]
    pub fn state(&self) -> PurchaseState {
        match self.record.position {
            _ if self.record.stuck => PurchaseState::Stuck,
            Position::AwaitingAction | Position::AwaitingToken => PurchaseState::AwaitingCustomer,
            Position::Completed => PurchaseState::Completed,
            Position::Compensated => PurchaseState::Compensated,
            Position::Held
            | Position::Authorizing
            | Position::Confirming
            | Position::Capturing
            | Position::Voiding
            | Position::Refunding
            | Position::Freeing => PurchaseState::Running,
        }
    }

    /// A purchase that was stored. What was stored is trusted.
    #[must_use]
    pub fn restore(facts: PurchaseFacts, record: Record) -> Self {
        Self { facts, record }
    }

    /// How far it is.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What the seats cost.
    #[must_use]
    pub fn total(&self) -> Money {
        self.record.total
    }

    /// Where it is.
    #[must_use]
    pub fn position(&self) -> Position {
        self.record.position
    }

    /// Whether it has ended for good.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.record.position, Position::Completed | Position::Compensated)
    }

    /// Its payments, the last one is the present one.
    #[must_use]
    pub fn payments(&self) -> &[Payment] {
        &self.record.payments
    }

    /// The payment that is under way, or was last.
    #[must_use]
    pub fn payment(&self) -> Option<&Payment> {
        self.record.payments.last()
    }

    /// Its steps, in order.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let issued = self.record.complete_time.filter(|_| self.record.position == Position::Completed);
        let work = issued.map(Work::done_at).unwrap_or_default();
        let issue = Step { name: StepName::IssueTickets, work, compensation: None };
        self.record.steps.0.iter().cloned().chain([issue]).collect()
    }

    /// Why it fails, or why its last payment did.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.record.failure.as_ref()
    }

    /// Until when the customer may pay. `None`: nothing is to be paid now.
    #[must_use]
    pub fn pay_until(&self) -> Option<DateTime<Utc>> {
        let pays = matches!(
            self.record.position,
            Position::Held | Position::Authorizing | Position::AwaitingAction | Position::AwaitingToken
        );
        self.record.pay_until.filter(|_| pays)
    }

    /// Where the customer has something to do now; empty if there is nothing.
    #[must_use]
    pub fn redirect_uri(&self) -> &str {
        if self.record.position == Position::AwaitingAction { &self.record.redirect_uri } else { "" }
    }

    /// When it ended.
    #[must_use]
    pub fn complete_time(&self) -> Option<DateTime<Utc>> {
        self.record.complete_time
    }

    /// Whether the seats were sold.
    #[must_use]
    pub fn is_sold(&self) -> bool {
        self.record.sold
    }

    /// How long to pause after the failed attempts so far. `fraction` is random, from 0 to 1.
    #[must_use]
    pub fn pause(&self, fraction: f64) -> Duration {
        let most = (FIRST_PAUSE * (1 << self.record.failed_attempts.min(12))).min(LONGEST_PAUSE);
        most.to_std().unwrap_or_default().mul_f64(fraction)
    }
}
