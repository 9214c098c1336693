//! How connections are made, and the deadline of each piece of work with the database.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use sea_orm::{
    ConnectOptions, Database as Orm, DatabaseConnection, DatabaseTransaction, DbBackend, SqliteTransactionMode,
    TransactionOptions, TransactionTrait as _,
    sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::error::Error;
use crate::telemetry::cause;

/// The most time that a piece of work may take: a query, or a transaction.
const LIMIT: Duration = Duration::from_secs(10);
/// The most connections to Postgres. Endpoints take turns.
const CONNECTIONS: u32 = 4;

/// The settings of every connection to Postgres, in milliseconds. A process that stands still with a transaction open must not keep
/// its locks from the one that takes over.
const SETTINGS: [(&str, &str); 4] = [
    ("statement_timeout", "8000"),
    ("idle_in_transaction_session_timeout", "5000"),
    ("synchronous_commit", "on"),
    ("client_min_messages", "warning"),
];

/// Where the state is.
#[derive(Clone)]
pub enum Database {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A Postgres server's URL. It is a secret, since it may contain a password.
    Postgres(String),
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

pub(super) async fn connect(database: &Database, create: bool) -> Result<DatabaseConnection, Error> {
    let options = match database {
        Database::Postgres(url) => {
            let mut options = ConnectOptions::new(url);
            options
                .max_connections(CONNECTIONS)
                .set_application_name("boxoffice webhooks")
                .map_sqlx_postgres_opts(|postgres| postgres.options(SETTINGS));
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

pub(super) fn lock_file(database: &Path) -> Result<File, Error> {
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
