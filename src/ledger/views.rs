//! Seat maps in memory: loaded when somebody asks, kept up with the database, forgotten when nobody does.
//!
//! What this process commits is told here before it is answered. What others commit is found by comparing revisions, twice
//! a second; a view that nobody has vouched for of late is compared before it is shown. A view never goes back in
//! revision, and never skips one: what cannot be followed is read anew.

mod view;
mod watch;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use tokio::{sync::OnceCell, time};

use super::Time;
use crate::{
    domain::{
        ids::ShowtimeId,
        seat_map::{Delta, Followed, SeatMap},
    },
    store::{Error, Store, outbox},
};
use view::View;
pub use view::{Form, Frame, Snapshot};
pub use watch::{Said, Watch};

/// How often revisions are compared: a lost message is made up for within a second.
const COMPARE: Duration = Duration::from_millis(500);
/// A view that nobody has vouched for in so long is stale.
const STALE: Duration = Duration::from_secs(2);
/// Views are forgotten when nobody has looked at them for so long,
const COLD: Duration = Duration::from_mins(5);
/// or at once, the longest unused first, when there are more than this. Each takes some 50 KB in a house of 600 seats.
const VIEWS: usize = 4_000;
/// Showtimes that are compared by one query.
const TOGETHER: usize = 1_000;
/// Nobody sleeps longer than this, and misses that nobody watches any more.
const NAP: Duration = Duration::from_mins(1);

/// All views of this process. Cheap to clone.
#[derive(Clone)]
pub struct Views(Arc<Inner>);

struct Inner {
    store: Store,
    time: Time,
    slots: RwLock<HashMap<ShowtimeId, Arc<Slot>>>,
    /// What the database's clock said, and when that was heard.
    heard: Mutex<Option<(DateTime<Utc>, Instant)>>,
    epoch: OnceCell<Arc<str>>,
    watchers: AtomicUsize,
    most_watchers: usize,
    closed: AtomicBool,
}

/// A place for a view that may still be on its way.
#[derive(Default)]
struct Slot {
    view: OnceCell<Arc<View>>,
    /// A revision that was told before there was a view to tell it to.
    missed: AtomicI64,
}

/// Why there is no watch.
#[derive(Debug)]
pub enum NoWatch {
    /// There is no such showtime.
    NoShowtime,
    /// There are as many watchers as there may be.
    TooMany,
    /// The store could not be asked.
    Store(Arc<Error>),
}

impl From<Arc<Error>> for NoWatch {
    fn from(error: Arc<Error>) -> Self {
        Self::Store(error)
    }
}

impl Views {
    pub(super) fn start(store: Store, time: Time, most_watchers: usize) -> Self {
        let views = Self(Arc::new(Inner {
            store,
            time,
            slots: RwLock::default(),
            heard: Mutex::default(),
            epoch: OnceCell::new(),
            watchers: AtomicUsize::new(0),
            most_watchers,
            closed: AtomicBool::new(false),
        }));
        tokio::spawn(compare(Arc::downgrade(&views.0)));
        views
    }

    /// The time by which holds end: the database's, as it was last heard.
    fn now(&self) -> DateTime<Utc> {
        match &self.0.time {
            Time::Given(clock) => clock.now(),
            Time::Database(clock) => {
                let heard = *self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.map_or_else(|| clock.now(), |(then, at)| then + at.elapsed())
            }
        }
    }

