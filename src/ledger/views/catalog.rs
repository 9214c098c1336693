//! All views, and how they are read from the database.
//!
//! A view is loaded once for all requests that arrive meanwhile, and so is every later read of it. A view never goes back in
//! revision and never skips one, unless the database does: then every watcher gets a snapshot.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use chrono::{DateTime, Utc};

use super::{
    clock::ViewClock,
    slots::{Slots, ViewSlot},
    view::View,
};
use crate::{
    clock::Clock,
    domain::{
        ids::ShowtimeId,
        seat_map::{Delta, Followed, SeatMap},
        seating::ShowtimePlan,
    },
    store::{Error, Store},
};

/// All views of this process.
pub(super) struct Catalog {
    pub(super) store: Store,
    pub(super) clock: Arc<ViewClock>,
    pub(super) slots: Slots,
    epoch: Mutex<Option<Arc<str>>>,
}

/// A showtime's slot, and its view.
pub(super) type Found = (Arc<ViewSlot>, Arc<View>);

impl Catalog {
    pub(super) fn new(store: Store, clock: ViewClock) -> Self {
        Self { store, clock: Arc::new(clock), slots: Slots::default(), epoch: Mutex::default() }
    }

    /// The view of a showtime, loaded if it is not in memory; `None` if there is no such showtime.
    pub(super) async fn view(&self, id: ShowtimeId) -> Result<Option<Found>, Arc<Error>> {
        let slot = match self.slots.get(id) {
            Some(slot) => match slot.view.get().cloned() {
                Some(view) => return Ok(Some((slot, view))),
                None => Some(slot),
            },
            None => None,
        };
        // No slot is made for a showtime that does not exist.
        let Some(plan) = Box::pin(self.store.plan(id)).await? else { return Ok(None) };
        let slot = slot.unwrap_or_else(|| self.slots.get_or_insert(id));
        let Some(view) = Box::pin(self.load(id, plan, &slot)).await? else { return Ok(None) };
        self.bring_to(&view, id, slot.published()).await?;
        Ok(Some((slot, view)))
    }

    async fn load(
        &self,
        id: ShowtimeId,
        plan: Arc<ShowtimePlan>,
        slot: &ViewSlot,
    ) -> Result<Option<Arc<View>>, Arc<Error>> {
        let arrived = Instant::now();
        let mut failed = slot.loading.lock().await;
        if let Some(view) = slot.view.get() {
            return Ok(Some(Arc::clone(view)));
        }
        if let Some((_, error)) = failed.as_ref().filter(|(started, _)| *started >= arrived) {
            return Err(Arc::clone(error));
        }
        let started = Instant::now();
        let read = async {
            let epoch = self.epoch().await?;
            // If the database becomes another one in between, the next comparison finds out.
            let read = self.store.seat_map(id).await?;
            Ok::<_, Arc<Error>>(read.map(|read| (epoch, read)))
        };
        match read.await {
            Ok(None) => Ok(None),
            Ok(Some((epoch, read))) => {
                self.clock.set(read.now);
                let map = SeatMap::new(plan, read.revision, read.state, read.claims);
                let view = || Arc::new(View::new(map, epoch, self.clock.now(), started));
                Ok(Some(Arc::clone(slot.view.get_or_init(view))))
            }
            Err(error) => {
                *failed = Some((started, Arc::clone(&error)));
                Err(error)
            }
        }
    }

    /// Reads a view unless it was confirmed lately and has this revision. Afterwards it has the revision, if the showtime has
    /// reached it.
    pub(super) async fn bring_to(&self, view: &View, id: ShowtimeId, at_least: i64) -> Result<(), Arc<Error>> {
        if view.is_current(at_least) {
            return Ok(());
        }
        let arrived = Instant::now();
        let mut last = view.reading.lock().await;
        if view.is_current(at_least) {
            return Ok(());
        }
        if let Some((_, result)) = last.as_ref().filter(|(started, _)| *started >= arrived) {
            return result.clone();
        }
        let started = Instant::now();
        let result = self.confirm_or_refresh(view, id, started).await;
        *last = Some((started, result.clone()));
        result
    }

