//! The feed: one order for the rows of the outbox of all aggregates.
//!
//! On SQLite a trigger gives a row its position, in the transaction that writes it. On Postgres a pass does, after the commit
//! (`ledger/positions.rs`), and the positions are in segments (`ledger/segments.rs`).

mod retention;

use sea_orm::{
    ColumnTrait as _, DbBackend, EntityTrait as _, FromQueryResult, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, QueryTrait as _, Select, Statement,
    prelude::Uuid,
    sea_query::{Expr, ExprTrait as _, Func, JoinType, Order, Query, SelectStatement},
};

use super::{
    dialect,
    entities::{feed, feed_head, outbox},
    errors::Error,
    handle::Store,
    ledger::{
        positions::{Pass, no_head},
        segments,
    },
    timing::read_named,
};
use crate::background::Nudge;

pub use retention::{Deleted, Retention};

/// A row of the outbox that has a position: the events of one commit of one aggregate.
#[derive(Clone, Debug, FromQueryResult)]
pub struct FeedRow {
    /// The position. Positions begin at 1 and have no gaps.
    pub position: i64,
    /// The id of the showtime, the purchase or the refund.
    pub aggregate: Uuid,
    /// The first revision of the commit.
    pub seq: i64,
    /// Public events in field 1, steps for other instances in field 2.
    pub events: Vec<u8>,
}

/// Where the feed begins and ends.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct FeedHead {
    /// The last position that was given; 0 if there is none.
    pub position: i64,
    /// Rows up to this position may have been deleted.
    pub compacted: i64,
    /// Differs between databases, and changes when one is set back to an earlier time.
    pub epoch: String,
    /// The epoch that the next pass begins, if it is another one. Until then the rest is that of the epoch before.
    pub present: String,
}

impl Store {
    /// Gives positions to the rows of the outbox that have none.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn give_positions(&self) -> Result<Pass, Error> {
        if !self.has_clock() {
            let FeedHead { position, epoch, .. } = self.feed_head().await?;
            return Ok(Pass::Done { position, epoch });
        }
        self.give_positions_after_commit().await
    }

    /// Where the feed begins and ends.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn feed_head(&self) -> Result<FeedHead, Error> {
        read_named("get_feed_head", async {
            let pooled = self.0.reads.acquire().await?;
            let head = head(pooled.backend()).into_model::<FeedHead>();
            pooled.read(head.one(pooled.connection)).await?.ok_or_else(no_head)
        })
        .await
    }

    /// The next rows of the feed after this position, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn feed_after(&self, position: i64, limit: u64) -> Result<Vec<FeedRow>, Error> {
        read_named("get_feed", async {
            let pooled = self.0.reads.acquire().await?;
            let page = after(pooled.backend(), position, limit);
            let mut rows: Vec<FeedRow> = pooled.read(segments::read(pooled.connection, page)).await?;
            rows.sort_unstable_by_key(|row| row.position);
            Ok(rows)
        })
        .await
    }

    /// Is sent when rows of the outbox were committed by this process.
    #[must_use]
    pub fn events_written(&self) -> &Nudge {
        &self.0.events_written
    }
}

/// The statement that reads the rows after a position, in any order.
pub(super) fn after(backend: DbBackend, position: i64, limit: u64) -> Statement {
    if backend == DbBackend::Postgres {
        return segments::after(position, limit);
    }
    with_outbox(position, limit)
        .columns([feed::Column::Position, feed::Column::Aggregate, feed::Column::Seq])
        .column(outbox::Column::Events)
        .build(backend)
}

/// The statement that reads when the oldest rows after a position were written, in any order.
pub(super) fn oldest(backend: DbBackend, position: i64, limit: u64) -> Statement {
    if backend == DbBackend::Postgres {
        return segments::oldest(position, limit);
    }
    with_outbox(position, limit).column(feed::Column::Position).column(outbox::Column::CreateTime).build(backend)
}

