//! Transactions: named, timed, and repeated only when they certainly had no effect.

use std::time::{Duration, Instant};

use sea_orm::{DatabaseTransaction, DbBackend};
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument as _;

use super::{
    Error, Store,
    pools::{Pool, bounded, timed_out},
};
use crate::telemetry::metrics;

/// A transaction is tried so often in all.
const ATTEMPTS: u32 = 4;
/// It may take as long as so many statements may. What usually ends it sooner is the limit of each, kept by the server;
/// this is for a server that has fallen silent.
const STATEMENTS: u32 = 2;
/// And so much later, times the number of the attempt.
const PAUSE: Duration = Duration::from_millis(5);

/// Connections that may turn out to be broken, one after the other, before a transaction begins.
const BROKEN: u32 = 16;

/// What became of a transaction that ran to its end.
pub(super) enum Verdict<T> {
    /// Keep what it did.
    Commit(T),
    /// Undo it; this is the answer.
    Refuse(T),
}

/// An open transaction. Dropped, it is rolled back.
pub(super) struct Tx {
    pub(super) inner: DatabaseTransaction,
    pub(super) backend: DbBackend,
    pub(super) limit: Duration,
    _permit: OwnedSemaphorePermit,
}

impl Tx {
    /// Commits or rolls back, as the verdict says.
    pub(super) async fn end<T>(self, verdict: Verdict<T>) -> Result<T, Error> {
        match verdict {
            Verdict::Commit(done) => match bounded(self.limit, self.inner.commit()).await {
                Ok(()) => Ok(done),
                // A deferred check may still refuse; anything that cuts the line leaves the outcome open.
                Err(Error::Unavailable(error)) => Err(Error::Unknown(error)),
                Err(error) => Err(error),
            },
            Verdict::Refuse(refusal) => {
                bounded(self.limit, self.inner.rollback()).await?;
                Ok(refusal)
            }
        }
    }
}

impl Store {
    /// Begins a transaction that writes.
    pub(super) async fn begin(&self) -> Result<Tx, Error> {
        self.begin_on(&self.0.writes).await
    }

    /// The same on a pool of one's own.
    pub(super) async fn begin_on(&self, pool: &Pool) -> Result<Tx, Error> {
        let mut broken = 0;
        loop {
            match pool.acquire().await?.begin().await {
                Ok((inner, permit)) => {
                    return Ok(Tx { inner, backend: pool.backend(), limit: pool.limit(), _permit: permit });
                }
                // That it broke while it lay idle is found out only here, and nothing was done over it.
                Err(error) if error.is_broken_connection() && broken < BROKEN => broken += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Runs a transaction under its name, again while it is worth it.
    pub(super) async fn transact<T, W>(&self, name: &'static str, mut work: impl FnMut() -> W) -> Result<T, Error>
    where
        W: Future<Output = Result<T, Error>> + Send,
    {
        let mut attempt = 1;
        loop {
            let begun = Instant::now();
            let span = tracing::info_span!("transaction", otel.kind = "client", name, attempt);
            let whole = tokio::time::timeout(self.0.writes.limit() * STATEMENTS, work().instrument(span));
            // Where it was cut, perhaps in its commit, is not known; nor is what became of it.
            let done =
                whole.await.unwrap_or_else(|_| Err(Error::Unknown(timed_out("a transaction did not end in time"))));
            metrics::transaction(name, outcome(&done), begun.elapsed());
            match done {
                Err(error) if error.worth_another_try() && attempt < ATTEMPTS => {
                    tracing::debug!(name, attempt, %error, "trying a transaction again");
                    tokio::time::sleep(PAUSE * attempt).await;
                    attempt += 1;
                }
                done => return done,
            }
        }
    }
}

/// Runs a read under its name. Reads have no effect, so their callers decide whether to ask again.
pub(super) fn look<T>(
    name: &'static str,
    read: impl Future<Output = Result<T, Error>> + Send,
) -> impl Future<Output = Result<T, Error>> + Send {
    timed(name, read.instrument(tracing::info_span!("read", otel.kind = "client", name)))
}

/// The same for a read that belongs to no one caller, and so to no trace.
pub(super) async fn timed<T>(
    name: &'static str,
    read: impl Future<Output = Result<T, Error>> + Send,
) -> Result<T, Error> {
    let begun = Instant::now();
    let done = read.await;
    metrics::transaction(name, outcome(&done), begun.elapsed());
    done
}

/// How a transaction ended, as the metrics name it.
pub(super) fn outcome<T, E: std::borrow::Borrow<Error>>(done: &Result<T, E>) -> &'static str {
    match done.as_ref().map_err(std::borrow::Borrow::borrow) {
        Ok(_) => "done",
        Err(Error::Unknown(_)) => "unknown",
        Err(Error::Busy(_)) => "busy",
        Err(_) => "failed",
    }
}
