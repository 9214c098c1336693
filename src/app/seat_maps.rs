//! Seat maps: shown, and watched.

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
    /// Who has which seat, with this revision in it.
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
        match snapshot.ended() {
            Some(end) => Err(end),
            None => Ok(snapshot),
        }
    }

    /// Watches a showtime's seats for a caller from there: from a revision of an epoch on, if that is given and still kept.
    ///
    /// # Errors
    /// There is no such showtime, there are too many watchers, or the store fails.
    pub async fn watch_seat_map(
        &self,
        origin: &Origin,
        id: ShowtimeId,
        from: Option<(i64, &str)>,
    ) -> Result<Watch, Error> {
        self.0.ledger.views().watch(id, from, origin.caller.address()).await.map_err(|why| match why {
            WatchError::NoShowtime => Error::no_showtime(id),
            WatchError::TooMany => Error::TooManyWatchers,
            WatchError::TooManyOfCaller { most } => Error::WatchLimit { most },
            WatchError::Store(error) => error.into(),
        })
    }

    /// Why somebody who watched is told no more, though the showtime was not cancelled.
    #[must_use]
    pub fn gone(watch: &Watch) -> Error {
        Error::no_showtime(watch.showtime_id())
    }

    /// Waits until nobody watches any more.
    pub async fn unwatched(&self) {
        self.0.ledger.views().wait_until_unwatched().await;
    }
}

/// What is shown ends when its showtime is cancelled.
pub trait Ended {
    /// Why there is no more to be seen.
    fn ended(&self) -> Option<Error>;
}

impl Ended for Snapshot {
    fn ended(&self) -> Option<Error> {
        Some(over(self.cancelled?, &self.plan, self.revision, self.at))
    }
}

impl Ended for Frame {
    fn ended(&self) -> Option<Error> {
        Some(over(self.delta.cancelled?, &self.plan, self.delta.revision, self.at))
    }
}

fn over(cancelled: DateTime<Utc>, plan: &Arc<ShowtimePlan>, revision: i64, now: DateTime<Utc>) -> Error {
    let why = Arc::new(Refusal::ShowtimeCancelled { at: cancelled });
    Error::Refused(Refused { why, plan: Arc::clone(plan), revision, now, reservation_id: None })
}
