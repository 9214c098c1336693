//! Which databases are used, and where they are.

use std::path::PathBuf;

use super::{
    options::{Database, Webhooks},
    secret::SecretUrl,
};

/// Which database is used, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseLocation {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// The URL of a Postgres server.
    Postgres(SecretUrl),
}

impl DatabaseLocation {
    /// The database that a URL names.
    #[must_use]
    pub fn of(url: &SecretUrl) -> Self {
        match url.expose().strip_prefix("sqlite:") {
            Some(path) => Self::Sqlite(path.strip_prefix("//").unwrap_or(path).into()),
            None => Self::Postgres(url.clone()),
        }
    }
}

impl Database {
    /// The database of `database_url`; without one, the SQLite file in the data folder.
    #[must_use]
    pub fn location(&self) -> DatabaseLocation {
        let file = || DatabaseLocation::Sqlite(self.data_dir.join("boxoffice.db"));
        self.database_url.as_ref().map_or_else(file, DatabaseLocation::of)
    }
}

impl Webhooks {
    /// The database of `database_url`; without one, the SQLite file in the data folder.
    #[must_use]
    pub fn location(&self) -> DatabaseLocation {
        let file = || DatabaseLocation::Sqlite(self.data_dir.join("webhooks.db"));
        self.database_url.as_ref().map_or_else(file, DatabaseLocation::of)
    }
}
