//! Reservations, read one by one or listed along an index. Only the ledger writes them.
//!
//! A read includes the time by which its holds are judged: the database's, or on SQLite the caller's.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, Condition, DbBackend, EntityTrait as _, FromQueryResult, PartialModelTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, RelationTrait as _, Select,
    sea_query::{Expr, ExprTrait as _, JoinType},
};

use super::{
    dialect,
    entities::{
        reservation::{Column, Entity},
        showtime, standing,
    },
    errors::Error,
    handle::Store,
    rows::reservation::ReservationRow,
    timing::read_named,
};
use crate::domain::{
    ids::ReservationId,
    reservation::{Filter, Phase, Reservation},
};

/// A reservation that was read.
#[derive(Clone, Debug)]
pub struct ReservationAt {
    /// The reservation as it is stored.
    pub reservation: Reservation,
    /// The time by which its hold is judged.
    pub now: DateTime<Utc>,
}

/// A place in a list of reservations: just after this reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservationCursor {
    /// When the reservation was made.
    pub create_time: DateTime<Utc>,
    /// The reservation's id.
    pub reservation_id: ReservationId,
}

#[derive(FromQueryResult)]
struct ReservationAtRow {
    #[sea_orm(nested)]
    row: ReservationRow,
    now: DateTime<Utc>,
}

impl ReservationAtRow {
    fn reservation_at(self) -> Result<ReservationAt, Error> {
        Ok(ReservationAt { reservation: self.row.reservation()?, now: self.now })
    }
}

impl Store {
    /// A reservation as it stands. `now` counts where the database has no clock.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn reservation(&self, id: ReservationId, now: DateTime<Utc>) -> Result<Option<ReservationAt>, Error> {
        read_named("get_reservation", async {
            let pooled = self.0.reads.acquire().await?;
            let query = select(pooled.backend(), now).filter(Column::ReservationId.eq(id.0));
            let row = pooled.read(query.into_model::<ReservationAtRow>().one(pooled.connection)).await?;
            row.map(ReservationAtRow::reservation_at).transpose()
        })
        .await
    }

    /// The reservations of these ids as they stand, in any order. `now` counts where the database has no clock.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn reservations_of(
        &self,
        ids: &[ReservationId],
        now: DateTime<Utc>,
    ) -> Result<Vec<ReservationAt>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        read_named("get_reservations", async {
            let pooled = self.0.reads.acquire().await?;
            let query = of_ids(pooled.backend(), ids, now).into_model::<ReservationAtRow>();
            let rows = pooled.read(query.all(pooled.connection)).await?;
            rows.into_iter().map(ReservationAtRow::reservation_at).collect()
        })
        .await
    }

    /// A page of reservations, the newest first. `now` counts where the database has no clock.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn reservations(
        &self,
        filter: &Filter,
        after: Option<ReservationCursor>,
        limit: u64,
        now: DateTime<Utc>,
    ) -> Result<Vec<ReservationAt>, Error> {
        read_named("list_reservations", async {
            let pooled = self.0.reads.acquire().await?;
            let query = list(pooled.backend(), filter, after, limit, now).into_model::<ReservationAtRow>();
            let rows = pooled.read(query.all(pooled.connection)).await?;
            rows.into_iter().map(ReservationAtRow::reservation_at).collect()
        })
        .await
    }
}

/// The query for all reservations, each with the time by which it is judged.
fn select(backend: DbBackend, now: DateTime<Utc>) -> Select<Entity> {
    let joined = Entity::find()
        .inner_join(showtime::Entity)
        .join(JoinType::InnerJoin, showtime::Relation::Standing.def())
        .select_only();
    ReservationRow::select_cols(joined)
        .expr_as(dialect::judging_time(backend, now, standing::Column::DecideTime), "now")
}

/// The query for the reservations of these ids.
pub(super) fn of_ids(backend: DbBackend, ids: &[ReservationId], now: DateTime<Utc>) -> Select<Entity> {
    select(backend, now).filter(dialect::is_among(backend, Column::ReservationId, ids.iter().map(|id| id.0)))
}

/// The query behind the lists. For a customer and for a showtime there is an index that ends in its order, but for
/// reservations that were made in the same microsecond.
pub(super) fn list(
    backend: DbBackend,
    filter: &Filter,
    after: Option<ReservationCursor>,
    limit: u64,
    now: DateTime<Utc>,
) -> Select<Entity> {
    let mut query =
        select(backend, now).order_by_desc(Column::CreateTime).order_by_desc(Column::ReservationId).limit(limit);
    if let Some(id) = &filter.customer_id {
        query = query.filter(dialect::is_name_by_digest(backend, Column::CustomerId, id.as_str()));
    }
    if let Some(id) = filter.showtime_id {
        query = query.filter(Column::ShowtimeId.eq(id.0));
    }
    if filter.refund_due {
        query = query.filter(Column::RefundDueTime.is_not_null());
    }
    if !filter.phases.is_empty() {
        let at = dialect::judging_time(backend, now, standing::Column::DecideTime);
        let phases = filter.phases.iter().map(|phase| is_in_phase(*phase, &at));
        query = query.filter(phases.fold(Condition::any(), Condition::add));
    }
    if let Some(time) = filter.created_after {
        query = query.filter(Column::CreateTime.gte(time));
    }
    if let Some(time) = filter.created_before {
        query = query.filter(Column::CreateTime.lt(time));
    }
    if let Some(ReservationCursor { create_time, reservation_id }) = after {
        let columns = [Column::CreateTime, Column::ReservationId];
        query = query.filter(dialect::is_before(columns, (create_time, reservation_id.0)));
    }
    query
}

/// The condition that a reservation is in a phase at a time. A hold that has lapsed may not be recorded as expired yet.
fn is_in_phase(phase: Phase, at: &Expr) -> Condition {
    let expire_time = Expr::col((Entity, Column::ExpireTime));
    match phase {
        Phase::Held => Condition::all().add(Column::State.eq("held")).add(expire_time.gt(at.clone())),
        Phase::Expired => {
            let lapsed = Condition::all().add(Column::State.eq("held")).add(expire_time.lte(at.clone()));
            Condition::any().add(Column::State.eq("expired")).add(lapsed)
        }
        Phase::Paying => Condition::all().add(Column::State.eq("paying")),
        Phase::Confirmed => Condition::all().add(Column::State.eq("confirmed")),
        Phase::Cancelled => Condition::all().add(Column::State.eq("cancelled")),
    }
}
