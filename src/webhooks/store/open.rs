//! The database itself: how it is opened and closed. What is stored in it is in files of its own.

use std::{fs::File, sync::Arc};

use sea_orm::{DatabaseConnection, DatabaseTransaction};

use super::{
    connect::{Database, begin, bounded, connect, lock_file},
    error::Error,
    migrations, process,
};

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

    /// Says that this process works.
    pub(crate) async fn beat(&self) -> Result<(), Error> {
        bounded(process::confirm(&self.0.connection, self.0.fence)).await
    }

    /// Says that this process has stopped, so that another one need not wait.
    pub(crate) async fn release(&self) -> Result<(), Error> {
        process::release(&self.0.connection, self.0.fence).await
    }
}