/// The statement that counts the events after a position.
pub(super) fn count_after(backend: DbBackend, position: i64) -> Statement {
    if backend == DbBackend::Postgres {
        return segments::count_after(position);
    }
    let events = events_to(i64::MAX).sub(events_to(position));
    feed_head::Entity::find_by_id(1_i16).select_only().expr_as(events, "events").build(backend)
}

/// The statements that delete the rows up to a position, and note that they are deleted.
pub(super) fn delete(backend: DbBackend, to: i64) -> [Statement; 3] {
    if backend == DbBackend::Postgres {
        return segments::delete(to);
    }
    let note = feed_head::Entity::update_many()
        .col_expr(feed_head::Column::CompactedEvents, events_to(to))
        .col_expr(feed_head::Column::Compacted, Expr::value(to));
    let rows = Query::select()
        .columns([feed::Column::Aggregate, feed::Column::Seq])
        .from(feed::Entity)
        .and_where(feed::Column::Position.lte(to))
        .take();
    let of_outbox = Expr::tuple([outbox::Column::Aggregate, outbox::Column::Seq].map(Expr::col));
    let rows = outbox::Entity::delete_many().filter(of_outbox.in_subquery(rows));
    let positions = feed::Entity::delete_many().filter(feed::Column::Position.lte(to));
    [note.build(backend), rows.build(backend), positions.build(backend)]
}

/// Rows of the feed with theirs of the outbox, on SQLite.
fn with_outbox(after: i64, limit: u64) -> Select<feed::Entity> {
    let relation = feed::Entity::belongs_to(outbox::Entity)
        .from((feed::Column::Aggregate, feed::Column::Seq))
        .to((outbox::Column::Aggregate, outbox::Column::Seq));
    feed::Entity::find()
        .select_only()
        .join(JoinType::InnerJoin, relation.into())
        .filter(feed::Column::Position.gt(after))
        .order_by_asc(feed::Column::Position)
        .limit(limit)
}

/// The query for the head.
fn head(backend: DbBackend) -> Select<feed_head::Entity> {
    let epoch = Expr::col((feed_head::Entity, feed_head::Column::Epoch));
    feed_head::Entity::find()
        .select_only()
        .columns([feed_head::Column::Compacted, feed_head::Column::Epoch])
        .expr_as(last_position(backend), "position")
        .expr_as(dialect::epoch(backend).map_or(epoch, subquery), "present")
}

/// The last position. On Postgres the head has it. On SQLite it is that of the last row, or if there is none the one up to which
/// rows were deleted.
pub(super) fn last_position(backend: DbBackend) -> Expr {
    if backend == DbBackend::Postgres {
        return subquery(Query::select().column("position").from(feed_head::Entity).take());
    }
    let last = Query::select().expr(Func::max(Expr::col(feed::Column::Position))).from(feed::Entity).take();
    let compacted = Query::select().column(feed_head::Column::Compacted).from(feed_head::Entity).take();
    Func::coalesce([subquery(last), subquery(compacted)]).into()
}

/// How many events all commits up to this position have, on SQLite.
fn events_to(position: impl Into<Expr>) -> Expr {
    let counted = Func::coalesce([feed::Column::EventsTo, feed::Column::Position].map(Expr::col));
    let last = Query::select()
        .expr(counted)
        .from(feed::Entity)
        .and_where(Expr::col(feed::Column::Position).lte(position.into()))
        .order_by(feed::Column::Position, Order::Desc)
        .limit(1)
        .take();
    let deleted = Query::select()
        .column(feed_head::Column::CompactedEvents)
        .from(feed_head::Entity)
        .and_where(Expr::col(feed_head::Column::Id).eq(1))
        .take();
    Func::coalesce([subquery(last), subquery(deleted)]).into()
}

fn subquery(select: SelectStatement) -> Expr {
    Expr::SubQuery(None, Box::new(select.into()))
}
