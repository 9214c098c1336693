//! A batch of events, which is committed together with the cursor.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveModelTrait, ColumnTrait as _, ConnectionTrait as _, DatabaseTransaction, DbBackend, EntityTrait,
    IdenStatic as _, IntoActiveModel, Iterable as _, PrimaryKeyToColumn, QueryFilter as _, Set,
    sea_query::{Expr, OnConflict, Table},
};

use super::{
    database::Database,
    entities::{hold, projection, sale, showtime},
    error::Error,
    migrations,
    model::{self, Applied, Model},
};
use crate::pb::boxoffice::events::v1::Event;

/// The id of the only row of `projection`.
const ONLY: i32 = 1;
/// The most values in a list and the most rows of one statement. SQLite binds 32,766 values at most.
const AT_ONCE: usize = 500;

/// How far the tables are.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    pub(super) version: i64,
    pub(super) token: Option<String>,
}

/// What is committed together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) events: Vec<Event>,
    /// The token after these events.
    pub(super) token: String,
    /// When the projector heard from the service.
    pub(super) checked: DateTime<Utc>,
    /// If the feed did not begin with the first event: from when on showtimes are complete.
    pub(super) complete_since: Option<DateTime<Utc>>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) now: usize,
    pub(super) before: usize,
    pub(super) left_out: usize,
}

/// Brings the schema up to date.
pub(super) async fn migrate(database: &Database) -> Result<(), Error> {
    let tx = database.begin().await?;
    database
        .within(async {
            migrations::run(&tx).await?;
            Ok(tx.commit().await?)
        })
        .await
}

/// Reads how far the tables are.
pub(super) async fn cursor(database: &Database) -> Result<Cursor, Error> {
    let found = database.read(async |tx| Ok(projection::Entity::find_by_id(ONLY).one(tx).await?)).await?;
    let row = found.ok_or_else(|| Error::Foreign("projection".to_owned()))?;
    Ok(Cursor { version: row.version, token: row.resume_token })
}

/// Empties the tables, so that everything is read anew.
pub(super) async fn empty(database: &Database, cursor: &mut Cursor) -> Result<(), Error> {
    let tx = database.begin().await?;
    database
        .within(async {
            let row = projection::ActiveModel {
                resume_token: Set(None),
                event_count: Set(0),
                last_event_time: Set(None),
                check_time: Set(None),
                complete_since: Set(None),
                ..Default::default()
            };
            advance(&tx, cursor.version, row).await?;
            if tx.get_database_backend() == DbBackend::Postgres {
                tx.execute(Table::truncate().table(showtime::Entity)).await?;
                tx.execute(Table::truncate().table(sale::Entity)).await?;
                tx.execute(Table::truncate().table(hold::Entity)).await?;
            } else {
                showtime::Entity::delete_many().exec(&tx).await?;
                sale::Entity::delete_many().exec(&tx).await?;
                hold::Entity::delete_many().exec(&tx).await?;
            }
            Ok(tx.commit().await?)
        })
        .await?;
    *cursor = Cursor { version: cursor.version + 1, token: None };
    Ok(())
}

/// Commits a batch and moves the cursor. If another projector has moved it, nothing is changed.
pub(super) async fn commit(database: &Database, cursor: &mut Cursor, batch: &Batch) -> Result<Done, Error> {
    let tx = database.begin().await?;
    let done = database
        .within(async {
            // The cursor first: its row is the lock that keeps another projector out.
            let before = advance(&tx, cursor.version, progress(batch)?).await?;
            let mut model = load(&tx, &batch.events).await?;
            let (mut done, mut since) = (Done::default(), batch.complete_since);
            for event in &batch.events {
                match model.apply(event)? {
                    Applied::Now => done.now += 1,
                    Applied::Before => done.before += 1,
                    Applied::Ignored => {}
                    Applied::LeftOut => {
                        done.left_out += 1;
                        since = since.or(Some(model::time(event, event.time.as_ref())?));
                    }
                }
            }
            save(&tx, model).await?;
            note(&tx, &before, done, since).await?;
            tx.commit().await?;
            Ok(done)
        })
        .await?;
    *cursor = Cursor { version: cursor.version + 1, token: Some(batch.token.clone()) };
    Ok(done)
}

