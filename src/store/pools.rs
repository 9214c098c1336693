//! Pools of connections: how they are opened, their sizes, and the wait for a connection.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use sea_orm::{
    AccessMode, ConnectOptions, Database as Orm, DatabaseConnection, DatabaseTransaction, DbBackend, IsolationLevel,
    SqliteTransactionMode, TransactionOptions, TransactionTrait as _,
    sqlx::{
        self, ConnectOptions as _,
        postgres::PgConnectOptions,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    },
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    connect,
    deadline::{bounded, timed_out},
    errors::Error,
    recovery::Recovery,
};
use crate::telemetry::metrics;

/// Which database is used.
#[derive(Clone)]
pub enum Database {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A Postgres server's URL. It is a secret, since it may contain a password.
    Postgres(String),
}

/// How the database is used.
#[derive(Clone)]
pub struct Options {
    /// Which database is used.
    pub database: Database,
    /// The most connections, besides those of the ledger's writers.
    pub connections: u32,
    /// The most time for getting a connection, and for one statement.
    pub timeout: Duration,
    /// Whether opening brings the schema up to date.
    pub migrate: bool,
    /// Showtimes whose facts, which never change, are cached.
    pub cached_showtimes: u64,
}

impl Options {
    /// The files that the store may have open at once, without the connections of the ledger's writers on Postgres.
    #[must_use]
    pub fn open_files(&self) -> u64 {
        match &self.database {
            // One connection is tried before the pool is opened.
            Database::Postgres(_) => u64::from(self.connections) + 1,
            // Each connection has the database, its log and a temporary file. All share the index of the log and the lock.
            Database::Sqlite(_) => 3 * u64::from(1 + SQLITE_READERS.min(self.connections)) + 2,
        }
    }

    /// Checks that the URL can be parsed, without connecting.
    ///
    /// # Errors
    /// What is wrong with the URL, without its password.
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

/// Connections that read from SQLite. More of them than cores only take turns.
const SQLITE_READERS: u32 = 4;
/// The page cache of a connection to SQLite: the number is negative, so it means KiB and not pages. With the default of 2 MiB,
/// a batch of the ledger reads most of what it writes to from the file again.
const SQLITE_CACHE: &str = "-65536";
/// Where SQLite keeps what it needs to undo a statement. In a file, each batch of the ledger writes it there.
const SQLITE_TEMPORARY: &str = "memory";
/// Pages in SQLite's log before they are copied into the file: 256 MiB, which is many batches that mostly write to the same
/// pages. With the default of 1,000 pages every batch is copied.
const SQLITE_CHECKPOINT: &str = "65536";
/// A connection that was idle for this long is tested before it is used.
const TEST_IDLE_AFTER: Duration = Duration::from_secs(10);
/// The part of the timeout that a statement may take. It is less than all of it, so that the server ends the statement before
/// this process gives up on the connection.
const STATEMENT_SHARE: f64 = 0.8;
/// The part of the timeout that the ledger waits for a lock. All commands of a batch share the wait.
const LEDGER_LOCK_SHARE: f64 = 0.3;
/// The part of the timeout that a caller waits for a connection, and that making one may take. It is short, so that a caller
/// whose deadline is the same timeout still gets the error.
const ACQUIRE_SHARE: f64 = 0.4;
/// The most time that closing a pool may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A pool of connections, and a semaphore in front of it that bounds and measures the wait for one.
#[derive(Clone)]
pub(super) struct Pool {
    name: &'static str,
    connection: DatabaseConnection,
    permits: Arc<Semaphore>,
    timeout: Duration,
    recovery: Recovery,
}

/// A permit to use one connection of a pool. A pool has as many permits as connections.
pub struct Permit {
    _permit: OwnedSemaphorePermit,
}

/// A connection of a pool, with the permit to use it.
pub(super) struct PoolConnection<'p> {
    pub(super) connection: &'p DatabaseConnection,
    timeout: Duration,
    recovery: &'p Recovery,
    permit: Permit,
}

impl Pool {
    fn new(name: &'static str, connection: DatabaseConnection, size: u32, timeout: Duration) -> Self {
        let permits = Arc::new(Semaphore::new(size as usize));
        Self { name, connection, permits, timeout, recovery: Recovery::default() }
    }

    pub(super) fn backend(&self) -> DbBackend {
        self.connection.get_database_backend()
    }

