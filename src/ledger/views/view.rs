//! The view of one showtime: its content under a lock, its watchers, and when they are woken.

#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::{
    frames::{Frame, Snapshot},
    state::{NextMessage, ViewState},
};
use crate::{
    background::Nudge,
    domain::{
        seat_map::{Delta, Followed, SeatMap},
        seating::ShowtimePlan,
    },
    store::Error,
};

/// Time between two announcements for each watcher, which is several times what it takes to write to one. Changes that come
/// faster are announced together, so that most of the machine is left to reservations.
const PACE_PER_WATCHER: Duration = Duration::from_micros(20);
/// The longest time between a change and its announcement.
const MAX_PACE: Duration = Duration::from_millis(50);

/// When the database was last read for a view, and the result.
pub(super) type LastRead = (Instant, Result<(), Arc<Error>>);

/// The view of one showtime.
pub(super) struct View {
    /// Held while the database is read for this view. The value is for the requests that waited meanwhile.
    pub(super) reading: tokio::sync::Mutex<Option<LastRead>>,
    state: Mutex<ViewState>,
    /// The number of the next frame, sent when the frames before it are announced.
    wakeups: watch::Sender<u64>,
    /// Wakes the announcing task, which announces lapses and what is postponed.
    announcer: Nudge,
    watchers: AtomicUsize,
    /// Whether the announcing task runs.
    announcing: AtomicBool,
    /// Whether the showtime is no longer in the database.
    gone: AtomicBool,
}

