//! Seat maps, read and watched.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{App, Error, Origin, Refused};
use crate::{
    domain::{
        ids::ShowtimeId,
        seating::{Refusal, ShowtimePlan},
    },
    ledger::{Frame, Snapshot, Watch, WatchError},
};

impl App {
    /// The seat map at this revision or a later one.
    ///
    /// # Errors
    /// There is no such showtime, it is cancelled, it has never been at that revision, or the store fails.
    pub async fn seat_map(
        &self,
        _origin: &Origin,
        id: ShowtimeId,
        at_least_revision: i64,
    ) -> Result<Arc<Snapshot>, Error> {
        let found = self.0.ledger.views().seat_map(id, at_least_revision).await?;
        let snapshot = found.ok_or_else(|| Error::no_showtime(id))?;
        if snapshot.revision < at_least_revision {
            return Err(Error::RevisionNotReached { asked: at_least_revision, reached: snapshot.revision });
        }
        match snapshot.end() {
            Some(end) => Err(end),
            None => Ok(snapshot),
        }
    }

    /// Begins to watch a seat map. The watch resumes after `from`, a revision of an epoch, if the changes since then are still in
    /// memory. Otherwise it begins with a snapshot.
    ///
    /// # Errors
    /// There is no such showtime, there are too many watchers, or the store fails.
    pub async fn watch_seat_map(
        &self,
        origin: &Origin,
        id: ShowtimeId,
        from: Option<(i64, &str)>,
    ) -> Result<Watch, Error> {
        self.0.ledger.views().watch(id, from, origin.caller.address()).await.map_err(|why| not_watched(id, why))
    }

    /// The error that ends a watch whose showtime is no longer in the database.
    #[must_use]
    pub fn gone(watch: &Watch) -> Error {
        Error::no_showtime(watch.showtime_id())
    }

    /// Waits until there are no watchers.
    pub async fn unwatched(&self) {
        self.0.ledger.views().wait_until_unwatched().await;
    }
}

/// The error of a watch of this showtime that did not begin.
pub(super) fn not_watched(id: ShowtimeId, why: WatchError) -> Error {
    match why {
        WatchError::NoShowtime => Error::no_showtime(id),
        WatchError::TooMany => Error::TooManyWatchers,
        WatchError::TooManyOfCaller { most } => Error::WatchLimit { most },
        WatchError::Store(error) => error.into(),
    }
}

/// A state of a seat map that may be its last, because the showtime is cancelled.
pub trait Ending {
    /// The error with which a read or a watch of this state ends. `None`: the showtime is not cancelled.
    fn end(&self) -> Option<Error>;
}

impl Ending for Snapshot {
    fn end(&self) -> Option<Error> {
        Some(cancelled(self.cancelled?, &self.plan, self.revision, self.at))
    }
}

impl Ending for Frame {
    fn end(&self) -> Option<Error> {
        Some(cancelled(self.delta.cancelled?, &self.plan, self.delta.revision, self.at))
    }
}

fn cancelled(at: DateTime<Utc>, plan: &Arc<ShowtimePlan>, revision: i64, now: DateTime<Utc>) -> Error {
    let why = Arc::new(Refusal::ShowtimeCancelled { at });
    Error::Refused(Refused { why, plan: Arc::clone(plan), revision, now, reservation_id: None })
}