    pub(super) async fn acquire(&self) -> Result<PoolConnection<'_>, Error> {
        Ok(self.connection(self.permit().await?))
    }

    /// Waits for a permit to use a connection.
    pub(super) async fn permit(&self) -> Result<Permit, Error> {
        let start = Instant::now();
        let permit = Arc::clone(&self.permits).acquire_owned();
        let permit = tokio::time::timeout(self.timeout.mul_f64(ACQUIRE_SHARE), permit).await;
        metrics::pool_wait(self.name, start.elapsed());
        match permit {
            Ok(Ok(permit)) => Ok(Permit { _permit: permit }),
            _ => Err(self.recovery.explain(Error::Unavailable(timed_out("no connection came free in time")))),
        }
    }

    /// The connection that a permit of this pool allows to use.
    pub(super) fn connection(&self, permit: Permit) -> PoolConnection<'_> {
        PoolConnection { connection: &self.connection, timeout: self.timeout, recovery: &self.recovery, permit }
    }

    /// Closes the connections. A connection whose server does not answer is left to the system after 2 s.
    pub(super) async fn close(&self) {
        if let Err(error) = bounded(CLOSE_TIMEOUT, self.connection.close_by_ref()).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a database pool did not close");
        }
    }

    /// The most time that one statement may take.
    pub(super) fn limit(&self) -> Duration {
        self.timeout
    }
}

impl PoolConnection<'_> {
    pub(super) fn backend(&self) -> DbBackend {
        self.connection.get_database_backend()
    }

    /// Begins a transaction that will write. On SQLite it takes the write lock at once, so that it cannot fail to get it
    /// later.
    pub(super) async fn begin(self) -> Result<(DatabaseTransaction, Permit), Error> {
        let options = TransactionOptions {
            isolation_level: None,
            access_mode: None,
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        };
        let begun = bounded(self.timeout, self.connection.begin_with_options(options)).await;
        Ok((begun.map_err(|error| self.recovery.explain(error))?, self.permit))
    }

    /// Begins a transaction that reads everything from one snapshot.
    pub(super) async fn begin_snapshot(self) -> Result<(DatabaseTransaction, Permit), Error> {
        // On SQLite every transaction does so, and there is nothing to set.
        let on_postgres = self.backend() == DbBackend::Postgres;
        let options = TransactionOptions {
            isolation_level: on_postgres.then_some(IsolationLevel::RepeatableRead),
            access_mode: on_postgres.then_some(AccessMode::ReadOnly),
            sqlite_transaction_mode: None,
        };
        let begun = bounded(self.timeout, self.connection.begin_with_options(options)).await;
        Ok((begun.map_err(|error| self.recovery.explain(error))?, self.permit))
    }

    pub(super) async fn ping(&self) -> Result<(), Error> {
        bounded(self.timeout, self.connection.ping()).await.map_err(|error| self.recovery.explain(error))
    }

    /// Runs a read, which ends by the pool's timeout even if the network loses the answer. It is boxed, since queries of the
    /// query builder are large and every request's future would have room for one.
    pub(super) fn read<T, E: Into<Error>>(
        &self,
        read: impl Future<Output = Result<T, E>>,
    ) -> impl Future<Output = Result<T, Error>> {
        let read = bounded(self.timeout, Box::pin(read));
        async { read.await.map_err(|error| self.recovery.explain(error)) }
    }
}

/// The pools of a store.
pub(super) struct Pools {
    /// The pool for reads.
    pub(super) reads: Pool,
    /// The pool for write transactions. On SQLite it has one connection; on Postgres it shares the connections of `reads`.
    pub(super) writes: Pool,
    /// How the ledger's writers connect to Postgres. They have connections of their own, so that readers, however many, do not
    /// delay them.
    pub(super) ledger: Option<(PgConnectOptions, Recovery)>,
    /// Keeps other processes off an SQLite file until it is dropped.
    pub(super) lock: Option<File>,
}

