//! The deletion of old events: rows of the feed with their rows of the outbox.
//!
//! Nobody needs them to decide about seats: an instance that has missed revisions reads a showtime anew where rows are gone.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, FromQueryResult, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::{LockBehavior, LockType},
};

use super::{FeedHead, delete, head, oldest};
use crate::store::{
    entities::{feed_head, sink},
    errors::Error,
    handle::Store,
    ledger::segments,
};

/// Rows that are deleted in one transaction.
const DELETED_AT_ONCE: u64 = 500;

/// Which events are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Those of commits after this time,
    pub after: DateTime<Utc>,
    /// and those that were not delivered to a sink that was in use after this time,
    pub sinks_after: DateTime<Utc>,
    /// but at most those of so many commits.
    pub most: i64,
}

/// How many rows of the feed were deleted, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// They were too old.
    pub old: u64,
    /// They were not, and there were too many.
    pub beyond_cap: u64,
}

impl Deleted {
    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(FromQueryResult)]
struct Oldest {
    position: i64,
    create_time: DateTime<Utc>,
}

impl Store {
    /// Deletes the oldest events that are not to be kept, at most those of 500 commits. `None`: another instance has the head,
    /// and gives positions or deletes rows.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn delete_events(&self, retention: Retention) -> Result<Option<Deleted>, Error> {
        self.run_transaction("delete_events", || self.delete_events_once(retention)).await
    }

    async fn delete_events_once(
        &self,
        Retention { after, sinks_after, most }: Retention,
    ) -> Result<Option<Deleted>, Error> {
        let tx = self.begin().await?;
        let locked = feed_head::Entity::find().lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        let Some(feed_head::Model { compacted, .. }) = locked.one(&tx.inner).await? else {
            return tx.rollback(None).await;
        };
        let Some(FeedHead { position: last, .. }) = head(tx.backend).into_model().one(&tx.inner).await? else {
            return tx.rollback(None).await;
        };
        let of_head = oldest(tx.backend, compacted, DELETED_AT_ONCE);
        let mut oldest: Vec<Oldest> = segments::read(&tx.inner, of_head).await?;
        oldest.sort_unstable_by_key(|row| row.position);
        let delivered = sink::Entity::find()
            .filter(sink::Column::SeenTime.gt(sinks_after))
            .order_by_asc(sink::Column::Position)
            .one(&tx.inner)
            .await?
            .map_or(last, |slowest| slowest.position);
        let mut deleted = Deleted::default();
        let mut to = compacted;
        for Oldest { position, create_time } in oldest {
            if create_time <= after && position <= delivered {
                deleted.old += 1;
            } else if position <= last - most {
                deleted.beyond_cap += 1;
            } else {
                break;
            }
            to = position;
        }
        if deleted.is_empty() {
            return tx.rollback(Some(deleted)).await;
        }
        segments::execute(&tx.inner, delete(tx.backend, to)).await?;
        tx.commit(Some(deleted)).await
    }
}
