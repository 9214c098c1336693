//! Auditoriums: written once, read whole or without their layouts.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, DbBackend, EntityTrait as _, FromQueryResult, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, Select, Set, Statement,
    prelude::{Json, Uuid},
    sea_query::{Expr, ExprTrait as _, Query},
};
use serde::{Deserialize, Serialize};

use super::{
    Error, RequestKey, Store,
    entities::auditorium::{ActiveModel, Column, Entity},
    requests::{self, Claim},
    transactions::{
        Verdict::{Commit, Refuse},
        look,
    },
};
use crate::domain::{
    auditorium::{Auditorium, NewAuditorium},
    ids::AuditoriumId,
    layout::{Layout, LayoutRow},
};

/// What became of a wish for an auditorium.
pub enum AuditoriumCreated {
    /// It was created.
    Created(Auditorium),
    /// It had been created by this same request.
    Replayed(Auditorium),
    /// The request id belongs to another request.
    RequestReused,
}

/// Serialised, it is a stored answer.
#[derive(Clone, FromQueryResult, Serialize, Deserialize)]
pub(super) struct AuditoriumRow {
    pub(super) auditorium_id: Uuid,
    pub(super) name: String,
    pub(super) cinema: String,
    pub(super) time_zone: String,
    pub(super) layout: Option<Json>,
    pub(super) seat_count: i32,
    pub(super) create_time: DateTime<Utc>,
}

impl AuditoriumRow {
    pub(super) fn auditorium(self) -> Result<Auditorium, Error> {
        let id = self.auditorium_id;
        let broken = |why: String| Error::Unreadable { table: "auditoriums", key: id.to_string(), why };
        let layout = match self.layout {
            Some(json) => {
                let plan: Vec<LayoutRow> = serde_json::from_value(json).map_err(|error| broken(error.to_string()))?;
                Some(Layout::new(plan).map_err(|flaws| broken(flaws.to_string()))?)
            }
            None => None,
        };
        Ok(Auditorium {
            auditorium_id: AuditoriumId(id),
            name: self.name,
            cinema: self.cinema,
            time_zone: self.time_zone.parse().map_err(|_| broken("unknown time zone".to_owned()))?,
            layout,
            seat_count: self.seat_count,
            create_time: self.create_time,
        })
    }
}

impl Store {
    /// Writes an auditorium.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn create_auditorium(
        &self,
        id: AuditoriumId,
        new: &NewAuditorium,
        key: Option<&RequestKey>,
        now: DateTime<Utc>,
    ) -> Result<AuditoriumCreated, Error> {
        let row = AuditoriumRow {
            auditorium_id: id.0,
            name: new.name.clone(),
            cinema: new.cinema.clone(),
            time_zone: new.time_zone.name().to_owned(),
            layout: Some(serde_json::json!(new.layout.rows_as_written())),
            seat_count: new.layout.seat_count(),
            create_time: now,
        };
        self.transact("create_auditorium", || async {
            let tx = self.begin().await?;
            match requests::claim::<AuditoriumRow>(&tx, key, now).await? {
                Claim::Answered(first) => {
                    return tx.end(Refuse(AuditoriumCreated::Replayed(first.auditorium()?))).await;
                }
                Claim::Reused => return tx.end(Refuse(AuditoriumCreated::RequestReused)).await,
                Claim::Ours => {}
            }
            let insert = Entity::insert(ActiveModel {
                auditorium_id: Set(row.auditorium_id),
                name: Set(row.name.clone()),
                cinema: Set(row.cinema.clone()),
                time_zone: Set(row.time_zone.clone()),
                layout: Set(row.layout.clone().unwrap_or_default()),
                seat_count: Set(row.seat_count),
                create_time: Set(row.create_time),
            });
            insert.exec_without_returning(&tx.inner).await?;
            requests::answer(&tx, key, &row).await?;
            tx.end(Commit(AuditoriumCreated::Created(row.clone().auditorium()?))).await
        })
        .await
    }

    /// Reads an auditorium with its layout.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn auditorium(&self, id: AuditoriumId) -> Result<Option<Auditorium>, Error> {
        look("get_auditorium", async {
            let held = self.0.reads.acquire().await?;
            let query = Entity::find_by_id(id.0).into_model::<AuditoriumRow>();
            held.read(query.one(held.connection)).await?.map(AuditoriumRow::auditorium).transpose()
        })
        .await
    }

    /// A page of auditoriums by cinema, name and id, without layouts, of one cinema if it is given, after one of them.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn auditoriums(
        &self,
        cinema: Option<&str>,
        after: Option<AuditoriumId>,
        limit: u64,
    ) -> Result<Vec<Auditorium>, Error> {
        let query = listing(cinema, after, limit);
        look("list_auditoriums", async {
            let held = self.0.reads.acquire().await?;
            let rows = held.read(query.into_model::<AuditoriumRow>().all(held.connection)).await?;
            rows.into_iter().map(AuditoriumRow::auditorium).collect()
        })
        .await
    }
}

/// The query behind the list, along its index.
fn listing(cinema: Option<&str>, after: Option<AuditoriumId>, limit: u64) -> Select<Entity> {
    let order = [Column::Cinema, Column::Name, Column::AuditoriumId];
    let mut query = Entity::find()
        .select_only()
        .columns([Column::AuditoriumId, Column::Name, Column::Cinema, Column::TimeZone])
        .columns([Column::SeatCount, Column::CreateTime])
        .limit(limit);
    for column in order {
        query = query.order_by_asc(column);
    }
    if let Some(cinema) = cinema {
        query = query.filter(Column::Cinema.eq(cinema));
    }
    if let Some(id) = after {
        let mut last = Query::select();
        last.columns(order).from(Entity).and_where(Column::AuditoriumId.eq(id.0));
        query = query.filter(Expr::tuple(order.map(Expr::col)).gt(Expr::SubQuery(None, Box::new(last.into()))));
    }
    query
}

/// The text and values of the query behind the list, for whoever wants to see its plan.
#[must_use]
pub fn auditorium_listing_statement(
    backend: DbBackend,
    cinema: Option<&str>,
    after: Option<AuditoriumId>,
    limit: u64,
) -> Statement {
    use sea_orm::QueryTrait as _;
    listing(cinema, after, limit).build(backend)
}
