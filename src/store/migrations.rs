//! The schema, brought up to date: plain SQL files, applied in order, each once, all under one lock.
//!
//! Files are only ever appended. A checksum notices one that was edited after it had been applied somewhere.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, FromQueryResult, Statement};
use sha2::{Digest as _, Sha256};

use super::{Error, Store, pools::Pool};

struct Migration {
    version: i64,
    name: &'static str,
    postgres: &'static str,
    sqlite: &'static str,
}

macro_rules! migration {
    ($version:literal, $name:literal) => {
        Migration {
            version: $version,
            name: $name,
            postgres: include_str!(concat!("../../migrations/postgres/", $name, ".sql")),
            sqlite: include_str!(concat!("../../migrations/sqlite/", $name, ".sql")),
        }
    };
}

/// Append here, and nowhere else.
const MIGRATIONS: [Migration; 5] = [
    migration!(1, "0001_ground_floor"),
    migration!(2, "0002_reservations"),
    migration!(3, "0003_standings"),
    migration!(4, "0004_slim_indexes"),
    migration!(5, "0005_customer_digest"),
];

const LEDGER: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version     bigint PRIMARY KEY,
    name        text NOT NULL,
    checksum    text NOT NULL,
    apply_time  text NOT NULL DEFAULT (CURRENT_TIMESTAMP)
)";
/// Any number that nothing else in the database uses as an advisory lock.
const LOCK: i64 = 0x0062_6f78_6f66_6663;

#[derive(FromQueryResult)]
struct Applied {
    version: i64,
    checksum: String,
}

impl Migration {
    fn sql(&self, backend: DbBackend) -> &'static str {
        if backend == DbBackend::Sqlite { self.sqlite } else { self.postgres }
    }

    fn checksum(&self, backend: DbBackend) -> String {
        Sha256::digest(self.sql(backend)).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }
}

/// Applies what is missing, in one transaction: several instances may start at once, the others wait and find it done.
pub(super) async fn run(pool: &Pool) -> Result<usize, Error> {
    let backend = pool.backend();
    let (tx, _permit) = pool.acquire().await?.begin().await?;
    if backend == DbBackend::Postgres {
        // A migration may take long, and waiting for another instance's may too.
        tx.execute_unprepared("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0").await?;
        let lock = Statement::from_sql_and_values(backend, "SELECT pg_advisory_xact_lock($1)", [LOCK.into()]);
        tx.execute_raw(lock).await?;
    }
    tx.execute_unprepared(LEDGER).await?;
    let applied = applied(&tx, backend).await?;
    let missing = MIGRATIONS.iter().filter(|migration| migration.version > applied);
    let mut count = 0;
    for migration in missing {
        tracing::info!(version = migration.version, name = migration.name, "migrating the database");
        tx.execute_unprepared(migration.sql(backend)).await?;
        let note = Statement::from_sql_and_values(
            backend,
            "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
            [migration.version.into(), migration.name.into(), migration.checksum(backend).into()],
        );
        tx.execute_raw(note).await?;
        count += 1;
    }
    tx.commit().await?;
    Ok(count)
}

/// Only looks, and refuses a schema that is not exactly this program's.
pub(super) async fn check(pool: &Pool) -> Result<(), Error> {
    let held = pool.acquire().await?;
    let database =
        if ledger_exists(held.connection).await? { applied(held.connection, pool.backend()).await? } else { 0 };
    let program = newest();
    if database < program { Err(Error::Older { database, program }) } else { Ok(()) }
}

/// The newest migration that was applied, if it and all before it are the ones known here.
async fn applied(connection: &impl ConnectionTrait, backend: DbBackend) -> Result<i64, Error> {
    let all = "SELECT version, checksum FROM schema_migrations ORDER BY version";
    let rows = Applied::find_by_statement(Statement::from_string(backend, all)).all(connection).await?;
    let mut last = 0;
    for row in rows {
        let Some(known) = MIGRATIONS.iter().find(|migration| migration.version == row.version) else {
            return Err(Error::Newer { database: row.version, program: newest() });
        };
        if known.checksum(backend) != row.checksum {
            return Err(Error::Altered { version: row.version });
        }
        last = row.version;
    }
    Ok(last)
}

async fn ledger_exists(connection: &DatabaseConnection) -> Result<bool, Error> {
    let backend = connection.get_database_backend();
    let sql = match backend {
        DbBackend::Sqlite => "SELECT 1 AS found FROM sqlite_master WHERE name = 'schema_migrations'",
        _ => "SELECT 1 AS found WHERE to_regclass('schema_migrations') IS NOT NULL",
    };
    Ok(connection.query_one_raw(Statement::from_string(backend, sql)).await?.is_some())
}

fn newest() -> i64 {
    MIGRATIONS.last().map_or(0, |migration| migration.version)
}

impl Store {
    /// The newest migration that this program knows.
    #[must_use]
    pub fn schema_version() -> i64 {
        newest()
    }
}
