//! Where holds have ended that nobody has written down.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait as _, DbBackend, Statement};

use crate::{
    domain::ids::ShowtimeId,
    store::{Error, Store},
};

impl Store {
    /// Showtimes in which a hold may have ended by `now`, the longest overdue first. On Postgres the database's clock
    /// decides.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn lapsed(&self, now: Option<DateTime<Utc>>, limit: u64) -> Result<Vec<ShowtimeId>, Error> {
        let held = self.0.reads.acquire().await?;
        let statement = lapsed_statement(self.0.reads.backend(), now, limit);
        let rows = held.read(held.connection.query_all_raw(statement)).await?;
        rows.iter().map(|row| Ok(ShowtimeId(row.try_get("", "showtime_id")?))).collect()
    }
}

/// The query behind the sweep.
#[must_use]
pub fn lapsed_statement(backend: DbBackend, now: Option<DateTime<Utc>>, limit: u64) -> Statement {
    let limit = sea_orm::Value::from(limit as i64);
    let (clock, values) = match now {
        Some(now) => ("$2", vec![limit, now.into()]),
        // Not `clock_timestamp()`: no index can be searched for what may be another value for each row.
        None => ("statement_timestamp()", vec![limit]),
    };
    let sql = format!("SELECT showtime_id FROM standings WHERE next_lapse <= {clock} ORDER BY next_lapse LIMIT $1");
    Statement::from_sql_and_values(backend, sql, values)
}
