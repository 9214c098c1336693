//! The feed on Postgres: blocks of positions, each with the keys of its rows of the outbox in arrays.
//!
//! A pass gives many positions at once, so a block takes a fraction of what a row and an entry of an index for each position
//! would. Blocks follow each other without gaps, and so do the positions of a block. So the rows after a position are those up to
//! another one, and a page is found by the blocks' first positions.

use sea_orm::{DbBackend, Statement};

/// How many events all commits with a position have.
macro_rules! all_events {
    () => {
        "coalesce((SELECT events_to FROM feed_blocks ORDER BY first DESC LIMIT 1), (SELECT compacted_events FROM feed_head))"
    };
}
pub(super) use all_events;

/// The rows of the outbox at the next positions after `$1`, at most `$2`. They come in any order, since a sort would copy them. Each is
/// read by its key, however many Postgres expects: LIMIT keeps it from joining otherwise.
macro_rules! page {
    ($column:literal) => {
        concat!(
            "WITH page AS (SELECT greatest($1, compacted) AS before FROM feed_head) \
             SELECT first + ordinal - 1 AS position, listed.aggregate, listed.seq, stored.",
            $column,
            " FROM feed_blocks \
             CROSS JOIN LATERAL unnest(aggregates, seqs) WITH ORDINALITY AS listed (aggregate, seq, ordinal) \
             CROSS JOIN LATERAL (SELECT ",
            $column,
            " FROM outbox WHERE aggregate = listed.aggregate AND seq = listed.seq LIMIT 1) AS stored \
             WHERE first >= (SELECT coalesce(max(first), 0) FROM feed_blocks WHERE first <= (SELECT before FROM page) + 1) \
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

/// How many events all commits up to the position `$1` have.
macro_rules! events_to {
    () => {
        "coalesce((SELECT events_to - (SELECT coalesce(sum(count), 0) FROM unnest(events[$1 - first + 2 :]) AS count) \
         FROM feed_blocks WHERE first <= $1 ORDER BY first DESC LIMIT 1), (SELECT compacted_events FROM feed_head))"
    };
}

/// The number of events after a position.
pub(in crate::store) fn count_after(position: i64) -> Statement {
    of_position(concat!("SELECT ", all_events!(), " - ", events_to!(), " AS events"), position)
}

/// Notes in the head that the rows up to a position are deleted, and deletes them, with the blocks that end there. Rows are found by their keys:
/// OFFSET keeps Postgres from joining otherwise.
pub(in crate::store) fn delete(to: i64) -> [Statement; 3] {
    let note = concat!("UPDATE feed_head SET compacted = $1, compacted_events = ", events_to!());
    [note, DELETE_ROWS, DELETE_BLOCKS].map(|sql| of_position(sql, to))
}

const DELETE_ROWS: &str = "DELETE FROM outbox o USING (SELECT listed.aggregate, listed.seq FROM feed_blocks \
     CROSS JOIN LATERAL unnest(aggregates, seqs) WITH ORDINALITY AS listed (aggregate, seq, ordinal) \
     WHERE first <= $1 AND first + ordinal - 1 <= $1 OFFSET 0) AS old \
     WHERE o.aggregate = old.aggregate AND o.seq = old.seq";

const DELETE_BLOCKS: &str = "DELETE FROM feed_blocks WHERE first <= $1 AND last <= $1";

fn of_position(sql: &str, position: i64) -> Statement {
    Statement::from_sql_and_values(DbBackend::Postgres, sql, [position.into()])
}
