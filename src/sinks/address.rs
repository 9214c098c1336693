//! Where a sink is.

use std::fmt;

/// A Redis stream to which events are delivered.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// The sink's name. How far it is, is stored under this name.
    pub name: String,
    /// The stream.
    pub stream: String,
    /// How many events the stream keeps, approximately.
    pub max_length: u64,
    /// The URL of the server, which may contain a password.
    pub url: String,
}

// The URL is not printed.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("name", &self.name).finish_non_exhaustive()
    }
}
