//! Auditoriums as they are read, with or without their layouts.

use chrono::{DateTime, Utc};
use sea_orm::{
    FromQueryResult,
    prelude::{Json, Uuid},
};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        auditorium::Auditorium,
        ids::AuditoriumId,
        layout::{Layout, LayoutRow},
    },
    store::errors::Error,
};

/// A row of `auditoriums`. The layout is large, and lists do without it. Serialised, it is a stored answer.
#[derive(Clone, FromQueryResult, Serialize, Deserialize)]
pub(in crate::store) struct AuditoriumRow {
    pub(in crate::store) auditorium_id: Uuid,
    pub(in crate::store) name: String,
    pub(in crate::store) cinema: String,
    pub(in crate::store) time_zone: String,
    pub(in crate::store) layout: Option<Json>,
    pub(in crate::store) seat_count: i32,
    pub(in crate::store) create_time: DateTime<Utc>,
}

impl AuditoriumRow {
    pub(in crate::store) fn auditorium(self) -> Result<Auditorium, Error> {
        let id = self.auditorium_id;
        let unreadable = |why: String| Error::Unreadable { table: "auditoriums", key: id.to_string(), why };
        let layout = match self.layout {
            Some(json) => {
                let rows: Vec<LayoutRow> =
                    serde_json::from_value(json).map_err(|error| unreadable(error.to_string()))?;
                Some(Layout::new(rows).map_err(|violations| unreadable(violations.to_string()))?)
            }
            None => None,
        };
        Ok(Auditorium {
            auditorium_id: AuditoriumId(id),
            name: self.name,
            cinema: self.cinema,
            time_zone: self.time_zone.parse().map_err(|_| unreadable("unknown time zone".to_owned()))?,
            layout,
            seat_count: self.seat_count,
            create_time: self.create_time,
        })
    }
}
