//! A server with a store of its own, for one test.

use std::{ops::Deref, path::Path};

use sea_orm::{ConnectOptions, ConnectionTrait as _, DatabaseConnection, DbErr, ExecResult};
use tempfile::TempDir;

use super::{Database, Server, server::Setup, supervisor};

/// Makes two tests of each of these functions, `its_name::sqlite` and `its_name::postgres`. The function is given a
/// [`World`], with other options than usual if that is said first: `on_both_stores!(with |setup| …; its_name)`.
macro_rules! on_both_stores {
    ($($promise:ident),+ $(,)?) => { on_both_stores!(with |setup| setup; $($promise),+); };
    (with $change:expr; $($promise:ident),+ $(,)?) => {
        $(mod $promise {
            use crate::harness::{Store, World};

            #[tokio::test]
            async fn sqlite() {
                Box::pin(super::$promise(World::with(Store::Sqlite, $change).await)).await;
            }

            #[tokio::test]
            async fn postgres() {
                Box::pin(super::$promise(World::with(Store::Postgres, $change).await)).await;
            }
        })+
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Sqlite,
    Postgres,
}

/// A place for a server's data: a folder and, on Postgres, a database.
pub(crate) struct Ground {
    // The database goes before the folder, and both after the server.
    database: Option<Database>,
    folder: TempDir,
}

impl Ground {
    pub(crate) async fn new(store: Store) -> Self {
        let database = match store {
            Store::Sqlite => None,
            Store::Postgres => Some(Database::create().await),
        };
        Self { database, folder: supervisor::folder("world-") }
    }

    /// A server's options on this ground.
    pub(crate) fn setup(&self) -> Setup {
        let setup = Setup::new(self.folder.path());
        match &self.database {
            None => setup,
            Some(database) => setup.with("--database-url", database.url()),
        }
    }

    /// One connection of one's own, behind the server's back.
    pub(crate) async fn connect(&self) -> DatabaseConnection {
        let url = match &self.database {
            Some(database) => database.url(),
            None => format!("sqlite://{}", self.folder.path().join("data/boxoffice.db").display()),
        };
        connect(url).await
    }

    /// Runs a statement behind the server's back.
    pub(crate) async fn sql(&self, statement: &str) -> Result<ExecResult, DbErr> {
        let connection = self.connect().await;
        let result = connection.execute_unprepared(statement).await;
        connection.close().await.expect("a connection closes");
        result
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.database.is_some()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn database(&self) -> &Database {
        self.database.as_ref().expect("this ground is on Postgres")
    }
}

/// One connection to this database.
pub(crate) async fn connect(url: String) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    sea_orm::Database::connect(options).await.expect("the database is there")
}

/// A server on its own ground; it stands for the server where that is all a test needs.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) ground: Ground,
}

impl World {
    pub(crate) async fn start(store: Store) -> Self {
        Self::with(store, |setup| setup).await
    }

    /// With other options than usual.
    pub(crate) async fn with(store: Store, change: impl FnOnce(Setup) -> Setup) -> Self {
        let ground = Ground::new(store).await;
        let server = change(ground.setup()).start().await;
        Self { server, ground }
    }

    /// Stops the server and starts it again on the same ground.
    pub(crate) async fn restart(self) -> Self {
        Self { server: self.server.restart().await, ground: self.ground }
    }
}

impl Deref for World {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}
