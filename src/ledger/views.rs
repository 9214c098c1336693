//! Seat maps in memory: loaded when somebody asks, kept up with the database, forgotten when nobody does.
//!
//! What this process commits is told here before it is answered. What others commit is heard over Redis, where there is one,
//! and found by comparing revisions, twice a second; a view that nobody has vouched for of late is compared before it is shown. A view never goes back in
//! revision, and never skips one: what cannot be followed is read anew.

mod channel;
mod compare;
mod evict;
mod frames;
mod message;
mod permits;
mod view;
mod watch;

use std::{
    collections::HashMap,
    net::IpAddr,
    ptr::from_ref,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};

use super::TimeSource;
use crate::{
    clock::Clock,
    domain::{
        ids::ShowtimeId,
        seat_map::{Delta, Followed, SeatMap},
        seating::ShowtimePlan,
    },
    store::{Error, Store},
};
pub use channel::DeltaChannel;
use channel::DeltaPublisher;
pub use frames::{Encoding, Frame, Snapshot};
pub use permits::WatchQuota;
use permits::{QuotaExceeded, WatchPermits};
use view::View;
pub use watch::{Watch, WatchMessage};

/// A view that nobody has vouched for in so long is stale.
const STALE: Duration = Duration::from_secs(2);

/// All views of this process. Cheap to clone.
#[derive(Clone)]
pub struct Views(Arc<Inner>);

struct Inner {
    store: Store,
    time: TimeSource,
    slots: RwLock<HashMap<ShowtimeId, Arc<ViewSlot>>>,
    /// What the database's clock said, and when that was heard.
    heard: Mutex<Option<(DateTime<Utc>, Instant)>>,
    epoch: Mutex<Option<Arc<str>>>,
    places: Arc<WatchPermits>,
    closed: AtomicBool,
    publisher: Option<DeltaPublisher>,
}

/// A place for a view that may still be on its way.
#[derive(Default)]
struct ViewSlot {
    view: OnceLock<Arc<View>>,
    /// Held by whoever loads it: when that last failed, and why, for those who waited.
    loading: tokio::sync::Mutex<Option<(Instant, Arc<Error>)>>,
    /// The highest revision that this process has acknowledged. A view below it is not shown.
    acknowledged: AtomicI64,
    /// The highest revision that other instances published before there was a view.
    published: AtomicI64,
}

/// Why there is no watch.
#[derive(Debug)]
pub enum WatchError {
    /// There is no such showtime.
    NoShowtime,
    /// There are as many watchers as there may be.
    TooMany,
    /// The caller has as many as it may have.
    TooManyOfCaller {
        /// So many.
        most: usize,
    },
    /// The store could not be asked.
    Store(Arc<Error>),
}

impl From<Arc<Error>> for WatchError {
    fn from(error: Arc<Error>) -> Self {
        Self::Store(error)
    }
}

impl Views {
    pub(super) fn start(store: Store, time: TimeSource, room: WatchQuota, feed: Option<DeltaChannel>) -> Self {
        // Where there are no other instances, there is nobody to tell.
        let feed = feed.filter(|_| store.has_clock()).map(channel::set_up);
        let (publisher, feed) = feed.unzip();
        let views = Self(Arc::new(Inner {
            store,
            time,
            slots: RwLock::default(),
            heard: Mutex::default(),
            epoch: Mutex::default(),
            places: Arc::new(WatchPermits::new(room)),
            closed: AtomicBool::new(false),
            publisher,
        }));
        if let Some(feed) = feed {
            channel::start(feed, &views);
        }
        tokio::spawn(compare::run(Arc::downgrade(&views.0)));
        views
    }

    /// The time by which holds end: the database's, as it was last heard.
    fn now(&self) -> DateTime<Utc> {
        match &self.0.time {
            TimeSource::Given(clock) => clock.now(),
            TimeSource::Database(clock) => {
                let heard = *self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.map_or_else(|| clock.now(), |(then, at)| then + at.elapsed())
            }
        }
    }

