//! The schema of a reporting database: plain SQL files, applied in order, each once. Files are only ever added.

use sea_orm::{
    ConnectionTrait as _, DatabaseTransaction, DbBackend, EntityTrait as _, QueryOrder as _, Set, Statement,
};
use sha2::{Digest as _, Sha256};

use super::{entities::reports_migration, error::Error};

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
            postgres: include_str!(concat!("../../migrations/reports/postgres/", $name, ".sql")),
            sqlite: include_str!(concat!("../../migrations/reports/sqlite/", $name, ".sql")),
        }
    };
}

/// Every migration, in order. New ones are appended.
const MIGRATIONS: [Migration; 1] = [migration!(1, "0001_tables")];

const TABLE: &str = "reports_migrations";
const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS reports_migrations (
    version     bigint PRIMARY KEY,
    name        text NOT NULL,
    checksum    text NOT NULL
)";
/// The number of the advisory lock that migrating takes.
const LOCK: i64 = 0x0062_6f78_7265_7074;

impl Migration {
    fn sql(&self, backend: DbBackend) -> &'static str {
        if backend == DbBackend::Sqlite { self.sqlite } else { self.postgres }
    }

    fn checksum(&self, backend: DbBackend) -> String {
        Sha256::digest(self.sql(backend)).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }
}

/// Applies what is missing. A database that has other tables is refused.
pub(super) async fn run(tx: &DatabaseTransaction) -> Result<(), Error> {
    let backend = tx.get_database_backend();
    if backend == DbBackend::Postgres {
        let lock = Statement::from_sql_and_values(backend, "SELECT pg_advisory_xact_lock($1)", [LOCK.into()]);
        tx.execute_raw(lock).await?;
    }
    let tables = tables(tx).await?;
    if !tables.iter().any(|table| table == TABLE)
        && let Some(foreign) = tables.first()
    {
        return Err(Error::Foreign(foreign.clone()));
    }
    tx.execute_unprepared(CREATE_TABLE).await?;
    let applied = reports_migration::Entity::find().order_by_asc(reports_migration::Column::Version).all(tx).await?;
    for row in &applied {
        let same = MIGRATIONS.iter().find(|migration| migration.version == row.version);
        if same.is_none_or(|migration| migration.checksum(backend) != row.checksum) {
            return Err(Error::Newer(row.version));
        }
    }
    for migration in MIGRATIONS.iter().skip(applied.len()) {
        tracing::info!(version = migration.version, name = migration.name, "migrating the reporting database");
        tx.execute_unprepared(migration.sql(backend)).await?;
        let row = reports_migration::ActiveModel {
            version: Set(migration.version),
            name: Set(migration.name.to_owned()),
            checksum: Set(migration.checksum(backend)),
        };
        reports_migration::Entity::insert(row).exec_without_returning(tx).await?;
    }
    Ok(())
}

/// The names of the tables that the database has.
async fn tables(tx: &DatabaseTransaction) -> Result<Vec<String>, Error> {
    let backend = tx.get_database_backend();
    let sql = match backend {
        DbBackend::Sqlite => {
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1"
        }
        _ => {
            "SELECT table_name::text AS name FROM information_schema.tables WHERE table_schema = current_schema() ORDER BY 1"
        }
    };
    let rows = tx.query_all_raw(Statement::from_string(backend, sql)).await?;
    Ok(rows.iter().map(|row| row.try_get("", "name")).collect::<Result<_, _>>()?)
}
