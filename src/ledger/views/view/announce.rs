//! When those who watch are woken: at once, or together with what comes a little later.

use std::{
    sync::{MutexGuard, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{Inner, View};

/// Several times what it takes to tell one watcher something. Where changes follow on each other faster, several of them are
/// told together, so that telling leaves most of the machine to those who buy.
const TELLING: Duration = Duration::from_micros(20);
/// Those who watch are not kept waiting for it for longer than this.
const PATIENCE: Duration = Duration::from_millis(50);

impl View {
    /// Wakes those who wait, who will want the lock; or has that done a little later, if it has just been done.
    pub(super) fn announce(&self, mut inner: MutexGuard<'_, Inner>) {
        if inner.announced_at.elapsed() < self.pace() {
            drop(inner);
            self.pending.notify_one();
            return;
        }
        (inner.announced, inner.announced_at) = (inner.number, Instant::now());
        let number = inner.number;
        drop(inner);
        self.wakeups.send_replace(number);
    }

    /// Wakes those who wait if that is due. Or else answers when it will be.
    pub(in crate::ledger::views) fn announce_later(&self) -> Option<Duration> {
        let inner = self.inner();
        if inner.announced == inner.number {
            return None;
        }
        let left = self.pace().checked_sub(inner.announced_at.elapsed());
        if left.is_none() {
            self.announce(inner);
        }
        left
    }

    /// Waits until something is there that will have to be told later.
    pub(in crate::ledger::views) async fn pending(&self) {
        self.pending.notified().await;
    }

    /// The least time from one telling to the next.
    fn pace(&self) -> Duration {
        let watchers = u32::try_from(self.watchers.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        // A timer is not more exact than this.
        Some(TELLING.saturating_mul(watchers).min(PATIENCE)).filter(|pace| pace.as_millis() > 0).unwrap_or_default()
    }
}
