//! Refunds: money of a payment is given back, and the seats that were paid for with it are given up.
//!
//! What a refund is to give back is chosen in `choice.rs`, and stored before the gateway is asked. The gateway is then asked
//! again and again, always for the same operation, until it says that the refund is done or has failed. An answer that did not
//! come says nothing. Nothing here waits, calls or reads a clock.

mod choice;
mod stuck;
#[cfg(test)]
mod tests;

use chrono::{DateTime, TimeDelta, Utc};

use super::ids::{PaymentId, PurchaseId, RefundId, ReservationId, ShowtimeId};
use super::purchase::{GATEWAY, REFUNDS, TILL};

pub use choice::{Chosen, RefundRefusal, RefundWish, blocked, choose, choose_released, left, refunds_some_of};
pub use stuck::{RefundNote, RefundNoteAction, RefundSettlement};

/// The most of the first pause between two attempts, and of the longest.
const FIRST_PAUSE: TimeDelta = TimeDelta::milliseconds(100);
const LONGEST_PAUSE: TimeDelta = TimeDelta::minutes(5);

/// How long the gateway may leave a refund open. Banks take days.
const MAX_OPEN: TimeDelta = TimeDelta::days(14);
const NOT_GIVEN_BACK: &str = "not given back for 14 days";
/// From then on an operator looks at it after so many times that it was asked for, and at the latest after so many in a row without an answer. A
/// payment that was decided late leaves its refund as much time as any other, and so does an operator who lets it go on.
const ASKED_OFTEN: u32 = 100;
const FAILED_OFTEN: u32 = 25;

/// The revision of the event that tells of the beginning.
pub const BEGINNING: i64 = 1;

/// Says what a refund waits for that a till pays out.
const TO_BE_PAID_OUT: &str = "to be paid out at a till";

/// The state of a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundState {
    /// It is stored, and the gateway has not said what became of it.
    Pending,
    /// The money was given back.
    Done,
    /// The money was not given back, and this refund will not do it.
    Failed,
    /// It does not go on without an operator: what became of it is not known, or its money is owed and the gateway refuses it for good.
    Stuck,
}

/// What a refund is about. It never changes, but for how it is paid out, and for seats that are given up before it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundFacts {
    /// Identifies it, also at the gateway.
    pub refund_id: RefundId,
    /// The payment of which money is given back.
    pub payment_id: PaymentId,
    /// The purchase that was paid for.
    pub purchase_id: PurchaseId,
    /// The reservation that has, or had, the seats.
    pub reservation_id: ReservationId,
    /// The showtime.
    pub showtime_id: ShowtimeId,
    /// What is given back, and for what.
    pub chosen: Chosen,
    /// Whether the seats are given up when the money was given back. Otherwise they were given up before.
    pub releases: bool,
    /// Whether seats of the payment were given up while this refund of an amount was open, so that less was given back for them.
    pub owed: bool,
    /// The till that pays it out; empty if it has no name. `None`: the gateway gives it back.
    pub till: Option<String>,
    /// The reason that the request gave.
    pub reason: String,
    /// When it began.
    pub create_time: DateTime<Utc>,
}

/// How far a refund is, as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundRecord {
    /// Its state.
    pub state: RefundState,
    /// Whether it waits for a till to pay it out.
    pub waits: bool,
    /// How often the gateway was asked.
    pub attempts: u32,
    /// Attempts without an answer since the last answer.
    pub failed_attempts: u32,
    /// What came of the last attempt; empty if there is nothing to say.
    pub message: String,
    /// When its outcome was known.
    pub end_time: Option<DateTime<Utc>>,
    /// The revision of its last event.
    pub last_event: i64,
}

/// A refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// What it is about.
    pub facts: RefundFacts,
    record: RefundRecord,
    /// The gateway is not asked before this time.
    not_before: Option<DateTime<Utc>>,
}

/// What the gateway says about a refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundAnswer {
    /// It works on it.
    Pending,
    /// The money was given back.
    Done,
    /// The money was not given back, and will not be.
    Failed {
        /// The gateway's code.
        code: String,
    },
    /// What became of it is not known.
    Unknown {
        /// What is known of the failure.
        message: String,
    },
    /// The answer differs from what was asked. To ask again does not help.
    Differs {
        /// How.
        message: String,
    },
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundAction {
    /// Ask the gateway for the refund.
    Ask,
    /// Do nothing until this time.
    Wait(DateTime<Utc>),
    /// Nothing is left to do, or nothing without an operator.
    End,
}

impl Refund {
    /// A refund that is to be stored.
    #[must_use]
    pub fn begin(facts: RefundFacts) -> Self {
        let (state, message) = (RefundState::Pending, String::new());
        let (waits, attempts, failed_attempts, end_time, last_event) = (false, 0, 0, None, BEGINNING);
        let record = RefundRecord { state, waits, attempts, failed_attempts, message, end_time, last_event };
        Self { facts, record, not_before: None }
    }

    /// A refund that is to be stored, and goes on when a till pays it out.
    #[must_use]
    pub fn begin_at_till(facts: RefundFacts) -> Self {
        let mut refund = Self::begin(facts);
        (refund.record.waits, refund.record.message) = (true, TO_BE_PAID_OUT.to_owned());
        refund
    }

