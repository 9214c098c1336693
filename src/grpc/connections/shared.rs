//! What all connections share: the counters, the budget, and which connection is closed when the budget is used up.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{
    account::Account,
    limits::{CloseReason, Limits},
    padded::Padded,
    pauses::Ration,
    waiting::Waiting,
};

/// A connection is closed for another one if it holds this many times as much.
const EVICT_RATIO: usize = 2;
/// If no connection holds so much, one is closed that has not taken an answer for this many ticks.
const LATE_UNDER_PRESSURE: u32 = 2;
/// How long no connection is looked for after none was found that could be closed.
const EVICTION_PAUSE: Duration = Duration::from_millis(20);

/// The counters of all connections, and the connections.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: Limits,
    /// Bytes of answers that are not delivered, and of what else is charged.
    pub(super) bytes: Padded<AtomicUsize>,
    /// Requests in flight.
    pub(super) admitted: Padded<AtomicUsize>,
    /// Messages that are not complete.
    pub(super) waiting: Waiting,
    /// How often requests are refused.
    pub(super) ration: Ration,
    pub(super) ticks: AtomicU32,
    pub(super) next_id: AtomicU64,
    open: Mutex<HashMap<u64, Weak<Account>>>,
    /// When no connection was found that could be closed for one that holds so much.
    eviction_failed: Mutex<Option<(Instant, usize)>>,
}

impl Shared {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            waiting: Waiting::new(limits.max_bytes),
            limits,
            bytes: Padded::default(),
            admitted: Padded::default(),
            ration: Ration::default(),
            ticks: AtomicU32::new(0),
            next_id: AtomicU64::new(0),
            open: Mutex::default(),
            eviction_failed: Mutex::default(),
        }
    }

    /// The bytes that all connections hold.
    pub(super) fn held(&self) -> usize {
        self.bytes.load(Relaxed) + self.waiting.bytes()
    }

    /// What is left of the budget.
    pub(super) fn left(&self) -> usize {
        self.limits.max_bytes.saturating_sub(self.held())
    }

    /// Closes connections for the one with this id, which is to hold this much. Returns whether there is or will be room: the
    /// memory of a closed connection is free when its task has ended.
    pub(super) fn make_room_for(&self, id: u64, held: usize) -> bool {
        let mut failed = self.eviction_failed.lock().unwrap_or_else(PoisonError::into_inner);
        // All connections are looked at, so it is not done for each of many requests that cannot be served.
        if failed.is_some_and(|(at, for_held)| held >= for_held && at.elapsed() < EVICTION_PAUSE) {
            return false;
        }
        let now = self.ticks.load(Relaxed);
        let (mut closing, mut largest, mut late) = (0, None, None);
        let (mut most, mut most_late) = (0, 0);
        let mut unproven = Vec::new();
        for connection in self.each() {
            let holds = connection.held();
            if connection.is_closed() {
                closing += holds;
                continue;
            }
            if holds > 0 && connection.has_taken_nothing() && connection.id < id {
                unproven.push(Arc::clone(&connection));
            }
            if holds > most_late && connection.counters.oldest_answer(now) >= Some(LATE_UNDER_PRESSURE) {
                (most_late, late) = (holds, Some(Arc::clone(&connection)));
            }
            if holds > most {
                (most, largest) = (holds, Some(connection));
            }
        }
        let has_room = |closing| self.limits.max_bytes.saturating_sub(self.held().saturating_sub(closing)) >= held;
        if has_room(closing) {
            return true;
        }
        if let Some(victim) = largest.filter(|_| most >= EVICT_RATIO * held).or(late) {
            victim.close(CloseReason::Budget);
            return true;
        }
        // Many hold little. An honest client has soon taken an answer, so those are closed that were opened first of those that
        // have taken none.
        unproven.sort_unstable_by_key(|connection| connection.id);
        for connection in unproven {
            closing += connection.held();
            connection.close(CloseReason::Budget);
            if has_room(closing) {
                return true;
            }
        }
        *failed = Some((Instant::now(), held));
        false
    }

    pub(super) fn each(&self) -> Vec<Arc<Account>> {
        self.lock().values().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<u64, Weak<Account>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
