//! The comparison of all views with the database, which finds every change that no message has brought.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use tokio::time;
use tokio_util::sync::CancellationToken;

use super::{catalog::Catalog, view::View};
use crate::{
    background::{NextRun, Task},
    domain::{ids::ShowtimeId, seat_map::Followed},
    store::{Error, outbox},
};

/// How often views are compared. Without errors, a change of which the message was lost is found within a second.
const COMPARE_EVERY: Duration = Duration::from_millis(500);
/// A query that takes longer is abandoned. The next comparison reads again.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);
/// Showtimes that are compared by one query.
const QUERY_CHUNK: usize = 1_000;
/// A view that is more revisions behind than this is read anew, which is less work than replaying them.
const MAX_REPLAYED: i64 = 256;

/// Compares and evicts views again and again, until the shutdown or until the catalog is gone. `publishes`: whether changes are
/// published to other instances; if true, the epoch is read even without views.
pub(super) async fn run(catalog: Weak<Catalog>, publishes: bool, shutdown: CancellationToken) {
    let task = Task::new("comparison of seat maps with the database", COMPARE_EVERY).shutdown(shutdown);
    task.run(async move || {
        let Some(catalog) = catalog.upgrade() else { return Ok(NextRun::Never) };
        let compared = catalog.compare(publishes).await;
        catalog.slots.evict();
        compared.map(|()| NextRun::Period)
    })
    .await;
}

impl Catalog {
    /// Compares all views with the database, and brings them up to it. An error with one view does not stop the others.
    async fn compare(&self, publishes: bool) -> Result<(), Arc<Error>> {
        let views = self.slots.views();
        if views.is_empty() && !publishes {
            return Ok(());
        }
        let epoch = in_time(self.read_epoch()).await?;
        let (same, other): (Vec<_>, Vec<_>) = views.iter().partition(|(_, view)| view.epoch() == epoch);
        let mut result = Ok(());
        for chunk in same.chunks(QUERY_CHUNK) {
            result = result.and(self.compare_chunk(chunk).await);
        }
        for (id, view) in other {
            // If a request reads the view right now, the next comparison comes soon enough.
            let Ok(_reading) = view.reading.try_lock() else { continue };
            result = result.and(self.restart(view, *id, Arc::clone(&epoch)).await);
        }
        result
    }

    async fn compare_chunk(&self, chunk: &[(&ShowtimeId, &Arc<View>)]) -> Result<(), Arc<Error>> {
        let started = Instant::now();
        let views: HashMap<_, _> = chunk.iter().map(|(id, view)| (**id, (*view, view.revision()))).collect();
        let ids: Vec<_> = views.keys().copied().collect();
        let stored = in_time(async { Ok(self.store.revisions(&ids).await?) }).await?;
        self.clock.set(stored.now);
        let (mut to_replay, mut to_refresh) = (Vec::new(), Vec::new());
        let mut missing: HashSet<_> = ids.into_iter().collect();
        for (id, revision) in stored.at {
            missing.remove(&id);
            let Some((view, shown)) = views.get(&id) else { continue };
            match revision - shown {
                0 => view.confirm(started),
                1..=MAX_REPLAYED if self.store.has_clock() => to_replay.push((id, *shown)),
                _ => to_refresh.push(id),
            }
        }
        to_refresh.extend(self.replay(&to_replay, &views, started).await);
        to_refresh.extend(missing);
        let mut result = Ok(());
        for id in to_refresh {
            if let Some((view, _)) = views.get(&id) {
                let Ok(_reading) = view.reading.try_lock() else { continue };
                result = result.and(self.refresh(view, id).await);
            }
        }
        result
    }

    /// Replays the steps in `outbox` on views, commit by commit. Returns the showtimes for which that did not succeed.
    async fn replay(
        &self,
        behind: &[(ShowtimeId, i64)],
        views: &HashMap<ShowtimeId, (&Arc<View>, i64)>,
        started: Instant,
    ) -> Vec<ShowtimeId> {
        let mut failed: HashSet<_> = behind.iter().map(|(id, _)| *id).collect();
        if failed.is_empty() {
            return Vec::new();
        }
        // If this read fails, so does the one of the whole map, which returns its error.
        let rows = self.store.events_since(behind).await.unwrap_or_default();
        for rows in rows.chunk_by(|one, next| one.aggregate == next.aggregate) {
            let id = ShowtimeId(rows[0].aggregate);
            let Some((view, _)) = views.get(&id) else { continue };
            let seat_index = &view.plan().seat_index;
            let replayed = rows.iter().all(|row| {
                let delta = outbox::delta(seat_index, &row.events);
                delta.is_some_and(|delta| view.follow(delta, self.clock.now()) != Followed::Gap)
            });
            if replayed {
                view.confirm(started);
                failed.remove(&id);
            }
        }
        failed.into_iter().collect()
    }
}

/// Limits a query's time, so that a database that answers again after a silence is noticed soon.
async fn in_time<T>(query: impl Future<Output = Result<T, Arc<Error>>>) -> Result<T, Arc<Error>> {
    let late = |_| Err(Arc::new(Error::overloaded("the database did not answer within 1 s")));
    time::timeout(QUERY_TIMEOUT, query).await.unwrap_or_else(late)
}
