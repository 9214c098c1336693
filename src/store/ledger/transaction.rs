//! The ledger's way to the database, and a transaction on it.

use std::time::Instant;

use sea_orm::{DbBackend, FromQueryResult, Statement};

use super::{
    connection::{ConnectionSlot, PostgresTx},
    lock::{LockWait, LockedShowtimes},
    pool::LedgerPool,
    postgres, sqlite,
    writes::LedgerWrites,
};
use crate::{
    domain::ids::ShowtimeId,
    store::{deadline::bounded, errors::Error, handle::Store, timing::outcome, transactions::Tx},
    telemetry::metrics,
};

/// The name of the ledger's transactions in the metrics.
const NAME: &str = "decide_seats";

/// A writer's own way to the database, for one transaction after the other.
pub struct LedgerConnection {
    pool: LedgerPool,
    slot: ConnectionSlot,
}

/// An open transaction of the ledger. Dropped, it is rolled back.
pub struct LedgerTx {
    kind: TxKind,
    start: Instant,
}

enum TxKind {
    Sqlite(Tx),
    Postgres(PostgresTx),
}

impl Store {
    /// A way to the database for one writer of the ledger. It connects when it is first used.
    #[must_use]
    pub fn ledger_connection(&self) -> LedgerConnection {
        LedgerConnection { pool: self.0.ledger.clone(), slot: ConnectionSlot::default() }
    }
}

impl LedgerConnection {
    /// Begins a transaction: takes the locks of these showtimes, and then reads the time.
    ///
    /// # Errors
    /// The database cannot be used, or `Busy`: another transaction has a lock.
    pub async fn begin(&self, ids: &[ShowtimeId], lock_wait: LockWait) -> Result<(LedgerTx, LockedShowtimes), Error> {
        let start = Instant::now();
        let begin = async {
            match &self.pool {
                LedgerPool::Sqlite(pool) => {
                    let tx = Tx::begin(pool).await?;
                    let locked = sqlite::read_revisions(&tx, ids).await?;
                    Ok((TxKind::Sqlite(tx), locked))
                }
                LedgerPool::Postgres(connector) => {
                    let (tx, locked) = postgres::begin(connector, &self.slot, ids, lock_wait).await?;
                    Ok((TxKind::Postgres(tx), locked))
                }
            }
        };
        match begin.await {
            Ok((kind, locked)) => Ok((LedgerTx { kind, start }, locked)),
            Err(error) => {
                metrics::transaction(NAME, outcome::<(), _>(&Err(&error)), start.elapsed());
                Err(error)
            }
        }
    }
}

impl LedgerTx {
    /// Writes what was decided, and commits it. Unique keys and the revision that was locked stand behind every decision: if
    /// either does not hold, nothing is written.
    ///
    /// # Errors
    /// `Constraint` with its name, `Fenced`, the database cannot be used, or `Unknown` if the answer did not come.
    pub async fn commit(self, writes: &LedgerWrites) -> Result<(), Error> {
        let done = match self.kind {
            TxKind::Sqlite(tx) => match sqlite::write(&tx, writes).await {
                Ok(()) => tx.commit(()).await,
                Err(error) => Err(error),
            },
            TxKind::Postgres(tx) => postgres::commit(tx, writes).await,
        };
        metrics::transaction(NAME, outcome(&done), self.start.elapsed());
        done
    }

    /// Ends a transaction that found answers of earlier ones and has nothing to write. They are then as durable as new answers
    /// (see `commit`).
    ///
    /// # Errors
    /// The database cannot be used, or `Unknown` if the answer did not come.
    pub async fn acknowledge(self) -> Result<(), Error> {
        match self.kind {
            // What can be read is durable there.
            TxKind::Sqlite(_) => self.rollback().await,
            TxKind::Postgres(tx) => {
                let done = tx.commit(postgres::ACKNOWLEDGE.as_str()).await;
                metrics::transaction(NAME, outcome(&done), self.start.elapsed());
                done
            }
        }
    }

    /// Ends the transaction without an effect, since there is nothing to write.
    ///
    /// # Errors
    /// The database cannot be reached. It then rolls back by itself.
    pub async fn rollback(self) -> Result<(), Error> {
        let done = match self.kind {
            TxKind::Sqlite(tx) => tx.rollback(()).await,
            TxKind::Postgres(tx) => tx.end("ROLLBACK").await,
        };
        metrics::transaction(NAME, outcome(&done), self.start.elapsed());
        done
    }

    /// Ends the transaction without an effect, after this error.
    pub async fn abandon(self, error: &Error) {
        if let TxKind::Postgres(tx) = self.kind {
            tx.abandon(error).await;
        }
        metrics::transaction(NAME, outcome::<(), _>(&Err(error)), self.start.elapsed());
    }

    pub(super) fn backend(&self) -> DbBackend {
        match self.kind {
            TxKind::Sqlite(_) => DbBackend::Sqlite,
            TxKind::Postgres(_) => DbBackend::Postgres,
        }
    }

    /// Reads rows.
    pub(super) async fn all<R: FromQueryResult>(&mut self, statement: Statement) -> Result<Vec<R>, Error> {
        match &mut self.kind {
            TxKind::Sqlite(tx) => bounded(tx.limit, R::find_by_statement(statement).all(&tx.inner)).await,
            TxKind::Postgres(tx) => tx.all(statement).await,
        }
    }
}
