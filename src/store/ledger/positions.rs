//! Positions in the feed for rows of the outbox, after their commit. Only Postgres needs them: on SQLite a trigger gives them.
//!
//! A revision is only written after the one before was committed, so that whatever a statement sees is a prefix of each
//! aggregate without gaps. Nor is it earlier than the one before, so that the order of times is one of revisions, too. Every row that is seen is given a position, whenever its transaction began. A pass leaves its
//! snapshot, and the next one finds what that snapshot did not see by the transactions' numbers. So it reads nothing else, also
//! while a transaction stays open for long.

use std::{sync::LazyLock, time::Duration};

use sea_orm::{ConnectionTrait as _, DbBackend, FromQueryResult, Statement, sea_query::PostgresQueryBuilder};

use super::segments::all_events;
use crate::store::{
    deadline::bounded,
    dialect,
    errors::Error,
    handle::Store,
    planted::{self, Bug},
    transactions,
};

/// A pass that gives positions may take as long as this number of statements. After an upgrade, or in a database that was
/// restored, it looks at all rows.
const PASS_STATEMENTS: u32 = 12;

/// What a pass that gives positions has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Nothing that was committed before is without a position.
    Done {
        /// The last position.
        position: i64,
        /// The present epoch.
        epoch: String,
    },
    /// Another instance is giving positions. It may not see what was committed last.
    Busy,
}

/// What one statement sees of the feed.
#[derive(FromQueryResult)]
struct Seen {
    position: i64,
    epoch: String,
    present: String,
    /// Whether a row of the outbox has no position.
    has_fresh: bool,
}

#[derive(FromQueryResult)]
struct Locked {
    position: i64,
    epoch: String,
    present: String,
}

#[derive(FromQueryResult)]
struct Numbered {
    position: i64,
}

impl Store {
    /// Gives positions to the rows of the outbox that have none, on Postgres.
    pub(in crate::store) async fn give_positions_after_commit(&self) -> Result<Pass, Error> {
        // Most passes find nothing, and should write nothing. A lock of a row is written.
        let Seen { position, epoch, present, has_fresh } = self.see().await?;
        if epoch == present && !has_fresh {
            return Ok(Pass::Done { position, epoch });
        }
        let limit = self.0.writes.limit() * PASS_STATEMENTS;
        transactions::run(limit, "give_positions", || self.give_positions_once(limit)).await
    }

    async fn see(&self) -> Result<Seen, Error> {
        let pooled = self.0.reads.acquire().await?;
        let seen = pooled.read(Seen::find_by_statement(see()).one(pooled.connection)).await?;
        seen.ok_or_else(no_head)
    }

    async fn give_positions_once(&self, limit: Duration) -> Result<Pass, Error> {
        let tx = self.begin().await?;
        // A statement of its own: the one that reads the outbox must begin after the lock was taken.
        let lock = Statement::from_sql_and_values(tx.backend, LOCK.as_str(), [limit.as_millis().to_string().into()]);
        let Some(Locked { position, epoch, present }) =
            bounded(tx.limit, Locked::find_by_statement(lock).one(&tx.inner)).await?
        else {
            return tx.rollback(Pass::Busy).await;
        };
        let is_new = epoch != present;
        let number = match is_new {
            true => NUMBER_ALL,
            false if planted::has(Bug::LaterTransactionsOnly) => NUMBER_LATER,
            false => NUMBER,
        };
        let number = Statement::from_sql_and_values(tx.backend, number, [position.into()]);
        let numbered = bounded(limit, Numbered::find_by_statement(number).one(&tx.inner)).await?;
        if is_new {
            let begin = Statement::from_sql_and_values(tx.backend, BEGIN_EPOCH, [present.clone().into()]);
            bounded(tx.limit, tx.inner.execute_raw(begin)).await?;
            bounded(limit, tx.inner.execute_unprepared(FORGET_TRANSACTIONS)).await?;
        }
        let position = numbered.map_or(position, |numbered| numbered.position);
        tx.commit(Pass::Done { position, epoch: present }).await
    }
}

/// The error of a database without a head.
pub(in crate::store) fn no_head() -> Error {
    Error::Unreadable { table: "feed_head", key: "1".to_owned(), why: "there is no row".to_owned() }
}

/// The present epoch, as an expression.
fn epoch() -> String {
    dialect::epoch(DbBackend::Postgres).map(|query| query.to_string(PostgresQueryBuilder)).unwrap_or_default()
}

