//! How the database is opened, and the deadline of each piece of work with it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sea_orm::{
    ConnectOptions, Database as Orm, DatabaseConnection, DatabaseTransaction, DbBackend, SqliteTransactionMode,
    TransactionOptions, TransactionTrait as _,
    sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{error::Error, migrations, process};
use crate::telemetry::cause;

/// The most time that a piece of work may take: a query, or a transaction.
const LIMIT: Duration = Duration::from_secs(10);
/// The most connections to Postgres. Endpoints take turns.
const CONNECTIONS: u32 = 4;

/// Where the state is.
#[derive(Clone)]
pub enum Database {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A Postgres server's URL. It is a secret, since it may contain a password.
    Postgres(String),
}

/// The database, cheap to clone.
#[derive(Clone)]
pub(crate) struct Store(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) connection: DatabaseConnection,
    /// What each write names.
    pub(super) fence: i64,
    /// Keeps other processes off an SQLite file until it is dropped.
    _lock: Option<File>,
}

impl Store {
    /// Opens the database, brings its schema up to date, and waits until no other process works on it.
    pub(crate) async fn open(database: &Database, owner: &str) -> Result<Self, Error> {
        let lock = match database {
            Database::Sqlite(path) => Some(lock_file(path)?),
            Database::Postgres(_) => None,
        };
        let connection = connect(database, true).await?;
        migrations::run(&connection).await?;
        let fence = process::take(&connection, owner).await?;
        Ok(Self(Arc::new(Inner { connection, fence, _lock: lock })))
    }

    /// Opens the database to read it, also while another process works on it.
    pub(crate) async fn open_to_read(database: &Database) -> Result<Self, Error> {
        let connection = connect(database, false).await?;
        migrations::check(&connection).await?;
        Ok(Self(Arc::new(Inner { connection, fence: 0, _lock: None })))
    }

    /// Closes the connections, so that nothing is left to be written.
    pub(crate) async fn close(&self) {
        if let Err(error) = bounded(self.0.connection.close_by_ref()).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the database of webhooks did not close");
        }
    }

    /// Begins a transaction, unless another process works on the database now.
    pub(super) async fn begin(&self) -> Result<DatabaseTransaction, Error> {
        let tx = begin(&self.0.connection).await?;
        process::confirm(&tx, self.0.fence).await?;
        Ok(tx)
    }
}

/// Begins a transaction that writes.
pub(super) async fn begin(connection: &DatabaseConnection) -> Result<DatabaseTransaction, Error> {
    let options = TransactionOptions {
        isolation_level: None,
        access_mode: None,
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
    };
    Ok(connection.begin_with_options(options).await?)
}

/// Does the work, or ends it after 10 s. It is boxed, since queries are large.
pub(super) async fn bounded<T, E: Into<Error>>(work: impl Future<Output = Result<T, E>>) -> Result<T, Error> {
    match tokio::time::timeout(LIMIT, Box::pin(work)).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(Error::Late),
    }
}

async fn connect(database: &Database, create: bool) -> Result<DatabaseConnection, Error> {
    let options = match database {
        Database::Postgres(url) => {
            let mut options = ConnectOptions::new(url);
            options.max_connections(CONNECTIONS).set_application_name("boxoffice webhooks");
            options
        }
        Database::Sqlite(path) => {
            if !create && !path.exists() {
                return Err(unusable(path, &io::Error::from(io::ErrorKind::NotFound)));
            }
            let file = path.clone();
            let mut options = ConnectOptions::new("sqlite::memory:");
            options
                .max_connections(1)
                .idle_timeout(None::<Duration>)
                .max_lifetime(None::<Duration>)
                .map_sqlx_sqlite_opts(move |_| {
                    SqliteConnectOptions::new()
                        .filename(&file)
                        .create_if_missing(create)
                        .journal_mode(SqliteJournalMode::Wal)
                        .synchronous(SqliteSynchronous::Full)
                        .busy_timeout(LIMIT)
                });
            options
        }
    };
    let mut options = options;
    options.acquire_timeout(LIMIT / 2).connect_timeout(LIMIT / 2).sqlx_logging(false);
    bounded(Orm::connect(options)).await
}

/// Whether one process at a time has the whole database.
pub(super) fn is_exclusive(connection: &DatabaseConnection) -> bool {
    connection.get_database_backend() == DbBackend::Sqlite
}

fn lock_file(database: &Path) -> Result<File, Error> {
    if let Some(folder) = database.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|error| unusable(folder, &error))?;
    }
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    let unusable = |error| unusable(Path::new(&name), &error);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&name).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { path: database.display().to_string() }),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

fn unusable(path: &Path, error: &io::Error) -> Error {
    Error::Unusable { what: path.display().to_string(), cause: cause::of_io(error) }
}
