//! The ledger's transaction: lock showtimes, learn what changed meanwhile, write what was decided.
//!
//! The steps are the ledger's to call, in this order; here is what each says to the database. The lock is taken in the order
//! of ids, so two batches never wait for each other, and the time is read by a statement of its own after it: one in the
//! locking statement may be from before the wait.

mod answers;
mod connection;
mod postgres;
mod single;
mod sqlite;
mod sweep;
mod writes;

use std::{collections::BTreeSet, time::Instant};

use chrono::{DateTime, Utc};
use sea_orm::{DbBackend, Statement};

use super::{
    Error, RequestKey, Store,
    facts::StandingRow,
    pools::{LedgerPool, bounded},
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

pub use answers::StoredAnswer;
pub(super) use connection::LedgerConnector;
pub(super) use postgres::PREPARE;
pub use sweep::lapsed_statement;
pub use writes::{LedgerWrites, NewAnswer, ShowtimeStep};

/// A writer's way to the database: its own, for one transaction after the other.
pub struct LedgerConnection {
    store: Store,
    slot: connection::ConnectionSlot,
}

/// An open transaction of the ledger. Dropped, it is rolled back.
pub struct LedgerTx {
    over: TxKind,
    begun: Instant,
}

enum TxKind {
    Sqlite(Tx),
    Postgres(connection::PostgresTx),
}

/// Whether to wait for a lock that somebody else has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockWait {
    /// For a while.
    Bounded,
    /// Not at all.
    NoWait,
}

/// What is found out when the locks are had.
#[derive(Debug)]
pub struct LockedShowtimes {
    /// The showtimes. Those that are not there are missing.
    pub locked: Vec<LockedShowtime>,
    /// The database's time, after the locks were had. `SQLite` has no clock of its own.
    pub now: Option<DateTime<Utc>>,
}

/// A showtime whose lock is held.
#[derive(Clone, Copy, Debug)]
pub struct LockedShowtime {
    /// Which.
    pub showtime_id: ShowtimeId,
    /// Its revision: nobody raises it while the lock is held.
    pub revision: i64,
}

/// How a showtime's seats stand, besides who has them.
#[derive(Clone, Copy, Debug)]
pub struct Stand {
    /// Where it is in its life.
    pub state: showtime::State,
    /// When its seats last changed.
    pub decide_time: Option<DateTime<Utc>>,
    /// No hold ends before this.
    pub next_lapse: Option<DateTime<Utc>>,
}

/// A reservation that was made by a request with an id.
#[derive(Clone, Debug)]
pub struct PriorReservation {
    /// Whose request it was,
    pub caller: String,
    /// under which id (see [`RequestKey::scoped_id`]),
    pub scoped_id: uuid::Uuid,
    /// what it asked for, in short,
    pub fingerprint: Vec<u8>,
    /// and what it made, as it is now.
    pub reservation: Reservation,
}

impl Store {
    /// A way to the database for one writer of the ledger.
    #[must_use]
    pub fn line(&self) -> LedgerConnection {
        LedgerConnection { store: self.clone(), slot: connection::ConnectionSlot::default() }
    }

    /// Whether the database has a clock that all instances go by.
    #[must_use]
    pub fn has_clock(&self) -> bool {
        matches!(self.0.ledger, LedgerPool::Postgres(_))
    }

    /// Whether a showtime can be locked by itself; or else a transaction locks all there is.
    #[must_use]
    pub fn locks_rows(&self) -> bool {
        self.has_clock()
    }
}

#[derive(sea_orm::FromQueryResult)]
struct StandRow {
    #[sea_orm(nested)]
    standing: StandingRow,
    decide_time: Option<DateTime<Utc>>,
    next_lapse: Option<DateTime<Utc>>,
}

#[derive(sea_orm::FromQueryResult)]
struct MadeRow {
    request_id: uuid::Uuid,
    caller: Option<String>,
    fingerprint: Option<Vec<u8>>,
    #[sea_orm(nested)]
    reservation: ReservationRow,
}

