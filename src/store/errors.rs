//! Errors of the database, by what they mean for the caller.

use sea_orm::{DbErr, RuntimeErr, sqlx};
use thiserror::Error;

/// The database cannot be used, or its answer cannot be read. `Unavailable` and `Busy` certainly had no effect.
#[derive(Debug, Error)]
pub enum Error {
    /// The database cannot be reached, or refuses to work at the moment.
    #[error("the database is unavailable")]
    Unavailable(#[source] DbErr),
    /// A lock was not acquired, a transaction conflicted with another one at every attempt, or a queue is full. Nothing was
    /// written.
    #[error("the database is too busy")]
    Busy(#[source] DbErr),
    /// The commit was sent, and its answer never came or came with a warning. So it may have happened, and may be lost again.
    #[error("the outcome of a commit is unknown")]
    Unknown(#[source] DbErr),
    /// A constraint of the schema refused the change. The text is the constraint's name, or SQLite's message.
    #[error("the schema's constraint {0} refused the change")]
    Constraint(String),
    /// A row changed without the lock, or a statement affected another number of rows than expected.
    #[error("{0} is not as it was expected under the lock")]
    Fenced(&'static str),
    /// The database refused a statement as wrong, or its answer has another form than expected.
    #[error("the database's answer is not what this program expects")]
    Broken(#[source] DbErr),
    /// The rules of the domain panicked. Nothing was written.
    #[error("a rule panicked: {0}")]
    Panicked(String),
    /// A row has a value that the domain does not accept.
    #[error("the row {table} {key} cannot be read: {why}")]
    Unreadable {
        /// The table.
        table: &'static str,
        /// The key of the row.
        key: String,
        /// What is wrong with the row.
        why: String,
    },
    /// The URL is not one that the database's driver accepts.
    #[error("{0}")]
    Url(String),
    /// Another process uses the SQLite file.
    #[error("{path} is in use by another process: one process at a time can use an SQLite database")]
    Locked {
        /// The database file.
        path: String,
    },
    /// The database cannot be used at all. Found when the service starts.
    #[error("{what} cannot be used: {cause}")]
    Unusable {
        /// The server with its address, or the file.
        what: String,
        /// The cause.
        cause: String,
    },
    /// A later version of this program migrated the database, in a way that this one cannot use.
    #[error(
        "the database is at migration {database}, newer than this program's {program}, and can be used from {usable_from} \
         on: use a newer boxoffice"
    )]
    Newer {
        /// The database's newest migration.
        database: i64,
        /// The newest migration that this program has.
        program: i64,
        /// The newest migration that a program must have to use the database.
        usable_from: i64,
    },
    /// The database needs migrations, which are left to `boxoffice migrate`.
    #[error("the database is at migration {database}, this program needs {program}: run `boxoffice migrate`")]
    Older {
        /// The database's newest migration.
        database: i64,
        /// The newest migration that this program has.
        program: i64,
    },
    /// The file of a migration was edited after it had been applied.
    #[error("migration {version} was applied with another content than this program has")]
    Altered {
        /// The migration's version.
        version: i64,
    },
}

impl Error {
    /// A queue or a limit in front of the database is full.
    #[must_use]
    pub fn overloaded(what: &str) -> Self {
        Self::Busy(DbErr::Custom(what.to_owned()))
    }

    /// The outcome of a commit is unknown.
    #[must_use]
    pub fn unknown(what: &str) -> Self {
        Self::Unknown(DbErr::Custom(what.to_owned()))
    }

    /// Whether one change of a batch may be the cause, so that the others can succeed without it: a conflict, a row that this
    /// program cannot read, or a panic. Nothing was written.
    #[must_use]
    pub fn is_about_one(&self) -> bool {
        matches!(
            self,
            Self::Constraint(_) | Self::Fenced(_) | Self::Broken(_) | Self::Unreadable { .. } | Self::Panicked(_)
        )
    }

    /// Whether the data refused what was written: another transaction was first, or a change of the batch is wrong. Nothing
    /// was written.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Constraint(_) | Self::Fenced(_))
    }

    /// Whether this connection failed, so that another one may succeed. A timeout does not count.
    pub(super) fn is_broken_connection(&self) -> bool {
        let Self::Unavailable(error) = self else { return false };
        matches!(error, DbErr::Query(RuntimeErr::SqlxError(_)) | DbErr::Exec(RuntimeErr::SqlxError(_)))
    }

    /// Whether the same transaction may succeed when it is run again.
    pub(super) fn may_succeed_if_repeated(&self) -> bool {
        matches!(self, Self::Busy(_))
    }
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        match classify(&error) {
            Class::Unavailable => Self::Unavailable(error),
            Class::Busy => Self::Busy(error),
            Class::Constraint(name) => Self::Constraint(name),
            Class::Fenced => Self::Fenced("a row"),
            Class::Broken => Self::Broken(error),
        }
    }
}

enum Class {
    Unavailable,
    Busy,
    Constraint(String),
    Fenced,
    Broken,
}

fn classify(error: &DbErr) -> Class {
    let runtime = match error {
        DbErr::ConnectionAcquire(_) => return Class::Unavailable,
        DbErr::Conn(runtime) | DbErr::Exec(runtime) | DbErr::Query(runtime) => runtime,
        _ => return Class::Broken,
    };
    let connects = matches!(error, DbErr::Conn(_));
    let error = match runtime {
        RuntimeErr::SqlxError(error) => error,
        // The pool is closed.
        RuntimeErr::Internal(_) if connects => return Class::Unavailable,
        RuntimeErr::Internal(_) => return Class::Broken,
    };
    match error.as_ref() {
        sqlx::Error::Database(refusal) => {
            let refusal = refusal.as_ref();
            let code = refusal.code().unwrap_or_default().into_owned();
            if refusal.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
                match classify_postgres(&code, refusal.constraint()) {
                    // A refusal of a connection, as with ALLOW_CONNECTIONS false, concerns no statement of this program.
                    Class::Broken if connects => Class::Unavailable,
                    class => class,
                }
            } else {
                classify_sqlite(&code, refusal.message())
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::BeginFailed
        | sqlx::Error::WorkerCrashed => Class::Unavailable,
        _ => Class::Broken,
    }
}

/// Classifies by SQLSTATE. Serialisation failure, deadlock and lock not available (also by its timeout) are busy. Integrity
/// violations are constraints. Division by zero is fenced: statements divide by zero when a row is not as it was locked.
/// Connection, resources and operator intervention (statement timeout, shutdown, still starting) are unavailable.
fn classify_postgres(code: &str, constraint: Option<&str>) -> Class {
    match code {
        "40001" | "40P01" | "55P03" => Class::Busy,
        "22012" => Class::Fenced,
        _ if code.starts_with("23") => Class::Constraint(constraint.unwrap_or(code).to_owned()),
        _ if ["08", "28", "3D", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => Class::Unavailable,
        // Read-only: a standby that was not promoted, or a primary that was demoted.
        "25006" | "25P03" => Class::Unavailable,
        _ => Class::Broken,
    }
}

/// Classifies by the low byte of SQLite's extended result code. 5 (busy) and 6 (locked) are busy, 19 is a constraint, and 8
/// (read-only), 10 (I/O), 13 (full) and 14 (cannot open) are unavailable.
fn classify_sqlite(code: &str, message: &str) -> Class {
    match code.parse::<u32>().unwrap_or_default() & 0xff {
        5 | 6 => Class::Busy,
        19 => Class::Constraint(message.to_owned()),
        8 | 10 | 13 | 14 => Class::Unavailable,
        _ => Class::Broken,
    }
}
