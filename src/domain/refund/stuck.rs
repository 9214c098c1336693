//! Refunds that cannot go on without an operator: how they stop, and how the operator lets them go on or settles them.

use chrono::{DateTime, Utc};

use super::{Refund, RefundState};
use crate::domain::{note::Note, purchase::BY_AN_OPERATOR};

/// How an operator settles a refund that is stuck, after a look at the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundSettlement {
    /// The gateway has given the money back.
    Done,
    /// The money was given back in another way, such as in cash.
    PaidOut {
        /// The till that paid it out; empty if none did.
        till: String,
    },
    /// The money was not given back.
    Failed,
}

/// What an operator did with a refund that was stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundNoteAction {
    /// It goes on.
    Resumed,
    /// It was settled as done by the gateway.
    SettledDone,
    /// It was settled as paid out in another way.
    SettledPaidOut,
    /// It was settled as failed.
    SettledFailed,
}

/// What is kept of what an operator did with a refund.
pub type RefundNote = Note<RefundNoteAction>;

impl From<&RefundSettlement> for RefundNoteAction {
    fn from(settlement: &RefundSettlement) -> Self {
        match settlement {
            RefundSettlement::Done => Self::SettledDone,
            RefundSettlement::PaidOut { .. } => Self::SettledPaidOut,
            RefundSettlement::Failed => Self::SettledFailed,
        }
    }
}

impl Refund {
    /// Whether an operator must help.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.record.state == RefundState::Stuck
    }

    /// The refund does not go on by itself.
    pub(super) fn stick(&mut self, message: String) {
        self.record.state = RefundState::Stuck;
        self.record.message = message;
        self.record.last_event += 1;
        self.not_before = None;
    }

    /// An operator lets it go on: the gateway is asked for the same operation again.
    pub fn resume(&mut self) {
        self.record.state = RefundState::Pending;
        self.record.failed_attempts = 0;
        self.record.message.clear();
        self.not_before = None;
    }

    /// An operator says how it ends.
    pub fn settle(&mut self, settlement: RefundSettlement, now: DateTime<Utc>) {
        let state = match settlement {
            RefundSettlement::Done => RefundState::Done,
            RefundSettlement::PaidOut { till } => {
                self.facts.till = Some(till);
                RefundState::Done
            }
            RefundSettlement::Failed => RefundState::Failed,
        };
        self.end(state, BY_AN_OPERATOR.to_owned(), now);
    }
}
