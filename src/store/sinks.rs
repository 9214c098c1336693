//! Sinks: how far each of them is, and which instance delivers to it.
//!
//! The instance that delivers lets the row's beat grow. Another one takes over when it has seen the same beat for a while by
//! its own clock, so that no two clocks are compared for that. Whatever it writes names the fence with which it has begun, and the
//! epoch of the database. So one that was taken for dead changes nothing any more, and no position is written into a database
//! that was set back.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, ExprTrait as _, FromQueryResult, QueryFilter as _, QueryOrder as _,
    Set,
    sea_query::{Expr, OnConflict},
};

use super::{
    dead_letters::{self, Letter, LetterPlace},
    dialect,
    entities::sink,
    errors::Error,
    feed::{count_after, last_position, oldest},
    handle::Store,
    ledger::segments,
    timing::read_named,
};

/// An instance that has not said for this long that it delivers to a sink is taken for dead.
pub const ABANDONED: Duration = Duration::from_secs(10);

/// What is stored of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    /// The sink's name.
    pub name: String,
    /// Every event up to this position of the feed was delivered.
    pub position: i64,
    /// The broker's ids are those of the feed plus this.
    pub shift: i64,
    /// Grows when another instance begins to deliver.
    pub fence: i64,
    /// Grows while an instance delivers.
    pub beat: i64,
    /// The instance that delivers; empty when it has stopped in order.
    pub owner: String,
    /// When an instance last delivered or tried to.
    pub seen_time: DateTime<Utc>,
    /// Why nothing is delivered at present; empty if nothing is wrong.
    pub problem: String,
}

/// What an instance writes that delivers to a sink.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    /// Every event up to this position was delivered.
    pub position: i64,
    /// The broker's ids are those of the feed plus this.
    pub shift: i64,
    /// Why nothing is delivered at present; empty if nothing is wrong.
    pub problem: &'a str,
    /// Whether the instance stops, so that another one may begin at once.
    pub stops: bool,
    /// What becomes of events that were refused or wait, together with the position.
    pub letters: &'a Letters,
}

/// Changes of the letters of a sink.
#[derive(Clone, Debug, Default)]
pub struct Letters {
    /// Events up to the position that were not delivered.
    pub added: Vec<Letter>,
    /// Letters that were delivered.
    pub delivered: Vec<LetterPlace>,
    /// Letters that were refused again, and why.
    pub refused: Vec<(LetterPlace, String)>,
}

/// What a sink has not delivered yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Undelivered {
    /// The number of events.
    pub events: u64,
    /// When the first of them was committed, if there is one.
    pub since: Option<DateTime<Utc>>,
}

impl Undelivered {
    /// How old the first of them is.
    #[must_use]
    pub fn age(&self, now: DateTime<Utc>) -> Option<Duration> {
        Some((now - self.since?).to_std().unwrap_or_default())
    }
}

#[derive(FromQueryResult)]
struct Written {
    create_time: DateTime<Utc>,
}

#[derive(FromQueryResult)]
struct Counted {
    events: i64,
}

