//! Auditoriums: written once, read whole or without their layouts.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Select, Set,
    sea_query::{Expr, ExprTrait as _, Query},
};

use super::{
    entities::auditorium::{ActiveModel, Column, Entity},
    errors::Error,
    handle::Store,
    request_key::RequestKey,
    requests::{self, IdClaim},
    rows::auditorium::AuditoriumRow,
    timing::read_named,
};
use crate::domain::{
    auditorium::{Auditorium, NewAuditorium},
    ids::AuditoriumId,
};

/// The outcome of a request to create an auditorium.
pub enum AuditoriumCreated {
    /// It was created.
    Created(Auditorium),
    /// The same request had created it before.
    Repeated(Auditorium),
    /// The request id belongs to another request.
    RequestReused,
}

impl Store {
    /// Creates an auditorium.
    ///
    /// # Errors
    /// The database cannot be used.
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
        self.run_transaction("create_auditorium", || async {
            let tx = self.begin().await?;
            match requests::claim_id::<AuditoriumRow>(&tx, key, now).await? {
                IdClaim::Answered(first) => {
                    return tx.acknowledge(AuditoriumCreated::Repeated(first.auditorium()?)).await;
                }
                IdClaim::Reused => return tx.rollback(AuditoriumCreated::RequestReused).await,
                IdClaim::New => {}
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
            tx.commit(AuditoriumCreated::Created(row.clone().auditorium()?)).await
        })
        .await
    }

    /// Reads an auditorium with its layout.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn auditorium(&self, id: AuditoriumId) -> Result<Option<Auditorium>, Error> {
        read_named("get_auditorium", async {
            let pooled = self.0.reads.acquire().await?;
            let query = Entity::find_by_id(id.0).into_model::<AuditoriumRow>();
            pooled.read(query.one(pooled.connection)).await?.map(AuditoriumRow::auditorium).transpose()
        })
        .await
    }

    /// A page of auditoriums by cinema, name and id, without layouts. `cinema` narrows the list, and `after` is the last
    /// auditorium of the page before.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn auditoriums(
        &self,
        cinema: Option<&str>,
        after: Option<AuditoriumId>,
        limit: u64,
    ) -> Result<Vec<Auditorium>, Error> {
        read_named("list_auditoriums", async {
            let pooled = self.0.reads.acquire().await?;
            let query = list(cinema, after, limit).into_model::<AuditoriumRow>();
            let rows = pooled.read(query.all(pooled.connection)).await?;
            rows.into_iter().map(AuditoriumRow::auditorium).collect()
        })
        .await
    }
}

/// The query behind the list. It follows the index `auditoriums_by_name`.
pub(super) fn list(cinema: Option<&str>, after: Option<AuditoriumId>, limit: u64) -> Select<Entity> {
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
