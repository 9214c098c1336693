//! Seat maps: read whole, and followed by revision.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait as _, DbBackend, FromQueryResult, Statement};

use super::{
    Error, OutboxRow, Store,
    ledger::since_statement,
    reader::{ids, ids_among},
    transactions::look,
};
use crate::domain::{ids::ShowtimeId, seat_map::Status, showtime};

/// A seat map as it was read, at one moment.
#[derive(Clone, Debug)]
pub struct ReadMap {
    /// As of which change,
    pub revision: i64,
    /// and by the database's clock, if it has one.
    pub now: Option<DateTime<Utc>>,
    /// Where the showtime is in its life.
    pub state: showtime::State,
    /// Seats that are held or sold, lapsed or not.
    pub claims: Vec<(u16, Status)>,
}

/// Where showtimes are.
#[derive(Clone, Debug, Default)]
pub struct Revisions {
    /// By the database's clock, if it has one.
    pub now: Option<DateTime<Utc>>,
    /// As of which change each of them is.
    pub at: Vec<(ShowtimeId, i64)>,
}

#[derive(FromQueryResult)]
struct ClaimRow {
    revision: i64,
    state: String,
    cancel_time: Option<DateTime<Utc>>,
    now: Option<DateTime<Utc>>,
    seat: Option<i16>,
    claim: Option<String>,
    expire_time: Option<DateTime<Utc>>,
}

#[derive(FromQueryResult)]
struct RevisionRow {
    showtime_id: sea_orm::prelude::Uuid,
    revision: i64,
    now: Option<DateTime<Utc>>,
}

impl ClaimRow {
    fn state(&self) -> Option<showtime::State> {
        match (self.state.as_str(), self.cancel_time) {
            ("scheduled", None) => Some(showtime::State::Scheduled),
            ("cancelled", Some(at)) => Some(showtime::State::Cancelled { at }),
            _ => None,
        }
    }

    /// The seat that it claims, if it can be read.
    fn claim(&self) -> Option<(u16, Status)> {
        let status = match (self.claim.as_deref()?, self.expire_time) {
            ("held", Some(until)) => Status::Held { until },
            ("confirmed", _) => Status::Sold,
            _ => return None,
        };
        Some((u16::try_from(self.seat?).ok()?, status))
    }
}

impl Store {
    /// The seat map of a showtime, if there is one.
    ///
    /// # Errors
    /// The database cannot be asked, or has what cannot be read.
    pub async fn seat_map(&self, id: ShowtimeId) -> Result<Option<ReadMap>, Error> {
        look("get_seat_map", async {
            let held = self.0.reads.acquire().await?;
            let backend = self.0.reads.backend();
            let rows = ClaimRow::find_by_statement(seat_map_statement(backend, id));
            let rows = held.read(rows.all(held.connection)).await?;
            let Some(first) = rows.first() else { return Ok(None) };
            let broken =
                |why: &str| Error::Unreadable { table: "seat_claims", key: id.to_string(), why: why.to_owned() };
            let state = first.state().ok_or_else(|| broken("the showtime's state"))?;
            // A showtime without claims has a row all the same.
            let claims = rows.iter().filter(|row| row.seat.is_some()).map(ClaimRow::claim).collect::<Option<_>>();
            let claims = claims.ok_or_else(|| broken("a claim of no live reservation"))?;
            Ok(Some(ReadMap { revision: first.revision, now: first.now, state, claims }))
        })
        .await
    }

    /// Where these showtimes are.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn revisions(&self, of: &[ShowtimeId]) -> Result<Revisions, Error> {
        look("get_revisions", async {
            let held = self.0.reads.acquire().await?;
            let rows = RevisionRow::find_by_statement(revisions_statement(self.0.reads.backend(), of));
            let rows = held.read(rows.all(held.connection)).await?;
            let now = rows.first().and_then(|row| row.now);
            Ok(Revisions { now, at: rows.iter().map(|row| (ShowtimeId(row.showtime_id), row.revision)).collect() })
        })
        .await
    }

    /// What happened to these showtimes after these revisions, in order. Only Postgres has others who could have done it.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn happened_since(&self, known: &[(ShowtimeId, i64)]) -> Result<Vec<OutboxRow>, Error> {
        look("get_events", async {
            let held = self.0.reads.acquire().await?;
            let rows = OutboxRow::find_by_statement(since_statement(known));
            let mut rows = held.read(rows.all(held.connection)).await?;
            rows.sort_unstable_by_key(|happened| (happened.aggregate, happened.seq));
            Ok(rows)
        })
        .await
    }

    /// What tells this database from another, and from itself after it was restored to an earlier time. `None`: it is the
    /// file of this process, and whoever restores it ends the process.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn epoch(&self) -> Result<Option<String>, Error> {
        let backend = self.0.reads.backend();
        if backend == DbBackend::Sqlite {
            return Ok(None);
        }
        // A restored or promoted server begins a new timeline, in the log's name at once and in the control file with the next
        // checkpoint; a dump that is read in makes a new database.
        let sql = "SELECT md5(concat_ws('/', (SELECT system_identifier FROM pg_control_system()), \
                   CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END, \
                   (SELECT oid FROM pg_database WHERE datname = current_database()))) AS epoch";
        let held = self.0.reads.acquire().await?;
        let row = held.read(held.connection.query_one_raw(Statement::from_string(backend, sql))).await?;
        Ok(row.map(|row| row.try_get("", "epoch")).transpose()?)
    }
}

/// The query for a seat map: one statement, so that all of it is of one moment.
#[must_use]
pub fn seat_map_statement(backend: DbBackend, id: ShowtimeId) -> Statement {
    let now = if backend == DbBackend::Postgres { "statement_timestamp()" } else { "NULL" };
    let sql = format!(
        "SELECT n.revision, s.state, s.cancel_time, {now} AS now, c.seat, r.state AS claim, r.expire_time \
         FROM showtimes s JOIN standings n ON n.showtime_id = s.showtime_id \
         LEFT JOIN seat_claims c ON c.showtime_id = s.showtime_id \
         LEFT JOIN reservations r ON r.reservation_id = c.reservation_id WHERE s.showtime_id = $1"
    );
    Statement::from_sql_and_values(backend, sql, [id.0.into()])
}

/// The query for revisions.
#[must_use]
pub fn revisions_statement(backend: DbBackend, of: &[ShowtimeId]) -> Statement {
    let now = if backend == DbBackend::Postgres { "statement_timestamp()" } else { "NULL" };
    let among = ids_among(backend, 1);
    let sql = format!("SELECT showtime_id, revision, {now} AS now FROM standings WHERE showtime_id {among}");
    Statement::from_sql_and_values(backend, sql, [ids(backend, of.iter().map(|id| id.0))])
}
