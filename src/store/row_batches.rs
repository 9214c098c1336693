//! Writes of purchases that change no seats, many in one transaction: of those who write at the same time the first writes for all.
//!
//! A transaction for each would cost five round trips and a commit. The rows are those that also commit with changes of seats, and
//! a transaction of the ledger that locks no showtime writes them. There is no task: the request that gets the connection writes all that wait.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, oneshot};

use super::{
    errors::Error,
    ledger::{Companion, LedgerConnection, LedgerWrites, LockWait},
};

/// The most writes of one transaction.
const MAX_BATCH: usize = 256;

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Batched {
    Written,
    /// It was not written: a write of the batch failed, or the database did. Alone it may succeed.
    NotWritten,
    /// The commit was sent and not answered.
    Unknown,
}

/// The writes that wait, and the connection that one of them has.
#[derive(Default)]
pub(super) struct RowBatches {
    waiting: Mutex<Vec<Waiting>>,
    connection: AsyncMutex<Option<LedgerConnection>>,
}

struct Waiting {
    rows: Vec<Companion>,
    done: oneshot::Sender<Batched>,
}

impl RowBatches {
    /// Writes these rows together with those of others. `connect` makes the connection if there is none yet.
    pub(super) async fn write(&self, rows: Vec<Companion>, connect: impl FnOnce() -> LedgerConnection) -> Batched {
        let (done, mut written) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(Waiting { rows, done });
        // Who wrote for this one may have been dropped after it sent the commit.
        let mut connection = tokio::select! {
            biased;
            written = &mut written => return written.unwrap_or(Batched::Unknown),
            connection = self.connection.lock() => connection,
        };
        let connection = &*connection.get_or_insert_with(connect);
        loop {
            match written.try_recv() {
                Ok(written) => return written,
                Err(oneshot::error::TryRecvError::Closed) => return Batched::Unknown,
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            let batch: Vec<_> = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let count = waiting.len().min(MAX_BATCH);
                waiting.drain(..count).collect()
            };
            let (rows, done): (Vec<_>, Vec<_>) = batch.into_iter().map(|one| (one.rows, one.done)).unzip();
            let outcome = match write_all(connection, rows.into_iter().flatten().collect()).await {
                Ok(()) => Batched::Written,
                Err(Error::Unknown(_)) => Batched::Unknown,
                Err(error) => {
                    tracing::debug!(%error, writes = done.len(), "writes of purchases are repeated one by one");
                    Batched::NotWritten
                }
            };
            for done in done {
                let _gone = done.send(outcome);
            }
        }
    }
}

async fn write_all(connection: &LedgerConnection, companions: Vec<Companion>) -> Result<(), Error> {
    let (tx, _) = connection.begin(&[], LockWait::Bounded).await?;
    let mut writes = LedgerWrites::default();
    writes.companions = companions;
    tx.commit(&writes).await
}
