//! The feed on Postgres: segments, each with the keys of the outbox's rows at many positions in arrays.
//!
//! A pass gives many positions at once, and one row for all of them takes a fraction of what a row and an entry of an index for each
//! would. Positions have no gaps, so a page is a range of positions. It is found by the first positions of the segments.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, FromQueryResult, Statement};

/// How many events all commits with a position have.
macro_rules! all_events {
    () => {
        "coalesce((SELECT events_to FROM feed_segments ORDER BY first DESC LIMIT 1), (SELECT compacted_events FROM feed_head))"
    };
}
pub(super) use all_events;

/// Reads what a statement of the feed finds.
pub(in crate::store) async fn read<T: FromQueryResult>(
    connection: &impl ConnectionTrait,
    statement: Statement,
) -> Result<Vec<T>, DbErr> {
    T::find_by_statement(statement).all(connection).await
}

/// Runs statements of the feed, one after the other.
pub(in crate::store) async fn execute(
    connection: &impl ConnectionTrait,
    statements: impl IntoIterator<Item = Statement>,
) -> Result<(), DbErr> {
    for statement in statements {
        connection.execute_raw(statement).await?;
    }
    Ok(())
}

/// The rows of the outbox at the next positions after `$1`, at most `$2`. They come in any order, since a sort would copy them. Each
/// is read by its key, however many Postgres expects: LIMIT keeps it from joining otherwise.
macro_rules! page {
    ($column:literal) => {
        concat!(
            "WITH page AS (SELECT greatest($1, compacted) AS before FROM feed_head) \
             SELECT first + ordinal - 1 AS position, listed.aggregate, listed.seq, stored.",
            $column,
            " FROM feed_segments \
             CROSS JOIN LATERAL unnest(aggregates, seqs) WITH ORDINALITY AS listed (aggregate, seq, ordinal) \
             CROSS JOIN LATERAL (SELECT ",
            $column,
            " FROM outbox WHERE aggregate = listed.aggregate AND seq = listed.seq LIMIT 1) AS stored \
             WHERE first >= (SELECT coalesce(max(first), 0) FROM feed_segments WHERE first <= (SELECT before FROM page) + 1) \
             AND first <= (SELECT before FROM page) + $2 \
             AND first + ordinal - 1 > (SELECT before FROM page) \
             AND first + ordinal - 1 <= (SELECT before FROM page) + $2"
        )
    };
}

/// The rows after a position, and their events.
pub(in crate::store) fn after(position: i64, limit: u64) -> Statement {
    page(page!("events"), position, limit)
}

/// The oldest rows after a position, and when they were written.
pub(in crate::store) fn oldest(position: i64, limit: u64) -> Statement {
    page(page!("create_time"), position, limit)
}

fn page(sql: &str, position: i64, limit: u64) -> Statement {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Statement::from_sql_and_values(DbBackend::Postgres, sql, [position.into(), limit.into()])
}

/// How many events all commits up to this position have.
macro_rules! events_to {
    ($position:literal) => {
        concat!(
            "coalesce((SELECT events_to - (SELECT coalesce(sum(count), 0) FROM unnest(events[",
            $position,
            " - first + 2 :]) AS count) FROM feed_segments WHERE first <= ",
            $position,
            " ORDER BY first DESC LIMIT 1), (SELECT compacted_events FROM feed_head))"
        )
    };
}

/// The number of events after a position that were not deleted.
pub(in crate::store) fn count_after(position: i64) -> Statement {
    let count = concat!(
        "SELECT ",
        all_events!(),
        " - ",
        events_to!("(SELECT greatest($1, compacted) FROM feed_head)"),
        " AS events"
    );
    of_position(count, position)
}

/// Notes in the head that the rows up to a position are deleted, and deletes them, with the segments that end there or before. Rows
/// are found by their keys: OFFSET keeps Postgres from joining otherwise.
pub(in crate::store) fn delete(to: i64) -> [Statement; 3] {
    let note = concat!("UPDATE feed_head SET compacted = $1, compacted_events = ", events_to!("$1"));
    [note, DELETE_ROWS, DELETE_SEGMENTS].map(|sql| of_position(sql, to))
}

const DELETE_ROWS: &str = "DELETE FROM outbox o USING (SELECT listed.aggregate, listed.seq FROM feed_segments \
     CROSS JOIN LATERAL unnest(aggregates, seqs) WITH ORDINALITY AS listed (aggregate, seq, ordinal) \
     WHERE first <= $1 AND first + ordinal - 1 <= $1 OFFSET 0) AS old \
     WHERE o.aggregate = old.aggregate AND o.seq = old.seq";

const DELETE_SEGMENTS: &str = "DELETE FROM feed_segments WHERE first <= $1 AND last <= $1";

fn of_position(sql: &str, position: i64) -> Statement {
    Statement::from_sql_and_values(DbBackend::Postgres, sql, [position.into()])
}