impl Store {
    /// The sink of this name, which begins with the oldest event that is kept if it is new.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn sink(&self, name: &str, now: DateTime<Utc>) -> Result<Sink, Error> {
        let found = read_named("get_sink", async {
            let pooled = self.0.reads.acquire().await?;
            pooled.read(sink::Entity::find_by_id(name).one(pooled.connection)).await
        });
        if let Some(found) = found.await? {
            return Ok(found.into());
        }
        let position = self.feed_head().await?.compacted;
        self.run_transaction("add_sink", async || {
            let new = sink::ActiveModel {
                name: Set(name.to_owned()),
                position: Set(position),
                shift: Set(0),
                fence: Set(0),
                beat: Set(0),
                owner: Set(String::new()),
                seen_time: Set(now),
                problem: Set(String::new()),
            };
            let tx = self.begin().await?;
            let ignored = OnConflict::column(sink::Column::Name).do_nothing().to_owned();
            sink::Entity::insert(new).on_conflict(ignored).exec_without_returning(&tx.inner).await?;
            let stored = sink::Entity::find_by_id(name).one(&tx.inner).await?;
            let missing = || Error::unknown("the sink was removed while it was added");
            tx.commit(stored.ok_or_else(missing)?.into()).await
        })
        .await
    }

    /// All sinks that were ever configured, by name.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn sinks(&self) -> Result<Vec<Sink>, Error> {
        read_named("get_sinks", async {
            let pooled = self.0.reads.acquire().await?;
            let sinks = sink::Entity::find().order_by_asc(sink::Column::Name).all(pooled.connection);
            Ok(pooled.read(sinks).await?.into_iter().map(Sink::from).collect())
        })
        .await
    }

    /// Notes that these sinks are in use, so that no event is deleted that was not delivered to them.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn keep_for_sinks(&self, names: &[&str], now: DateTime<Utc>) -> Result<(), Error> {
        self.run_transaction("keep_for_sinks", async || {
            let tx = self.begin().await?;
            let used = sink::Entity::update_many().filter(sink::Column::Name.is_in(names.iter().copied()));
            used.col_expr(sink::Column::SeenTime, Expr::value(now)).exec(&tx.inner).await?;
            tx.commit(()).await
        })
        .await
    }

    /// Begins to deliver to a sink, if nobody has delivered since it was read, and the database is still in this epoch.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn take_sink(
        &self,
        seen: &Sink,
        owner: &str,
        epoch: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Sink>, Error> {
        let taken = Sink {
            fence: seen.fence + 1,
            beat: seen.beat + 1,
            owner: owner.to_owned(),
            seen_time: now,
            ..seen.clone()
        };
        let columns = [
            (sink::Column::Fence, Expr::value(taken.fence)),
            (sink::Column::Beat, Expr::value(taken.beat)),
            (sink::Column::Owner, Expr::value(owner)),
            (sink::Column::SeenTime, Expr::value(now)),
        ];
        let found = Condition::all().add(sink::Column::Fence.eq(seen.fence)).add(sink::Column::Beat.eq(seen.beat));
        let letters = Letters::default();
        Ok(self.update_sink(&seen.name, epoch, found, columns, (&letters, now)).await?.then_some(taken))
    }

    /// Writes how far a sink is. Returns whether this instance still delivers to it, in the database in which it has begun to.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn advance_sink(
        &self,
        name: &str,
        (fence, epoch): (i64, &str),
        progress: &Progress<'_>,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let mut columns = vec![
            (sink::Column::Position, Expr::value(progress.position)),
            (sink::Column::Shift, Expr::value(progress.shift)),
            (sink::Column::Beat, Expr::col(sink::Column::Beat).add(1)),
            (sink::Column::SeenTime, Expr::value(now)),
            (sink::Column::Problem, Expr::value(progress.problem)),
        ];
        if progress.stops {
            columns.push((sink::Column::Owner, Expr::value("")));
        }
        // A database that was set back within its epoch does not have the position.
        let is_in_feed = Expr::value(progress.position).lte(last_position(self.0.writes.backend()));
        let found = Condition::all().add(sink::Column::Fence.eq(fence)).add(is_in_feed);
        self.update_sink(name, epoch, found, columns, (progress.letters, now)).await
    }

    async fn update_sink(
        &self,
        name: &str,
        epoch: &str,
        found: Condition,
        columns: impl IntoIterator<Item = (sink::Column, Expr)> + Clone + Send + Sync,
        (letters, now): (&Letters, DateTime<Utc>),
    ) -> Result<bool, Error> {
        self.run_transaction("advance_sink", async || {
            let tx = self.begin().await?;
            let mut update = sink::Entity::update_many().filter(sink::Column::Name.eq(name)).filter(found.clone());
            if let Some(present) = dialect::epoch(tx.backend) {
                update = update.filter(Expr::value(epoch).eq(Expr::SubQuery(None, Box::new(present.into()))));
            }
            for (column, value) in columns.clone() {
                update = update.col_expr(column, value);
            }
            let is_ours = update.exec(&tx.inner).await?.rows_affected == 1;
            if is_ours {
                dead_letters::add(&tx, name, &letters.added, now).await?;
                dead_letters::remove(&tx, name, &letters.delivered).await?;
                for (place, why) in &letters.refused {
                    dead_letters::refuse(&tx, name, *place, why).await?;
                }
            }
            tx.commit(is_ours).await
        })
        .await
    }

    /// What a sink that is at this position has not delivered, where the feed ends at `last`.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn undelivered(&self, position: i64, last: i64) -> Result<Undelivered, Error> {
        if last <= position {
            return Ok(Undelivered::default());
        }
        read_named("get_undelivered", async {
            let pooled = self.0.reads.acquire().await?;
            let first = oldest(pooled.backend(), position, 1);
            let first: Vec<Written> = pooled.read(segments::read(pooled.connection, first)).await?;
            let Some(Written { create_time }) = first.into_iter().next() else {
                return Ok(Undelivered::default());
            };
            let count = count_after(pooled.backend(), position);
            let counted: Vec<Counted> = pooled.read(segments::read(pooled.connection, count)).await?;
            let events = counted.first().map_or(0, |counted| counted.events);
            // A commit may have no public event, and waits nevertheless.
            Ok(Undelivered { events: Ord::max(events, 1).unsigned_abs(), since: Some(create_time) })
        })
        .await
    }
}

impl From<sink::Model> for Sink {
    fn from(stored: sink::Model) -> Self {
        let sink::Model { name, position, shift, fence, beat, owner, seen_time, problem } = stored;
        Self { name, position, shift, fence, beat, owner, seen_time, problem }
    }
}
