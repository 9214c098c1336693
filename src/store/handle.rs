//! The store itself: its parts, and how it is opened and closed. The things that it stores are in files of their own.

use std::{fs::File, sync::Arc};

use super::{
    cache::Caches,
    errors::Error,
    ledger::pool::LedgerPool,
    migrations,
    pools::{self, Options, Pool, Pools},
    reader::Reader,
    row_batches::RowBatches,
    ticket_reads::{self, TicketReader},
    ticket_uses::{self, TicketUser},
    transactions::{self, Tx},
};
use crate::background::Nudge;

/// A database that is open, cheap to clone.
#[derive(Clone)]
pub struct Store(pub(super) Arc<Inner>);

pub(super) struct Inner {
    /// The pool for reads.
    pub(super) reads: Pool,
    /// The pool for write transactions. On SQLite it has one connection; on Postgres it shares the connections of `reads`.
    pub(super) writes: Pool,
    /// The connections of the ledger's transactions.
    pub(super) ledger: LedgerPool,
    /// Writes of purchases that change no seats.
    pub(super) purchase_rows: RowBatches,
    pub(super) caches: Caches,
    pub(super) reader: Reader,
    pub(super) ticket_reader: TicketReader,
    pub(super) ticket_user: TicketUser,
    pub(super) events_written: Nudge,
    /// Keeps other processes off an SQLite file until it is dropped.
    _lock: Option<File>,
}

impl Store {
    /// Opens the database, brings its schema up to date (or checks it, if that is left to `boxoffice migrate`), and starts
    /// the readers.
    ///
    /// # Errors
    /// The database cannot be reached, belongs to another process, or has a schema that this program cannot use.
    pub async fn open(options: &Options) -> Result<Self, Error> {
        let Pools { reads, writes, ledger, lock } = pools::open(options).await?;
        if options.migrate {
            migrations::run(&writes).await?;
        } else {
            migrations::check(&reads).await?;
        }
        let ledger = LedgerPool::new(ledger, &writes);
        let caches = Caches::new(options.cached_showtimes);
        let reader = Reader::start(&reads, &caches.facts);
        let (ticket_reader, ticket_user) = (ticket_reads::start(&reads), ticket_uses::start(&writes));
        Ok(Self(Arc::new(Inner {
            reads,
            writes,
            ledger,
            purchase_rows: RowBatches::default(),
            caches,
            reader,
            ticket_reader,
            ticket_user,
            events_written: Nudge::default(),
            _lock: lock,
        })))
    }

    /// Brings the schema up to date and closes the database again. Returns the number of migrations that were applied.
    ///
    /// # Errors
    /// As `open`.
    pub async fn migrate(options: &Options) -> Result<usize, Error> {
        let pools = pools::open(options).await?;
        migrations::run(&pools.writes).await
    }

    /// The newest migration that this program has.
    #[must_use]
    pub fn schema_version() -> i64 {
        migrations::newest()
    }

    /// Checks that the database answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), Error> {
        self.0.reads.acquire().await?.ping().await
    }

    /// Closes all connections. On SQLite this also writes the log into the file.
    pub async fn close(&self) {
        self.0.writes.close().await;
        self.0.reads.close().await;
    }

    /// Whether the database has a clock that all instances decide by.
    #[must_use]
    pub fn has_clock(&self) -> bool {
        matches!(self.0.ledger, LedgerPool::Postgres(_))
    }

    /// Whether a showtime can be locked by itself. Without this a transaction locks the whole database.
    #[must_use]
    pub fn locks_rows(&self) -> bool {
        self.has_clock()
    }

    /// Begins a transaction that writes.
    pub(super) async fn begin(&self) -> Result<Tx, Error> {
        Tx::begin(&self.0.writes).await
    }

    /// Runs a transaction under a name, and attempts it again while that may succeed.
    pub(super) async fn run_transaction<T, W>(&self, name: &'static str, work: impl FnMut() -> W) -> Result<T, Error>
    where
        W: Future<Output = Result<T, Error>> + Send,
    {
        transactions::run(self.0.writes.limit(), name, work).await
    }
}
