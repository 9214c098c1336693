//! Those who watch a view: whether there are any, and what all of them have to know.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::View;

impl View {
    /// Nobody watches it, and nobody has read it for so long.
    pub(in crate::ledger::views) fn idle(&self) -> Option<Duration> {
        (self.watchers.load(Ordering::SeqCst) == 0).then(|| self.inner().used.elapsed())
    }

    /// Somebody watches from now on. `true`: and it has to be kept awake.
    pub(in crate::ledger::views) fn watched(&self) -> bool {
        self.watchers.fetch_add(1, Ordering::SeqCst);
        self.inner().used = Instant::now();
        !self.announcing.swap(true, Ordering::SeqCst)
    }

    /// Somebody has gone.
    pub(in crate::ledger::views) fn left(&self) {
        self.watchers.fetch_sub(1, Ordering::SeqCst);
        self.inner().used = Instant::now();
    }

    /// Whether it may fall asleep, since nobody watches.
    pub(in crate::ledger::views) fn may_stop(&self) -> bool {
        if self.watchers.load(Ordering::SeqCst) > 0 {
            return false;
        }
        self.announcing.store(false, Ordering::SeqCst);
        // Whoever came in between either sees it asleep, or is seen here.
        self.watchers.load(Ordering::SeqCst) == 0 || self.announcing.swap(true, Ordering::SeqCst)
    }

    pub(in crate::ledger::views) fn wakeups(&self) -> watch::Receiver<u64> {
        self.wakeups.subscribe()
    }

    /// The database that there is now knows of no such showtime: those who watch hear so.
    pub(in crate::ledger::views) fn end(&self) {
        self.gone.store(true, Ordering::SeqCst);
        self.wakeups.send_modify(|_| {});
    }

    pub(in crate::ledger::views) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }
}
