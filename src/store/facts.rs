//! Showtimes as rows: how a row becomes a showtime, and which part of it is kept in memory.
//!
//! A showtime's facts never change once it is scheduled, so they are kept; its standing does, so it never is.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, NaiveDate, Utc};
use sea_orm::{
    FromQueryResult,
    prelude::{Json, Uuid},
};
use serde::{Deserialize, Serialize};

use super::Error;
use crate::domain::{
    auditorium::Auditorium,
    ids::{AuditoriumId, ShowtimeId},
    money::{Currency, Money},
    showtime,
};

/// All columns of a showtime, and those of its auditorium that go with it. Serialised, it is a stored answer.
#[derive(Clone, Debug, FromQueryResult, Serialize, Deserialize)]
pub(super) struct ShowtimeRow {
    pub(super) showtime_id: Uuid,
    pub(super) auditorium_id: Uuid,
    pub(super) movie: Json,
    pub(super) start_time: DateTime<Utc>,
    pub(super) end_time: DateTime<Utc>,
    pub(super) local_date: NaiveDate,
    pub(super) currency: String,
    pub(super) price_minor: i64,
    pub(super) hold_us: i64,
    pub(super) create_time: DateTime<Utc>,
    pub(super) state: String,
    pub(super) cancel_time: Option<DateTime<Utc>>,
    pub(super) available_count: i32,
    pub(super) revision: i64,
    pub(super) auditorium_name: String,
    pub(super) cinema: String,
    pub(super) time_zone: String,
    pub(super) seat_count: i32,
    pub(super) auditorium_create_time: DateTime<Utc>,
}

/// What to select for a `ShowtimeRow`.
pub(super) const SELECT_SHOWTIMES: &str = "SELECT s.showtime_id, s.auditorium_id, s.movie, s.start_time, s.end_time, \
    s.local_date, s.currency, s.price_minor, s.hold_us, s.create_time, s.state, s.cancel_time, n.available_count, \
    n.revision, a.name AS auditorium_name, a.cinema, a.time_zone, a.seat_count, a.create_time AS auditorium_create_time \
    FROM showtimes s JOIN standings n ON n.showtime_id = s.showtime_id \
    JOIN auditoriums a ON a.auditorium_id = s.auditorium_id";

/// The columns that change.
#[derive(Clone, Debug, FromQueryResult)]
pub(super) struct StandingRow {
    pub(super) showtime_id: Uuid,
    pub(super) state: String,
    pub(super) cancel_time: Option<DateTime<Utc>>,
    pub(super) available_count: i32,
    pub(super) revision: i64,
}

impl ShowtimeRow {
    pub(super) fn standing(&self) -> Result<showtime::Standing, Error> {
        standing(self.showtime_id, &self.state, self.cancel_time, self.available_count, self.revision)
    }

    pub(super) fn facts(&self) -> Result<showtime::Facts, Error> {
        let broken = |why: String| unreadable(self.showtime_id, why);
        let currency =
            Currency::parse(&self.currency).ok_or_else(|| broken(format!("currency {:?}", self.currency)))?;
        Ok(showtime::Facts {
            showtime_id: ShowtimeId(self.showtime_id),
            movie: Deserialize::deserialize(&self.movie)
                .map_err(|error: serde_json::Error| broken(error.to_string()))?,
            auditorium: Auditorium {
                auditorium_id: AuditoriumId(self.auditorium_id),
                name: self.auditorium_name.clone(),
                cinema: self.cinema.clone(),
                time_zone: self.time_zone.parse().map_err(|_| broken(format!("time zone {:?}", self.time_zone)))?,
                layout: None,
                seat_count: self.seat_count,
                create_time: self.auditorium_create_time,
            },
            start_time: self.start_time,
            end_time: self.end_time,
            local_date: self.local_date,
            price: Money { currency, minor: self.price_minor },
            hold_duration: Duration::from_micros(self.hold_us.unsigned_abs()),
            create_time: self.create_time,
            encoded: showtime::Encoded::default(),
        })
    }

    pub(super) fn showtime(&self) -> Result<showtime::Showtime, Error> {
        Ok(showtime::Showtime { facts: Arc::new(self.facts()?), standing: self.standing()? })
    }
}

impl StandingRow {
    pub(super) fn standing(&self) -> Result<showtime::Standing, Error> {
        standing(self.showtime_id, &self.state, self.cancel_time, self.available_count, self.revision)
    }
}

fn standing(
    id: Uuid,
    state: &str,
    cancel_time: Option<DateTime<Utc>>,
    available_count: i32,
    revision: i64,
) -> Result<showtime::Standing, Error> {
    let state = match (state, cancel_time) {
        ("scheduled", None) => showtime::State::Scheduled,
        ("cancelled", Some(at)) => showtime::State::Cancelled { at },
        _ => return Err(unreadable(id, format!("state {state:?}"))),
    };
    Ok(showtime::Standing { state, available_count, revision })
}

fn unreadable(id: Uuid, why: String) -> Error {
    Error::Unreadable { table: "showtimes", key: id.to_string(), why }
}

/// The facts in memory: bounded, the least used forgotten first.
#[derive(Clone)]
pub(super) struct Facts(moka::sync::Cache<ShowtimeId, Arc<showtime::Facts>>);

impl Facts {
    pub(super) fn new(capacity: u64) -> Self {
        Self(moka::sync::Cache::new(capacity))
    }

    pub(super) fn get(&self, id: ShowtimeId) -> Option<Arc<showtime::Facts>> {
        self.0.get(&id)
    }

    /// Reads a row's facts and keeps them.
    pub(super) fn learn(&self, row: &ShowtimeRow) -> Result<Arc<showtime::Facts>, Error> {
        let facts = Arc::new(row.facts()?);
        self.0.insert(facts.showtime_id, Arc::clone(&facts));
        Ok(facts)
    }
}
