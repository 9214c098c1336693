//! Showtimes as they are read: whole, or only the part that changes.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, NaiveDate, Utc};
use sea_orm::{
    ConnectionTrait, DbBackend, DbErr, DerivePartialModel, EntityTrait as _, PartialModelTrait as _, QueryFilter as _,
    QuerySelect as _, Select,
    prelude::{Json, Uuid},
};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        auditorium::Auditorium,
        ids::{AuditoriumId, ShowtimeId},
        money::Currency,
        showtime,
    },
    store::{
        dialect,
        entities::{auditorium, showtime as table, standing},
        errors::Error,
        rows::prices::read_list,
    },
};

/// A showtime with its standing, and what goes with it of its auditorium. Serialised, it is a stored answer.
#[derive(Clone, Debug, DerivePartialModel, Serialize, Deserialize)]
#[sea_orm(entity = "table::Entity")]
pub(in crate::store) struct ShowtimeRow {
    pub(in crate::store) showtime_id: Uuid,
    pub(in crate::store) auditorium_id: Uuid,
    pub(in crate::store) movie: Json,
    pub(in crate::store) start_time: DateTime<Utc>,
    pub(in crate::store) end_time: DateTime<Utc>,
    pub(in crate::store) local_date: NaiveDate,
    pub(in crate::store) currency: String,
    pub(in crate::store) price_minor: i64,
    /// Not in answers that were stored by earlier versions.
    #[serde(default)]
    pub(in crate::store) price_list: Option<Json>,
    pub(in crate::store) hold_us: i64,
    pub(in crate::store) create_time: DateTime<Utc>,
    pub(in crate::store) state: String,
    pub(in crate::store) cancel_time: Option<DateTime<Utc>>,
    #[sea_orm(from_expr = "standing::Column::AvailableCount")]
    pub(in crate::store) available_count: i32,
    #[sea_orm(from_expr = "standing::Column::Revision")]
    pub(in crate::store) revision: i64,
    #[sea_orm(from_expr = "auditorium::Column::Name")]
    pub(in crate::store) auditorium_name: String,
    #[sea_orm(from_expr = "auditorium::Column::Cinema")]
    pub(in crate::store) cinema: String,
    #[sea_orm(from_expr = "auditorium::Column::TimeZone")]
    pub(in crate::store) time_zone: String,
    #[sea_orm(from_expr = "auditorium::Column::SeatCount")]
    pub(in crate::store) seat_count: i32,
    #[sea_orm(from_expr = "auditorium::Column::CreateTime")]
    pub(in crate::store) auditorium_create_time: DateTime<Utc>,
}

/// The part of a showtime that changes.
#[derive(Clone, Debug, DerivePartialModel)]
#[sea_orm(entity = "table::Entity")]
pub(in crate::store) struct StandingRow {
    pub(in crate::store) showtime_id: Uuid,
    state: String,
    cancel_time: Option<DateTime<Utc>>,
    #[sea_orm(from_expr = "standing::Column::AvailableCount")]
    available_count: i32,
    #[sea_orm(from_expr = "standing::Column::Revision")]
    revision: i64,
}

impl ShowtimeRow {
    /// The query for all showtimes, to be narrowed.
    pub(in crate::store) fn select() -> Select<table::Entity> {
        let joined = table::Entity::find().inner_join(standing::Entity).inner_join(auditorium::Entity);
        Self::select_cols(joined.select_only())
    }

    /// The query for these showtimes.
    pub(in crate::store) fn select_by_ids(backend: DbBackend, ids: &[ShowtimeId]) -> Select<table::Entity> {
        Self::select().filter(dialect::is_among(backend, table::Column::ShowtimeId, ids.iter().map(|id| id.0)))
    }

    pub(in crate::store) fn standing(&self) -> Result<showtime::Standing, Error> {
        standing(self.showtime_id, &self.state, self.cancel_time, self.available_count, self.revision)
    }

