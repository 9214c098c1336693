//! The deletion of old events. Every instance does it, and their attempts exclude each other.

use std::time::Duration;

use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use super::Feed;
use crate::{
    background::{NextRun, Task},
    clock::Clock,
    store::{Error, Retention},
    telemetry::metrics,
};

/// The shortest pause between two looks for old events, and the longest.
const PERIODS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// A look for old events comes after this part of the time for which they are kept.
const PERIOD_SHARE: u32 = 60;

/// The pause after another instance had the head.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// A sink that was in use within this time is one for which events are kept, also where events are kept for less than that.
const UNUSED_SINK: TimeDelta = TimeDelta::minutes(1);

/// Which events are kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// For how long,
    pub time: Duration,
    /// and of how many commits at most.
    pub most: i64,
}

impl Feed {
    /// Deletes events that are not to be kept, until the shutdown.
    pub async fn delete_old(self, kept: Kept, clock: Clock, shutdown: CancellationToken) {
        let (shortest, longest) = PERIODS;
        let period = (kept.time / PERIOD_SHARE).clamp(shortest, longest);
        let task = Task::new("deletion of old events", period).shutdown(shutdown);
        // Shown from the beginning, so that an alert sees the first increase.
        metrics::events_deleted("old", 0);
        metrics::events_deleted("cap", 0);
        task.run(async move || {
            let time = TimeDelta::from_std(kept.time).unwrap_or(TimeDelta::MAX);
            let now = clock.now();
            let after = now.checked_sub_signed(time).unwrap_or_default();
            let sinks_after = after.min(now - UNUSED_SINK);
            let retention = Retention { after, sinks_after, most: kept.most };
            let deleted = match self.0.store.delete_events(retention).await? {
                None => return Ok::<_, Error>(NextRun::Within(BUSY_PAUSE)),
                Some(deleted) if deleted.is_empty() => return Ok(NextRun::Period),
                Some(deleted) => deleted,
            };
            metrics::events_deleted("old", deleted.old);
            metrics::events_deleted("cap", deleted.beyond_cap);
            if deleted.beyond_cap > 0 {
                tracing::warn!(
                    commits = deleted.beyond_cap,
                    "deleted events that were to be kept, because there are more than --event-cap allows"
                );
            }
            Ok(NextRun::Now)
        })
        .await;
    }
}
