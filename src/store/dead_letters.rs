//! Dead letters: events that the broker of a sink refuses, and the later events of the same aggregate, which wait behind them.
//!
//! Only the instance that delivers to the sink adds letters, in the transaction that advances the sink past them, and removes those
//! that it has delivered. An operator lets a dead letter be sent again, or drops it. Then what waits behind it is sent as well.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, ExprTrait as _, FromQueryResult, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, Set,
    sea_query::{Alias, Expr, Func, OnConflict, Query},
};

use super::{entities::dead_letter, errors::Error, handle::Store, timing::read_named, transactions::Tx};

/// The rows of one INSERT. A row has nine values, and SQLite takes 32,766.
const ROWS_AT_ONCE: usize = 1_000;

/// The place of a letter: the position of its commit in the feed, and the index of the event there.
pub type LetterPlace = (i64, i32);

/// An event that is kept for a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Where it is in the feed.
    pub place: LetterPlace,
    /// What the event is of.
    pub aggregate: String,
    /// The event, as it is delivered.
    pub event: Vec<u8>,
    /// Why the broker has refused it; `None`: it waits behind one that was refused.
    pub refused: Option<String>,
    /// How often it was refused.
    pub attempts: i32,
}

/// The same, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLetter {
    /// The sink.
    pub sink: String,
    /// The event.
    pub letter: Letter,
    /// Since when it is here.
    pub write_time: DateTime<Utc>,
}

/// How many letters a sink has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LetterCounts {
    /// Those that the broker has refused.
    pub dead: u64,
    /// Those that wait.
    pub waiting: u64,
}

/// Which letters are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LetterChoice {
    /// All dead letters of the sink.
    All,
    /// This one.
    One(LetterPlace),
}

#[derive(FromQueryResult)]
struct Counted {
    sink: String,
    dead: bool,
    letters: i64,
}

#[derive(FromQueryResult)]
struct OfAggregate {
    aggregate: String,
    letters: i64,
}

impl Store {
    /// The aggregates of which a sink has letters, and how many of each.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn letters_by_aggregate(&self, sink: &str) -> Result<HashMap<String, u64>, Error> {
        read_named("get_letter_aggregates", async {
            let pooled = self.0.reads.acquire().await?;
            let counted = dead_letter::Entity::find()
                .select_only()
                .column(dead_letter::Column::Aggregate)
                .column_as(Expr::from(Func::count(Expr::col(dead_letter::Column::Index))), "letters")
                .filter(dead_letter::Column::Sink.eq(sink))
                .group_by(dead_letter::Column::Aggregate)
                .into_model::<OfAggregate>();
            let counted = pooled.read(counted.all(pooled.connection)).await?;
            Ok(counted.into_iter().map(|of| (of.aggregate, of.letters.unsigned_abs())).collect())
        })
        .await
    }

    /// The numbers of letters by sink.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn letter_counts(&self) -> Result<HashMap<String, LetterCounts>, Error> {
        read_named("count_letters", async {
            let pooled = self.0.reads.acquire().await?;
            let counted = dead_letter::Entity::find()
                .select_only()
                .column(dead_letter::Column::Sink)
                .column(dead_letter::Column::Dead)
                .column_as(Expr::from(Func::count(Expr::col(dead_letter::Column::Index))), "letters")
                .group_by(dead_letter::Column::Sink)
                .group_by(dead_letter::Column::Dead)
                .into_model::<Counted>();
            let mut counts: HashMap<String, LetterCounts> = HashMap::new();
            for Counted { sink, dead, letters } in pooled.read(counted.all(pooled.connection)).await? {
                let counts = counts.entry(sink).or_default();
                *(if dead { &mut counts.dead } else { &mut counts.waiting }) = letters.unsigned_abs();
            }
            Ok(counts)
        })
        .await
    }

    /// Letters that may be sent, in order: those before which no letter of their aggregate is dead.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn letters_to_send(&self, sink: &str, limit: u64) -> Result<Vec<Letter>, Error> {
        read_named("get_letters_to_send", async {
            let pooled = self.0.reads.acquire().await?;
            let before = Alias::new("before");
            let (dead, letter) = (|column| Expr::col((before.clone(), column)), dead_letter::Entity);
            let own = |column| Expr::col((letter, column));
            let blocking = Query::select()
                .expr(Expr::val(1))
                .from_as(letter, before.clone())
                .and_where(dead(dead_letter::Column::Sink).eq(sink))
                .and_where(dead(dead_letter::Column::Aggregate).eq(own(dead_letter::Column::Aggregate)))
                // As the partial index has it.
                .and_where(dead(dead_letter::Column::Dead))
                .and_where(
                    dead(dead_letter::Column::Position).lt(own(dead_letter::Column::Position)).or(dead(
                        dead_letter::Column::Position,
                    )
                    .eq(own(dead_letter::Column::Position))
                    .and(dead(dead_letter::Column::Index).lte(own(dead_letter::Column::Index)))),
                )
                .to_owned();
            let letters = dead_letter::Entity::find()
                .filter(dead_letter::Column::Sink.eq(sink))
                .filter(Expr::exists(blocking).not())
                .order_by_asc(dead_letter::Column::Position)
                .order_by_asc(dead_letter::Column::Index)
                .limit(limit);
            let letters = pooled.read(letters.all(pooled.connection)).await?;
            Ok(letters.into_iter().map(|stored| StoredLetter::from(stored).letter).collect())
        })
        .await
    }

    /// Letters in order after this place, for operators; `sink`: of this one, `dead`: only those that were refused.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn letters(
        &self,
        sink: Option<&str>,
        dead: bool,
        after: Option<&(String, LetterPlace)>,
        limit: u64,
    ) -> Result<Vec<StoredLetter>, Error> {
        read_named("get_letters", async {
            let pooled = self.0.reads.acquire().await?;
            let mut letters = dead_letter::Entity::find();
            if let Some(sink) = sink {
                letters = letters.filter(dead_letter::Column::Sink.eq(sink));
            }
            if dead {
                letters = letters.filter(dead_letter::Column::Dead.eq(true));
            }
            if let Some((sink, (position, index))) = after {
                let of_sink = Condition::all().add(dead_letter::Column::Sink.eq(sink.as_str())).add(
                    Condition::any().add(dead_letter::Column::Position.gt(*position)).add(
                        Condition::all()
                            .add(dead_letter::Column::Position.eq(*position))
                            .add(dead_letter::Column::Index.gt(*index)),
                    ),
                );
                letters =
                    letters.filter(Condition::any().add(dead_letter::Column::Sink.gt(sink.as_str())).add(of_sink));
            }
            let letters = letters
                .order_by_asc(dead_letter::Column::Sink)
                .order_by_asc(dead_letter::Column::Position)
                .order_by_asc(dead_letter::Column::Index)
                .limit(limit);
            let letters = pooled.read(letters.all(pooled.connection)).await?;
            Ok(letters.into_iter().map(StoredLetter::from).collect())
        })
        .await
    }

    /// Lets dead letters of a sink be sent again. Returns how many.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn redrive_letters(&self, sink: &str, choice: &LetterChoice) -> Result<u64, Error> {
        self.run_transaction("redrive_letters", async || {
            let tx = self.begin().await?;
            let updated = dead_letter::Entity::update_many()
                .filter(chosen(sink, choice))
                .col_expr(dead_letter::Column::Dead, Expr::value(false))
                .exec(&tx.inner)
                .await?;
            tx.commit(updated.rows_affected).await
        })
        .await
    }

    /// Gives up dead letters of a sink. Returns how many.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn drop_letters(&self, sink: &str, choice: &LetterChoice) -> Result<u64, Error> {
        self.run_transaction("drop_letters", async || {
            let tx = self.begin().await?;
            let deleted = dead_letter::Entity::delete_many().filter(chosen(sink, choice)).exec(&tx.inner).await?;
            tx.commit(deleted.rows_affected).await
        })
        .await
    }
}

