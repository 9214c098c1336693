//! Connections to a reporting database. A pool is bounded, and so is every wait.

use std::{fmt, path::PathBuf, time::Duration};

use sea_orm::{
    AccessMode, ConnectOptions, Database as Orm, DatabaseConnection, DatabaseTransaction, DbBackend, IsolationLevel,
    SqliteTransactionMode, TransactionOptions, TransactionTrait as _,
    sqlx::{
        self, ConnectOptions as _, Connection as _,
        postgres::PgConnectOptions,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    },
};

use super::error::Error;
use crate::telemetry::cause;

/// The part of the timeout that a statement may take. It is less than all of it, so that the server ends the statement before
/// this process gives up on the connection.
const STATEMENT_SHARE: f64 = 0.8;

/// Where a reporting database is.
#[derive(Clone)]
pub enum Location {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A Postgres server's URL. It is a secret, since it may contain a password.
    Postgres(String),
}

// The URL is not printed.
impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite(_) => "Sqlite",
            Self::Postgres(_) => "Postgres",
        })
    }
}

/// How a reporting database is used.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it is.
    pub location: Location,
    /// The most connections.
    pub connections: u32,
    /// The most time for a connection, and for what is done with it.
    pub timeout: Duration,
}

impl Options {
    /// The files that the pool may have open at once.
    #[must_use]
    pub fn open_files(&self) -> u64 {
        match &self.location {
            Location::Postgres(_) => self.connections.into(),
            // Each connection has the database, its log and a temporary file. All share the index of the log and the lock.
            Location::Sqlite(_) => 3 * u64::from(self.connections) + 2,
        }
    }

    /// Checks that the URL can be parsed, without connecting.
    ///
    /// # Errors
    /// What is wrong with the URL, without its password.
    pub fn check(&self) -> Result<(), Error> {
        match &self.location {
            Location::Sqlite(_) => Ok(()),
            Location::Postgres(url) => match url.parse::<PgConnectOptions>() {
                Ok(_) => Ok(()),
                Err(sqlx::Error::Configuration(why)) => Err(Error::Url(why.to_string())),
                Err(_) => Err(Error::Url("cannot be understood".to_owned())),
            },
        }
    }
}

/// A pool of connections to a reporting database.
#[derive(Clone)]
pub(super) struct Database {
    connection: DatabaseConnection,
    timeout: Duration,
}

/// What a pool is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Connects at once, makes the file if there is none, and writes.
    Project,
    /// Connects when a report is asked for, and never writes.
    Read,
}

impl Database {
    pub(super) async fn open(options: &Options, used: Use) -> Result<Self, Error> {
        options.check()?;
        let timeout = options.timeout;
        if let (Use::Project, Location::Postgres(url)) = (used, &options.location) {
            try_postgres(url, timeout).await?;
        }
        let mut connect = match &options.location {
            Location::Postgres(url) => {
                let settings = settings(timeout);
                let mut connect = ConnectOptions::new(url);
                connect.set_application_name("boxoffice-reports");
                connect.map_sqlx_postgres_opts(move |postgres| postgres.options(settings.clone()));
                connect
            }
            Location::Sqlite(path) => {
                let path = path.clone();
                let mut connect = ConnectOptions::new("sqlite::memory:");
                connect.map_sqlx_sqlite_opts(move |_| {
                    let file =
                        SqliteConnectOptions::new().filename(&path).busy_timeout(timeout.mul_f64(STATEMENT_SHARE));
                    match used {
                        Use::Read => file.create_if_missing(false).pragma("query_only", "on"),
                        Use::Project => file
                            .create_if_missing(true)
                            .journal_mode(SqliteJournalMode::Wal)
                            .synchronous(SqliteSynchronous::Full),
                    }
                });
                connect
            }
        };
        connect
            .max_connections(options.connections)
            .connect_timeout(timeout)
            .acquire_timeout(timeout)
            .connect_lazy(used == Use::Read)
            .sqlx_logging(false);
        Ok(Self { connection: bounded(timeout * 2, Orm::connect(connect)).await?, timeout })
    }

    pub(super) fn backend(&self) -> DbBackend {
        self.connection.get_database_backend()
    }

    /// Begins a transaction that writes. On SQLite it takes the write lock at once.
    pub(super) async fn begin(&self) -> Result<DatabaseTransaction, Error> {
        let options = TransactionOptions {
            isolation_level: None,
            access_mode: None,
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        };
        bounded(self.timeout, self.connection.begin_with_options(options)).await
    }

    /// Runs a report in a transaction in which the tables do not change.
    pub(super) async fn read<T>(
        &self,
        report: impl AsyncFnOnce(&DatabaseTransaction) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let is_postgres = self.backend() == DbBackend::Postgres;
        let options = TransactionOptions {
            isolation_level: is_postgres.then_some(IsolationLevel::RepeatableRead),
            access_mode: is_postgres.then_some(AccessMode::ReadOnly),
            sqlite_transaction_mode: None,
        };
        self.within(async {
            let tx = self.connection.begin_with_options(options).await?;
            let found = report(&tx).await?;
            tx.rollback().await?;
            Ok(found)
        })
        .await
    }

    /// Ends a piece of work that takes longer than the timeout. It is boxed, because queries are large.
    pub(super) async fn within<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let limit = self.timeout;
        tokio::time::timeout(limit, Box::pin(work)).await.unwrap_or(Err(Error::Late(limit)))
    }

    pub(super) async fn close(&self) {
        // If closing fails, the server closes the connections.
        let _ = bounded(self.timeout, self.connection.close_by_ref()).await;
    }
}

/// Opens one connection outside any pool: a pool tries again until its timeout, and then reports only that.
async fn try_postgres(url: &str, limit: Duration) -> Result<(), Error> {
    let options = url.parse::<PgConnectOptions>().map_err(|error| Error::Url(error.to_string()))?;
    let address = format!("{}:{}", options.get_host(), options.get_port());
    let cause = match tokio::time::timeout(limit, options.connect()).await {
        Ok(Ok(connection)) => {
            // If closing fails, the server closes the connection; it was only a trial.
            let _ = tokio::time::timeout(limit, connection.close()).await;
            return Ok(());
        }
        Ok(Err(sqlx::Error::Io(error))) => cause::of_io(&error),
        Ok(Err(sqlx::Error::Database(refusal))) => refusal.message().to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {limit:?}"),
    };
    Err(Error::Unreachable { address, cause })
}

/// The settings of every connection to Postgres.
fn settings(timeout: Duration) -> [(&'static str, String); 4] {
    let limit = timeout.mul_f64(STATEMENT_SHARE).as_millis().max(1).to_string();
    [
        ("statement_timeout", limit.clone()),
        ("lock_timeout", limit.clone()),
        ("idle_in_transaction_session_timeout", limit),
        ("client_min_messages", "warning".to_owned()),
    ]
}

async fn bounded<T, E: Into<Error>>(limit: Duration, work: impl Future<Output = Result<T, E>>) -> Result<T, Error> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(Error::Late(limit)),
    }
}