/// Connects.
pub(super) async fn open(options: &Options) -> Result<Pools, Error> {
    match &options.database {
        Database::Postgres(url) => {
            let connect = url.parse::<PgConnectOptions>().map_err(|error| Error::Url(error.to_string()))?;
            connect::try_postgres(&connect, options.timeout.mul_f64(ACQUIRE_SHARE)).await?;
            let pool = open_postgres(url, options).await?;
            let settings = settings(options.timeout, options.timeout.mul_f64(LEDGER_LOCK_SHARE));
            let ledger = connect.options(settings).application_name("boxoffice").disable_statement_logging();
            // Transactions may wait for each other's locks. A part of the connections stays free of them meanwhile.
            let writing = options.connections - (options.connections / 4).max(1).min(options.connections - 1);
            let writes = Pool::new("write", pool.connection.clone(), writing, options.timeout);
            let recovery = pool.recovery.clone();
            let writes = Pool { recovery: recovery.clone(), ..writes };
            Ok(Pools { reads: pool, writes, ledger: Some((ledger, recovery)), lock: None })
        }
        Database::Sqlite(path) => {
            let lock = lock_file(path)?;
            connect::check_sqlite_file(path)?;
            // The writing connection first: it creates the file and puts it in WAL mode.
            let writes = open_sqlite(path, "write", 1, options).await?;
            let reads = open_sqlite(path, "read", SQLITE_READERS.min(options.connections), options).await?;
            Ok(Pools { reads, writes, ledger: None, lock: Some(lock) })
        }
    }
}

async fn open_postgres(url: &str, options: &Options) -> Result<Pool, Error> {
    let settings = settings(options.timeout, options.timeout.mul_f64(STATEMENT_SHARE));
    let recovery = Recovery::default();
    let (asked_when_new, asked_when_idle) = (recovery.clone(), recovery.clone());
    let mut connect = ConnectOptions::new(url);
    connect
        .max_connections(options.connections)
        .connect_timeout(options.timeout)
        .acquire_timeout(options.timeout.mul_f64(ACQUIRE_SHARE))
        .test_before_acquire(false)
        .set_application_name("boxoffice")
        .sqlx_logging(false)
        .map_sqlx_postgres_opts(move |postgres| postgres.options(settings.clone()))
        .map_sqlx_postgres_pool_opts(move |pool| {
            let recovery = asked_when_new.clone();
            pool.after_connect(move |connection, _| {
                let recovery = recovery.clone();
                Box::pin(async move { recovery.wait_for_promotion(connection).await })
            })
        })
        .map_sqlx_postgres_before_acquire(move |connection, usage| {
            let asked = (usage.idle_for >= TEST_IDLE_AFTER).then(|| asked_when_idle.clone());
            Box::pin(async move {
                match asked {
                    Some(recovery) => Ok(!recovery.is_in_recovery(connection).await?),
                    None => Ok(true),
                }
            })
        });
    let connected = bounded(options.timeout * 2, Orm::connect(connect)).await;
    let connection = connected.map_err(|error| recovery.explain(error))?;
    Ok(Pool { recovery, ..Pool::new("read", connection, options.connections, options.timeout) })
}

/// The settings of Postgres's planner. A plan is made once for each connection, often while the tables are still empty, and
/// then reused. Every query here has an index that ends in the query's order. What looks cheaper than the index while a table
/// is empty is ruinous when it is full, so everything else is switched off. So are parallel workers: such a plan does not know
/// that a page is short, and starts processes to read it.
///
/// A pass that gives positions to events allows joins by hashing for itself, since it may look at all rows (`ledger/positions.rs`).
pub const PLANNING: [(&str, &str); 8] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_sort", "off"),
    ("max_parallel_workers_per_gather", "0"),
];

/// The settings of every connection to Postgres.
fn settings(timeout: Duration, lock_timeout: Duration) -> Vec<(&'static str, String)> {
    let millis = |limit: Duration| limit.as_millis().max(1).to_string();
    let statement_timeout = timeout.mul_f64(STATEMENT_SHARE);
    let settings = [
        ("statement_timeout", millis(statement_timeout)),
        ("lock_timeout", millis(lock_timeout)),
        ("idle_in_transaction_session_timeout", millis(statement_timeout * 4)),
        // An acknowledged change is durable, whatever the server's default is.
        ("synchronous_commit", "on".to_owned()),
        // The server sends a warning for a commit that may not be replicated.
        ("client_min_messages", "warning".to_owned()),
        // A backslash in a text literal stands for itself.
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
        // Nothing can cut a connection to a file, so all of them stay open.
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
                .pragma("temp_store", SQLITE_TEMPORARY)
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
