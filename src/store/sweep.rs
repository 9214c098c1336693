//! Showtimes in which a hold has lapsed and was not yet recorded as expired.

use chrono::{DateTime, Utc};
use sea_orm::{
    DbBackend, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Select,
    prelude::Uuid,
    sea_query::{Expr, ExprTrait as _},
};

use super::{
    dialect,
    entities::standing::{Column, Entity},
    errors::Error,
    handle::Store,
};
use crate::domain::ids::ShowtimeId;

impl Store {
    /// Showtimes in which a hold may have lapsed by `now`, the longest overdue first. Without `now` the database's clock
    /// decides, which only Postgres has.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn lapsed(&self, now: Option<DateTime<Utc>>, limit: u64) -> Result<Vec<ShowtimeId>, Error> {
        let pooled = self.0.reads.acquire().await?;
        let query = lapsed(pooled.backend(), now, limit).into_tuple::<Uuid>();
        let ids = pooled.read(query.all(pooled.connection)).await?;
        Ok(ids.into_iter().map(ShowtimeId).collect())
    }
}

/// The query behind the sweep.
pub(super) fn lapsed(backend: DbBackend, now: Option<DateTime<Utc>>, limit: u64) -> Select<Entity> {
    let now = now.map_or_else(|| dialect::statement_time(backend), Expr::value);
    Entity::find()
        .select_only()
        .column(Column::ShowtimeId)
        .filter(Expr::col((Entity, Column::NextLapse)).lte(now))
        .order_by_asc(Column::NextLapse)
        .limit(limit)
}
