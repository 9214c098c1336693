//! Why nothing is delivered.

use std::time::Duration;

use crate::store::Error;

/// Why nothing can be delivered to a broker at present.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It cannot be reached, does not answer, or fails.
    #[error("{0}")]
    Broker(String),
    /// It is not set up for events, and may lose them.
    #[error("{0}")]
    Setup(String),
}

/// Why a message was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It says nothing of the message, which is delivered when the trouble is over.
    Trouble(Trouble),
    /// The broker will not take this message.
    Refused(String),
}

impl Trouble {
    pub(super) fn database(error: &Error) -> Self {
        Self::Broker(format!("the database cannot be used: {error}"))
    }

    pub(super) fn late(kind: &str, limit: Duration) -> Self {
        Self::Broker(format!("{kind} does not answer within {limit:?}"))
    }
}
