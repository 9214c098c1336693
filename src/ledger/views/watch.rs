//! Somebody who watches: what to say next.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::{sync::watch, time};

use super::{
    STALE, Views,
    view::{Frame, Next, Snapshot, View},
};

/// What a watcher is told.
#[derive(Clone, Debug)]
pub enum Said {
    /// Everything as it stands.
    Everything(Arc<Snapshot>),
    /// What changed.
    Changed(Arc<Frame>),
    /// Nothing changed for a while.
    Quiet {
        /// At this revision
        revision: i64,
        /// until now.
        now: DateTime<Utc>,
        /// Since when nobody has vouched for it, if that is long ago.
        stale_since: Option<DateTime<Utc>>,
    },
}

/// Somebody who is told of every change of one showtime's seats.
pub struct Watch {
    views: Views,
    view: Arc<View>,
    bell: watch::Receiver<u64>,
    /// The number of the next frame; `None` before the first word.
    next: Option<u64>,
    first: Option<Arc<Frame>>,
    /// The last revision that was told of.
    revision: i64,
}

impl Watch {
    pub(super) fn new(
        views: Views,
        view: Arc<View>,
        first: Option<Arc<Frame>>,
        next: Option<u64>,
        revision: i64,
    ) -> Self {
        Self { views, bell: view.bell(), view, next, first, revision }
    }

    /// What comes next, or that nothing did for so long.
    pub async fn next(&mut self, patience: Duration) -> Said {
        // Nothing may have happened since the watcher left.
        if let Some(frame) = self.first.take().filter(|frame| !frame.delta.is_empty()) {
            return self.changed(frame);
        }
        let Some(next) = self.next else { return self.everything() };
        // One who waits already counts from the last word.
        let silence = time::sleep(patience);
        tokio::pin!(silence);
        loop {
            self.bell.borrow_and_update();
            let now = self.views.now();
            match self.view.after(next, now) {
                (Next::Frame(frame), after) => {
                    self.next = Some(after);
                    return self.changed(frame);
                }
                (Next::Everything, _) => return self.everything(),
                (Next::Nothing, _) => {}
            }
            tokio::select! {
                _ = self.bell.changed() => {}
                () = &mut silence => return self.quiet(),
            }
        }
    }

    /// Where somebody else can go on: the last revision that was told, and its epoch.
    #[must_use]
    pub fn place(&self) -> (i64, Arc<str>) {
        (self.revision, self.view.epoch())
    }

    fn everything(&mut self) -> Said {
        let (snapshot, next) = self.view.everything(self.views.now());
        (self.next, self.revision) = (Some(next), snapshot.revision);
        Said::Everything(snapshot)
    }

    fn changed(&mut self, frame: Arc<Frame>) -> Said {
        self.revision = frame.delta.revision;
        Said::Changed(frame)
    }

    fn quiet(&self) -> Said {
        let (now, unvouched) = (self.views.now(), self.view.unvouched());
        let stale_since = (unvouched > STALE).then(|| now - unvouched);
        Said::Quiet { revision: self.revision, now, stale_since }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.view.left();
        self.views.watcher_left();
    }
}