    async fn confirm_or_refresh(&self, view: &View, id: ShowtimeId, started: Instant) -> Result<(), Arc<Error>> {
        let revision = view.revision();
        let stored = self.store.revisions(&[id]).await?;
        self.clock.set(stored.now);
        if stored.at.first().is_some_and(|(_, stored)| *stored == revision) {
            view.confirm(started);
            return Ok(());
        }
        self.refresh(view, id).await
    }

    /// Reads the whole map of a view. `view.reading` is held.
    pub(super) async fn refresh(&self, view: &View, id: ShowtimeId) -> Result<(), Arc<Error>> {
        let started = Instant::now();
        let revision = view.revision();
        let Some(read) = self.store.seat_map(id).await? else {
            self.end(view, id);
            return Ok(());
        };
        self.clock.set(read.now);
        if read.revision < revision {
            tracing::warn!(showtime_id = %id, shown = revision, stored = read.revision, "seat map went back in revision: \
                the database was restored");
            let epoch = self.read_epoch().await?;
            return self.restart(view, id, epoch).await;
        }
        let map = SeatMap::new(view.plan(), read.revision, read.state, read.claims);
        view.replace(map, self.clock.now(), started);
        Ok(())
    }

    /// Reads a view from a database that is another one or was restored. `view.reading` is held.
    pub(super) async fn restart(&self, view: &View, id: ShowtimeId, epoch: Arc<str>) -> Result<(), Arc<Error>> {
        // Revisions that were acknowledged may be lost. Those that are acknowledged from here on count again.
        if let Some(slot) = self.slots.get(id) {
            slot.reset_acknowledged();
        }
        let started = Instant::now();
        match self.store.seat_map(id).await? {
            Some(read) => {
                self.clock.set(read.now);
                let map = SeatMap::new(view.plan(), read.revision, read.state, read.claims);
                view.restart(map, epoch, started);
            }
            None => self.end(view, id),
        }
        Ok(())
    }

    /// Ends a view whose showtime is not in the database. Showtimes are never deleted, but a restored database may lack one.
    fn end(&self, view: &View, id: ShowtimeId) {
        tracing::warn!(showtime_id = %id, "showtime is gone: the database was restored to a time before it");
        self.slots.remove(id, view);
        view.end();
    }

    /// Applies changes that this process has committed, each with the time of its decision.
    pub(super) fn apply(&self, changes: Vec<(ShowtimeId, Delta, DateTime<Utc>)>) {
        for (id, delta, decide_time) in changes {
            let Some(slot) = self.slots.get(id) else { continue };
            slot.acknowledge(delta.revision);
            if let Some(view) = slot.view.get() {
                // After a gap the view is below what is acknowledged, so it is read before it is shown.
                if view.follow(delta, self.clock.now().max(decide_time)) == Followed::Done {
                    view.confirm(Instant::now());
                }
            }
        }
    }

    /// Applies changes that another instance has published. The view counts as confirmed only by the database.
    pub(super) fn apply_published(&self, epoch: &str, changes: Vec<(ShowtimeId, Delta)>) {
        if self.last_epoch().is_none_or(|last| *last != *epoch) {
            return;
        }
        for (id, delta) in changes {
            let Some(slot) = self.slots.get(id) else { continue };
            slot.publish(delta.revision);
            if let Some(view) = slot.view.get() {
                view.follow_published(epoch, delta, self.clock.now());
            }
        }
    }

    fn last_epoch(&self) -> Option<Arc<str>> {
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The epoch as it was last read. The comparison reads it again and again.
    pub(super) async fn epoch(&self) -> Result<Arc<str>, Arc<Error>> {
        match self.last_epoch() {
            Some(epoch) => Ok(epoch),
            None => self.read_epoch().await,
        }
    }

    /// Reads the epoch.
    pub(super) async fn read_epoch(&self) -> Result<Arc<str>, Arc<Error>> {
        let read = self.store.epoch().await?;
        let mut epoch = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = epoch.get_or_insert_default();
        match read {
            Some(read) if **epoch != *read => *epoch = Arc::from(read),
            // A database without an epoch belongs to this process, which is an epoch of its own.
            None if epoch.is_empty() => *epoch = Arc::from(format!("{:032x}", Clock::System.new_id().as_u128())),
            Some(_) | None => {}
        }
        Ok(Arc::clone(epoch))
    }
}