    /// A refund that was stored, and is due. What was stored is trusted.
    #[must_use]
    pub fn restore(facts: RefundFacts, record: RefundRecord) -> Self {
        Self { facts, record, not_before: None }
    }

    /// How far it is.
    #[must_use]
    pub fn record(&self) -> &RefundRecord {
        &self.record
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> RefundState {
        self.record.state
    }

    /// Whether its money is given back, or may be.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.record.state != RefundState::Failed
    }

    /// Whether its outcome is not known.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.record.state, RefundState::Pending | RefundState::Stuck)
    }

    /// Whether it is for seats that were given up before.
    #[must_use]
    pub fn seats_are_given_up(&self) -> bool {
        !self.facts.releases && !self.facts.chosen.seats.is_empty()
    }

    /// Whether the customer has given up seats, so that the money is owed whatever the gateway says.
    #[must_use]
    pub fn is_owed(&self) -> bool {
        self.seats_are_given_up() || self.facts.owed
    }

    /// What is to be done at this time.
    #[must_use]
    pub fn next_action(&self, now: DateTime<Utc>) -> RefundAction {
        match (self.record.state, self.not_before) {
            _ if self.record.waits => RefundAction::End,
            (RefundState::Pending, Some(time)) if now < time => RefundAction::Wait(time),
            (RefundState::Pending, _) => RefundAction::Ask,
            _ => RefundAction::End,
        }
    }

    /// The gateway's name for the operation. It is the same for all attempts, before and after a restart.
    #[must_use]
    pub fn operation_key(&self) -> String {
        format!("{}/refund/{}", self.facts.payment_id, self.facts.refund_id)
    }

    /// The name of the operation in the books.
    #[must_use]
    pub fn book_operation(&self) -> String {
        format!("refund:{}", self.facts.refund_id)
    }

    /// What the refund adds to each account. Together it is nothing.
    #[must_use]
    pub fn entries(&self) -> [(&'static str, i64); 5] {
        let Chosen { amount, split, .. } = &self.facts.chosen;
        let other = amount.minor - split.total();
        [
            (if self.facts.till.is_some() { TILL } else { GATEWAY }, -amount.minor),
            ("sales", split.sales),
            ("fees", split.fees),
            ("tax", split.tax),
            (REFUNDS, other),
        ]
    }

    /// The gateway was asked, and this came of it. `fraction` is random, from 0 to 1.
    pub fn answered(&mut self, answer: RefundAnswer, fraction: f64, now: DateTime<Utc>) {
        if self.record.state != RefundState::Pending {
            return;
        }
        self.record.attempts += 1;
        let is_late = now - self.facts.create_time >= MAX_OPEN;
        match answer {
            RefundAnswer::Pending if is_late && self.record.attempts.is_multiple_of(ASKED_OFTEN) => {
                self.stick(NOT_GIVEN_BACK.to_owned());
            }
            RefundAnswer::Unknown { message } if is_late && self.record.failed_attempts + 1 >= FAILED_OFTEN => {
                self.stick(format!("{NOT_GIVEN_BACK}: {message}"));
            }
            RefundAnswer::Pending => {
                self.record.failed_attempts = 0;
                self.record.message.clear();
                self.pause(self.record.attempts, fraction, now);
            }
            RefundAnswer::Done => self.end(RefundState::Done, String::new(), now),
            // The customer has given up seats for the money, so staff must find another way.
            RefundAnswer::Failed { code } if self.is_owed() => {
                self.stick(format!("{code}; seats were given up before"));
            }
            RefundAnswer::Failed { code } => self.end(RefundState::Failed, code, now),
            RefundAnswer::Differs { message } => self.stick(message),
            // A refund may take days, so this one is asked for again and again.
            RefundAnswer::Unknown { message } => {
                self.record.failed_attempts = self.record.failed_attempts.saturating_add(1);
                self.record.message = message;
                self.pause(self.record.failed_attempts, fraction, now);
            }
        }
    }

    /// The payment is not decided yet, so there is nothing to ask for. It is looked at again after five seconds.
    pub fn payment_undecided(&mut self, now: DateTime<Utc>) {
        "the payment is under way".clone_into(&mut self.record.message);
        self.not_before = Some(now + TimeDelta::seconds(5));
    }

    /// No money was taken that could be given back.
    pub fn nothing_taken(&mut self, now: DateTime<Utc>) {
        self.end(RefundState::Failed, "no money was taken, or all of it was given back".to_owned(), now);
    }

    fn end(&mut self, state: RefundState, message: String, now: DateTime<Utc>) {
        let last_event = self.record.last_event + 1;
        self.record = RefundRecord { state, message, end_time: Some(now), last_event, ..self.record.clone() };
        self.not_before = None;
    }

    /// Pauses for a part of a time that doubles with the attempts.
    fn pause(&mut self, attempts: u32, fraction: f64, now: DateTime<Utc>) {
        let most = (FIRST_PAUSE * (1 << attempts.saturating_sub(1).min(12))).min(LONGEST_PAUSE);
        let pause = most.to_std().unwrap_or_default().mul_f64(fraction);
        self.not_before = Some(now + TimeDelta::from_std(pause).unwrap_or_default());
    }
}
