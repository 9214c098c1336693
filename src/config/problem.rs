//! What is wrong with a value.

use std::fmt;

/// A wrong value: its option or key, where it came from, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    subject: String,
    reason: String,
}

impl Problem {
    pub(super) fn new(subject: String, reason: impl Into<String>) -> Self {
        Self { subject, reason: reason.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.reason)
    }
}
