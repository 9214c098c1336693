//! What is durable: the only room that knows SeaORM, SQL, and which database stands behind it.
//!
//! One `Store` speaks to Postgres or to SQLite; its methods are named after the things of the trade and answer in the
//! domain's types. A refusal by the state of the data is a value, an `Error` means that the database could not be asked.
//! Every transaction has a name under which it is timed, and is tried again only when it certainly had no effect.

pub mod outbox;
pub mod planted;

mod auditoriums;
mod connect;
mod entities;
mod errors;
mod facts;
mod ledger;
mod migrations;
mod plans;
mod pools;
mod reader;
mod requests;
mod reservations;
mod seat_maps;
mod settings;
mod showtimes;
mod transactions;

use std::{fs::File, sync::Arc};

pub use auditoriums::{AuditoriumCreated, auditorium_listing_statement};
pub use errors::Error;
pub use ledger::{
    LedgerConnection, LedgerTx, LedgerWrites, LockWait, LockedShowtime, LockedShowtimes, NewAnswer, OutboxRow,
    PriorReservation, ShowtimeStep, Stand, StoredAnswer, lapsed_statement, since_statement,
};
pub use pools::{Database, Options, PLANNING};
pub use reader::{standings_statement, whole_statement};
pub use requests::{RequestKey, SAMPLE_CALLER};
pub use reservations::{ReservationAt, ReservationCursor, reservation_listing_statement};
pub use seat_maps::{ReadMap, Revisions, revisions_statement, seat_map_statement};
pub use showtimes::{Cursor, Schedule, ShowtimeScheduled, listing_statement};

use pools::{LedgerPool, Pool, Pools};

/// A way to the database, cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    /// For statements on their own and for short reads.
    reads: Pool,
    /// For transactions that change something. On SQLite it has one connection, on Postgres it is the same pool.
    writes: Pool,
    /// For the ledger's transactions.
    ledger: LedgerPool,
    facts: facts::Facts,
    seat_indexes: plans::SeatIndexes,
    plans: plans::Plans,
    reader: reader::Reader,
    /// Held for as long as the process uses an SQLite file.
    _lock: Option<File>,
}

impl Store {
    /// Opens the database, brings its schema up to date (or refuses to, if that is left to `boxoffice migrate`), and
    /// starts reading.
    ///
    /// # Errors
    /// The database cannot be reached, belongs to another process, or has a schema that this binary does not know.
    pub async fn open(options: &Options) -> Result<Self, Error> {
        let Pools { reads, writes, ledger, lock } = pools::open(options).await?;
        if options.migrate {
            migrations::run(&writes).await?;
        } else {
            migrations::check(&reads).await?;
        }
        let facts = facts::Facts::new(options.cached_showtimes);
        let seat_indexes = plans::SeatIndexes::new(plans::SEAT_INDEXES);
        let plans = plans::Plans::new(plans::PLANS);
        let reader = reader::Reader::start(&reads, &facts);
        Ok(Self(Arc::new(Inner { reads, writes, ledger, facts, seat_indexes, plans, reader, _lock: lock })))
    }

    /// Brings the schema up to date and closes the database again. Answers how many migrations it took.
    ///
    /// # Errors
    /// As `open`.
    pub async fn migrate(options: &Options) -> Result<usize, Error> {
        let pools = pools::open(options).await?;
        migrations::run(&pools.writes).await
    }

    /// Whether the database answers, for readiness.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), Error> {
        self.0.reads.acquire().await?.ping().await
    }

    /// Closes all connections; on SQLite this also folds the write-ahead log into the file.
    pub async fn close(&self) {
        self.0.writes.close().await;
        self.0.reads.close().await;
    }
}