    /// The database has just said what time it is. It was so a little while ago: a hold rather shows as free too late.
    fn hear(&self, now: Option<DateTime<Utc>>) {
        if let Some(now) = now {
            *self.0.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Instant::now()));
        }
    }

    /// The seat map as it stands, with this revision in it if the showtime has reached it. `None`: there is no such
    /// showtime.
    ///
    /// # Errors
    /// The store could not be asked, and nobody else can vouch for what is known.
    pub async fn seat_map(&self, id: ShowtimeId, at_least: i64) -> Result<Option<Arc<Snapshot>>, Arc<Error>> {
        let Some((slot, view)) = self.view(id).await? else { return Ok(None) };
        let at_least = at_least.max(slot.acknowledged.load(Ordering::SeqCst));
        if let Some(snapshot) = view.current(at_least, self.now()) {
            return Ok(Some(snapshot));
        }
        self.confirmed_at(&view, id, at_least).await?;
        Ok((!view.is_gone()).then(|| view.snapshot(self.now())))
    }

    /// Watches a showtime for a caller from there, from this revision of that epoch on if there is one and it is still known.
    ///
    /// # Errors
    /// There is no such showtime, there are too many watchers, or the store could not be asked.
    pub async fn watch(
        &self,
        id: ShowtimeId,
        from: Option<(i64, &str)>,
        caller: Option<IpAddr>,
    ) -> Result<Watch, WatchError> {
        let place = self.0.places.take(caller).map_err(|no| match no {
            QuotaExceeded::Full => WatchError::TooMany,
            QuotaExceeded::Enough => WatchError::TooManyOfCaller { most: self.0.places.room().caller },
        })?;
        let view = loop {
            let (slot, view) = self.view(id).await?.ok_or(WatchError::NoShowtime)?;
            let at_least = from.map_or(0, |(revision, _)| revision).max(slot.acknowledged.load(Ordering::SeqCst));
            self.confirmed_at(&view, id, at_least).await?;
            // A view that has just been evicted is loaded again.
            if self.enlist(id, &view) {
                break view;
            }
        };
        let since = from.and_then(|(revision, epoch)| view.since(revision, epoch, self.now()));
        Ok(Watch::new(self.clone(), (id, view), place, since, from))
    }

    /// Waits until nobody watches any more.
    pub async fn unwatched(&self) {
        self.0.places.empty().await;
    }

    /// The view, loaded if need be; those who come at once share the question.
    async fn view(&self, id: ShowtimeId) -> Result<Option<(Arc<ViewSlot>, Arc<View>)>, Arc<Error>> {
        let slot = match self.slot(id) {
            Some(slot) => match slot.view.get().cloned() {
                Some(view) => return Ok(Some((slot, view))),
                None => Some(slot),
            },
            None => None,
        };
        // Whoever asks for what is not there leaves nothing behind.
        let Some(plan) = Box::pin(self.0.store.plan(id)).await? else { return Ok(None) };
        let slot = slot.unwrap_or_else(|| self.make_room_for(id));
        let Some(view) = Box::pin(self.load(id, plan, &slot)).await? else { return Ok(None) };
        self.confirmed_at(&view, id, slot.published.load(Ordering::SeqCst)).await?;
        Ok(Some((slot, view)))
    }

    async fn load(
        &self,
        id: ShowtimeId,
        plan: Arc<ShowtimePlan>,
        slot: &ViewSlot,
    ) -> Result<Option<Arc<View>>, Arc<Error>> {
        let came = Instant::now();
        let mut failed = slot.loading.lock().await;
        if let Some(view) = slot.view.get() {
            return Ok(Some(Arc::clone(view)));
        }
        if let Some((_, error)) = failed.as_ref().filter(|(asked, _)| *asked >= came) {
            return Err(Arc::clone(error));
        }
        let asked = Instant::now();
        let read = async {
            let epoch = self.epoch().await?;
            // A database that is another one by now is found out by the next comparison.
            let read = self.0.store.seat_map(id).await?;
            Ok::<_, Arc<Error>>(read.map(|read| (epoch, read)))
        };
        match read.await {
            Ok(None) => Ok(None),
            Ok(Some((epoch, read))) => {
                self.hear(read.now);
                let map = SeatMap::new(plan, read.revision, read.state, read.claims);
                let view = || Arc::new(View::new(map, epoch, self.now(), asked));
                Ok(Some(Arc::clone(slot.view.get_or_init(view))))
            }
            Err(error) => {
                *failed = Some((asked, Arc::clone(&error)));
                Err(error)
            }
        }
    }

    /// Has a view count one more watcher, if others still know it: from then on it is not forgotten.
    fn enlist(&self, id: ShowtimeId, view: &Arc<View>) -> bool {
        let slots = self.0.slots.read().unwrap_or_else(PoisonError::into_inner);
        let known = slots.get(&id).and_then(|slot| slot.view.get()).is_some_and(|known| Arc::ptr_eq(known, view));
        if known && view.watched() {
            tokio::spawn(watch::announce_lapses(Arc::downgrade(&self.0), Arc::clone(view)));
        }
        known
    }

    fn slot(&self, id: ShowtimeId) -> Option<Arc<ViewSlot>> {
        self.0.slots.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn make_room_for(&self, id: ShowtimeId) -> Arc<ViewSlot> {
        let mut slots = self.0.slots.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(id).or_default())
    }

    /// The epoch, read once; a comparison finds out that it is another.
    async fn epoch(&self) -> Result<Arc<str>, Arc<Error>> {
        let known = self.0.epoch.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known {
            Some(epoch) => Ok(epoch),
            None => self.read_epoch().await,
        }
    }

    async fn read_epoch(&self) -> Result<Arc<str>, Arc<Error>> {
        let read = self.0.store.epoch().await?;
        let mut epoch = self.0.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = epoch.get_or_insert_default();
        match read {
            Some(read) if **epoch != *read => *epoch = Arc::from(read),
            // Without one this process is its own epoch.
            None if epoch.is_empty() => *epoch = Arc::from(format!("{:032x}", Clock::System.new_id().as_u128())),
            Some(_) | None => {}
        }
        Ok(Arc::clone(epoch))
    }

    /// Makes sure that the view is of late, and has this revision in it if the showtime has reached it. Those who want that at
    /// once wait for the first of them.
    async fn confirmed_at(&self, view: &View, id: ShowtimeId, at_least: i64) -> Result<(), Arc<Error>> {
        let fine = || view.is_current(at_least);
        if fine() {
            return Ok(());
        }
        let came = Instant::now();
        let mut last = view.reading.lock().await;
        if fine() {
            return Ok(());
        }
        if let Some((_, done)) = last.as_ref().filter(|(asked, _)| *asked >= came) {
            return done.clone();
        }
        let asked = Instant::now();
        let done = self.ask(view, id, asked).await;
        *last = Some((asked, done.clone()));
        done
    }

    /// Asks the database whether a view is as it says, and else reads it anew.
    async fn ask(&self, view: &View, id: ShowtimeId, asked: Instant) -> Result<(), Arc<Error>> {
        let known = view.revision();
        let there = self.0.store.revisions(&[id]).await?;
        self.hear(there.now);
        if there.at.first().is_some_and(|(_, revision)| *revision == known) {
            view.confirm(asked);
            return Ok(());
        }
        self.refresh(view, id).await
    }

    /// Reads a view anew.
    async fn refresh(&self, view: &View, id: ShowtimeId) -> Result<(), Arc<Error>> {
        let asked = Instant::now();
        let known = view.revision();
        let Some(read) = self.0.store.seat_map(id).await? else {
            self.end(view, id);
            return Ok(());
        };
        self.hear(read.now);
        if read.revision < known {
            tracing::warn!(showtime_id = %id, known, there = read.revision, "the database has gone back");
            let epoch = self.read_epoch().await?;
            return self.begin_anew(id, view, &epoch).await;
        }
        let map = SeatMap::new(view.plan(), read.revision, read.state, read.claims);
        view.replace(map, self.now(), asked);
        Ok(())
    }

    /// Nobody deletes a showtime; but a database that was restored need not have it.
    fn end(&self, view: &View, id: ShowtimeId) {
        tracing::warn!(showtime_id = %id, "the database has gone back to before this showtime");
        let mut slots = self.0.slots.write().unwrap_or_else(PoisonError::into_inner);
        if slots.get(&id).and_then(|slot| slot.view.get()).is_some_and(|known| Arc::as_ptr(known) == from_ref(view)) {
            slots.remove(&id);
        }
        drop(slots);
        view.end();
    }

    /// This was committed: in each showtime what changed, and when.
    pub(super) fn tell(&self, mut changes: Vec<(ShowtimeId, Delta, DateTime<Utc>)>) {
        if changes.is_empty() {
            return;
        }
        for (_, delta, _) in &mut changes {
            delta.settle();
        }
        if let Some(publisher) = &self.0.publisher {
            publisher.tell(changes.iter().map(|(id, delta, _)| (*id, delta)));
        }
        for (id, delta, now) in changes {
            let Some(slot) = self.slot(id) else { continue };
            slot.acknowledged.fetch_max(delta.revision, Ordering::SeqCst);
            if let Some(view) = slot.view.get() {
                // After a gap the view is below what is acknowledged, and is read before it is shown.
                if view.follow(delta, self.now().max(now)) == Followed::Done {
                    view.confirm(Instant::now());
                }
            }
        }
    }

    /// These revisions are about to be acknowledged, though this process committed none of them.
    pub(super) fn require(&self, revisions: &[(ShowtimeId, i64)]) {
        for (id, revision) in revisions {
            if let Some(slot) = self.slot(*id) {
                slot.acknowledged.fetch_max(*revision, Ordering::SeqCst);
            }
        }
    }

    /// Others say that they committed this in that epoch. The database has not said so, hence nobody vouches for it.
    fn hear_others(&self, epoch: &str, changes: Vec<(ShowtimeId, Delta)>) {
        let ours = self.0.epoch.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if ours.is_none_or(|ours| *ours != *epoch) {
            return;
        }
        for (id, delta) in changes {
            let Some(slot) = self.slot(id) else { continue };
            slot.published.fetch_max(delta.revision, Ordering::SeqCst);
            if let Some(view) = slot.view.get() {
                view.hear(epoch, delta, self.now());
            }
        }
    }

    /// The store is about to close: nothing is compared any more.
    pub(super) fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
    }
}
