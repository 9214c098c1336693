//! The feed of events: every event of every aggregate in one order, from which any number of subscribers read.
//!
//! A row of the outbox has a position (see `store/feed.rs`), and several events. The last rows are in memory, where all
//! subscribers share them. A subscriber that is further behind reads pages from the database, the next one while it works on
//! one. So a slow subscriber costs two pages of memory, and loses nothing.
//!
//! Deliberately absent: what a subscriber has taken. It has a cursor, and resumes from it at any instance.

mod entry;
mod filter;
mod follower;
mod pages;
mod retention;
mod ring;
mod row;
mod subscription;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

pub use entry::{Entry, KINDS, NAMESPACE};
pub use filter::Filter;
pub use follower::{Follower, Found};
pub use retention::Kept;
pub use row::{Cursor, Row};
pub use subscription::{Delivery, Subscription};

use crate::{
    background::{NextRun, Task},
    store::{Error, FeedHead, Pass, Store},
};
use ring::Ring;
use row::Page;

/// The time between two passes, if nothing is written here. Other instances write as well.
const PERIOD: Duration = Duration::from_millis(500);
/// The same while there are subscribers.
const PERIOD_SUBSCRIBED: Duration = Duration::from_millis(25);
/// The pause after a pass that found something. Passes follow each other while seats are sold, and each is a commit.
const PAUSE: Duration = Duration::from_millis(500);
/// The same while there are subscribers.
const PAUSE_SUBSCRIBED: Duration = Duration::from_millis(10);
/// The pause after a pass of another instance was under way.
const BUSY_PAUSE: Duration = Duration::from_millis(5);
/// Attempts to find the feed in the present epoch. It takes one, or two after a start or a restore.
const EPOCH_ATTEMPTS: u32 = 200;
/// The time until the next attempt, when the database cannot be used.
const RETRY: Duration = Duration::from_secs(1);
/// Rows that are read at once for subscribers.
const PAGE: usize = 500;
/// The same for a sink. There are few of them, and each waits at the end of its rows until everything is confirmed.
const SINK_PAGE: usize = 10_000;
/// With so many events no further rows are read at once.
const MOST_EVENTS: usize = 20_000;
/// The most rows of one statement, which has a deadline.
const ROWS_OF_A_STATEMENT: usize = 1_000;
/// Most rows that are read into memory when subscribers come after a while.
const MOST_READ: i64 = 4 * PAGE as i64;
/// Most subscribers of a process.
pub const MAX_SUBSCRIBERS: usize = 1_000;

/// The feed of a process. Cheap to clone.
#[derive(Clone)]
pub struct Feed(Arc<Inner>);

struct Inner {
    store: Store,
    head: watch::Sender<Head>,
    ring: Mutex<Ring>,
    subscribers: Arc<Semaphore>,
    /// Held by each sink that reads. Sinks take no place of a subscriber, and subscribers take none of theirs.
    sinks: Arc<()>,
    subscribed: Notify,
}

/// What is known here of the end of the feed.
#[derive(Clone, Debug, Default)]
struct Head {
    position: i64,
    /// Empty until the first pass.
    epoch: String,
    /// How often the feed was found to be shorter than before: the database was set back within an epoch.
    set_back: u64,
}

impl Feed {
    /// A feed that is read once [`Self::run`] runs.
    #[must_use]
    pub fn new(store: Store) -> Self {
        let (head, _) = watch::channel(Head::default());
        let subscribers = Arc::new(Semaphore::new(MAX_SUBSCRIBERS));
        let (ring, sinks, subscribed) = (Mutex::default(), Arc::new(()), Notify::new());
        Self(Arc::new(Inner { store, head, ring, subscribers, sinks, subscribed }))
    }

