//! Reservations of the past, written behind the service's back.

use sea_orm::sqlx::{self, Connection as _};

use super::usual::connect;
use crate::harness::world::Ground;

/// Writes so many, and lets Postgres tidy up as it would have done by then.
pub(crate) async fn write(ground: &Ground, reservations: u32) {
    let mut connection = connect(&ground.database().url()).await;
    let setting = sqlx::query("SELECT set_config('bench.past', $1, false)").bind(reservations.to_string());
    setting.execute(&mut connection).await.expect("a setting");
    sqlx::raw_sql(include_str!("past.sql")).execute(&mut connection).await.expect("the past");
    sqlx::raw_sql("VACUUM (ANALYZE)").execute(&mut connection).await.expect("a tidy database");
    connection.close().await.expect("a connection closes");
}
