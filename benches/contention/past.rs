//! Past reservations, written to the database directly.

use sea_orm::sqlx::{self, Connection as _};

use super::usual::connect;
use crate::harness::world::Storage;

/// Writes this many reservations, and vacuums: with so many rows autovacuum would have run.
pub(crate) async fn write(storage: &Storage, reservations: u32) {
    let mut connection = connect(&storage.database().url()).await;
    let setting = sqlx::query("SELECT set_config('bench.past', $1, false)").bind(reservations.to_string());
    setting.execute(&mut connection).await.expect("a setting");
    sqlx::raw_sql(include_str!("past.sql")).execute(&mut connection).await.expect("past reservations");
    sqlx::raw_sql("VACUUM (ANALYZE)").execute(&mut connection).await.expect("a vacuumed database");
    connection.close().await.expect("a connection closes");
}
