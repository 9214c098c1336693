//! Answers that are kept for those who ask again.

use std::sync::Arc;

use crate::{
    domain::reservation::Reservation,
    store::{Error, requests::AnswerRow, reservations::ReservationRow},
};

/// An answer that was kept.
#[derive(Clone, Debug)]
pub struct StoredAnswer {
    /// Whose request it was,
    pub caller: String,
    /// for what,
    pub method: String,
    /// with which id,
    pub request_id: uuid::Uuid,
    /// what it asked for, in short,
    pub fingerprint: Vec<u8>,
    /// the revision that it was answered with,
    pub revision: i64,
    /// and the reservation as it was then.
    pub reservation: Option<Arc<Reservation>>,
}

/// An answer as it is kept.
#[derive(serde::Serialize, serde::Deserialize)]
struct AnswerJson {
    revision: i64,
    reservation: Option<ReservationRow>,
}

impl StoredAnswer {
    pub(super) fn read(row: AnswerRow) -> Result<Self, Error> {
        let unreadable = |why: String| Error::Unreadable { table: "requests", key: row.request_id.to_string(), why };
        let json = row.answer.clone().unwrap_or_default();
        let kept: AnswerJson = serde_json::from_value(json).map_err(|error| unreadable(error.to_string()))?;
        let reservation = kept.reservation.map(ReservationRow::reservation).transpose()?.map(Arc::new);
        Ok(Self {
            caller: row.caller,
            method: row.method,
            request_id: row.request_id,
            fingerprint: row.fingerprint,
            revision: kept.revision,
            reservation,
        })
    }
}

pub(super) fn encode(revision: i64, reservation: Option<&Reservation>) -> serde_json::Value {
    let reservation = reservation.map(ReservationRow::of);
    serde_json::to_value(AnswerJson { revision, reservation }).unwrap_or_default()
}