/// The rows that the last pass did not see, as it has left its snapshot: those of transactions that had not begun then, and of
/// those that were under way.
macro_rules! fresh {
    () => {
        "SELECT aggregate, seq, create_time, event_count FROM outbox \
             WHERE xid >= (SELECT pg_snapshot_xmax(seen) FROM feed_head) \
         UNION ALL \
         SELECT aggregate, seq, create_time, event_count FROM outbox \
             WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip(seen) FROM feed_head))"
    };
}

/// The most positions of a segment.
macro_rules! segment {
    () => {
        "1000"
    };
}

/// Gives positions to these rows, in an order in which each aggregate's are in theirs, and leaves the snapshot in which the
/// statement has seen them. The rows are sorted once: Postgres builds arrays in the order of a sorted subquery. The parts are
/// materialized, because the sort by which they are counted would otherwise copy the whole arrays for each part.
macro_rules! number {
    ($rows:expr) => {
        concat!(
            "WITH fresh AS (SELECT array_agg(aggregate) AS aggregates, array_agg(seq) AS seqs, \
             array_agg(event_count) AS events, count(*) AS total \
             FROM (SELECT aggregate, seq, event_count FROM (",
            $rows,
            ") AS found ORDER BY create_time, aggregate, seq) AS sorted), \
             parts AS MATERIALIZED (SELECT before, least(before + ",
            segment!(),
            ", total) AS last, aggregates[before + 1 : before + ",
            segment!(),
            "] AS aggregates, seqs[before + 1 : before + ",
            segment!(),
            "] AS seqs, events[before + 1 : before + ",
            segment!(),
            "] AS events FROM fresh, generate_series(0, total::integer - 1, ",
            segment!(),
            ") AS before), \
             given AS (INSERT INTO feed_segments (first, last, aggregates, seqs, events, events_to) \
             SELECT $1 + before + 1, $1 + last, aggregates, seqs, events, ",
            all_events!(),
            " + sum((SELECT sum(count) FROM unnest(events) AS count)) OVER (ORDER BY before) FROM parts RETURNING last) \
             UPDATE feed_head SET position = coalesce((SELECT max(last) FROM given), position), \
             seen = pg_current_snapshot() RETURNING position"
        )
    };
}

static SEE: LazyLock<String> = LazyLock::new(|| {
    let (fresh, present) = (fresh!(), epoch());
    format!("SELECT position, epoch, ({present}) AS present, EXISTS ({fresh}) AS has_fresh FROM feed_head")
});

/// The statement that looks whether there is something to do.
pub(in crate::store) fn see() -> Statement {
    Statement::from_string(DbBackend::Postgres, SEE.as_str())
}

/// The statements of a pass, after the lock: those that give positions in a known epoch and in a new one, and that which forgets
/// transactions.
pub(in crate::store) fn numbering() -> [Statement; 3] {
    let number = |sql| Statement::from_sql_and_values(DbBackend::Postgres, sql, [0.into()]);
    [number(NUMBER), number(NUMBER_ALL), Statement::from_string(DbBackend::Postgres, FORGET_TRANSACTIONS)]
}

/// Locks the head, unless another transaction has locked it, and sets the time that the next statement may take. Statements that look
/// at all rows join them by hashing (see `pools`).
static LOCK: LazyLock<String> = LazyLock::new(|| {
    let present = epoch();
    let lock = if planted::has(Bug::HeadWithoutLock) { "" } else { "FOR UPDATE SKIP LOCKED" };
    format!(
        "SELECT position, epoch, ({present}) AS present, set_config('statement_timeout', $1, true), \
         set_config('enable_hashjoin', 'on', true) FROM feed_head {lock}"
    )
});

const NUMBER: &str = number!(fresh!());

const NUMBER_LATER: &str = number!(
    "SELECT aggregate, seq, create_time, event_count FROM outbox \
     WHERE xid >= (SELECT pg_snapshot_xmax(seen) FROM feed_head)"
);

/// In a new epoch every row is looked at: a database that was dumped and restored counts its transactions anew.
const NUMBER_ALL: &str = number!(
    "SELECT aggregate, seq, create_time, event_count FROM outbox o \
     WHERE NOT EXISTS (SELECT 1 FROM feed f WHERE f.aggregate = o.aggregate AND f.seq = o.seq)"
);

const BEGIN_EPOCH: &str = "UPDATE feed_head SET epoch = $1";

/// Rows that have their positions must not be found by the number of a transaction of another epoch.
const FORGET_TRANSACTIONS: &str = "UPDATE outbox o SET xid = NULL FROM feed f \
     WHERE f.aggregate = o.aggregate AND f.seq = o.seq \
     AND o.xid >= (SELECT pg_snapshot_xmin(seen) FROM feed_head)";
