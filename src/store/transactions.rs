//! Transactions: named, timed, and repeated only when they certainly had no effect.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait as _, DatabaseTransaction, DbBackend};
use tracing::Instrument as _;

use super::{
    commit,
    deadline::{bounded, timed_out},
    dialect,
    errors::Error,
    pools::{Permit, Pool},
    timing::outcome,
};
use crate::telemetry::metrics;

/// Attempts of a transaction, the first one included.
const ATTEMPTS: u32 = 4;
/// A transaction may take as long as this number of statements may. The server's limit for each statement usually ends it
/// sooner; this limit is for a server that does not answer at all.
const STATEMENTS: u32 = 2;
/// The pause before the next attempt is this, times the number of attempts so far.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// Connections that are found broken, one after the other, before a transaction fails to begin.
const BROKEN_CONNECTIONS: u32 = 16;

/// An open transaction. Dropped, it is rolled back.
pub(super) struct Tx {
    pub(super) inner: DatabaseTransaction,
    pub(super) backend: DbBackend,
    /// The most that one statement may take.
    pub(super) limit: Duration,
    _permit: Permit,
}

impl Tx {
    /// Begins a transaction that writes.
    pub(super) async fn begin(pool: &Pool) -> Result<Self, Error> {
        let mut broken = 0;
        loop {
            match pool.acquire().await?.begin().await {
                Ok((inner, permit)) => {
                    return Ok(Self { inner, backend: pool.backend(), limit: pool.limit(), _permit: permit });
                }
                // A connection that broke while it was idle is noticed only here, before anything was done on it.
                Err(error) if error.is_broken_connection() && broken < BROKEN_CONNECTIONS => broken += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Commits, and then answers with the value.
    pub(super) async fn commit<T>(self, value: T) -> Result<T, Error> {
        match commit::confirmed(bounded(self.limit, self.inner.commit())).await {
            Ok(()) => Ok(value),
            // A deferred check may still refuse. A lost connection leaves the outcome open.
            Err(Error::Unavailable(error)) => Err(Error::Unknown(error)),
            Err(error) => Err(error),
        }
    }

    /// Ends a transaction that found the answer of an earlier one and changes nothing, and then answers with the value. That is
    /// then as durable as the answer of a change (see `commit`).
    pub(super) async fn acknowledge<T>(self, value: T) -> Result<T, Error> {
        if self.backend == DbBackend::Postgres {
            bounded(self.limit, self.inner.query_one(&dialect::commit_mark())).await?;
        }
        self.commit(value).await
    }

    /// Undoes everything, and then answers with the value.
    pub(super) async fn rollback<T>(self, value: T) -> Result<T, Error> {
        bounded(self.limit, self.inner.rollback()).await?;
        Ok(value)
    }
}

/// Runs a transaction under a name, and attempts it again while that may succeed. `limit` is the most that one statement may take.
pub(super) async fn run<T, W>(limit: Duration, name: &'static str, mut work: impl FnMut() -> W) -> Result<T, Error>
where
    W: Future<Output = Result<T, Error>> + Send,
{
    let mut attempt = 1;
    loop {
        let start = Instant::now();
        let span = tracing::info_span!("transaction", otel.kind = "client", name, attempt);
        let whole = tokio::time::timeout(limit * STATEMENTS, work().instrument(span));
        // The timeout may cut the commit, so the outcome is unknown.
        let done = whole.await.unwrap_or_else(|_| Err(Error::Unknown(timed_out("a transaction did not end in time"))));
        metrics::transaction(name, outcome(&done), start.elapsed());
        match done {
            Err(error) if error.may_succeed_if_repeated() && attempt < ATTEMPTS => {
                tracing::debug!(name, attempt, %error, "a transaction is repeated");
                tokio::time::sleep(RETRY_PAUSE * attempt).await;
                attempt += 1;
            }
            done => return done,
        }
    }
}
