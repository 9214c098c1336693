//! Stored answers of the ledger's requests.

use std::sync::Arc;

use sea_orm::{FromQueryResult, JsonValue};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    domain::reservation::Reservation,
    store::{errors::Error, rows::reservation::ReservationRow},
};

/// The stored answer of a request.
#[derive(Clone, Debug)]
pub struct StoredAnswer {
    /// The caller of the request.
    pub caller: String,
    /// The method that was called.
    pub method: String,
    /// The request's id.
    pub request_id: Uuid,
    /// The request's fingerprint.
    pub fingerprint: Vec<u8>,
    /// The revision that was answered.
    pub revision: i64,
    /// The reservation that was answered, as it was then.
    pub reservation: Option<Arc<Reservation>>,
}

/// The columns of `requests` that make a stored answer.
#[derive(Debug, FromQueryResult)]
pub(super) struct AnswerRow {
    caller: String,
    method: String,
    request_id: Uuid,
    fingerprint: Vec<u8>,
    answer: Option<JsonValue>,
}

/// The stored form of an answer. Fields are only ever added, since older answers must stay readable.
#[derive(Serialize, Deserialize)]
struct AnswerJson {
    revision: i64,
    reservation: Option<ReservationRow>,
}

impl StoredAnswer {
    pub(super) fn read(row: AnswerRow) -> Result<Self, Error> {
        let unreadable = |why: String| Error::Unreadable { table: "requests", key: row.request_id.to_string(), why };
        let json = row.answer.clone().unwrap_or_default();
        let answer: AnswerJson = serde_json::from_value(json).map_err(|error| unreadable(error.to_string()))?;
        let reservation = answer.reservation.map(ReservationRow::reservation).transpose()?.map(Arc::new);
        Ok(Self {
            caller: row.caller,
            method: row.method,
            request_id: row.request_id,
            fingerprint: row.fingerprint,
            revision: answer.revision,
            reservation,
        })
    }
}

/// The stored form of an answer.
pub(super) fn encode(revision: i64, reservation: Option<&Reservation>) -> serde_json::Value {
    let reservation = reservation.map(ReservationRow::of);
    serde_json::to_value(AnswerJson { revision, reservation }).unwrap_or_default()
}