    /// Gives positions to events, and reads them for the subscribers, until the shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let nudge = self.0.store.events_written().clone();
        let task = Task::new("giving of positions to events", PERIOD).retry(RETRY).nudge(&nudge).shutdown(shutdown);
        task.run(async move || self.pass().await).await;
    }

    async fn pass(&self) -> Result<NextRun, Error> {
        let is_read = self.is_read();
        // On SQLite rows have their positions already.
        if !is_read && !self.0.store.has_clock() {
            return Ok(NextRun::Period);
        }
        let (position, epoch) = match self.0.store.give_positions().await? {
            Pass::Busy => return Ok(NextRun::Within(BUSY_PAUSE)),
            Pass::Done { position, epoch } => (position, epoch),
        };
        let before = self.0.head.borrow().clone();
        if epoch != before.epoch {
            self.ring().restart(position);
        }
        if is_read {
            self.read_to(position).await?;
        } else {
            self.ring().restart(position);
        }
        self.0.head.send_if_modified(|head| {
            let modified = head.position != position || head.epoch != epoch;
            let is_shorter = head.epoch == epoch && position < head.position;
            *head = Head { position, epoch, set_back: head.set_back + u64::from(is_shorter) };
            modified
        });
        if position != before.position {
            // Nudges arrive with every commit. What is committed meanwhile is in the next pass.
            let pause = tokio::time::sleep(if is_read { PAUSE_SUBSCRIBED } else { PAUSE });
            tokio::select! {
                () = pause => {}
                () = self.0.subscribed.notified() => {}
            }
        }
        Ok(NextRun::Within(if is_read { PERIOD_SUBSCRIBED } else { PERIOD }))
    }

    /// Reads rows into memory up to this position.
    async fn read_to(&self, position: i64) -> Result<(), Error> {
        loop {
            let from = self.ring().head();
            // The database was set back, or nobody has read for a while. Who is behind reads pages.
            if from > position || position - from > MOST_READ {
                self.ring().restart(position);
            }
            if self.ring().head() == position {
                return Ok(());
            }
            let rows = self.page_after(from, PAGE).await?;
            if rows.is_empty() {
                // They were deleted meanwhile.
                self.ring().restart(position);
                return Ok(());
            }
            self.ring().extend(rows);
        }
    }

    /// The rows after this position, at most so many, and not many more than have [`MOST_EVENTS`].
    async fn rows_after(&self, position: i64, most: usize) -> Result<Page, Error> {
        let (mut rows, mut events) = (VecDeque::<Arc<Row>>::new(), 0);
        loop {
            let last = rows.back().map_or(position, |row| row.position);
            let wanted = ROWS_OF_A_STATEMENT.min(most - rows.len());
            let found = self.page_after(last, wanted).await?;
            if !rows.is_empty() && found.front().is_some_and(|row| row.position != last + 1) {
                // What comes next was deleted meanwhile, which the next read finds.
                return Ok(Page { rows, goes_on: false });
            }
            let is_full = found.len() == wanted;
            events += found.iter().map(|row| row.entries.len()).sum::<usize>();
            rows.extend(found);
            if !is_full || rows.len() == most || events >= MOST_EVENTS {
                return Ok(Page { rows, goes_on: is_full });
            }
        }
    }

    async fn page_after(&self, position: i64, most: usize) -> Result<VecDeque<Arc<Row>>, Error> {
        let rows = self.0.store.feed_after(position, most as u64).await?;
        rows.into_iter().map(|row| Row::read(row).map(Arc::new)).collect()
    }

    /// The rows after this position, or some of them. `None`: they are not in memory.
    fn in_memory(&self, position: i64, most: usize) -> Option<VecDeque<Arc<Row>>> {
        self.ring().after(position, most)
    }

    /// Where the feed begins and ends, in the present epoch. A pass begins an epoch, and is waited for.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn head(&self) -> Result<FeedHead, Error> {
        for _ in 0..EPOCH_ATTEMPTS {
            let head = self.0.store.feed_head().await?;
            if head.epoch != head.present {
                self.0.store.give_positions().await?;
            } else if self.is_of(&head.epoch) {
                return Ok(head);
            }
            // The next pass of this process finds the epoch as well. Subscriptions compare theirs with it.
            self.0.store.events_written().send();
            tokio::time::sleep(BUSY_PAUSE).await;
        }
        Err(Error::overloaded("the feed of events is being made ready for this database"))
    }

    /// The same, after a pass: everything that is committed has its position.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn present_head(&self) -> Result<FeedHead, Error> {
        for _ in 0..EPOCH_ATTEMPTS {
            if self.0.store.give_positions().await? != Pass::Busy {
                return self.head().await;
            }
            tokio::time::sleep(BUSY_PAUSE).await;
        }
        Err(Error::overloaded("another instance is giving positions to events"))
    }

    /// Whether the last pass of this process was in this epoch, or there was none.
    fn is_of(&self, epoch: &str) -> bool {
        let last = self.0.head.borrow();
        last.epoch.is_empty() || last.epoch == epoch
    }

    /// The row at this position, if it was not deleted.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn row(&self, position: i64) -> Result<Option<Row>, Error> {
        let row = self.0.store.feed_after(position - 1, 1).await?.pop();
        row.filter(|row| row.position == position).map(Row::read).transpose()
    }

    /// Begins a subscription in this epoch. `None`: there are too many.
    #[must_use]
    pub fn subscribe(
        &self,
        epoch: String,
        cursor: Cursor,
        filter: Filter,
        heartbeat: Duration,
    ) -> Option<Subscription> {
        let place = Arc::clone(&self.0.subscribers).try_acquire_owned().ok()?;
        self.hurry();
        Some(Subscription::new(self.clone(), place, epoch, cursor, filter, heartbeat))
    }

    /// Begins to read for a sink.
    #[must_use]
    pub fn follow(&self) -> Follower {
        let follower = Follower::new(self.clone(), Arc::clone(&self.0.sinks));
        self.hurry();
        follower
    }

    /// Begins the next pass at once. Passes come faster while somebody reads.
    fn hurry(&self) {
        self.0.subscribed.notify_waiters();
        self.0.store.events_written().send();
    }

    fn is_read(&self) -> bool {
        self.0.subscribers.available_permits() < MAX_SUBSCRIBERS || Arc::strong_count(&self.0.sinks) > 1
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A subscriber's place among those of the process.
type Place = OwnedSemaphorePermit;
