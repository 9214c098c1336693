//! How webhooks are delivered, and why they are not.

use std::time::Duration;

use super::store::Database;
use crate::consumer;

/// Why nothing is delivered, in words.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How webhooks are delivered.
#[derive(Clone)]
pub struct Options {
    /// The service whose events are delivered.
    pub consumer: consumer::Options,
    /// Where the state is.
    pub database: Database,
    /// Whether to end when everything that was in the feed at the start was delivered, or waits for its next attempt.
    pub once: bool,
    /// The most deliveries that wait for one endpoint.
    pub max_waiting: usize,
    /// The pauses between the attempts of a delivery.
    pub retry_schedule: Vec<Duration>,
    /// The longest time of an attempt.
    pub attempt_timeout: Duration,
    /// The endpoints that are enabled again.
    pub enable: Vec<String>,
    /// The endpoints to which deliveries are attempted again that were given up.
    pub redeliver: Vec<String>,
}