fn chosen(sink: &str, choice: &LetterChoice) -> Condition {
    let dead = Condition::all().add(dead_letter::Column::Sink.eq(sink)).add(dead_letter::Column::Dead.eq(true));
    match choice {
        LetterChoice::All => dead,
        LetterChoice::One((position, index)) => {
            dead.add(dead_letter::Column::Position.eq(*position)).add(dead_letter::Column::Index.eq(*index))
        }
    }
}

/// Adds letters. One that is there already stays as it is.
pub(super) async fn add(tx: &Tx, sink: &str, letters: &[Letter], now: DateTime<Utc>) -> Result<(), Error> {
    for letters in letters.chunks(ROWS_AT_ONCE) {
        let rows = letters.iter().map(|letter| dead_letter::ActiveModel {
            sink: Set(sink.to_owned()),
            position: Set(letter.place.0),
            index: Set(letter.place.1),
            aggregate: Set(letter.aggregate.clone()),
            event: Set(letter.event.clone()),
            dead: Set(letter.refused.is_some()),
            reason: Set(letter.refused.clone().unwrap_or_default()),
            attempts: Set(letter.attempts),
            write_time: Set(now),
        });
        let key = [dead_letter::Column::Sink, dead_letter::Column::Position, dead_letter::Column::Index];
        let present = OnConflict::columns(key).do_nothing().to_owned();
        dead_letter::Entity::insert_many(rows).on_conflict(present).exec_without_returning(&tx.inner).await?;
    }
    Ok(())
}

/// Removes letters that were delivered.
pub(super) async fn remove(tx: &Tx, sink: &str, delivered: &[LetterPlace]) -> Result<(), Error> {
    for places in delivered.chunks(ROWS_AT_ONCE) {
        let key = [dead_letter::Column::Position, dead_letter::Column::Index].map(Expr::col);
        let places = places.iter().map(|(position, index)| Expr::tuple([Expr::val(*position), Expr::val(*index)]));
        let delivered = dead_letter::Entity::delete_many()
            .filter(dead_letter::Column::Sink.eq(sink))
            .filter(Expr::tuple(key).is_in(places));
        delivered.exec(&tx.inner).await?;
    }
    Ok(())
}

/// Notes that the broker has refused a letter again.
pub(super) async fn refuse(tx: &Tx, sink: &str, (position, index): LetterPlace, why: &str) -> Result<(), Error> {
    let refused = dead_letter::Entity::update_many()
        .filter(dead_letter::Column::Sink.eq(sink))
        .filter(dead_letter::Column::Position.eq(position))
        .filter(dead_letter::Column::Index.eq(index))
        .col_expr(dead_letter::Column::Dead, Expr::value(true))
        .col_expr(dead_letter::Column::Reason, Expr::value(why))
        .col_expr(dead_letter::Column::Attempts, Expr::col(dead_letter::Column::Attempts).add(1));
    refused.exec(&tx.inner).await?;
    Ok(())
}

impl From<dead_letter::Model> for StoredLetter {
    fn from(stored: dead_letter::Model) -> Self {
        let dead_letter::Model { sink, position, index, aggregate, event, dead, reason, attempts, write_time } = stored;
        let refused = dead.then_some(reason);
        Self { sink, letter: Letter { place: (position, index), aggregate, event, refused, attempts }, write_time }
    }
}
