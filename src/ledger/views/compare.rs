//! Views are compared with the database, and brought up to it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, Weak, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::time;

use super::{Inner, Views, view::View};
use crate::{
    domain::{
        ids::ShowtimeId,
        seat_map::{Followed, SeatMap},
    },
    store::{Error, outbox},
    telemetry::panics,
};

/// How often revisions are compared: a lost message is made up for within a second.
const COMPARE: Duration = Duration::from_millis(500);
/// An answer that takes longer is not waited for: the question is asked again.
const SOON: Duration = Duration::from_secs(1);
/// Showtimes that are compared by one query.
const TOGETHER: usize = 1_000;
/// Revisions that are followed commit by commit. Beyond it, reading the whole map is less work.
const FOLLOWED: i64 = 256;

impl Views {
    /// Compares all views with the database, and brings them up to it. What goes wrong with one keeps nobody from the others.
    async fn catch_up(&self) -> Result<(), Arc<Error>> {
        let views: HashMap<_, _> = {
            let slots = self.0.slots.read().unwrap_or_else(PoisonError::into_inner);
            let loaded = slots.iter().filter_map(|(id, slot)| Some((*id, Arc::clone(slot.view.get()?))));
            loaded.collect()
        };
        // Others are told in which epoch something happened.
        if views.is_empty() && self.0.publisher.is_none() {
            return Ok(());
        }
        let epoch = soon(self.read_epoch()).await?;
        let (same, other): (Vec<_>, Vec<_>) = views.iter().partition(|(_, view)| view.epoch() == epoch);
        let mut failed = Ok(());
        for some in same.chunks(TOGETHER) {
            failed = failed.and(self.compare(some).await);
        }
        for (id, view) in other {
            // A request for it that is under way finds out as well, and the next comparison comes soon.
            let Ok(_reading) = view.reading.try_lock() else { continue };
            failed = failed.and(self.begin_anew(*id, view, &epoch).await);
        }
        failed
    }

    /// Reads a view anew from a database that is another one, or has been restored. `view.reading` is held.
    pub(super) async fn begin_anew(&self, id: ShowtimeId, view: &View, epoch: &Arc<str>) -> Result<(), Arc<Error>> {
        // What was acknowledged may be lost. What is acknowledged from here on counts again.
        if let Some(slot) = self.slot(id) {
            slot.acknowledged.store(0, Ordering::SeqCst);
        }
        let asked = Instant::now();
        match self.0.store.seat_map(id).await? {
            Some(read) => {
                let map = SeatMap::new(view.plan(), read.revision, read.state, read.claims);
                view.begin_anew(map, Arc::clone(epoch), asked);
            }
            None => self.end(view, id),
        }
        Ok(())
    }

    async fn compare(&self, views: &[(&ShowtimeId, &Arc<View>)]) -> Result<(), Arc<Error>> {
        let asked = Instant::now();
        let known: HashMap<_, _> = views.iter().map(|(id, view)| (**id, (*view, view.revision()))).collect();
        let ids: Vec<_> = known.keys().copied().collect();
        let there = soon(async { Ok(self.0.store.revisions(&ids).await?) }).await?;
        self.hear(there.now);
        let (mut near, mut far) = (Vec::new(), Vec::new());
        let mut missing: HashSet<_> = ids.into_iter().collect();
        for (id, revision) in there.at {
            missing.remove(&id);
            let Some((view, known)) = known.get(&id) else { continue };
            match revision - known {
                0 => view.confirm(asked),
                1..=FOLLOWED if self.0.store.has_clock() => near.push((id, *known)),
                _ => far.push(id),
            }
        }
        far.extend(self.follow(&near, &known, asked).await);
        far.extend(missing);
        let mut failed = Ok(());
        for id in far {
            if let Some((view, _)) = known.get(&id) {
                let Ok(_reading) = view.reading.try_lock() else { continue };
                failed = failed.and(self.refresh(view, id).await);
            }
        }
        failed
    }

    /// Follows what happened since, commit by commit. Answers whom it cannot bring up to date.
    async fn follow(
        &self,
        behind: &[(ShowtimeId, i64)],
        views: &HashMap<ShowtimeId, (&Arc<View>, i64)>,
        asked: Instant,
    ) -> Vec<ShowtimeId> {
        let mut left: HashSet<_> = behind.iter().map(|(id, _)| *id).collect();
        if left.is_empty() {
            return Vec::new();
        }
        // If it cannot be asked, reading anew fails by name, or is less.
        let happened = self.0.store.events_since(behind).await.unwrap_or_default();
        for together in happened.chunk_by(|one, next| one.aggregate == next.aggregate) {
            let id = ShowtimeId(together[0].aggregate);
            let Some((view, _)) = views.get(&id) else { continue };
            let seat_index = &view.plan().seat_index;
            let followed = together.iter().all(|happened| {
                let delta = outbox::delta(seat_index, &happened.events);
                delta.is_some_and(|delta| view.follow(delta, self.now()) != Followed::Gap)
            });
            if followed {
                view.confirm(asked);
                left.remove(&id);
            }
        }
        left.into_iter().collect()
    }
}

/// A database that was silent and speaks again is to be heard soon.
async fn soon<T>(answer: impl Future<Output = Result<T, Arc<Error>>>) -> Result<T, Arc<Error>> {
    let late = |_| Err(Arc::new(Error::overloaded("no answer for a while")));
    time::timeout(SOON, answer).await.unwrap_or_else(late)
}

/// Compares again and again, until the views are gone.
pub(super) async fn run(views: Weak<Inner>) {
    let mut failing = false;
    loop {
        time::sleep(COMPARE).await;
        let Some(views) = views.upgrade().map(Views) else { return };
        if views.0.closed.load(Ordering::SeqCst) {
            return;
        }
        match panics::catch_async(std::pin::pin!(views.catch_up())).await {
            Ok(Ok(())) => failing = false,
            Ok(Err(error)) if !failing => {
                failing = true;
                tracing::warn!(error = &error as &dyn std::error::Error, "seat maps cannot be compared");
            }
            Ok(Err(_)) => {}
            Err(panic) => panics::report(&panic),
        }
        views.evict();
    }
}