    fn hear(&self, now: Option<DateTime<Utc>>, asked: Instant) {
        if let Some(now) = now {
            *self.0.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, asked));
        }
    }

    /// The seat map as it stands, with this revision in it if the showtime has reached it. `None`: there is no such
    /// showtime.
    ///
    /// # Errors
    /// The store could not be asked, and nobody else can vouch for what is known.
    pub async fn seat_map(&self, id: ShowtimeId, at_least: i64) -> Result<Option<Arc<Snapshot>>, Arc<Error>> {
        let Some(view) = self.view(id).await? else { return Ok(None) };
        if view.revision() < at_least || view.unvouched() > STALE {
            self.refresh(&view, id).await?;
        }
        Ok(Some(view.snapshot(self.now())))
    }

    /// Watches a showtime, from this revision of that epoch on if there is one and it is still known.
    ///
    /// # Errors
    /// There is no such showtime, there are too many watchers, or the store could not be asked.
    pub async fn watch(&self, id: ShowtimeId, from: Option<(i64, &str)>) -> Result<Watch, NoWatch> {
        let view = self.view(id).await?.ok_or(NoWatch::NoShowtime)?;
        let newer = from.is_some_and(|(revision, _)| view.revision() < revision);
        if newer || view.unvouched() > STALE {
            self.refresh(&view, id).await?;
        }
        if self.0.watchers.fetch_add(1, Ordering::SeqCst) >= self.0.most_watchers {
            self.0.watchers.fetch_sub(1, Ordering::SeqCst);
            return Err(NoWatch::TooMany);
        }
        if view.watched() {
            tokio::spawn(keep_awake(Arc::downgrade(&self.0), Arc::clone(&view)));
        }
        let since = from.and_then(|(revision, epoch)| view.since(revision, epoch, self.now()));
        let (first, next) = since.map_or((None, None), |(frame, next)| (Some(frame), Some(next)));
        Ok(Watch::new(self.clone(), view, first, next, from.map_or(0, |(revision, _)| revision)))
    }

    /// The view, loaded if need be; those who come at once share the question.
    async fn view(&self, id: ShowtimeId) -> Result<Option<Arc<View>>, Arc<Error>> {
        let slot = self.slot(id);
        if let Some(view) = slot.as_ref().and_then(|slot| slot.view.get()) {
            return Ok(Some(Arc::clone(view)));
        }
        // Whoever asks for what is not there leaves nothing behind.
        let Some(plan) = Box::pin(self.0.store.plan(id)).await? else { return Ok(None) };
        let slot = slot.unwrap_or_else(|| self.make_room_for(id));
        let load = async {
            let asked = Instant::now();
            let epoch = self.epoch().await?;
            let read = self.0.store.seat_map(id).await?.ok_or_else(|| Error::unknown("a showtime is gone"))?;
            self.hear(read.now, asked);
            let map = SeatMap::new(plan, read.revision, read.state, read.claims);
            Ok::<_, Arc<Error>>(Arc::new(View::new(map, epoch, self.now(), asked)))
        };
        let view = Box::pin(slot.view.get_or_try_init(|| load)).await?;
        if slot.missed.load(Ordering::SeqCst) > view.revision() {
            self.refresh(view, id).await?;
        }
        Ok(Some(Arc::clone(view)))
    }

    fn slot(&self, id: ShowtimeId) -> Option<Arc<Slot>> {
        self.0.slots.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn make_room_for(&self, id: ShowtimeId) -> Arc<Slot> {
        let mut slots = self.0.slots.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(id).or_default())
    }

    async fn epoch(&self) -> Result<Arc<str>, Arc<Error>> {
        let find = || async {
            let epoch = self.0.store.epoch().await?;
            // Without one this process is its own epoch.
            let own = || format!("{:032x}", crate::clock::Clock::System.new_id().as_u128());
            Ok::<_, Error>(Arc::from(epoch.unwrap_or_else(own)))
        };
        self.0.epoch.get_or_try_init(find).await.cloned().map_err(Arc::new)
    }

    /// Reads a view anew.
    async fn refresh(&self, view: &View, id: ShowtimeId) -> Result<(), Arc<Error>> {
        let asked = Instant::now();
        let read = self.0.store.seat_map(id).await?;
        if let Some(read) = read {
            self.hear(read.now, asked);
            view.replace(SeatMap::new(view.plan(), read.revision, read.state, read.claims), self.now(), asked);
        }
        Ok(())
    }

    /// This was committed.
    pub(super) fn tell(&self, id: ShowtimeId, mut delta: Delta, now: DateTime<Utc>) {
        let Some(slot) = self.slot(id) else { return };
        delta.settle();
        slot.missed.fetch_max(delta.revision, Ordering::SeqCst);
        if let Some(view) = slot.view.get() {
            // After a gap it is compared; whoever wants to have what was just committed says so.
            let _followed = view.follow(delta, self.now().max(now), Instant::now());
        }
    }

    /// Compares all views with the database, and brings them up to it.
    async fn catch_up(&self) -> Result<(), Arc<Error>> {
        let views: HashMap<_, _> = {
            let slots = self.0.slots.read().unwrap_or_else(PoisonError::into_inner);
            let loaded = slots.iter().filter_map(|(id, slot)| Some((*id, Arc::clone(slot.view.get()?))));
            loaded.collect()
        };
        let ids: Vec<_> = views.keys().copied().collect();
        for ids in ids.chunks(TOGETHER) {
            let asked = Instant::now();
            let revisions = self.0.store.revisions(ids).await?;
            self.hear(revisions.now, asked);
            let mut behind = Vec::new();
            for (id, revision) in revisions.at {
                let Some(view) = views.get(&id) else { continue };
                let known = view.revision();
                if known < revision {
                    behind.push((id, known));
                } else {
                    view.vouch(asked);
                }
            }
            if !behind.is_empty() {
                self.follow(&behind, &views, asked).await?;
            }
        }
        Ok(())
    }

    /// Follows what happened since, commit by commit, and reads anew what cannot be followed.
    async fn follow(
        &self,
        behind: &[(ShowtimeId, i64)],
        views: &HashMap<ShowtimeId, Arc<View>>,
        asked: Instant,
    ) -> Result<(), Arc<Error>> {
        let mut lost: Vec<ShowtimeId> = Vec::new();
        if self.0.store.has_clock() {
            for happened in self.0.store.happened_since(behind).await? {
                let id = ShowtimeId(happened.aggregate);
                let Some(view) = views.get(&id) else { continue };
                let delta = outbox::delta(&view.plan().house, &happened.events);
                let followed = delta.map(|delta| view.follow(delta, self.now(), asked));
                if !matches!(followed, Some(Followed::Done | Followed::Known)) {
                    lost.push(id);
                }
            }
        }
        let still = behind.iter().filter(|(id, known)| views.get(id).is_some_and(|view| view.revision() == *known));
        lost.extend(still.map(|(id, _)| *id));
        lost.dedup();
        for id in lost {
            if let Some(view) = views.get(&id) {
                self.refresh(view, id).await?;
            }
        }
        Ok(())
    }

    /// The store is about to close: nothing is compared any more.
    pub(super) fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
    }

    fn watcher_left(&self) {
        self.0.watchers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Forgets what nobody looks at.
    fn tidy(&self) {
        let mut slots = self.0.slots.write().unwrap_or_else(PoisonError::into_inner);
        let idle = |slot: &Slot| slot.view.get().and_then(|view| view.idle());
        slots.retain(|_, slot| idle(slot).is_none_or(|idle| idle < COLD));
        if slots.len() > VIEWS {
            let mut idle: Vec<_> = slots.iter().filter_map(|(id, slot)| Some((idle(slot)?, *id))).collect();
            idle.sort_unstable_by(|one, other| other.cmp(one));
            for (_, id) in idle.into_iter().take(slots.len() - VIEWS) {
                slots.remove(&id);
            }
        }
    }
}

/// Compares again and again, until the views are gone.
async fn compare(views: Weak<Inner>) {
    let mut failing = false;
    loop {
        time::sleep(COMPARE).await;
        let Some(views) = views.upgrade().map(Views) else { return };
        if views.0.closed.load(Ordering::SeqCst) {
            return;
        }
        match views.catch_up().await {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(error = &error as &dyn std::error::Error, "seat maps cannot be compared");
            }
            Err(_) => {}
        }
        views.tidy();
    }
}

/// Tells of every hold that ends, when it ends, for as long as anybody watches.
async fn keep_awake(views: Weak<Inner>, view: Arc<View>) {
    let mut bell = view.bell();
    loop {
        let Some(views) = views.upgrade().map(Views) else { return };
        if view.may_sleep() {
            return;
        }
        bell.borrow_and_update();
        let now = views.now();
        let pause = view.lapse(now).and_then(|next| (next - now).to_std().ok()).unwrap_or(NAP).min(NAP);
        drop(views);
        tokio::select! {
            () = time::sleep(pause) => {}
            _ = bell.changed() => {}
        }
    }
}
