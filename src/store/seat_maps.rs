//! Seat maps, read whole, and the revisions by which they are followed.

use chrono::{DateTime, Utc};
use sea_orm::{
    ConnectionTrait as _, DbBackend, EntityTrait as _, FromQueryResult, QueryFilter as _, QuerySelect as _,
    RelationTrait as _, Select, prelude::Uuid, sea_query::JoinType,
};

use super::{
    dialect,
    entities::{reservation, seat_claim, showtime as table, standing},
    errors::Error,
    handle::Store,
    rows,
    timing::read_named,
};
use crate::domain::{ids::ShowtimeId, seat_map::Status, showtime};

/// A seat map as it was read. All of it is of one moment.
#[derive(Clone, Debug)]
pub struct ReadMap {
    /// The showtime's revision.
    pub revision: i64,
    /// The database's time, if it has a clock.
    pub now: Option<DateTime<Utc>>,
    /// The showtime's state.
    pub state: showtime::State,
    /// The seats that are held, being paid for, sold or blocked, with lapsed holds among them.
    pub claims: Vec<(u16, Status)>,
}

/// Revisions of showtimes as they were read.
#[derive(Clone, Debug, Default)]
pub struct Revisions {
    /// The database's time, if it has a clock.
    pub now: Option<DateTime<Utc>>,
    /// Each showtime's revision.
    pub at: Vec<(ShowtimeId, i64)>,
}

/// A showtime and one of its claims. A showtime without claims has one row without a seat.
#[derive(FromQueryResult)]
struct ClaimRow {
    revision: i64,
    state: String,
    cancel_time: Option<DateTime<Utc>>,
    now: Option<DateTime<Utc>>,
    seat: Option<i16>,
    reservation_id: Option<Uuid>,
    claim: Option<String>,
    expire_time: Option<DateTime<Utc>>,
    pay_until: Option<DateTime<Utc>>,
}

#[derive(FromQueryResult)]
struct RevisionRow {
    showtime_id: Uuid,
    revision: i64,
    now: Option<DateTime<Utc>>,
}

impl ClaimRow {
    /// The seat that is claimed, if the row can be read.
    fn claim(&self) -> Option<(u16, Status)> {
        let status = match self.claim.as_deref() {
            Some("held") => Status::Held { until: self.expire_time? },
            Some("paying") => Status::Paying { until: self.pay_until? },
            Some("confirmed") => Status::Sold,
            None if self.reservation_id.is_some_and(|id| id.is_nil()) => Status::Blocked,
            _ => return None,
        };
        Some((u16::try_from(self.seat?).ok()?, status))
    }
}

impl Store {
    /// The seat map of a showtime, if there is one.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn seat_map(&self, id: ShowtimeId) -> Result<Option<ReadMap>, Error> {
        read_named("get_seat_map", async {
            let pooled = self.0.reads.acquire().await?;
            let query = seat_map(pooled.backend(), id).into_model::<ClaimRow>();
            let rows = pooled.read(query.all(pooled.connection)).await?;
            let Some(first) = rows.first() else { return Ok(None) };
            let unreadable =
                |why: &str| Error::Unreadable { table: "seat_claims", key: id.to_string(), why: why.to_owned() };
            let state = rows::showtime::state(&first.state, first.cancel_time);
            let state = state.ok_or_else(|| unreadable("the showtime's state"))?;
            let claims = rows.iter().filter(|row| row.seat.is_some()).map(ClaimRow::claim).collect::<Option<_>>();
            let claims = claims.ok_or_else(|| unreadable("a claim of no live reservation"))?;
            Ok(Some(ReadMap { revision: first.revision, now: first.now, state, claims }))
        })
        .await
    }

    /// The revisions of these showtimes.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn revisions(&self, of: &[ShowtimeId]) -> Result<Revisions, Error> {
        read_named("get_revisions", async {
            let pooled = self.0.reads.acquire().await?;
            let query = revisions(pooled.backend(), of).into_model::<RevisionRow>();
            let rows = pooled.read(query.all(pooled.connection)).await?;
            let now = rows.first().and_then(|row| row.now);
            Ok(Revisions { now, at: rows.iter().map(|row| (ShowtimeId(row.showtime_id), row.revision)).collect() })
        })
        .await
    }

    /// A value that differs between databases, and changes when a database is restored to an earlier time. `None`: it is the
    /// file of this process, and a restore ends the process.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn epoch(&self) -> Result<Option<String>, Error> {
        let Some(query) = dialect::epoch(self.0.reads.backend()) else { return Ok(None) };
        let pooled = self.0.reads.acquire().await?;
        let row = pooled.read(pooled.connection.query_one(&query)).await?;
        Ok(row.map(|row| row.try_get("", "epoch")).transpose()?)
    }
}

/// The query for a seat map. It is one statement, so that all of the map is of one moment.
pub(super) fn seat_map(backend: DbBackend, id: ShowtimeId) -> Select<table::Entity> {
    table::Entity::find_by_id(id.0)
        .select_only()
        .column(standing::Column::Revision)
        .columns([table::Column::State, table::Column::CancelTime])
        .expr_as(dialect::statement_time(backend), "now")
        .columns([seat_claim::Column::Seat, seat_claim::Column::ReservationId])
        .column_as(reservation::Column::State, "claim")
        .columns([reservation::Column::ExpireTime, reservation::Column::PayUntil])
        .inner_join(standing::Entity)
        .left_join(seat_claim::Entity)
        .join(JoinType::LeftJoin, seat_claim::Relation::Reservation.def())
}

/// The query for revisions.
pub(super) fn revisions(backend: DbBackend, of: &[ShowtimeId]) -> Select<standing::Entity> {
    standing::Entity::find()
        .select_only()
        .columns([standing::Column::ShowtimeId, standing::Column::Revision])
        .expr_as(dialect::statement_time(backend), "now")
        .filter(dialect::is_among(backend, standing::Column::ShowtimeId, of.iter().map(|id| id.0)))
}
