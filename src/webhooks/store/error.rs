//! Why the state of the deliveries cannot be used.

use sea_orm::DbErr;
use thiserror::Error;

/// Why the state of the deliveries cannot be used.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// Another process has the SQLite file.
    #[error("{path} is used by another process")]
    Locked {
        /// The file.
        path: String,
    },
    /// A file or a folder cannot be used.
    #[error("{what}: {cause}")]
    Unusable {
        /// The file or folder.
        what: String,
        /// Why.
        cause: String,
    },
    /// Another process has taken over.
    #[error("another process delivers webhooks from this database now")]
    Fenced,
    /// A newer program has changed the schema.
    #[error("the database is at migration {database}, and this program knows {program}: a newer program has used it")]
    Newer {
        /// The database's migration.
        database: i32,
        /// The newest one of this program.
        program: i32,
    },
    /// The database did not answer in time.
    #[error("the database of webhooks did not answer in time")]
    Late,
    /// The database failed.
    #[error("the database of webhooks failed")]
    Failed(#[from] DbErr),
}

impl Error {
    /// Whether the same may succeed later.
    pub(crate) fn passes(&self) -> bool {
        matches!(self, Self::Late | Self::Failed(_))
    }
}
