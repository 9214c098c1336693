//! The ledger's transaction: lock showtimes, learn what changed meanwhile, write what was decided.
//!
//! The steps are the ledger's to call, in this order; here is what each says to the database. The lock is taken in the order
//! of ids, so two batches never wait for each other, and the time is read by a statement of its own after it: one in the
//! locking statement may be from before the wait.

mod postgres;
mod sqlite;
mod writes;

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use chrono::{DateTime, Utc};
use sea_orm::{DbBackend, FromQueryResult as _, Statement};

use super::{
    Error, RequestKey, Store,
    facts::StandingRow,
    pools::bounded,
    reader::{ids_among, texts, texts_among},
    requests::AnswerRow,
    reservations::{FROM_RESERVATIONS, RESERVATION_COLUMNS, ReservationRow},
    transactions::{Tx, Verdict, outcome},
};
use crate::{
    domain::{
        ids::{ReservationId, ShowtimeId},
        reservation::Reservation,
        showtime,
    },
    telemetry::metrics,
};

pub use writes::{Step, Writes};

/// An open transaction of the ledger. Dropped, it is rolled back.
pub struct SeatBatch {
    tx: Tx,
    begun: Instant,
}

/// A showtime whose lock is held.
#[derive(Clone, Copy, Debug)]
pub struct Locked {
    /// Which.
    pub showtime_id: ShowtimeId,
    /// Where it is in its life.
    pub state: showtime::State,
    /// Its revision: nobody raises it while the lock is held.
    pub revision: i64,
    /// When its seats last changed.
    pub decide_time: Option<DateTime<Utc>>,
    /// No hold ends before this.
    pub next_lapse: Option<DateTime<Utc>>,
}

/// A reservation that was made by a request with an id.
#[derive(Clone, Debug)]
pub struct MadeBefore {
    /// Whose request it was,
    pub caller: String,
    /// with which id,
    pub request_id: uuid::Uuid,
    /// what it asked for, in short,
    pub fingerprint: Vec<u8>,
    /// and what it made, as it is now.
    pub reservation: Reservation,
}

impl Store {
    /// Begins a transaction of the ledger.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn begin_seats(&self) -> Result<SeatBatch, Error> {
        let begun = Instant::now();
        let tx = self.begin_on(&self.0.ledger).await?;
        if self.has_clock() && plans_are_old(self.0.batches.fetch_add(1, Ordering::Relaxed)) {
            let forget = sea_orm::ConnectionTrait::execute_unprepared(&tx.inner, "DISCARD PLANS");
            bounded(tx.limit, forget).await?;
        }
        Ok(SeatBatch { tx, begun })
    }

    /// Whether the database has a clock that all instances go by.
    #[must_use]
    pub fn has_clock(&self) -> bool {
        self.0.ledger.backend() == DbBackend::Postgres
    }

    /// Showtimes in which a hold may have ended by `now`, the longest overdue first. On Postgres the database's clock
    /// decides.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn lapsed(&self, now: Option<DateTime<Utc>>, limit: u64) -> Result<Vec<ShowtimeId>, Error> {
        let held = self.0.reads.acquire().await?;
        let statement = lapsed_statement(self.0.reads.backend(), now, limit);
        let rows = held.read(sea_orm::ConnectionTrait::query_all_raw(held.connection, statement)).await?;
        rows.iter().map(|row| Ok(ShowtimeId(row.try_get("", "showtime_id")?))).collect()
    }
}

/// The query behind the sweep.
#[must_use]
pub fn lapsed_statement(backend: DbBackend, now: Option<DateTime<Utc>>, limit: u64) -> Statement {
    let limit = sea_orm::Value::from(limit as i64);
    let (clock, values) = match now {
        Some(now) => ("$2", vec![limit, now.into()]),
        // Not `clock_timestamp()`: no index can be searched for what may be another value for each row.
        None => ("statement_timestamp()", vec![limit]),
    };
    let sql = format!("SELECT showtime_id FROM showtimes WHERE next_lapse <= {clock} ORDER BY next_lapse LIMIT $1");
    Statement::from_sql_and_values(backend, sql, values)
}

