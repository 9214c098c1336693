//! Refunds that are stuck, and the notes that are kept of what operators did with them.

use sea_orm::{
    ColumnTrait as _, EntityTrait as _, ExprTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Select,
    sea_query::Expr,
};

use super::{
    dialect,
    entities::{refund, refund_note},
    errors::Error,
    handle::Store,
    payments::TimedCursor,
    rows::refund::{note as read_note, refund as read, state_name},
    timing::read_named,
};
use crate::domain::{
    ids::RefundId,
    refund::{Refund, RefundNote, RefundState},
};

impl Store {
    /// A page of the refunds that are stuck, the newest first.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn stuck_refunds(&self, after: Option<TimedCursor>, limit: u64) -> Result<Vec<Refund>, Error> {
        self.read_rows("stuck_refunds", stuck_refunds(after, limit), read).await
    }

    /// The number of refunds that are stuck, counted up to this limit.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn count_stuck_refunds(&self, limit: u64) -> Result<u64, Error> {
        read_named("count_stuck_refunds", async {
            let pooled = self.0.reads.acquire().await?;
            let ids = stuck_refunds(None, limit).select_only().column(refund::Column::RefundId);
            let ids = ids.into_tuple::<sea_orm::prelude::Uuid>();
            Ok(pooled.read(ids.all(pooled.connection)).await?.len() as u64)
        })
        .await
    }

    /// The last notes of a refund, the oldest of them first.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn refund_notes(&self, id: RefundId, limit: u64) -> Result<Vec<RefundNote>, Error> {
        read_named("refund_notes", async {
            let pooled = self.0.reads.acquire().await?;
            let rows = pooled.read(refund_notes(id, limit).all(pooled.connection)).await?;
            rows.into_iter().rev().map(read_note).collect()
        })
        .await
    }
}

/// The query for the last notes of a refund, the newest first: their ids begin with the time.
pub(super) fn refund_notes(id: RefundId, limit: u64) -> Select<refund_note::Entity> {
    refund_note::Entity::find()
        .filter(refund_note::Column::RefundId.eq(id.0))
        .order_by_desc(refund_note::Column::NoteId)
        .limit(limit)
}

/// The query for refunds that are stuck. The condition is written as it stands in the index.
pub(super) fn stuck_refunds(after: Option<TimedCursor>, limit: u64) -> Select<refund::Entity> {
    let stuck = Expr::Constant(state_name(RefundState::Stuck).into());
    let query = refund::Entity::find()
        .filter(Expr::col(refund::Column::State).eq(stuck))
        .order_by_desc(refund::Column::CreateTime)
        .order_by_desc(refund::Column::RefundId)
        .limit(limit);
    match after {
        Some(last) => query.filter(dialect::is_before([refund::Column::CreateTime, refund::Column::RefundId], last)),
        None => query,
    }
}
