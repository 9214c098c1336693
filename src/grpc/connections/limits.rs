//! What all connections share, and why one of them is closed.

use tokio_util::sync::CancellationToken;

use crate::telemetry::connection_errors::Kind;

/// What all connections share.
#[derive(Debug)]
pub struct Limits {
    /// Most bytes of messages that are not complete and of answers that are not delivered.
    pub max_bytes: usize,
    /// Most requests in flight. A request counts when its message is complete, and a stream until it begins.
    pub max_requests: usize,
    /// Ends all streams when it is cancelled, because the server shuts down.
    pub streams_end: CancellationToken,
}

/// The part of the permits that is reserved for confirmations.
const RESERVED_SHARE: usize = 8;
/// The part of the permits that is for connections with [`FEW`] requests. A request in flight takes about 15 KiB, so this also
/// bounds what connections with many requests can make the service keep.
const FEW_SHARE: usize = 4;
/// A connection has few requests in flight if it has at most this many.
const FEW: usize = 4;

impl Limits {
    /// Whether a request may be in flight that makes `admitted` with all others, and `held` with those of its connection.
    pub(super) fn may_admit(&self, confirms: bool, admitted: usize, held: usize) -> bool {
        let reserved = self.max_requests / RESERVED_SHARE;
        let for_few = self.max_requests / FEW_SHARE;
        let (max, for_few) = if confirms { (self.max_requests, 0) } else { (self.max_requests - reserved, for_few) };
        let left = max.checked_sub(admitted).map(|left| left.saturating_sub(for_few));
        left.is_some_and(|left| held <= FEW || held <= left / 2)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bytes: 16 << 20, max_requests: 4_096, streams_end: CancellationToken::new() }
    }
}

/// Why the service closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// The client did not take an answer, or any byte, in time.
    NotRead,
    /// The budget is used up, and the connection holds the most, or has just begun to take no bytes.
    Budget,
    /// The service shuts down, and the client did not take the end of a stream, or does not close an idle connection.
    Drain,
}

impl CloseReason {
    /// How it is counted and logged. The end of the service is nothing that goes wrong.
    pub(super) fn kind(self) -> Option<Kind> {
        match self {
            Self::NotRead => Some(Kind::NotRead),
            Self::Budget => Some(Kind::Memory),
            Self::Drain => None,
        }
    }
}
