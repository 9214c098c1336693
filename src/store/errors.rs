//! What can go wrong between us and the database, by what it means for the caller.

use sea_orm::{DbErr, RuntimeErr, sqlx};
use thiserror::Error;

/// The database could not be asked, or did not say. `Unavailable` and `Busy` certainly had no effect.
#[derive(Debug, Error)]
pub enum Error {
    /// It cannot be reached, or refuses to work just now.
    #[error("the database is unavailable")]
    Unavailable(#[source] DbErr),
    /// Others were in the way, and stayed there for every retry.
    #[error("the database is too busy")]
    Busy(#[source] DbErr),
    /// The commit was sent and its answer never came: it may have happened.
    #[error("the outcome of a commit is unknown")]
    Unknown(#[source] DbErr),
    /// A constraint of the schema refused; callers that can name it do.
    #[error("the schema's constraint {0} refused")]
    Constraint(String),
    /// What was locked is not what is there: somebody wrote past the lock.
    #[error("{0} changed while it was locked")]
    Fenced(&'static str),
    /// The query or the data is not what this program believes.
    #[error("the database answered with what cannot be")]
    Broken(#[source] DbErr),
    /// Our own rules panicked; nothing was written.
    #[error("a rule panicked: {0}")]
    Panicked(String),
    /// A row holds what no constructor of the domain would make.
    #[error("the row {table} {key} cannot be read: {why}")]
    Unreadable {
        /// Where,
        table: &'static str,
        /// which,
        key: String,
        /// and what is wrong.
        why: String,
    },
    /// The URL is not one that the database's driver takes.
    #[error("{0}")]
    Url(String),
    /// The file is in use.
    #[error("{path} is in use by another process: one process at a time can use an SQLite database")]
    Locked {
        /// The database.
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
    /// A later version of this program has been here.
    #[error("the database is at migration {database}, newer than this program's {program}: use a newer boxoffice")]
    Newer {
        /// What it is at.
        database: i64,
        /// What is known here.
        program: i64,
    },
    /// Migrating is left to `boxoffice migrate`.
    #[error("the database is at migration {database}, this program needs {program}: run `boxoffice migrate`")]
    Older {
        /// What it is at.
        database: i64,
        /// What is needed here.
        program: i64,
    },
    /// Somebody edited what must only be appended to.
    #[error("migration {version} was applied with another content than this program has")]
    Altered {
        /// Which.
        version: i64,
    },
}

impl Error {
    /// More is asked for than is let in.
    #[must_use]
    pub fn overloaded(what: &str) -> Self {
        Self::Busy(DbErr::Custom(what.to_owned()))
    }

    /// Nobody can say what became of it.
    #[must_use]
    pub fn unknown(what: &str) -> Self {
        Self::Unknown(DbErr::Custom(what.to_owned()))
    }

    /// Whether one of several changes may be the cause, and the others may do without it: a conflict, what this program does
    /// not understand, or a defect of its own. Nothing was written.
    #[must_use]
    pub fn is_about_one(&self) -> bool {
        matches!(
            self,
            Self::Constraint(_) | Self::Fenced(_) | Self::Broken(_) | Self::Unreadable { .. } | Self::Panicked(_)
        )
    }

    /// Whether the data said no to what was written: somebody else may have been quicker, or one of several changes was
    /// wrong. Nothing was written.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Constraint(_) | Self::Fenced(_))
    }

    /// Whether it was this connection that failed: another one may do. A wait that was too long is none.
    pub(super) fn is_broken_connection(&self) -> bool {
        let Self::Unavailable(error) = self else { return false };
        matches!(error, DbErr::Query(RuntimeErr::SqlxError(_)) | DbErr::Exec(RuntimeErr::SqlxError(_)))
    }

    /// Whether the same transaction may succeed when it is simply run again.
    pub(super) fn worth_another_try(&self) -> bool {
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
    let error = match (runtime, error) {
        (RuntimeErr::SqlxError(error), _) => error,
        // The pool is closed.
        (_, DbErr::Conn(_)) => return Class::Unavailable,
        _ => return Class::Broken,
    };
    match error.as_ref() {
        sqlx::Error::Database(refusal) => {
            let refusal = refusal.as_ref();
            let code = refusal.code().unwrap_or_default().into_owned();
            if refusal.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
                classify_postgres(&code, refusal.constraint())
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

/// SQLSTATE: serialisation failure, deadlock, lock not available (also by its timeout) → busy; integrity → the
/// constraint; division by zero, by which statements say that a row is not as it was locked → fenced; connection, resources, operator intervention (statement timeout, shutdown, still starting) → unavailable.
fn classify_postgres(code: &str, constraint: Option<&str>) -> Class {
    match code {
        "40001" | "40P01" | "55P03" => Class::Busy,
        "22012" => Class::Fenced,
        _ if code.starts_with("23") => Class::Constraint(constraint.unwrap_or(code).to_owned()),
        _ if ["08", "28", "3D", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => Class::Unavailable,
        // Read-only: a standby that has not been promoted, or a primary that has been demoted.
        "25006" | "25P03" => Class::Unavailable,
        _ => Class::Broken,
    }
}

/// Extended result codes; the low byte is the kind. 5 busy, 6 locked, 19 constraint; 8 read-only, 10 I/O, 13 full, 14
/// cannot open → unavailable.
fn classify_sqlite(code: &str, message: &str) -> Class {
    match code.parse::<u32>().unwrap_or_default() & 0xff {
        5 | 6 => Class::Busy,
        19 => Class::Constraint(message.to_owned()),
        8 | 10 | 13 | 14 => Class::Unavailable,
        _ => Class::Broken,
    }
}