/// What is known of the row before the events are applied.
fn progress(batch: &Batch) -> Result<projection::ActiveModel, Error> {
    let mut row = projection::ActiveModel {
        resume_token: Set(Some(batch.token.clone())),
        check_time: Set(Some(batch.checked)),
        ..Default::default()
    };
    if let Some(last) = batch.events.last() {
        row.last_event_time = Set(Some(model::time(last, last.time.as_ref())?));
    }
    Ok(row)
}

/// Changes the row of the cursor if it still has this version, and returns it as it is then.
async fn advance(
    tx: &DatabaseTransaction,
    version: i64,
    change: projection::ActiveModel,
) -> Result<projection::Model, Error> {
    let changed = projection::Entity::update_many()
        .set(projection::ActiveModel { version: Set(version + 1), ..change })
        .filter(projection::Column::Id.eq(ONLY))
        .filter(projection::Column::Version.eq(version))
        .exec(tx)
        .await?;
    if changed.rows_affected != 1 {
        return Err(Error::OtherProjector);
    }
    let row = projection::Entity::find_by_id(ONLY).one(tx).await?;
    row.ok_or(Error::OtherProjector)
}

/// Counts the events, and notes from when on showtimes are complete, unless something later was noted before.
async fn note(
    tx: &DatabaseTransaction,
    before: &projection::Model,
    done: Done,
    since: Option<DateTime<Utc>>,
) -> Result<(), Error> {
    let count = before.event_count + done.now as i64;
    let update = projection::Entity::update_many()
        .col_expr(projection::Column::EventCount, Expr::value(count))
        .col_expr(projection::Column::CompleteSince, Expr::value(before.complete_since.or(since)));
    update.filter(projection::Column::Id.eq(ONLY)).exec(tx).await?;
    Ok(())
}

/// The rows that these events are about.
async fn load(tx: &DatabaseTransaction, events: &[Event]) -> Result<Model, Error> {
    let mut model = Model::default();
    let showtimes: BTreeSet<&str> = events.iter().map(|event| event.showtime_id.as_str()).collect();
    for ids in chunks(showtimes) {
        let found = showtime::Entity::find().filter(showtime::Column::ShowtimeId.is_in(ids)).all(tx).await?;
        model.showtimes.extend(found.into_iter().map(|row| (row.showtime_id.clone(), row)));
    }
    for ids in chunks(events.iter().filter_map(model::reservation).collect()) {
        let found = hold::Entity::find().filter(hold::Column::ReservationId.is_in(ids)).all(tx).await?;
        model.holds.extend(found.into_iter().map(|row| (row.reservation_id.clone(), row)));
    }
    for ids in chunks(events.iter().filter_map(model::sold).collect()) {
        let found = sale::Entity::find().filter(sale::Column::ReservationId.is_in(ids)).all(tx).await?;
        model.sales.extend(found.into_iter().map(|row| ((row.reservation_id.clone(), row.seat.clone()), row)));
    }
    Ok(model)
}

fn chunks(ids: BTreeSet<&str>) -> Vec<Vec<&str>> {
    let ids: Vec<_> = ids.into_iter().collect();
    ids.chunks(AT_ONCE).map(<[_]>::to_vec).collect()
}

async fn save(tx: &DatabaseTransaction, model: Model) -> Result<(), Error> {
    let Model { showtimes, holds, sales } = model;
    upsert::<showtime::Entity, _, _>(tx, showtimes).await?;
    upsert::<hold::Entity, _, _>(tx, holds).await?;
    upsert::<sale::Entity, _, _>(tx, sales).await
}

/// Writes whole rows, whether they are there or not.
async fn upsert<E, K, A>(tx: &DatabaseTransaction, rows: BTreeMap<K, E::Model>) -> Result<(), Error>
where
    E: EntityTrait,
    E::Model: IntoActiveModel<A>,
    A: ActiveModelTrait<Entity = E> + Send,
{
    let rows: Vec<A> = rows.into_values().map(|row| row.into_active_model().reset_all()).collect();
    let key = || E::PrimaryKey::iter().map(PrimaryKeyToColumn::into_column);
    for rows in rows.chunks(AT_ONCE) {
        let mut conflict = OnConflict::columns(key());
        conflict.update_columns(E::Column::iter().filter(|column| !key().any(|key| key.as_str() == column.as_str())));
        E::insert_many(rows.to_vec()).on_conflict(conflict).exec_without_returning(tx).await?;
    }
    Ok(())
}
