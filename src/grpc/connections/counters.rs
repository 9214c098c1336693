//! What every request of a connection changes.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

/// The number of ticks after which a connection is closed that has not taken an answer.
pub(super) const LATE_TICKS: u32 = 5;
/// Counters of answers by the tick in which they were given. There are more than [`LATE_TICKS`], so that none is used again
/// before its answers are late.
const SLOTS: usize = 8;

/// The counters of a connection.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Bytes of answers that are not delivered, and of what else is charged.
    pub(super) bytes: AtomicUsize,
    /// Bytes of answers that were taken, until they are as many as the budget.
    pub(super) taken: AtomicUsize,
    /// Requests in flight.
    pub(super) admitted: AtomicUsize,
    /// Answers that are not delivered, by the tick in which they were given, modulo [`SLOTS`].
    undelivered: [AtomicU32; SLOTS],
}

impl Counters {
    /// The answers that were given in this tick and are not delivered.
    pub(super) fn of_tick(&self, tick: u32) -> &AtomicU32 {
        &self.undelivered[tick as usize % SLOTS]
    }

    /// The ticks since the oldest answer was given that is not delivered.
    pub(super) fn oldest_answer(&self, now: u32) -> Option<u32> {
        (0..SLOTS as u32).rev().find(|age| self.of_tick(now.wrapping_sub(*age)).load(Relaxed) > 0)
    }

    pub(super) fn has_undelivered(&self) -> bool {
        self.undelivered.iter().any(|answers| answers.load(Relaxed) > 0)
    }
}
