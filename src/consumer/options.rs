//! Where the service is, where reading begins, and how long the consumer waits.

use std::{fmt, time::Duration};

/// How a consumer reaches the service.
#[derive(Clone)]
pub struct Options {
    /// The URL of the service, `http://` or `https://`. It may contain a password.
    pub url: String,
    /// The PEM of the authorities that sign the service's certificate; none: those that browsers trust.
    pub ca_pem: Option<Vec<u8>>,
    /// The longest time for a connection, and for the beginning of a stream.
    pub timeout: Duration,
    /// The longest silence on a stream. It must be longer than the service's pause between two heartbeats.
    pub silence: Duration,
}

// The URL is not printed.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timeout, silence, .. } = self;
        f.debug_struct("Options").field("timeout", timeout).field("silence", silence).finish_non_exhaustive()
    }
}

/// Where reading begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest event that is kept.
    Oldest,
    /// With what is committed after the first connection.
    Now,
    /// After the event that had this token.
    Token(String),
}

/// Why there can be no consumer with these options.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The URL cannot be used.
    #[error("the service's URL must be as in http://host:50051 or https://host")]
    Url,
    /// The certificates cannot be used.
    #[error("the authorities of the service's certificate cannot be used")]
    Tls(#[source] tonic::transport::Error),
}