    pub(in crate::store) fn facts(&self) -> Result<showtime::Facts, Error> {
        let unreadable = |why: String| unreadable(self.showtime_id, why);
        let currency =
            Currency::parse(&self.currency).ok_or_else(|| unreadable(format!("currency {:?}", self.currency)))?;
        Ok(showtime::Facts {
            showtime_id: ShowtimeId(self.showtime_id),
            movie: Deserialize::deserialize(&self.movie)
                .map_err(|error: serde_json::Error| unreadable(error.to_string()))?,
            auditorium: Auditorium {
                auditorium_id: AuditoriumId(self.auditorium_id),
                name: self.auditorium_name.clone(),
                cinema: self.cinema.clone(),
                time_zone: self.time_zone.parse().map_err(|_| unreadable(format!("time zone {:?}", self.time_zone)))?,
                layout: None,
                seat_count: self.seat_count,
                create_time: self.auditorium_create_time,
            },
            start_time: self.start_time,
            end_time: self.end_time,
            local_date: self.local_date,
            prices: read_list(currency, self.price_minor, self.price_list.as_ref())
                .map_err(|error| unreadable(error.to_string()))?,
            hold_duration: Duration::from_micros(self.hold_us.unsigned_abs()),
            create_time: self.create_time,
            encoded: showtime::Encoded::default(),
        })
    }

    pub(in crate::store) fn showtime(&self) -> Result<showtime::Showtime, Error> {
        Ok(showtime::Showtime { facts: Arc::new(self.facts()?), standing: self.standing()? })
    }
}

/// The columns of a standing, in their order. Rows of this type are decoded by position, and ones of [`StandingRow`] by name:
/// for the 50 rows of a page that takes several times as long.
type StandingColumns = (Uuid, String, Option<DateTime<Utc>>, i32, i64);

impl StandingRow {
    /// The query for all standings, to be narrowed.
    pub(in crate::store) fn select() -> Select<table::Entity> {
        Self::select_cols(table::Entity::find().inner_join(standing::Entity).select_only())
    }

    /// The query for the standings of these showtimes.
    pub(in crate::store) fn select_by_ids(backend: DbBackend, ids: &[ShowtimeId]) -> Select<table::Entity> {
        Self::select().filter(dialect::is_among(backend, table::Column::ShowtimeId, ids.iter().map(|id| id.0)))
    }

    /// Runs a query that [`Self::select`] began.
    pub(in crate::store) async fn all(
        query: Select<table::Entity>,
        connection: &impl ConnectionTrait,
    ) -> Result<Vec<Self>, DbErr> {
        let rows = query.into_tuple::<StandingColumns>().all(connection).await?;
        Ok(rows.into_iter().map(Self::from).collect())
    }

    pub(in crate::store) fn id(&self) -> ShowtimeId {
        ShowtimeId(self.showtime_id)
    }

    pub(in crate::store) fn standing(&self) -> Result<showtime::Standing, Error> {
        standing(self.showtime_id, &self.state, self.cancel_time, self.available_count, self.revision)
    }
}

impl From<StandingColumns> for StandingRow {
    fn from((showtime_id, state, cancel_time, available_count, revision): StandingColumns) -> Self {
        Self { showtime_id, state, cancel_time, available_count, revision }
    }
}

/// The state of a showtime by its two columns. `None`: they contradict each other, or the state is not known here.
pub(in crate::store) fn state(state: &str, cancel_time: Option<DateTime<Utc>>) -> Option<showtime::State> {
    match (state, cancel_time) {
        ("scheduled", None) => Some(showtime::State::Scheduled),
        ("cancelled", Some(at)) => Some(showtime::State::Cancelled { at }),
        _ => None,
    }
}

fn standing(
    id: Uuid,
    text: &str,
    cancel_time: Option<DateTime<Utc>>,
    available_count: i32,
    revision: i64,
) -> Result<showtime::Standing, Error> {
    let state = state(text, cancel_time).ok_or_else(|| unreadable(id, format!("state {text:?}")))?;
    Ok(showtime::Standing { state, available_count, revision })
}

fn unreadable(id: Uuid, why: String) -> Error {
    Error::Unreadable { table: "showtimes", key: id.to_string(), why }
}
