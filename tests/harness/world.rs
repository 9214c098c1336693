//! A server with storage of its own, for one test.

use std::{
    fs,
    ops::Deref,
    path::{Path, PathBuf},
};

use sea_orm::{ConnectOptions, ConnectionTrait as _, DatabaseConnection, DbErr, ExecResult};
use tempfile::TempDir;

use super::{Database, Server, server::Setup, supervisor};

/// Makes two tests of each of these functions, `name::sqlite` and `name::postgres`. The function gets a [`World`]. The options of
/// its server can be changed: `on_both_stores!(with |setup| setup.with(…); name)`.
macro_rules! on_both_stores {
    ($($test:ident),+ $(,)?) => { on_both_stores!(with |setup| setup; $($test),+); };
    (with $change:expr; $($test:ident),+ $(,)?) => {
        $(mod $test {
            use crate::harness::{Store, World};

            #[tokio::test]
            async fn sqlite() {
                Box::pin(super::$test(World::with(Store::Sqlite, $change).await)).await;
            }

            #[tokio::test]
            async fn postgres() {
                Box::pin(super::$test(World::with(Store::Postgres, $change).await)).await;
            }
        })+
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Sqlite,
    Postgres,
}

/// The data of one or several servers: a folder and, on Postgres, a database.
pub(crate) struct Storage {
    // The fields are dropped in this order: the database before the folder.
    database: Option<Database>,
    folder: TempDir,
}

impl Storage {
    pub(crate) async fn new(store: Store) -> Self {
        let database = match store {
            Store::Sqlite => None,
            Store::Postgres => Some(Database::create().await),
        };
        Self { database, folder: supervisor::folder("world-") }
    }

    /// Returns the options of a server that uses this storage.
    pub(crate) fn setup(&self) -> Setup {
        let setup = Setup::new(self.folder.path());
        match &self.database {
            None => setup,
            Some(database) => setup.with("--database-url", database.url()),
        }
    }

    /// Opens a connection of the test to the database.
    pub(crate) async fn connect(&self) -> DatabaseConnection {
        connect(self.url()).await
    }

    /// The URL of the database.
    pub(crate) fn url(&self) -> String {
        match &self.database {
            Some(database) => database.url(),
            None => format!("sqlite://{}", self.file().display()),
        }
    }

    /// The file of the database, which is on `SQLite`.
    pub(crate) fn file(&self) -> PathBuf {
        assert!(!self.is_postgres(), "the storage is on SQLite");
        self.folder.path().join("data/boxoffice.db")
    }

    /// Copies the file of the database, as for a backup. No server may run.
    pub(crate) fn back_up(&self) {
        fs::copy(self.file(), self.copy()).expect("the file is copied");
    }

    /// Copies the backup back. No server may run.
    pub(crate) fn set_back(&self) {
        fs::copy(self.copy(), self.file()).expect("the file is set back");
    }

    fn copy(&self) -> PathBuf {
        self.folder.path().join("copy.db")
    }

    /// Runs a statement on a connection of the test.
    pub(crate) async fn sql(&self, statement: &str) -> Result<ExecResult, DbErr> {
        let connection = self.connect().await;
        let result = connection.execute_unprepared(statement).await;
        connection.close().await.expect("a connection closes");
        result
    }

    /// A transaction in which this statement has run. It is open until it is ended on the connection.
    pub(crate) async fn transaction(&self, statement: &str) -> DatabaseConnection {
        let connection = self.connect().await;
        for statement in ["BEGIN", statement] {
            connection.execute_unprepared(statement).await.expect("the statement runs in a transaction");
        }
        connection
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.database.is_some()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn database(&self) -> &Database {
        self.database.as_ref().expect("the storage is on Postgres")
    }
}

/// Opens one connection to this database.
pub(crate) async fn connect(url: String) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    sea_orm::Database::connect(options).await.expect("the database is there")
}

/// A server with storage of its own. It dereferences to the server.
pub(crate) struct World {
    // The server is dropped before its storage.
    pub(crate) server: Server,
    pub(crate) storage: Storage,
}

impl World {
    pub(crate) async fn start(store: Store) -> Self {
        Self::with(store, |setup| setup).await
    }

    /// Starts a server with changed options.
    pub(crate) async fn with(store: Store, change: impl FnOnce(Setup) -> Setup) -> Self {
        let storage = Storage::new(store).await;
        let server = change(storage.setup()).start().await;
        Self { server, storage }
    }

    /// Stops the server and starts it again with the same storage.
    pub(crate) async fn restart(self) -> Self {
        Self { server: self.server.restart().await, storage: self.storage }
    }
}

impl Deref for World {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}
