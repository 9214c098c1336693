//! Somebody who watches: what to say next.

use std::{
    any::Any,
    sync::{Arc, Weak},
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::{sync::watch, time};

use super::{
    Inner, STALE, Views,
    frames::{Frame, Snapshot},
    permits::WatchPermit,
    view::{Next, View},
};
use crate::{domain::ids::ShowtimeId, telemetry::panics};

/// Nobody sleeps longer than this, and misses that nobody watches any more.
const NAP: Duration = Duration::from_mins(1);
/// After a panic, it goes on as soon as that.
const RECOVERY: Duration = Duration::from_secs(1);

/// What a watcher is told.
#[derive(Clone, Debug)]
pub enum WatchMessage {
    /// Everything as it stands.
    Snapshot(Arc<Snapshot>),
    /// What changed.
    Delta(Arc<Frame>),
    /// Nothing changed for a while.
    Heartbeat {
        /// At this revision
        revision: i64,
        /// until now.
        now: DateTime<Utc>,
        /// Since when nobody has vouched for it, if that is long ago.
        stale_since: Option<DateTime<Utc>>,
    },
    /// There is no such showtime any more.
    Gone,
}

/// Somebody who is told of every change of one showtime's seats.
pub struct Watch {
    views: Views,
    id: ShowtimeId,
    view: Arc<View>,
    wakeups: watch::Receiver<u64>,
    /// The number of the next frame; `None` before the first word.
    next: Option<u64>,
    first: Option<Arc<Frame>>,
    /// The last revision that was told of, and its epoch; 0 before the first word.
    place: (i64, Arc<str>),
    seat: Arc<WatchPermit>,
}

impl Watch {
    /// `since`: what to begin with, and where to go on then; the place is where the watcher comes from.
    pub(super) fn new(
        views: Views,
        (id, view): (ShowtimeId, Arc<View>),
        seat: WatchPermit,
        since: Option<(Arc<Frame>, u64)>,
        place: Option<(i64, &str)>,
    ) -> Self {
        let place = place.filter(|_| since.is_some()).map_or((0, Arc::from("")), |(at, epoch)| (at, Arc::from(epoch)));
        let (first, next) = since.map_or((None, None), |(frame, next)| (Some(frame), Some(next)));
        Self { views, id, wakeups: view.wakeups(), view, next, first, place, seat: Arc::new(seat) }
    }

    /// Which showtime is watched.
    #[must_use]
    pub fn showtime_id(&self) -> ShowtimeId {
        self.id
    }

    /// What comes next, or that nothing did for so long.
    pub async fn next(&mut self, patience: Duration) -> WatchMessage {
        if self.view.is_gone() {
            return WatchMessage::Gone;
        }
        // A subscriber that resumes and is up to date is told so at once.
        if let Some(first) = self.first.take() {
            return if first.delta.is_empty() { self.quiet(first.at) } else { self.changed(first) };
        }
        let Some(next) = self.next else { return self.everything() };
        let silence = time::sleep(patience);
        tokio::pin!(silence);
        loop {
            self.wakeups.borrow_and_update();
            if self.view.is_gone() {
                return WatchMessage::Gone;
            }
            if let Some(message) = self.message(self.view.after(next)) {
                return message;
            }
            tokio::select! {
                biased;
                _ = self.wakeups.changed() => {}
                () = &mut silence => {
                    let (missing, after, now) = self.view.heartbeat(next, self.views.now());
                    return self.message((missing, after)).unwrap_or_else(|| self.quiet(now));
                }
            }
        }
    }

    fn message(&mut self, (next, after): (Next, u64)) -> Option<WatchMessage> {
        match next {
            Next::Nothing => None,
            Next::Everything => Some(self.everything()),
            Next::Frame(frame) => {
                self.next = Some(after);
                Some(self.changed(frame))
            }
        }
    }

    /// Where somebody else can go on: the last revision that was told, and its epoch.
    #[must_use]
    pub fn place(&self) -> (i64, Arc<str>) {
        (self.place.0, Arc::clone(&self.place.1))
    }

    /// To be kept for as long as the watcher has not taken its last word: its place is not given to another before.
    #[must_use]
    pub fn seat(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::clone(&self.seat) as _
    }

    fn everything(&mut self) -> WatchMessage {
        let (snapshot, next) = self.view.everything(self.views.now());
        (self.next, self.place) = (Some(next), (snapshot.revision, Arc::clone(&snapshot.epoch)));
        WatchMessage::Snapshot(snapshot)
    }

    fn changed(&mut self, frame: Arc<Frame>) -> WatchMessage {
        self.place.0 = frame.delta.revision;
        WatchMessage::Delta(frame)
    }

    fn quiet(&self, now: DateTime<Utc>) -> WatchMessage {
        let unconfirmed_for = self.view.unconfirmed_for();
        let stale_since = (unconfirmed_for > STALE).then(|| now - unconfirmed_for);
        WatchMessage::Heartbeat { revision: self.place.0, now, stale_since }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.view.left();
    }
}

/// Tells of every hold that ends, when it ends, and of what could not be told at once, for as long as anybody watches.
pub(super) async fn announce_lapses(views: Weak<Inner>, view: Arc<View>) {
    while let Err(panic) = panics::catch_async(run_announcements(&views, &view)).await {
        panics::report(&panic);
        time::sleep(RECOVERY).await;
        view.recover();
    }
}

async fn run_announcements(views: &Weak<Inner>, view: &View) {
    let mut wakeups = view.wakeups();
    loop {
        let Some(views) = views.upgrade().map(Views) else { return };
        if view.may_stop() {
            return;
        }
        wakeups.borrow_and_update();
        let now = views.now();
        let pause = view.lapse(now).and_then(|next| (next - now).to_std().ok()).unwrap_or(NAP).min(NAP);
        let pause = view.announce_later().unwrap_or(pause).min(pause);
        drop(views);
        tokio::select! {
            () = time::sleep(pause) => {}
            _ = wakeups.changed() => {}
            () = view.pending() => {}
        }
    }
}
