//! Connections: how they are made, how many there are, and how long one waits for them.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use sea_orm::{
    ConnectOptions, Database as Orm, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, RuntimeErr,
    SqliteTransactionMode, TransactionOptions, TransactionTrait as _,
    sqlx::{
        self, ConnectOptions as _,
        postgres::PgConnectOptions,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    },
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    Error, connect,
    ledger::{LedgerConnector, PREPARE},
};
use crate::telemetry::metrics;

/// Which database.
#[derive(Clone)]
pub enum Database {
    /// The file.
    Sqlite(PathBuf),
    /// The URL, a secret: it may hold a password.
    Postgres(String),
}

/// How to use it.
#[derive(Clone)]
pub struct Options {
    /// Where it is.
    pub database: Database,
    /// Connections at the most, besides those of the ledger's writers.
    pub connections: u32,
    /// For getting a connection, and for one statement.
    pub timeout: Duration,
    /// Whether opening brings the schema up to date.
    pub migrate: bool,
    /// Showtimes whose unchanging facts are kept in memory.
    pub cached_showtimes: u64,
}

impl Options {
    /// Whether the database can be understood, without asking for it.
    ///
    /// # Errors
    /// Says what is wrong with its URL; never repeats its password.
    pub fn check(&self) -> Result<(), Error> {
        match &self.database {
            Database::Sqlite(_) => Ok(()),
            Database::Postgres(url) => match url.parse::<PgConnectOptions>() {
                Ok(_) => Ok(()),
                Err(sqlx::Error::Configuration(why)) => Err(Error::Url(why.to_string())),
                Err(_) => Err(Error::Url("cannot be understood".to_owned())),
            },
        }
    }
}

/// SQLite's readers: more of them than cores only take turns.
const SQLITE_READERS: u32 = 4;
/// KiB of pages that a connection keeps; a negative number says that they are not pages. With `SQLite`'s own 2 MiB, a batch
/// reads most of what it writes to from the file again.
const SQLITE_CACHE: &str = "-65536";
/// Pages in the log before they are copied into the file: 256 MiB, many batches, which mostly write to the same pages. With
/// `SQLite`'s own 1,000 it is every batch.
const SQLITE_CHECKPOINT: &str = "65536";
/// A connection that lay idle for so long is asked whether it still lives before it is used.
const DOUBTFUL_AFTER: Duration = Duration::from_secs(10);
/// A statement may take this part of the timeout, so that the server ends it before we give up on the connection.
const STATEMENT: f64 = 0.8;
/// For a lock the ledger waits this part of it: those who share the batch wait, too.
const LEDGER_PATIENCE: f64 = 0.3;
/// How long closing a pool may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// A pool, and a gate in front of it that makes the wait for it visible.
#[derive(Clone)]
pub(super) struct Pool {
    name: &'static str,
    connection: DatabaseConnection,
    gate: Arc<Semaphore>,
    timeout: Duration,
}

/// The right to use one connection of a pool.
pub(super) struct PoolConnection<'p> {
    pub(super) connection: &'p DatabaseConnection,
    timeout: Duration,
    permit: OwnedSemaphorePermit,
}

impl Pool {
    fn new(name: &'static str, connection: DatabaseConnection, size: u32, timeout: Duration) -> Self {
        Self { name, connection, gate: Arc::new(Semaphore::new(size as usize)), timeout }
    }

    pub(super) fn backend(&self) -> DbBackend {
        self.connection.get_database_backend()
    }

    pub(super) async fn acquire(&self) -> Result<PoolConnection<'_>, Error> {
        let asked = Instant::now();
        let permit = tokio::time::timeout(patience(self.timeout), Arc::clone(&self.gate).acquire_owned()).await;
        metrics::pool_wait(self.name, asked.elapsed());
        match permit {
            Ok(Ok(permit)) => Ok(PoolConnection { connection: &self.connection, timeout: self.timeout, permit }),
            _ => Err(Error::Unavailable(timed_out("no connection came free in time"))),
        }
    }

    /// Closes the connections. One that waits for a silent server is left to the system.
    pub(super) async fn close(&self) {
        if let Err(error) = bounded(FAREWELL, self.connection.close_by_ref()).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a database pool did not close");
        }
    }

    /// How long one statement may take.
    pub(super) fn limit(&self) -> Duration {
        self.timeout
    }
}

impl PoolConnection<'_> {
    /// Begins a transaction that will write. On SQLite it takes the write lock at once, so that it cannot fail to later.
    pub(super) async fn begin(self) -> Result<(DatabaseTransaction, OwnedSemaphorePermit), Error> {
        let options = TransactionOptions {
            isolation_level: None,
            access_mode: None,
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        };
        let begun = bounded(self.timeout, self.connection.begin_with_options(options)).await?;
        Ok((begun, self.permit))
    }

    pub(super) async fn ping(&self) -> Result<(), Error> {
        bounded(self.timeout, self.connection.ping()).await
    }

    /// Runs a read, which ends by the pool's timeout also when the network swallows the answer.
    pub(super) async fn read<T, E: Into<Error>>(&self, read: impl Future<Output = Result<T, E>>) -> Result<T, Error> {
        bounded(self.timeout, read).await
    }
}

/// How long one waits for a connection, at the gate and again while it is made: so short that a caller whose deadline is
/// the same timeout is still told why, instead of nothing.
fn patience(timeout: Duration) -> Duration {
    timeout.mul_f64(0.4)
}

/// Puts a deadline on a piece of work with the database. It is the second one: the server has its own for a statement,
/// a little shorter, so that in the common case the connection stays usable.
pub(super) async fn bounded<T, E: Into<Error>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(Error::Unavailable(timed_out("the database did not answer in time"))),
    }
}