/// Whether to have this batch's statements planned anew. A plan is kept for as long as its connection, and one that was made
/// while a table was nearly empty reads all of it for ever after. So plans are made anew whenever the tables may have
/// doubled, and now and then; each time for a few batches on end, so that every connection has its turn.
fn plans_are_old(batch: u64) -> bool {
    const ON_END: u64 = 16;
    const NOW_AND_THEN: u64 = 8_192;
    let since = if batch < NOW_AND_THEN { batch - (batch + 1).next_power_of_two() / 2 } else { batch % NOW_AND_THEN };
    since < ON_END
}

#[derive(sea_orm::FromQueryResult)]
struct LockedRow {
    #[sea_orm(nested)]
    standing: StandingRow,
    decide_time: Option<DateTime<Utc>>,
    next_lapse: Option<DateTime<Utc>>,
}

impl SeatBatch {
    /// Waits for the locks of these showtimes. Those that are not there are not in the answer.
    ///
    /// # Errors
    /// The database cannot be asked, or the wait is too long.
    pub async fn lock(&self, ids: &[ShowtimeId]) -> Result<Vec<Locked>, Error> {
        let lock = if self.is_postgres() { postgres::locking() } else { "" };
        let sql = format!(
            "SELECT s.showtime_id, s.state, s.cancel_time, s.available_count, s.revision, s.decide_time, s.next_lapse \
             FROM showtimes s WHERE s.showtime_id {}{lock}",
            ids_among(self.tx.backend, 1)
        );
        let statement = self.statement(sql, [self.ids(ids.iter().map(|id| id.0))]);
        let rows = self.timed(LockedRow::find_by_statement(statement).all(&self.tx.inner)).await?;
        let locked = |row: LockedRow| {
            let standing = row.standing.standing()?;
            Ok(Locked {
                showtime_id: ShowtimeId(row.standing.showtime_id),
                state: standing.state,
                revision: standing.revision,
                decide_time: row.decide_time,
                next_lapse: row.next_lapse,
            })
        };
        rows.into_iter().map(locked).collect()
    }

