//! The schema, brought up to date: plain SQL files, applied in order, each once, all under one lock.
//!
//! Files are only ever added. A checksum notices one that was edited after it had been applied somewhere. Comments count for
//! the checksum, too.
//!
//! # The rule for rolling upgrades
//!
//! Instances of two releases that follow each other run on one database, while one is replaced by the other. So a migration
//! expands the schema, and what it makes superfluous is removed by a migration of a later release:
//!
//! 1. A migration adds: tables, columns that may be NULL or have a default, indexes, triggers that fill what an older program
//!    does not know of. The release before must still be able to write every row that it writes.
//! 2. Once no program that is still in use needs a column, a later release drops it, and says in a comment above the statement
//!    which release made that safe: `-- Safe since 0.4.0: nothing reads it any more.`
//! 3. A migration after which older programs cannot use the database raises `schema_compatibility.usable_from` to its own
//!    version, and the changelog says so. The same goes for a release that writes what the one before cannot read, unless only its
//!    new methods write it: then the changelog says that they wait until no older program is left.
//!
//! A program whose newest migration is older than the database's accepts the database if that is at least `usable_from`, and
//! refuses it otherwise. `tests/schema.rs` reads every file from 0006 on and refuses what contracts without naming a release.

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait as _, NotSet, QueryOrder as _, Set, Statement,
};
use sha2::{Digest as _, Sha256};

use super::{
    commit,
    entities::{schema_compatibility, schema_migration},
    errors::Error,
    pools::Pool,
};

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

/// Every migration, in order. New ones are appended.
const MIGRATIONS: [Migration; 21] = [
    migration!(1, "0001_ground_floor"),
    migration!(2, "0002_reservations"),
    migration!(3, "0003_standings"),
    migration!(4, "0004_slim_indexes"),
    migration!(5, "0005_customer_digest"),
    migration!(6, "0006_compatibility_and_cinemas"),
    migration!(7, "0007_feed"),
    migration!(8, "0008_sinks"),
    migration!(9, "0009_dead_letters"),
    migration!(10, "0010_event_counts"),
    migration!(11, "0011_feed_segments"),
    migration!(12, "0012_prices"),
    migration!(13, "0013_blocked_seats"),
    migration!(14, "0014_paying"),
    migration!(15, "0015_purchases"),
    migration!(16, "0016_refunds"),
    migration!(17, "0017_purchase_notes"),
    migration!(18, "0018_tills"),
    migration!(19, "0019_purchase_events"),
    migration!(20, "0020_stuck_refunds"),
    migration!(21, "0021_tickets"),
];

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version     bigint PRIMARY KEY,
    name        text NOT NULL,
    checksum    text NOT NULL,
    apply_time  text NOT NULL DEFAULT (CURRENT_TIMESTAMP)
)";
/// The number of the advisory lock that migrating takes. Nothing else may use it.
const LOCK: i64 = 0x0062_6f78_6f66_6663;

impl Migration {
    fn sql(&self, backend: DbBackend) -> &'static str {
        if backend == DbBackend::Sqlite { self.sqlite } else { self.postgres }
    }

    fn checksum(&self, backend: DbBackend) -> String {
        Sha256::digest(self.sql(backend)).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }
}

/// Applies what is missing, in one transaction. Several instances may start at once: one applies, and the others wait for its
/// lock and find nothing missing. Returns the number of migrations that were applied.
pub(super) async fn run(pool: &Pool) -> Result<usize, Error> {
    let backend = pool.backend();
    let (tx, _permit) = pool.acquire().await?.begin().await?;
    if backend == DbBackend::Postgres {
        // A migration may take long, and so may the wait for another instance's.
        tx.execute_unprepared("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0").await?;
        let lock = Statement::from_sql_and_values(backend, "SELECT pg_advisory_xact_lock($1)", [LOCK.into()]);
        tx.execute_raw(lock).await?;
    }
    tx.execute_unprepared(CREATE_TABLE).await?;
    let database = database_version(&tx).await?;
    let mut count = 0;
    for migration in MIGRATIONS.iter().filter(|migration| migration.version > database) {
        tracing::info!(version = migration.version, name = migration.name, "migrating the database");
        tx.execute_unprepared(migration.sql(backend)).await?;
        let applied = schema_migration::Entity::insert(schema_migration::ActiveModel {
            version: Set(migration.version),
            name: Set(migration.name.to_owned()),
            checksum: Set(migration.checksum(backend)),
            apply_time: NotSet,
        });
        applied.exec_without_returning(&tx).await?;
        count += 1;
    }
    commit::confirmed(async { Ok(tx.commit().await?) }).await?;
    Ok(count)
}

/// Changes nothing, and refuses a schema that this program cannot use.
pub(super) async fn check(pool: &Pool) -> Result<(), Error> {
    let pooled = pool.acquire().await?;
    let database = if is_migrated(pooled.connection).await? { database_version(pooled.connection).await? } else { 0 };
    let program = newest();
    if database < program { Err(Error::Older { database, program }) } else { Ok(()) }
}

/// The newest migration that was applied, if this program can use the database after it.
async fn database_version(connection: &impl ConnectionTrait) -> Result<i64, Error> {
    let backend = connection.get_database_backend();
    let applied = schema_migration::Entity::find().order_by_asc(schema_migration::Column::Version);
    let applied = applied.all(connection).await?;
    let program = newest();
    for row in applied.iter().filter(|row| row.version <= program) {
        let same = |migration: &&Migration| migration.version == row.version;
        if MIGRATIONS.iter().find(same).is_none_or(|migration| migration.checksum(backend) != row.checksum) {
            return Err(Error::Altered { version: row.version });
        }
    }
    let database = applied.last().map_or(0, |row| row.version);
    if database > program {
        let compatibility = schema_compatibility::Entity::find().one(connection).await?;
        // Without the row no program but the database's own can use it.
        let usable_from = compatibility.map_or(database, |row| row.usable_from);
        if usable_from > program {
            return Err(Error::Newer { database, program, usable_from });
        }
        tracing::info!(
            database,
            program,
            usable_from,
            "the database is newer than this program, and can be used by it"
        );
    }
    Ok(database)
}

async fn is_migrated(connection: &DatabaseConnection) -> Result<bool, Error> {
    let backend = connection.get_database_backend();
    let sql = match backend {
        DbBackend::Sqlite => "SELECT 1 AS found FROM sqlite_master WHERE name = 'schema_migrations'",
        _ => "SELECT 1 AS found WHERE to_regclass('schema_migrations') IS NOT NULL",
    };
    Ok(connection.query_one_raw(Statement::from_string(backend, sql)).await?.is_some())
}

/// The newest migration that this program has.
pub(super) fn newest() -> i64 {
    MIGRATIONS.last().map_or(0, |migration| migration.version)
}