pub(super) fn timed_out(what: &str) -> DbErr {
    DbErr::Conn(RuntimeErr::Internal(what.to_owned()))
}

/// What a store speaks through.
pub(super) struct Pools {
    /// For statements on their own and for short reads.
    pub(super) reads: Pool,
    /// For transactions that change something. On Postgres it is the same pool, on SQLite the one writer.
    pub(super) writes: Pool,
    /// For the ledger. On Postgres its writers have connections of their own, so that no crowd of readers holds them up.
    pub(super) ledger: LedgerPool,
    /// Keeps a second process off an SQLite file.
    pub(super) lock: Option<File>,
}

/// What the ledger writes through.
pub(super) enum LedgerPool {
    /// The one writer.
    Sqlite(Pool),
    /// However many connections there are writers.
    Postgres(Box<LedgerConnector>),
}

/// Connects.
pub(super) async fn open(options: &Options) -> Result<Pools, Error> {
    match &options.database {
        Database::Postgres(url) => {
            let connect = url.parse::<PgConnectOptions>().map_err(|error| Error::Url(error.to_string()))?;
            connect::try_postgres(&connect, patience(options.timeout)).await?;
            let pool = open_postgres(url, options).await?;
            let settings = settings(options.timeout, options.timeout.mul_f64(LEDGER_PATIENCE));
            let connect = connect.options(settings).application_name("boxoffice").disable_statement_logging();
            let lines = LedgerConnector { options: connect, limit: options.timeout, prepare: &PREPARE };
            let ledger = LedgerPool::Postgres(Box::new(lines));
            // Writers may have to wait for each other's locks; a part of the connections is not theirs to hold meanwhile.
            let theirs = options.connections - (options.connections / 4).max(1).min(options.connections - 1);
            let writes = Pool::new("write", pool.connection.clone(), theirs, options.timeout);
            Ok(Pools { reads: pool, writes, ledger, lock: None })
        }
        Database::Sqlite(path) => {
            let lock = lock_file(path)?;
            connect::check_sqlite_file(path)?;
            // The writer first: it creates the file and puts it in WAL mode.
            let writes = open_sqlite(path, "write", 1, options).await?;
            let reads = open_sqlite(path, "read", SQLITE_READERS.min(options.connections), options).await?;
            Ok(Pools { reads, ledger: LedgerPool::Sqlite(writes.clone()), writes, lock: Some(lock) })
        }
    }
}

async fn open_postgres(url: &str, options: &Options) -> Result<Pool, Error> {
    let settings = settings(options.timeout, options.timeout.mul_f64(STATEMENT));
    let mut connect = ConnectOptions::new(url);
    connect
        .max_connections(options.connections)
        .connect_timeout(options.timeout)
        .acquire_timeout(patience(options.timeout))
        .test_before_acquire(false)
        .test_before_acquire_if_idle_for(DOUBTFUL_AFTER)
        .set_application_name("boxoffice")
        .sqlx_logging(false)
        .map_sqlx_postgres_opts(move |postgres| postgres.options(settings.clone()));
    let connection = bounded(options.timeout * 2, Orm::connect(connect)).await?;
    Ok(Pool::new("read", connection, options.connections, options.timeout))
}

/// How Postgres is to plan. A plan is made once for each connection, often while the tables are still empty, and then kept.
/// Every query here has its index, which ends in its order; whatever looks cheaper than that in an empty table is ruinous in
/// a full one. What remains to be sorted is sorted as it comes.
pub const PLANNING: [(&str, &str); 7] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_sort", "off"),
];

/// What every connection to Postgres asks for.
fn settings(timeout: Duration, lock_timeout: Duration) -> Vec<(&'static str, String)> {
    let millis = |limit: Duration| limit.as_millis().max(1).to_string();
    let statement_timeout = timeout.mul_f64(STATEMENT);
    let settings = [
        ("statement_timeout", millis(statement_timeout)),
        ("lock_timeout", millis(lock_timeout)),
        ("idle_in_transaction_session_timeout", millis(statement_timeout * 4)),
        // Acknowledged means durable, whatever the server's default is.
        ("synchronous_commit", "on".to_owned()),
        // A backslash in what we write as text is one.
        ("standard_conforming_strings", "on".to_owned()),
    ];
    settings.into_iter().chain(PLANNING.map(|(name, value)| (name, value.to_owned()))).collect()
}

async fn open_sqlite(path: &Path, name: &'static str, size: u32, options: &Options) -> Result<Pool, Error> {
    let (file, timeout) = (path.to_owned(), options.timeout);
    let mut connect = ConnectOptions::new("sqlite::memory:");
    connect
        .max_connections(size)
        .min_connections(1)
        .acquire_timeout(timeout)
        .test_before_acquire(false)
        // Nothing on the way can cut a connection to a file: keep them all.
        .idle_timeout(None::<Duration>)
        .max_lifetime(None::<Duration>)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(move |_| {
            SqliteConnectOptions::new()
                .filename(&file)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                .busy_timeout(timeout)
                .pragma("cache_size", SQLITE_CACHE)
                .pragma("wal_autocheckpoint", SQLITE_CHECKPOINT)
                .pragma("query_only", if name == "read" { "on" } else { "off" })
        });
    let connection = bounded(timeout * 2, Orm::connect(connect)).await?;
    Ok(Pool::new(name, connection, size, timeout))
}

fn lock_file(database: &Path) -> Result<File, Error> {
    if let Some(folder) = database.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|error| connect::unusable(folder, &error))?;
    }
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    let unusable = |error| connect::unusable(Path::new(&name), &error);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&name).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { path: database.display().to_string() }),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}
