//! A watch of one seat map: which message its watcher gets next.

use std::{any::Any, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::{sync::watch, time};

use super::{
    clock::ViewClock,
    frames::{Frame, Snapshot},
    permits::WatchPermit,
    state::{NextMessage, STALE_AFTER},
    view::View,
};
use crate::domain::ids::ShowtimeId;

/// A message to a watcher.
#[derive(Clone, Debug)]
pub enum WatchMessage {
    /// The whole seat map.
    Snapshot(Arc<Snapshot>),
    /// What changed since the message before.
    Delta(Arc<Frame>),
    /// Nothing has changed since the message before.
    Heartbeat {
        /// The revision that the watcher has.
        revision: i64,
        /// The time up to which nothing has changed.
        now: DateTime<Utc>,
        /// Since when the view has not been confirmed against the database, if it is stale.
        stale_since: Option<DateTime<Utc>>,
    },
    /// The showtime is no longer in the database. It is the last message.
    Gone,
}

/// A watch, which counts as a watcher until it is dropped.
pub struct Watch {
    clock: Arc<ViewClock>,
    showtime_id: ShowtimeId,
    view: Arc<View>,
    wakeups: watch::Receiver<u64>,
    /// Number of the next frame; `None` until the first message.
    next_frame: Option<u64>,
    /// The first message to a watcher that resumes.
    first: Option<Arc<Frame>>,
    /// The revision and epoch of the last message; revision 0 until the first message.
    position: (i64, Arc<str>),
    permit: Arc<WatchPermit>,
}

/// The state of a watcher that resumes: its position, its first message, and the number of the frame after that.
pub(super) struct Resumption {
    pub(super) position: (i64, Arc<str>),
    pub(super) first: Arc<Frame>,
    pub(super) next_frame: u64,
}

impl Watch {
    pub(super) fn new(
        clock: Arc<ViewClock>,
        (showtime_id, view): (ShowtimeId, Arc<View>),
        permit: WatchPermit,
        resumption: Option<Resumption>,
    ) -> Self {
        let (position, first, next_frame) = match resumption {
            Some(Resumption { position, first, next_frame }) => (position, Some(first), Some(next_frame)),
            None => ((0, Arc::from("")), None, None),
        };
        let (wakeups, permit) = (view.wakeups(), Arc::new(permit));
        Self { clock, showtime_id, view, wakeups, next_frame, first, position, permit }
    }

    /// The showtime that is watched.
    #[must_use]
    pub fn showtime_id(&self) -> ShowtimeId {
        self.showtime_id
    }

    /// Waits for the next message. A heartbeat follows on every interval without one.
    pub async fn next(&mut self, heartbeat: Duration) -> WatchMessage {
        if self.view.is_gone() {
            return WatchMessage::Gone;
        }
        // A watcher that resumes and is up to date gets a heartbeat at once.
        if let Some(first) = self.first.take() {
            return if first.delta.is_empty() { self.heartbeat(first.at) } else { self.delta(first) };
        }
        let Some(next_frame) = self.next_frame else { return self.snapshot() };
        let due = time::sleep(heartbeat);
        tokio::pin!(due);
        loop {
            self.wakeups.borrow_and_update();
            if self.view.is_gone() {
                return WatchMessage::Gone;
            }
            if let Some(message) = self.message(self.view.announced_after(next_frame)) {
                return message;
            }
            tokio::select! {
                biased;
                _ = self.wakeups.changed() => {}
                () = &mut due => {
                    let (next, after, now) = self.view.everything_after(next_frame, self.clock.now());
                    return self.message((next, after)).unwrap_or_else(|| self.heartbeat(now));
                }
            }
        }
    }

    /// The revision and epoch of the last message, from which a new watch can resume.
    #[must_use]
    pub fn position(&self) -> (i64, Arc<str>) {
        (self.position.0, Arc::clone(&self.position.1))
    }

    /// The watch permit. The handler holds it until the last message is sent.
    #[must_use]
    pub fn permit(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::clone(&self.permit) as _
    }

    fn message(&mut self, (next, after): (NextMessage, u64)) -> Option<WatchMessage> {
        match next {
            NextMessage::Nothing => None,
            NextMessage::Snapshot => Some(self.snapshot()),
            NextMessage::Frame(frame) => {
                self.next_frame = Some(after);
                Some(self.delta(frame))
            }
        }
    }

    fn snapshot(&mut self) -> WatchMessage {
        let (snapshot, next_frame) = self.view.snapshot_to_watch(self.clock.now());
        (self.next_frame, self.position) = (Some(next_frame), (snapshot.revision, Arc::clone(&snapshot.epoch)));
        WatchMessage::Snapshot(snapshot)
    }

    fn delta(&mut self, frame: Arc<Frame>) -> WatchMessage {
        self.position.0 = frame.delta.revision;
        WatchMessage::Delta(frame)
    }

    fn heartbeat(&self, now: DateTime<Utc>) -> WatchMessage {
        let unconfirmed_for = self.view.unconfirmed_for();
        let stale_since = (unconfirmed_for > STALE_AFTER).then(|| now - unconfirmed_for);
        WatchMessage::Heartbeat { revision: self.position.0, now, stale_since }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.view.remove_watcher();
    }
}
