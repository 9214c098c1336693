//! Why the reporting database cannot be used, or the projector cannot go on.

use std::time::Duration;

use sea_orm::DbErr;

use crate::consumer::{Ended, SetupError};

/// Why the reporting database cannot be used, or the projector cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL of the database cannot be understood.
    #[error("{0}")]
    Url(String),
    /// The database refuses, or cannot be reached.
    #[error("the reporting database cannot be used")]
    Database(#[from] DbErr),
    /// The Postgres server cannot be reached.
    #[error("the reporting database, Postgres at {address}: {cause}")]
    Unreachable {
        /// The host and the port.
        address: String,
        /// The cause, in words.
        cause: String,
    },
    /// The database does not answer.
    #[error("the reporting database does not answer within {0:?}")]
    Late(Duration),
    /// The database has tables of something else.
    #[error("the reporting database has tables that are not the projector's ({0}); give it a database of its own")]
    Foreign(String),
    /// The database was migrated by a newer program, or a migration was edited.
    #[error("the reporting database is at migration {0}, which this program does not know")]
    Newer(i64),
    /// Another projector writes to the database.
    #[error(
        "another projector writes to this reporting database; this one stops, and the tables are as the other one writes them"
    )]
    OtherProjector,
    /// An event does not fit what is in the tables.
    #[error("event {id} does not fit the tables: {why}; run `boxoffice project` once with --rebuild")]
    Inconsistent {
        /// The id of the event.
        id: String,
        /// What is wrong.
        why: String,
    },
    /// There are no events to read on.
    #[error(
        "{0}; run `boxoffice project` once with --rebuild, which empties the tables and reads everything that is kept"
    )]
    Rebuild(Ended),
    /// The service refuses the projector.
    #[error("{0}")]
    Refused(Ended),
    /// The service cannot be used.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The service was not reached, and the projector is to end.
    #[error("the service was not reached: {0}")]
    NotReached(String),
}

impl Error {
    /// Whether it passes by itself.
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::Database(_) | Self::Late(_) | Self::NotReached(_))
    }
}

impl From<Ended> for Error {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Compacted { .. } | Ended::Unknown { .. } | Ended::TokenMalformed => Self::Rebuild(ended),
            Ended::Refused { .. } => Self::Refused(ended),
        }
    }
}
