//! What a connection holds, and whether its client takes bytes: all that others see of it when one is to be closed.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;

use super::{
    counters::{Counters, LATE_TICKS},
    limits::CloseReason,
    padded::Padded,
};
use crate::telemetry::connection_errors;

/// The account of a connection.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) id: u64,
    pub(super) peer: Option<SocketAddr>,
    pub(super) counters: Padded<Counters>,
    /// Bytes of messages that are not complete.
    pub(super) waiting: Arc<AtomicUsize>,
    /// Answers in streams that have begun and not ended.
    pub(super) streams: AtomicUsize,
    blocked: AtomicBool,
    /// The tick in which the connection last began to take no bytes.
    blocked_since: AtomicU32,
    closed: AtomicBool,
    /// Wakes the task that reads from the connection when it is to be closed.
    reader: AtomicWaker,
}

impl Account {
    pub(super) fn new(id: u64, peer: Option<SocketAddr>) -> Self {
        Self {
            id,
            peer,
            counters: Padded::default(),
            waiting: Arc::default(),
            streams: AtomicUsize::new(0),
            blocked: AtomicBool::new(false),
            blocked_since: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        }
    }

    /// The bytes that are charged.
    pub(super) fn held(&self) -> usize {
        self.counters.bytes.load(Relaxed) + self.waiting.load(Relaxed)
    }

    pub(super) fn has_taken_nothing(&self) -> bool {
        self.counters.taken.load(Relaxed) == 0
    }

    pub(super) fn block(&self, now: u32) {
        self.blocked_since.store(now, Relaxed);
        self.blocked.store(true, Release);
    }

    pub(super) fn unblock(&self) {
        self.blocked.store(false, Release);
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Acquire)
    }

    pub(super) fn is_late(&self, now: u32) -> bool {
        if self.is_blocked() && now.wrapping_sub(self.blocked_since.load(Relaxed)) >= LATE_TICKS {
            return true;
        }
        self.counters.oldest_answer(now) >= Some(LATE_TICKS)
    }

    /// Whether no request needs the connection when all streams have ended.
    pub(super) fn is_unneeded(&self) -> bool {
        let requests = self.counters.admitted.load(Relaxed) + self.waiting.load(Relaxed);
        self.streams.load(Relaxed) > 0 || (requests == 0 && !self.counters.has_undelivered())
    }

    pub(super) fn close(&self, reason: CloseReason) {
        if !self.closed.swap(true, Release) {
            self.reader.wake();
            if let (Some(kind), Some(peer)) = (reason.kind(), self.peer) {
                connection_errors::note(kind, peer.ip());
            }
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }

    /// Whether the connection is to be closed. If it is not, the task is woken when it is.
    pub(super) fn poll_closed(&self, context: &Context<'_>) -> Poll<()> {
        self.reader.register(context.waker());
        if self.is_closed() { Poll::Ready(()) } else { Poll::Pending }
    }
}