    /// The database's time, after the locks were had, and the reservations that were made under these request ids. SQLite
    /// has no clock of its own.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn look(&self, keys: &[&RequestKey]) -> Result<(Option<DateTime<Utc>>, Vec<MadeBefore>), Error> {
        let ids = self.ids(keys.iter().map(|key| key.request_id.0));
        if self.is_postgres() { postgres::look(self, ids).await } else { sqlite::look(self, ids, keys.len()).await }
    }

    /// The answers that were kept under these request ids, of methods other than reserving.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn answers(&self, keys: &[&RequestKey]) -> Result<Vec<Answered>, Error> {
        let backend = self.tx.backend;
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
        let statement = self.statement(sql, [texts(backend, callers), texts(backend, methods), ids]);
        let rows = self.timed(AnswerRow::find_by_statement(statement).all(&self.tx.inner)).await?;
        rows.into_iter().map(Answered::read).collect()
    }

    /// Every reservation of these showtimes that has a claim.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn live(&self, ids: &[ShowtimeId]) -> Result<Vec<Reservation>, Error> {
        let sql = format!(
            "SELECT {RESERVATION_COLUMNS} {FROM_RESERVATIONS} WHERE r.reservation_id IN \
             (SELECT c.reservation_id FROM seat_claims c WHERE c.showtime_id {})",
            ids_among(self.tx.backend, 1)
        );
        self.read_reservations(sql, self.ids(ids.iter().map(|id| id.0))).await
    }

    /// What happened to these showtimes after these revisions, in order: whose, from which revision on, the events.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn since(&self, known: &[(ShowtimeId, i64)]) -> Result<Vec<Happened>, Error> {
        let sql = "SELECT o.aggregate, o.seq, o.events FROM unnest($1::uuid[], $2::bigint[]) AS known (aggregate, revision) \
            JOIN outbox o ON o.aggregate = known.aggregate AND o.seq > known.revision ORDER BY o.aggregate, o.seq";
        let revisions: Vec<_> = known.iter().map(|(_, revision)| *revision).collect();
        let statement = self.statement(sql, [self.ids(known.iter().map(|(id, _)| id.0)), revisions.into()]);
        self.timed(Happened::find_by_statement(statement).all(&self.tx.inner)).await
    }

    /// These reservations, as far as there are any.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn reservations(&self, ids: &[ReservationId]) -> Result<Vec<Reservation>, Error> {
        let sql = format!(
            "SELECT {RESERVATION_COLUMNS} {FROM_RESERVATIONS} WHERE r.reservation_id {}",
            ids_among(self.tx.backend, 1)
        );
        self.read_reservations(sql, self.ids(ids.iter().map(|id| id.0))).await
    }

    /// Writes what was decided. The unique keys and the revision that was locked stand behind every decision: if either
    /// says no, nothing is written.
    ///
    /// # Errors
    /// `Constraint` by its name, `Fenced`, or the database cannot be asked.
    pub async fn write(&self, writes: &Writes) -> Result<(), Error> {
        if self.is_postgres() { postgres::write(self, writes).await } else { sqlite::write(self, writes).await }
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// `Unknown`, if the answer did not come.
    pub async fn commit(self) -> Result<(), Error> {
        self.end(Verdict::Commit(())).await
    }

    /// Leaves no trace.
    ///
    /// # Errors
    /// The database cannot be told; then it finds out by itself.
    pub async fn leave(self) -> Result<(), Error> {
        self.end(Verdict::Refuse(())).await
    }

    async fn end(self, verdict: Verdict<()>) -> Result<(), Error> {
        let done = self.tx.end(verdict).await;
        metrics::transaction("decide_seats", outcome(&done), self.begun.elapsed());
        done
    }

    fn is_postgres(&self) -> bool {
        self.tx.backend == DbBackend::Postgres
    }

    fn statement<const N: usize>(&self, sql: impl Into<String>, values: [sea_orm::Value; N]) -> Statement {
        Statement::from_sql_and_values(self.tx.backend, sql, values)
    }

    fn ids(&self, ids: impl Iterator<Item = uuid::Uuid>) -> sea_orm::Value {
        super::reader::ids(self.tx.backend, ids)
    }

    async fn timed<T, E: Into<Error>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, Error> {
        bounded(self.tx.limit, work).await
    }

    /// Runs a statement, and answers how many rows it concerned.
    async fn run(&self, statement: Statement) -> Result<u64, Error> {
        let done = self.timed(sea_orm::ConnectionTrait::execute_raw(&self.tx.inner, statement)).await?;
        Ok(done.rows_affected())
    }

    async fn read_reservations(&self, sql: String, ids: sea_orm::Value) -> Result<Vec<Reservation>, Error> {
        let statement = self.statement(sql, [ids]);
        let rows = self.timed(ReservationRow::find_by_statement(statement).all(&self.tx.inner)).await?;
        rows.into_iter().map(ReservationRow::reservation).collect()
    }
}

/// Events of one commit.
#[derive(Debug, sea_orm::FromQueryResult)]
pub struct Happened {
    /// Of this showtime,
    pub aggregate: uuid::Uuid,
    /// from this revision on,
    pub seq: i64,
    /// encoded.
    pub events: Vec<u8>,
}

/// An answer that was kept.
#[derive(Clone, Debug)]
pub struct Answered {
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
struct KeptAnswer {
    revision: i64,
    reservation: Option<ReservationRow>,
}

impl Answered {
    fn read(row: AnswerRow) -> Result<Self, Error> {
        let unreadable = |why: String| Error::Unreadable { table: "requests", key: row.request_id.to_string(), why };
        let json = row.answer.clone().unwrap_or_default();
        let kept: KeptAnswer = serde_json::from_value(json).map_err(|error| unreadable(error.to_string()))?;
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

fn kept(revision: i64, reservation: Option<&Reservation>) -> serde_json::Value {
    let reservation = reservation.map(ReservationRow::of);
    serde_json::to_value(KeptAnswer { revision, reservation }).unwrap_or_default()
}

/// A statement that concerned other rows than it was meant for met what is not as it was locked.
fn expect(rows: u64, expected: usize, what: &'static str) -> Result<(), Error> {
    if rows == expected as u64 { Ok(()) } else { Err(Error::Fenced(what)) }
}

/// Half a digest tells requests apart as well, and is kept with every reservation.
fn short(fingerprint: &[u8; 32]) -> Vec<u8> {
    fingerprint[..16].to_vec()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    digits.map(char::from).collect()
}
