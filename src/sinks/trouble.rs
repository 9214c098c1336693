//! Why nothing is delivered.

use thiserror::Error;

/// Why nothing can be delivered to a broker at present.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It cannot be reached, does not answer, or fails.
    #[error("{0}")]
    Broker(String),
    /// It is not set up for events, and may lose them.
    #[error("{0}")]
    Setup(String),
}
