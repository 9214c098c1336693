//! Purchases that cannot go on without an operator: how they stop, and how the operator lets them go on or settles them.

use chrono::{DateTime, Utc};

use super::{Failure, FailureReason, PaymentState, Position, Purchase, StepName, StepState};
use crate::domain::note::Note;

/// What the step says that an operator has decided.
pub(crate) const BY_AN_OPERATOR: &str = "settled by an operator";

/// How an operator settles a purchase that is stuck, after a look at the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The money was taken, and the seats stay sold.
    Completed,
    /// No money was taken, or it was given back, and the seats are given up.
    Compensated,
}

/// What an operator did with a purchase that was stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteAction {
    /// It goes on.
    Resumed,
    /// It was settled as completed.
    SettledCompleted,
    /// It was settled as compensated.
    SettledCompensated,
}

/// What is kept of what an operator did with a purchase.
pub type PurchaseNote = Note<NoteAction>;

impl From<Settlement> for NoteAction {
    fn from(settlement: Settlement) -> Self {
        match settlement {
            Settlement::Completed => Self::SettledCompleted,
            Settlement::Compensated => Self::SettledCompensated,
        }
    }
}

impl Purchase {
    /// It cannot go on without an operator.
    pub fn stick(&mut self, message: &str, now: DateTime<Utc>) {
        self.record.stuck = true;
        if let Some(work) = self.present_work() {
            work.end(StepState::Failed, message, now);
        }
    }

    /// Whether an operator must help.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.record.stuck
    }

    /// An operator lets it go on. What it was about to do is attempted again, as often as the first time.
    pub fn resume(&mut self, now: DateTime<Utc>) {
        self.record.stuck = false;
        self.record.failed_attempts = 0;
        self.record.undecided_since = None;
        self.taken_over(now);
    }

    /// An operator says how it ends. The seats are sold if it is completed, and are given up together with this if it is not: the
    /// caller sees to that.
    pub fn settle(&mut self, settlement: Settlement, now: DateTime<Utc>) {
        let position = self.record.position;
        self.record.stuck = false;
        match settlement {
            Settlement::Completed => {
                self.decide_payment(PaymentState::Completed, "", now);
                self.record.failure = None;
                self.record.steps.work(StepName::Capture).end(StepState::Done, BY_AN_OPERATOR, now);
                self.enter(Position::Completed, now);
            }
            Settlement::Compensated => {
                self.record.steps.compensation(StepName::Pay).end(StepState::Done, BY_AN_OPERATOR, now);
                let reason = match position {
                    Position::Capturing => FailureReason::CaptureFailed,
                    _ => FailureReason::PaymentRefused,
                };
                let decline_code = String::new();
                self.record.failure.get_or_insert(Failure { reason, decline_code, retryable: false });
                self.decide_payment(self.given_up(), "", now);
                self.freed(now);
            }
        }
    }
}
