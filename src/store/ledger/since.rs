//! The rows of the outbox after a revision. Only Postgres has other instances that can have written them.
//!
//! The ledger reads them inside its transaction, and views read them outside, to replay the steps of other instances.

use sea_orm::{DbBackend, FromQueryResult, Statement};

use crate::{
    domain::ids::ShowtimeId,
    store::{errors::Error, handle::Store, timing::read_named},
};

/// A row of the outbox: one commit of one showtime.
#[derive(Debug, FromQueryResult)]
pub struct OutboxRow {
    /// The showtime's id.
    pub aggregate: uuid::Uuid,
    /// The first revision of the commit.
    pub seq: i64,
    /// Public events in field 1, steps for other instances in field 2.
    pub events: Vec<u8>,
}

impl Store {
    /// The rows of the outbox of these showtimes after these revisions, by showtime and in the order of revisions.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn events_since(&self, revisions: &[(ShowtimeId, i64)]) -> Result<Vec<OutboxRow>, Error> {
        read_named("get_events", async {
            let pooled = self.0.reads.acquire().await?;
            let rows = OutboxRow::find_by_statement(statement(revisions));
            Ok(in_order(pooled.read(rows.all(pooled.connection)).await?))
        })
        .await
    }
}

/// The rows by showtime and in the order of revisions. The query does not sort: a planner may then prefer to read all rows
/// of a showtime along the index.
pub(super) fn in_order(mut rows: Vec<OutboxRow>) -> Vec<OutboxRow> {
    rows.sort_unstable_by_key(|row| (row.aggregate, row.seq));
    rows
}

/// The query for the rows of the outbox after these revisions.
#[must_use]
pub fn statement(revisions: &[(ShowtimeId, i64)]) -> Statement {
    let sql = "SELECT o.aggregate, o.seq, o.events FROM unnest($1::uuid[], $2::bigint[]) AS known (aggregate, revision) \
        JOIN outbox o ON o.aggregate = known.aggregate AND o.seq > known.revision";
    let ids: Vec<_> = revisions.iter().map(|(id, _)| id.0).collect();
    let revisions: Vec<_> = revisions.iter().map(|(_, revision)| *revision).collect();
    Statement::from_sql_and_values(DbBackend::Postgres, sql, [ids.into(), revisions.into()])
}