impl View {
    pub(super) fn new(map: SeatMap, epoch: Arc<str>, now: DateTime<Utc>, confirmed_at: Instant) -> Self {
        Self {
            reading: tokio::sync::Mutex::default(),
            state: Mutex::new(ViewState::new(map, epoch, now, confirmed_at)),
            wakeups: watch::Sender::new(0),
            announcer: Nudge::default(),
            watchers: AtomicUsize::new(0),
            announcing: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, ViewState> {
        // A panic under the lock may leave half a change behind; see `recover`.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn epoch(&self) -> Arc<str> {
        Arc::clone(&self.state().epoch)
    }

    pub(super) fn plan(&self) -> Arc<ShowtimePlan> {
        Arc::clone(self.state().map.plan())
    }

    pub(super) fn revision(&self) -> i64 {
        self.state().map.revision()
    }

    /// Notes that the database, read at this instant, had the view's revision.
    pub(super) fn confirm(&self, read_at: Instant) {
        let mut state = self.state();
        state.confirmed_at = state.confirmed_at.max(read_at);
    }

    pub(super) fn unconfirmed_for(&self) -> Duration {
        self.state().confirmed_at.elapsed()
    }

    /// Whether the view has this revision and was confirmed lately.
    pub(super) fn is_current(&self, at_least: i64) -> bool {
        self.state().is_current(at_least, Instant::now())
    }

    /// The whole map, if the view is current.
    pub(super) fn current(&self, at_least: i64, now: DateTime<Utc>) -> Option<Arc<Snapshot>> {
        let (mut state, instant) = (self.state(), Instant::now());
        state.is_current(at_least, instant).then(|| {
            state.used_at = instant;
            state.snapshot(now)
        })
    }

    /// The whole map.
    pub(super) fn snapshot(&self, now: DateTime<Utc>) -> Arc<Snapshot> {
        let mut state = self.state();
        state.used_at = Instant::now();
        state.snapshot(now)
    }

    /// The whole map, and the number of the next frame.
    pub(super) fn snapshot_to_watch(&self, now: DateTime<Utc>) -> (Arc<Snapshot>, u64) {
        let mut state = self.state();
        (state.snapshot(now), state.next_frame)
    }

    /// Applies a change of this showtime and announces it.
    pub(super) fn follow(&self, delta: Delta, now: DateTime<Utc>) -> Followed {
        self.follow_in(self.state(), delta, now)
    }

    /// Applies a change that another instance published, if it is of this epoch and names seats that exist.
    pub(super) fn follow_published(&self, epoch: &str, delta: Delta, now: DateTime<Utc>) {
        let state = self.state();
        let seats = state.map.plan().seat_index.seat_count();
        if *state.epoch == *epoch && delta.seats.iter().all(|(seat, _)| *seat < seats) {
            self.follow_in(state, delta, now);
        }
    }

    fn follow_in(&self, mut state: MutexGuard<'_, ViewState>, delta: Delta, now: DateTime<Utc>) -> Followed {
        let followed = state.follow(delta, now);
        if followed == Followed::Done {
            self.announce(state);
        }
        followed
    }

    /// Takes over a map that was read at this instant. An older map than the view has is ignored.
    pub(super) fn replace(&self, map: SeatMap, now: DateTime<Utc>, read_at: Instant) {
        let mut state = self.state();
        if map.revision() < state.map.revision() {
            return;
        }
        state.confirmed_at = state.confirmed_at.max(read_at);
        if map.revision() > state.map.revision() {
            state.replace(map, now);
            self.announce(state);
        }
    }

    /// Takes over the map of a database that is another one or was restored, even if its revision is lower. Every watcher
    /// gets a snapshot next.
    pub(super) fn restart(&self, map: SeatMap, epoch: Arc<str>, read_at: Instant) {
        let mut state = self.state();
        state.restart(map, epoch, read_at);
        self.announce(state);
    }

    /// Makes up for a panic under the lock: every watcher gets a snapshot next.
    pub(super) fn recover(&self) {
        let mut state = self.state();
        state.drop_frames();
        self.announce(state);
    }

    /// Announces the holds that have lapsed by now. Returns a time before which none of the others lapses.
    pub(super) fn lapse(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut state = self.state();
        let changed = state.push_lapses(now);
        state.lapses_sooner = false;
        let next_lapse = state.next_lapse;
        if changed {
            self.announce(state);
        }
        next_lapse
    }

    /// What comes after the frames below this number as far as it is announced, and the number after it.
    pub(super) fn announced_after(&self, number: u64) -> (NextMessage, u64) {
        let mut state = self.state();
        let announced = state.announced;
        state.frames_between(number, announced)
    }

    /// What comes after the frames below this number, announced or not, for a watcher that is due a heartbeat; and the time up
    /// to which there is nothing more.
    pub(super) fn everything_after(&self, number: u64, now: DateTime<Utc>) -> (NextMessage, u64, DateTime<Utc>) {
        let mut state = self.state();
        let now = state.moment(now);
        let changed = state.push_lapses(now);
        let end = state.next_frame;
        let (next, after) = state.frames_between(number, end);
        if changed {
            self.announce(state);
        }
        (next, after, now)
    }

    /// What comes after this revision of this epoch as one frame, and the number of the frame after it; `None` if a snapshot
    /// is needed.
    pub(super) fn since(&self, revision: i64, epoch: &str, now: DateTime<Utc>) -> Option<(Arc<Frame>, u64)> {
        self.state().since(revision, epoch, now)
    }

    /// Wakes the watchers, which will take the lock; or postpones that if they were woken a moment ago.
    fn announce(&self, mut state: MutexGuard<'_, ViewState>) {
        let postponed = state.announced_at.elapsed() < self.pace();
        let wake_announcer = std::mem::take(&mut state.lapses_sooner) || postponed;
        if !postponed {
            (state.announced, state.announced_at) = (state.next_frame, Instant::now());
        }
        let number = state.announced;
        drop(state);
        if !postponed {
            self.wakeups.send_replace(number);
        }
        if wake_announcer {
            self.announcer.send();
        }
    }

    /// Announces what is postponed, if that is due. Returns how long it is still postponed.
    pub(super) fn announce_postponed(&self) -> Option<Duration> {
        let state = self.state();
        if state.announced == state.next_frame {
            return None;
        }
        let remaining = self.pace().checked_sub(state.announced_at.elapsed());
        if remaining.is_none() {
            self.announce(state);
        }
        remaining
    }

    /// The least time between two announcements.
    fn pace(&self) -> Duration {
        let watchers = u32::try_from(self.watchers.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        let pace = PACE_PER_WATCHER.saturating_mul(watchers).min(MAX_PACE);
        // A timer is not more exact than a millisecond.
        if pace.as_millis() > 0 { pace } else { Duration::ZERO }
    }

    /// What wakes the announcing task.
    pub(super) fn announcer(&self) -> &Nudge {
        &self.announcer
    }

    /// Adds a watcher. Returns whether the announcing task is to be started.
    pub(super) fn add_watcher(&self) -> bool {
        self.watchers.fetch_add(1, Ordering::SeqCst);
        self.state().used_at = Instant::now();
        !self.announcing.swap(true, Ordering::SeqCst)
    }

    pub(super) fn remove_watcher(&self) {
        self.watchers.fetch_sub(1, Ordering::SeqCst);
        self.state().used_at = Instant::now();
    }

    /// How long the view has been unused, if it has no watchers.
    pub(super) fn idle(&self) -> Option<Duration> {
        (self.watchers.load(Ordering::SeqCst) == 0).then(|| self.state().used_at.elapsed())
    }

    /// Whether the announcing task may end, because there are no watchers.
    pub(super) fn may_stop_announcing(&self) -> bool {
        if self.watchers.load(Ordering::SeqCst) > 0 {
            return false;
        }
        self.announcing.store(false, Ordering::SeqCst);
        // A watcher that was added meanwhile either starts a task, or is seen here.
        self.watchers.load(Ordering::SeqCst) == 0 || self.announcing.swap(true, Ordering::SeqCst)
    }

    pub(super) fn wakeups(&self) -> watch::Receiver<u64> {
        self.wakeups.subscribe()
    }

    /// Ends every watch, because the showtime is not in the database.
    pub(super) fn end(&self) {
        self.gone.store(true, Ordering::SeqCst);
        self.wakeups.send_modify(|_| {});
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }
}
