//! Why a call of the gateway has no answer that can be used, and what is known of its outcome.

use std::fmt;

use thiserror::Error;
use tonic::{Code, Status};

use crate::domain::reservation::contains_card_number;

/// The number of characters taken from a message of the gateway. Further ones are cut off.
const MAX_MESSAGE: usize = 300;

/// Why a call of the gateway has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Trouble {
    /// The gateway refused the call: what this call asked for was not done.
    #[error("the payment gateway refused the call: {code}: {message}")]
    Refused {
        /// The kind of the refusal.
        code: Refusal,
        /// The gateway's own words, for an operator.
        message: String,
    },
    /// The gateway has never seen the key. This does not prove that nothing was charged: a call may be on its way.
    #[error("the payment gateway does not know the payment")]
    NotFound,
    /// The outcome is not known: no answer came in time, or an error that says nothing about what was done.
    #[error("the outcome of a call of the payment gateway is unknown: {message}")]
    Unknown {
        /// What is known of the failure, for an operator.
        message: String,
    },
    /// The gateway answered something else than what was asked, or an answer that breaks the contract. To repeat the call does
    /// not help.
    #[error("the answer of the payment gateway differs from what was asked: {what}")]
    Differs {
        /// What differs, such as "the amount".
        what: &'static str,
    },
}

/// The kind of a definite refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request is not valid, or the operation's key was used with other content.
    InvalidArgument,
    /// The state of the payment does not allow the operation.
    FailedPrecondition,
    /// The key of the service is missing or wrong.
    Unauthenticated,
    /// The key of the service does not allow the call.
    PermissionDenied,
    /// The gateway does not have the method.
    Unimplemented,
}

impl Refusal {
    /// Whether the gateway refuses the content of a request, and not its sender. To repeat it does not help.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::InvalidArgument | Self::FailedPrecondition)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::Unimplemented => "UNIMPLEMENTED",
        })
    }
}

impl Trouble {
    /// The value of the metric's label `outcome`.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::NotFound => "not_found",
            Self::Unknown { .. } => "unknown",
            Self::Differs { .. } => "differs",
        }
    }
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        let code = match status.code() {
            Code::InvalidArgument => Refusal::InvalidArgument,
            Code::FailedPrecondition => Refusal::FailedPrecondition,
            Code::Unauthenticated => Refusal::Unauthenticated,
            Code::PermissionDenied => Refusal::PermissionDenied,
            Code::Unimplemented => Refusal::Unimplemented,
            Code::NotFound => return Self::NotFound,
            code => return Self::Unknown { message: format!("{code:?}: {}", text(status.message())) },
        };
        Self::Refused { code, message: text(status.message()) }
    }
}

/// The text as one line of at most [`MAX_MESSAGE`] characters. One in which a card number stands is left out.
fn text(raw: &str) -> String {
    if contains_card_number(raw) {
        return "the message is left out, because it may have a card number".to_owned();
    }
    raw.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_say_so_are_definite() {
        let of = |code| Trouble::from(Status::new(code, "why\nnot"));
        for code in [
            Code::InvalidArgument,
            Code::FailedPrecondition,
            Code::Unauthenticated,
            Code::PermissionDenied,
            Code::Unimplemented,
        ] {
            assert!(matches!(of(code), Trouble::Refused { ref message, .. } if message == "why not"), "{code:?}");
        }
        assert_eq!(of(Code::NotFound), Trouble::NotFound);
        for code in [
            Code::Ok,
            Code::Cancelled,
            Code::Unknown,
            Code::DeadlineExceeded,
            Code::AlreadyExists,
            Code::ResourceExhausted,
            Code::Aborted,
            Code::OutOfRange,
            Code::Internal,
            Code::Unavailable,
            Code::DataLoss,
        ] {
            assert!(matches!(of(code), Trouble::Unknown { .. }), "{code:?}");
        }
    }

    #[test]
    fn messages_are_bounded_and_have_no_card_numbers() {
        let shown = |message: String| Trouble::from(Status::internal(message)).to_string();
        assert!(shown("x".repeat(10_000)).len() < 500);
        assert!(!shown("card 4111 1111 1111 1111 was refused".to_owned()).contains("1111"));
    }
}
