//! What the ledger reads in its transaction, after the locks. Most batches read none of it.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sea_orm::{FromQueryResult, Statement, Value};
use uuid::Uuid;

use super::{
    answers::{AnswerRow, StoredAnswer},
    since::{self, OutboxRow},
    text::{FROM_RESERVATIONS, RESERVATION_COLUMNS, ids_among, texts_among},
    transaction::LedgerTx,
};
use crate::{
    domain::{
        ids::{ReservationId, ShowtimeId},
        reservation::Reservation,
        showtime,
    },
    store::{
        dialect::{id_list, text_list},
        errors::Error,
        request_key::RequestKey,
        rows::{reservation::ReservationRow, showtime::StandingRow},
    },
};

/// The part of a showtime's standing that the ledger does not derive from the reservations.
#[derive(Clone, Copy, Debug)]
pub struct LedgerStanding {
    /// The showtime's state.
    pub state: showtime::State,
    /// When its seats last changed.
    pub decide_time: Option<DateTime<Utc>>,
    /// No hold lapses before this time. `None`: there is no hold.
    pub next_lapse: Option<DateTime<Utc>>,
}

/// A reservation that was made by a request with an id.
#[derive(Clone, Debug)]
pub struct PriorReservation {
    /// The caller of the request.
    pub caller: String,
    /// The request's id (see [`RequestKey::scoped_id`]).
    pub scoped_id: Uuid,
    /// The first half of the request's fingerprint.
    pub fingerprint: Vec<u8>,
    /// The reservation as it is now.
    pub reservation: Reservation,
}

#[derive(FromQueryResult)]
struct LedgerStandingRow {
    #[sea_orm(nested)]
    standing: StandingRow,
    decide_time: Option<DateTime<Utc>>,
    next_lapse: Option<DateTime<Utc>>,
}

#[derive(FromQueryResult)]
struct PriorReservationRow {
    request_id: Uuid,
    caller: Option<String>,
    fingerprint: Option<Vec<u8>>,
    #[sea_orm(nested)]
    reservation: ReservationRow,
}

#[derive(FromQueryResult)]
struct BlockedSeatRow {
    showtime_id: Uuid,
    seat: i16,
}

impl LedgerTx {
    /// The stored answers of requests with these keys. Requests to reserve have none: their answer is the reservation.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn answers(&mut self, keys: &[&RequestKey]) -> Result<Vec<StoredAnswer>, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let backend = self.backend();
        let sql = format!(
            "SELECT caller, method, request_id, fingerprint, answer FROM requests \
             WHERE caller {} AND method {} AND request_id {}",
            texts_among(backend, 1),
            texts_among(backend, 2),
            ids_among(backend, 3)
        );
        let callers: BTreeSet<_> = keys.iter().map(|key| key.caller.as_str()).collect();
        let methods: BTreeSet<_> = keys.iter().map(|key| key.method).collect();
        let ids = self.ids(keys.iter().map(|key| key.request_id.0));
        let statement = self.statement(sql, [text_list(backend, callers), text_list(backend, methods), ids]);
        let rows = self.all::<AnswerRow>(statement).await?;
        rows.into_iter().map(StoredAnswer::read).collect()
    }

    /// The standings of these showtimes.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn standings(&mut self, ids: &[ShowtimeId]) -> Result<Vec<(ShowtimeId, LedgerStanding)>, Error> {
        let sql = format!(
            "SELECT s.showtime_id, s.state, s.cancel_time, n.available_count, n.revision, n.decide_time, n.next_lapse \
             FROM showtimes s JOIN standings n ON n.showtime_id = s.showtime_id WHERE s.showtime_id {}",
            ids_among(self.backend(), 1)
        );
        let ids = self.ids(ids.iter().map(|id| id.0));
        let rows = self.all::<LedgerStandingRow>(self.statement(sql, [ids])).await?;
        let standing = |row: LedgerStandingRow| {
            let LedgerStandingRow { standing, decide_time, next_lapse } = row;
            let state = standing.standing()?.state;
            Ok((ShowtimeId(standing.showtime_id), LedgerStanding { state, decide_time, next_lapse }))
        };
        rows.into_iter().map(standing).collect()
    }

    /// The reservations that were made by requests with these keys.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn prior_reservations(&mut self, keys: &[&RequestKey]) -> Result<Vec<PriorReservation>, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT r.request_id, r.caller, r.fingerprint, {RESERVATION_COLUMNS} {FROM_RESERVATIONS} \
             WHERE r.request_id {}",
            ids_among(self.backend(), 1)
        );
        let ids = self.ids(keys.iter().map(|key| key.scoped_id()));
        let rows = self.all::<PriorReservationRow>(self.statement(sql, [ids])).await?;
        let prior = |row: PriorReservationRow| {
            Ok(PriorReservation {
                caller: row.caller.unwrap_or_default(),
                scoped_id: row.request_id,
                fingerprint: row.fingerprint.unwrap_or_default(),
                reservation: row.reservation.reservation()?,
            })
        };
        rows.into_iter().map(prior).collect()
    }

    /// Every reservation of these showtimes that has a claim.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn live_reservations(&mut self, ids: &[ShowtimeId]) -> Result<Vec<Reservation>, Error> {
        let sql = format!(
            "SELECT {RESERVATION_COLUMNS} {FROM_RESERVATIONS} WHERE r.reservation_id IN \
             (SELECT c.reservation_id FROM seat_claims c WHERE c.showtime_id {})",
            ids_among(self.backend(), 1)
        );
        self.read_reservations(sql, self.ids(ids.iter().map(|id| id.0))).await
    }

    /// The seats of these showtimes that are blocked.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn blocked(&mut self, ids: &[ShowtimeId]) -> Result<Vec<(ShowtimeId, u16)>, Error> {
        let sql =
            format!("SELECT showtime_id, seat FROM blocked_seats WHERE showtime_id {}", ids_among(self.backend(), 1));
        let ids = self.ids(ids.iter().map(|id| id.0));
        let rows = self.all::<BlockedSeatRow>(self.statement(sql, [ids])).await?;
        Ok(rows.into_iter().map(|row| (ShowtimeId(row.showtime_id), row.seat.cast_unsigned())).collect())
    }

    /// These reservations. Those that do not exist are missing.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn reservations(&mut self, ids: &[ReservationId]) -> Result<Vec<Reservation>, Error> {
        let sql = format!(
            "SELECT {RESERVATION_COLUMNS} {FROM_RESERVATIONS} WHERE r.reservation_id {}",
            ids_among(self.backend(), 1)
        );
        self.read_reservations(sql, self.ids(ids.iter().map(|id| id.0))).await
    }

    /// The rows of the outbox of these showtimes after these revisions, by showtime and in the order of revisions. Only Postgres
    /// has other instances that can have written them.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn events_since(&mut self, revisions: &[(ShowtimeId, i64)]) -> Result<Vec<OutboxRow>, Error> {
        Ok(since::in_order(self.all(since::statement(revisions)).await?))
    }

    async fn read_reservations(&mut self, sql: String, ids: Value) -> Result<Vec<Reservation>, Error> {
        let statement = self.statement(sql, [ids]);
        let rows = self.all::<ReservationRow>(statement).await?;
        rows.into_iter().map(ReservationRow::reservation).collect()
    }

    fn statement<const N: usize>(&self, sql: impl Into<String>, values: [Value; N]) -> Statement {
        Statement::from_sql_and_values(self.backend(), sql, values)
    }

    fn ids(&self, ids: impl Iterator<Item = Uuid>) -> Value {
        id_list(self.backend(), ids)
    }
}