impl LedgerConnection {
    /// Begins a transaction: takes the locks of these showtimes, and then looks at the time.
    ///
    /// # Errors
    /// The database cannot be asked, or `Busy`: somebody else has a lock.
    pub async fn begin(&self, ids: &[ShowtimeId], lock_wait: LockWait) -> Result<(LedgerTx, LockedShowtimes), Error> {
        let begun = Instant::now();
        let started = async {
            match &self.store.0.ledger {
                LedgerPool::Sqlite(pool) => {
                    let tx = self.store.begin_on(pool).await?;
                    let looked = sqlite::look(&tx, ids).await?;
                    Ok((TxKind::Sqlite(tx), looked))
                }
                LedgerPool::Postgres(lines) => {
                    let (open, looked) = postgres::begin(lines, &self.slot, ids, lock_wait).await?;
                    Ok((TxKind::Postgres(open), looked))
                }
            }
        };
        match started.await {
            Ok((over, looked)) => Ok((LedgerTx { over, begun }, looked)),
            Err(error) => {
                metrics::transaction("decide_seats", outcome::<(), _>(&Err(&error)), begun.elapsed());
                Err(error)
            }
        }
    }
}

impl LedgerTx {
    /// The answers that were kept under these request ids, of methods other than reserving.
    ///
    /// # Errors
    /// The database cannot be asked.
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
        let statement = self.statement(sql, [texts(backend, callers), texts(backend, methods), ids]);
        let rows = self.all::<AnswerRow>(statement).await?;
        rows.into_iter().map(StoredAnswer::read).collect()
    }

    /// How these showtimes stand.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn stands(&mut self, ids: &[ShowtimeId]) -> Result<Vec<(ShowtimeId, Stand)>, Error> {
        let sql = format!(
            "SELECT s.showtime_id, s.state, s.cancel_time, n.available_count, n.revision, n.decide_time, n.next_lapse \
             FROM showtimes s JOIN standings n ON n.showtime_id = s.showtime_id WHERE s.showtime_id {}",
            ids_among(self.backend(), 1)
        );
        let ids = self.ids(ids.iter().map(|id| id.0));
        let rows = self.all::<StandRow>(self.statement(sql, [ids])).await?;
        let stand = |row: StandRow| {
            let StandRow { standing, decide_time, next_lapse } = row;
            let stand = Stand { state: standing.standing()?.state, decide_time, next_lapse };
            Ok((ShowtimeId(standing.showtime_id), stand))
        };
        rows.into_iter().map(stand).collect()
    }

    /// The reservations that were made under these request ids.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn made_before(&mut self, keys: &[&RequestKey]) -> Result<Vec<PriorReservation>, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT r.request_id, r.caller, r.fingerprint, {RESERVATION_COLUMNS} {FROM_RESERVATIONS} \
             WHERE r.request_id {}",
            ids_among(self.backend(), 1)
        );
        let ids = self.ids(keys.iter().map(|key| key.scoped_id()));
        let rows = self.all::<MadeRow>(self.statement(sql, [ids])).await?;
        let made = |row: MadeRow| {
            Ok(PriorReservation {
                caller: row.caller.unwrap_or_default(),
                scoped_id: row.request_id,
                fingerprint: row.fingerprint.unwrap_or_default(),
                reservation: row.reservation.reservation()?,
            })
        };
        rows.into_iter().map(made).collect()
    }

    /// Every reservation of these showtimes that has a claim.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn live(&mut self, ids: &[ShowtimeId]) -> Result<Vec<Reservation>, Error> {
        let sql = format!(
            "SELECT {RESERVATION_COLUMNS} {FROM_RESERVATIONS} WHERE r.reservation_id IN \
             (SELECT c.reservation_id FROM seat_claims c WHERE c.showtime_id {})",
            ids_among(self.backend(), 1)
        );
        self.read_reservations(sql, self.ids(ids.iter().map(|id| id.0))).await
    }

    /// What happened to these showtimes after these revisions, in order: whose, from which revision on, the events.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn since(&mut self, known: &[(ShowtimeId, i64)]) -> Result<Vec<OutboxRow>, Error> {
        let mut happened: Vec<OutboxRow> = self.all(since_statement(known)).await?;
        happened.sort_unstable_by_key(|happened| (happened.aggregate, happened.seq));
        Ok(happened)
    }

    /// These reservations, as far as there are any.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn reservations(&mut self, ids: &[ReservationId]) -> Result<Vec<Reservation>, Error> {
        let sql = format!(
            "SELECT {RESERVATION_COLUMNS} {FROM_RESERVATIONS} WHERE r.reservation_id {}",
            ids_among(self.backend(), 1)
        );
        self.read_reservations(sql, self.ids(ids.iter().map(|id| id.0))).await
    }

    /// LedgerWrites what was decided, and makes it durable. The unique keys and the revision that was locked stand behind every
    /// decision: if either says no, nothing is written.
    ///
    /// # Errors
    /// `Constraint` by its name, `Fenced`, the database cannot be asked, or `Unknown`, if the answer did not come.
    pub async fn commit(self, writes: &LedgerWrites) -> Result<(), Error> {
        let done = match self.over {
            TxKind::Sqlite(tx) => match sqlite::write(&tx, writes).await {
                Ok(()) => tx.end(Verdict::Commit(())).await,
                refused => refused,
            },
            TxKind::Postgres(open) => postgres::commit(open, writes).await,
        };
        metrics::transaction("decide_seats", outcome(&done), self.begun.elapsed());
        done
    }

    /// Leaves no trace, since there is nothing to write.
    ///
    /// # Errors
    /// The database cannot be told; then it finds out by itself.
    pub async fn leave(self) -> Result<(), Error> {
        let done = match self.over {
            TxKind::Sqlite(tx) => tx.end(Verdict::Refuse(())).await,
            TxKind::Postgres(open) => open.end("ROLLBACK").await,
        };
        metrics::transaction("decide_seats", outcome(&done), self.begun.elapsed());
        done
    }

    /// Leaves no trace, since this went wrong.
    pub async fn fail(self, error: &Error) {
        if let TxKind::Postgres(open) = self.over {
            open.give_up(error).await;
        }
        metrics::transaction("decide_seats", outcome::<(), _>(&Err(error)), self.begun.elapsed());
    }

    fn backend(&self) -> DbBackend {
        match self.over {
            TxKind::Sqlite(_) => DbBackend::Sqlite,
            TxKind::Postgres(_) => DbBackend::Postgres,
        }
    }

    fn statement<const N: usize>(&self, sql: impl Into<String>, values: [sea_orm::Value; N]) -> Statement {
        Statement::from_sql_and_values(self.backend(), sql, values)
    }

    fn ids(&self, ids: impl Iterator<Item = uuid::Uuid>) -> sea_orm::Value {
        super::reader::ids(self.backend(), ids)
    }

    async fn all<R: sea_orm::FromQueryResult>(&mut self, statement: Statement) -> Result<Vec<R>, Error> {
        match &mut self.over {
            TxKind::Sqlite(tx) => bounded(tx.limit, R::find_by_statement(statement).all(&tx.inner)).await,
            TxKind::Postgres(open) => open.all(statement).await,
        }
    }

    async fn read_reservations(&mut self, sql: String, ids: sea_orm::Value) -> Result<Vec<Reservation>, Error> {
        let statement = self.statement(sql, [ids]);
        let rows = self.all::<ReservationRow>(statement).await?;
        rows.into_iter().map(ReservationRow::reservation).collect()
    }
}

/// Events of one commit.
#[derive(Debug, sea_orm::FromQueryResult)]
pub struct OutboxRow {
    /// Of this showtime,
    pub aggregate: uuid::Uuid,
    /// from this revision on,
    pub seq: i64,
    /// encoded.
    pub events: Vec<u8>,
}

/// The query for what happened to showtimes after these revisions; only Postgres has others who could have done anything.
/// It is not asked for in order: to have it so, a planner may read all that ever happened along the index.
#[must_use]
pub fn since_statement(known: &[(ShowtimeId, i64)]) -> Statement {
    let sql = "SELECT o.aggregate, o.seq, o.events FROM unnest($1::uuid[], $2::bigint[]) AS known (aggregate, revision) \
        JOIN outbox o ON o.aggregate = known.aggregate AND o.seq > known.revision";
    let ids: Vec<_> = known.iter().map(|(id, _)| id.0).collect();
    let revisions: Vec<_> = known.iter().map(|(_, revision)| *revision).collect();
    Statement::from_sql_and_values(DbBackend::Postgres, sql, [ids.into(), revisions.into()])
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
