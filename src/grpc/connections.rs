//! Connections, and what they share: the requests that may be in flight, and the memory for what is not delivered.
//!
//! Of the permits for requests, one in eight is reserved for confirmations, which complete a sale, and one in four for
//! connections that hold few. Of the others, a connection may hold at most half as many as are left.
//!
//! Messages that are not complete and answers that are not delivered are charged to their connection. All charges share one
//! budget. A connection gets no more answers while it holds more than is left of the budget, unless another one holds at least
//! twice as much: that one is closed. Of messages that are not complete, the oldest give way.
//!
//! A connection whose requests are refused is not read for a while, since refusals cost time as well.
//!
//! Nothing is held for long. [`Connections::tick`] closes each connection that has not taken an answer, or any byte, for
//! several ticks.

mod account;
mod connection;
mod counters;
mod limits;
mod padded;
mod pauses;
mod shared;
mod waiting;

#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use account::Account;
pub(super) use connection::{CALL_BYTES, OpenStream, Permit, Undelivered};
pub use connection::{Charge, Connection};
use counters::LATE_TICKS;
use limits::CloseReason;
pub use limits::Limits;
pub use pauses::{Pause, Refusals};
use shared::Shared;
pub(super) use waiting::WaitingMessage;

/// All connections of a server, and the budget that they share.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Shared>);

impl Connections {
    /// No connections yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared::new(limits)))
    }

    /// The period of [`Self::tick`] by which a connection is closed when an answer was not taken for `timeout`, or up to a
    /// quarter longer.
    #[must_use]
    pub fn period(timeout: Duration) -> Duration {
        timeout / (LATE_TICKS - 1)
    }

    /// Adds a connection. It is removed when the last clone is dropped.
    #[must_use]
    pub fn open(&self, peer: Option<SocketAddr>) -> Arc<Connection> {
        let id = self.0.next_id.fetch_add(1, Relaxed);
        let account = Arc::new(Account::new(id, peer));
        self.0.lock().insert(id, Arc::downgrade(&account));
        Arc::new(Connection::new(Arc::clone(&self.0), account))
    }

    /// The bytes that are charged to all connections.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.held()
    }

    /// Closes the connections that have not taken an answer for five ticks, or took no byte for as long.
    pub fn tick(&self) {
        let now = self.0.ticks.fetch_add(1, Relaxed).wrapping_add(1);
        for connection in self.0.each() {
            if connection.is_late(now) {
                connection.close(CloseReason::NotRead);
            }
        }
    }

    /// Closes the connections that no request needs, for a shutdown in which all streams were ended. A stream that is still
    /// open is not being read, and a connection without requests has not answered that it got the GOAWAY.
    ///
    /// For a moment, an answer is counted neither as a request nor as not delivered. So only those are closed that the call
    /// before has found, too: `before` is what it returned.
    #[must_use = "the next call needs what this one found"]
    pub fn close_unneeded(&self, before: &HashSet<u64>) -> HashSet<u64> {
        let mut unneeded = HashSet::new();
        for connection in self.0.each().into_iter().filter(|connection| connection.is_unneeded()) {
            if before.contains(&connection.id) {
                connection.close(CloseReason::Drain);
            }
            unneeded.insert(connection.id);
        }
        unneeded
    }
}
