//! Seat maps in memory: loaded when they are first read, kept up to date, and evicted when they are no longer used.
//!
//! A change that this process commits is in its view before the change is acknowledged. Changes of other instances arrive over
//! Redis, if it is used, and are found by comparing revisions with the database twice a second. A view that was not confirmed
//! for two seconds is confirmed before it is shown. A view never goes back in revision and never skips one; what cannot be
//! followed is read again.

mod catalog;
mod channel;
mod clock;
mod compare;
mod evict;
mod frames;
mod lapses;
mod message;
mod permits;
mod slots;
mod state;
mod view;
mod watch;

use std::{net::IpAddr, sync::Arc};

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::time::TimeSource;
use crate::{
    domain::{ids::ShowtimeId, seat_map::Delta},
    store::{Error, Store},
};
use catalog::Catalog;
use channel::DeltaPublisher;
use clock::ViewClock;
use permits::{QuotaExceeded, WatchPermits};
use watch::Resumption;

pub use channel::DeltaChannel;
pub use frames::{Encoding, Frame, Snapshot};
pub use permits::{WatchPermit, WatchQuota};
pub use watch::{Watch, WatchMessage};

/// The seat maps of this process. Cheap to clone.
#[derive(Clone)]
pub struct Views {
    catalog: Arc<Catalog>,
    permits: Arc<WatchPermits>,
    publisher: Option<DeltaPublisher>,
    shutdown: CancellationToken,
}

/// Why a watch does not begin.
#[derive(Debug)]
pub enum WatchError {
    /// There is no such showtime.
    NoShowtime,
    /// There are as many watchers as the deployment allows.
    TooMany,
    /// The caller has as many watchers as one caller may have.
    TooManyOfCaller {
        /// The limit for one caller.
        most: usize,
    },
    /// The store failed.
    Store(Arc<Error>),
}

impl From<Arc<Error>> for WatchError {
    fn from(error: Arc<Error>) -> Self {
        Self::Store(error)
    }
}

impl Views {
    /// Starts the comparison, and the exchange with other instances if there is a channel.
    pub(super) fn start(store: Store, time: TimeSource, quota: WatchQuota, channel: Option<DeltaChannel>) -> Self {
        // A database without a clock of its own belongs to one process, so there are no other instances.
        let channel = channel.filter(|_| store.has_clock());
        let catalog = Arc::new(Catalog::new(store, ViewClock::new(time)));
        let publisher = channel.map(|channel| channel::start(&channel, &catalog));
        let shutdown = CancellationToken::new();
        tokio::spawn(compare::run(Arc::downgrade(&catalog), publisher.is_some(), shutdown.clone()));
        Self { catalog, permits: Arc::new(WatchPermits::new(quota)), publisher, shutdown }
    }

    /// The seat map as it stands, at this revision or a later one if the showtime has reached it; `None` if there is no such
    /// showtime. Every change that this process has acknowledged is in it.
    ///
    /// # Errors
    /// The view is not current, and the store failed.
    pub async fn seat_map(&self, id: ShowtimeId, at_least: i64) -> Result<Option<Arc<Snapshot>>, Arc<Error>> {
        let Some((slot, view)) = self.catalog.view(id).await? else { return Ok(None) };
        let at_least = at_least.max(slot.acknowledged());
        if let Some(snapshot) = view.current(at_least, self.catalog.clock.now()) {
            return Ok(Some(snapshot));
        }
        self.catalog.bring_to(&view, id, at_least).await?;
        Ok((!view.is_gone()).then(|| view.snapshot(self.catalog.clock.now())))
    }

    /// The permit of one watcher for a caller at this address.
    ///
    /// # Errors
    /// There are too many watchers.
    pub fn permit(&self, caller: Option<IpAddr>) -> Result<WatchPermit, WatchError> {
        self.permits.acquire(caller).map_err(|exceeded| match exceeded {
            QuotaExceeded::Total => WatchError::TooMany,
            QuotaExceeded::Caller => WatchError::TooManyOfCaller { most: self.permits.quota().per_caller },
        })
    }

    /// Begins a watch for a caller at this address. It resumes from a revision of an epoch, if the changes since then are still
    /// kept, and begins with a snapshot otherwise.
    ///
    /// # Errors
    /// There is no such showtime, there are too many watchers, or the store failed.
    pub async fn watch(
        &self,
        id: ShowtimeId,
        from: Option<(i64, &str)>,
        caller: Option<IpAddr>,
    ) -> Result<Watch, WatchError> {
        let permit = self.permit(caller)?;
        let (view, starts) = loop {
            let (slot, view) = self.catalog.view(id).await?.ok_or(WatchError::NoShowtime)?;
            let at_least = from.map_or(0, |(revision, _)| revision).max(slot.acknowledged());
            self.catalog.bring_to(&view, id, at_least).await?;
            // A view that has been evicted meanwhile is loaded again.
            if let Some(starts) = self.catalog.slots.add_watcher(id, &view) {
                break (view, starts);
            }
        };
        let clock = &self.catalog.clock;
        if starts {
            tokio::spawn(lapses::run(Arc::downgrade(clock), Arc::clone(&view)));
        }
        let resumption = from.and_then(|(revision, epoch)| {
            let (first, next_frame) = view.since(revision, epoch, clock.now())?;
            Some(Resumption { position: (revision, Arc::from(epoch)), first, next_frame })
        });
        Ok(Watch::new(Arc::clone(clock), (id, view), permit, resumption))
    }

    /// Waits until there are no watchers.
    pub async fn wait_until_unwatched(&self) {
        self.permits.wait_until_released().await;
    }

    /// Applies changes that this process has committed and is about to acknowledge, each with the time of its decision.
    pub(super) fn apply(&self, mut changes: Vec<(ShowtimeId, Delta, DateTime<Utc>)>) {
        if changes.is_empty() {
            return;
        }
        for (_, delta, _) in &mut changes {
            delta.settle();
        }
        if let Some(publisher) = &self.publisher {
            publisher.publish(changes.iter().map(|(id, delta, _)| (*id, delta)));
        }
        self.catalog.apply(changes);
    }

    /// Requires views to have these revisions before they are shown: they are about to be acknowledged, though this process
    /// committed none of them.
    pub(super) fn require(&self, revisions: &[(ShowtimeId, i64)]) {
        for (id, revision) in revisions {
            if let Some(slot) = self.catalog.slots.get(*id) {
                slot.acknowledge(*revision);
            }
        }
    }

    /// Ends the comparison, because the store is about to close.
    pub(super) fn close(&self) {
        self.shutdown.cancel();
    }
}
