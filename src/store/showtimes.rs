//! Showtimes: scheduled under their auditorium's lock, read together, listed along an index.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, NaiveDate, Utc};
use sea_orm::{
    ColumnTrait as _, DbBackend, EntityTrait as _, FromQueryResult as _, JoinType, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, RelationTrait as _, Select, Set, Statement,
    sea_query::{Expr, ExprTrait as _, LockType},
};

use super::{
    Error, RequestKey, Store,
    auditoriums::AuditoriumRow,
    entities::{
        auditorium,
        showtime::{ActiveModel, Column, Entity, Relation},
        standing,
    },
    facts::{SELECT_SHOWTIMES, ShowtimeRow, StandingRow},
    outbox,
    reader::by_ids,
    requests::{self, Claim},
    transactions::{
        Tx,
        Verdict::{Commit, Refuse},
        look,
    },
};
use crate::domain::{
    ids::{AuditoriumId, ShowtimeId},
    movie::{Movie, Sourced},
    showtime::{Filter, MAX_SPAN, NewShowtime, Phase, Showtime, Slot, Standing},
};

/// A showtime to be scheduled, with everything that was found out for it.
pub struct Schedule<'a> {
    /// Its id, if it comes to be.
    pub showtime_id: ShowtimeId,
    /// What was asked for.
    pub new: &'a NewShowtime,
    /// The movie, to be kept as it is now.
    pub movie: &'a Sourced<Movie>,
    /// The time it takes from the auditorium.
    pub slot: Slot,
    /// How long its reservations are held.
    pub hold_duration: Duration,
    /// Now.
    pub now: DateTime<Utc>,
}

/// What became of a wish for a showtime.
pub enum ShowtimeScheduled {
    /// It was scheduled.
    Scheduled(Showtime),
    /// It had been scheduled by this same request.
    Replayed(Showtime),
    /// The request id belongs to another request.
    RequestReused,
    /// There is no such auditorium.
    NoAuditorium,
    /// The auditorium is taken by this showtime.
    Overlaps(Showtime),
}

/// A place in the list: just after this showtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// It starts then,
    pub start_time: DateTime<Utc>,
    /// and is this one.
    pub showtime_id: ShowtimeId,
}

/// The constraint that stands behind our own check, by the same name on both stores.
const NO_OVERLAP: &str = "showtimes_do_not_overlap";

impl Store {
    /// The answer that a request to schedule has had, so that its retry needs no movie.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn schedule_answered(&self, key: &RequestKey) -> Result<Option<ShowtimeScheduled>, Error> {
        Ok(match self.answered::<ShowtimeRow>(key).await? {
            Claim::Ours => None,
            Claim::Answered(row) => Some(ShowtimeScheduled::Replayed(row.showtime()?)),
            Claim::Reused => Some(ShowtimeScheduled::RequestReused),
        })
    }

    /// Schedules a showtime, if its slot is free. Whoever wants time of the same auditorium waits for its lock.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn schedule(&self, plan: &Schedule<'_>, key: Option<&RequestKey>) -> Result<ShowtimeScheduled, Error> {
        let done = self.transact("create_showtime", || self.schedule_once(plan, key)).await;
        match done {
            // Nothing that goes through this method gets here. What does was written by other hands.
            Err(Error::Constraint(name)) if name.contains(NO_OVERLAP) => {
                let held = self.0.reads.acquire().await?;
                let other = overlapping(held.connection, held.connection.get_database_backend(), plan).await?;
                other.map(ShowtimeScheduled::Overlaps).ok_or(Error::Constraint(name))
            }
            done => done,
        }
    }

    async fn schedule_once(&self, plan: &Schedule<'_>, key: Option<&RequestKey>) -> Result<ShowtimeScheduled, Error> {
        let tx = self.begin().await?;
        match requests::claim::<ShowtimeRow>(&tx, key, plan.now).await? {
            Claim::Answered(first) => return tx.end(Refuse(ShowtimeScheduled::Replayed(first.showtime()?))).await,
            Claim::Reused => return tx.end(Refuse(ShowtimeScheduled::RequestReused)).await,
            Claim::Ours => {}
        }
        let Some(auditorium) = lock_auditorium(&tx, plan.new.auditorium_id).await? else {
            return tx.end(Refuse(ShowtimeScheduled::NoAuditorium)).await;
        };
        if let Some(other) = overlapping(&tx.inner, tx.backend, plan).await? {
            return tx.end(Refuse(ShowtimeScheduled::Overlaps(other))).await;
        }
        let row = row_of(plan, auditorium)?;
        insert(&tx, plan, &row).await?;
        requests::answer(&tx, key, &row).await?;
        let scheduled = row.showtime()?;
        outbox::showtime_created(&tx, &scheduled).await?;
        tx.end(Commit(ShowtimeScheduled::Scheduled(scheduled))).await
    }

    /// A showtime as it stands now.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn showtime(&self, id: ShowtimeId) -> Result<Option<Showtime>, Arc<Error>> {
        self.0.reader.read(id).await
    }

    /// A page of showtimes by start time and id.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn showtimes(&self, filter: &Filter, after: Option<Cursor>, limit: u64) -> Result<Vec<Showtime>, Error> {
        look("list_showtimes", async {
            let held = self.0.reads.acquire().await?;
            let query = listing(filter, after, limit).into_model::<StandingRow>();
            let standings = held.read(query.all(held.connection)).await?;
            let id = |row: &StandingRow| ShowtimeId(row.showtime_id);
            // Kept aside while the answer is put together: the memory may forget them meanwhile.
            let mut facts: Vec<_> = standings.iter().map(|row| self.0.facts.get(id(row))).collect();
            let unknown: Vec<_> =
                standings.iter().zip(&facts).filter(|(_, facts)| facts.is_none()).map(|(row, _)| id(row)).collect();
            if !unknown.is_empty() {
                let query = ShowtimeRow::find_by_statement(by_ids(self.0.reads.backend(), SELECT_SHOWTIMES, &unknown));
                let mut learnt = std::collections::HashMap::new();
                for row in held.read(query.all(held.connection)).await? {
                    learnt.insert(row.showtime_id, self.0.facts.learn(&row)?);
                }
                for (row, facts) in standings.iter().zip(&mut facts).filter(|(_, facts)| facts.is_none()) {
                    *facts = learnt.get(&row.showtime_id).cloned();
                }
            }
            let whole = standings.iter().zip(facts).filter_map(|(row, facts)| facts.map(|facts| (row, facts)));
            whole.map(|(row, facts)| Ok(Showtime { facts, standing: row.standing()? })).collect()
        })
        .await
    }

    /// When the auditorium has no more showtimes, if it has any.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn free_from(&self, id: AuditoriumId) -> Result<Option<DateTime<Utc>>, Error> {
        look("free_from", async {
            let held = self.0.reads.acquire().await?;
            let query = Entity::find()
                .select_only()
                .column(Column::FreeAgain)
                .filter(Column::AuditoriumId.eq(id.0))
                .filter(Column::State.eq("scheduled"))
                .order_by_desc(Column::StartTime)
                .limit(1)
                .into_tuple::<DateTime<Utc>>();
            held.read(query.one(held.connection)).await
        })
        .await
    }
}

/// The query behind the list. Each of its filters has an index that ends in its order.
fn listing(filter: &Filter, after: Option<Cursor>, limit: u64) -> Select<Entity> {
    let mut query = Entity::find()
        .select_only()
        .columns([Column::ShowtimeId, Column::State, Column::CancelTime])
        .columns([standing::Column::AvailableCount, standing::Column::Revision])
        .join(JoinType::InnerJoin, Relation::Standing.def())
        .order_by_asc(Column::StartTime)
        .order_by_asc(Column::ShowtimeId)
        .limit(limit);
    if let Some(id) = filter.auditorium_id {
        query = query.filter(Column::AuditoriumId.eq(id.0));
    }
    if let Some(id) = &filter.movie_id {
        query = query.filter(Column::MovieId.eq(id.as_str()));
    }
    if let Some(time) = filter.start_after {
        query = query.filter(Column::StartTime.gte(time));
    }
    if let Some(time) = filter.start_before {
        query = query.filter(Column::StartTime.lt(time));
    }
    if let Some(date) = filter.local_date {
        query = query.filter(Column::LocalDate.eq::<NaiveDate>(date));
    }
    let state = |phase: &Phase| match phase {
        Phase::Scheduled => "scheduled",
        Phase::Cancelled => "cancelled",
    };
    if !filter.states.is_empty() {
        query = query.filter(Column::State.is_in(filter.states.iter().map(state)));
    } else if !filter.include_cancelled {
        query = query.filter(Column::State.eq("scheduled"));
    }
    if let Some(Cursor { start_time, showtime_id }) = after {
        let last = Expr::tuple([Expr::value(start_time), Expr::value(showtime_id.0)]);
        let this = [Column::StartTime, Column::ShowtimeId].map(|column| Expr::col((Entity, column)));
        query = query.filter(Expr::tuple(this).gt(last));
    }
    query
}

/// The text and values of the query behind the list, for whoever wants to see its plan.
#[must_use]
pub fn listing_statement(backend: DbBackend, filter: &Filter, after: Option<Cursor>, limit: u64) -> Statement {
    use sea_orm::QueryTrait as _;
    listing(filter, after, limit).build(backend)
}

async fn lock_auditorium(tx: &Tx, id: AuditoriumId) -> Result<Option<AuditoriumRow>, Error> {
    let mut query = auditorium::Entity::find_by_id(id.0);
    // On SQLite the whole transaction has the only lock there is.
    if tx.backend == DbBackend::Postgres {
        query = query.lock(LockType::NoKeyUpdate);
    }
    Ok(query.into_model::<AuditoriumRow>().one(&tx.inner).await?)
}

/// The first showtime that stands in the way. No slot is longer than two days, which bounds the search on both sides.
async fn overlapping(
    connection: &impl sea_orm::ConnectionTrait,
    backend: DbBackend,
    plan: &Schedule<'_>,
) -> Result<Option<Showtime>, Error> {
    let sql = format!(
        "{SELECT_SHOWTIMES} WHERE s.auditorium_id = $1 AND s.state = 'scheduled' \
            AND s.start_time < $2 AND s.free_again > $3 AND s.start_time > $4 ORDER BY s.start_time LIMIT 1"
    );
    let Slot { start, free_again, .. } = plan.slot;
    let earliest = start - 2 * MAX_SPAN;
    let values = [plan.new.auditorium_id.0.into(), free_again.into(), start.into(), earliest.into()];
    let select = Statement::from_sql_and_values(backend, sql, values);
    ShowtimeRow::find_by_statement(select).one(connection).await?.map(|row| row.showtime()).transpose()
}

fn row_of(plan: &Schedule<'_>, auditorium: AuditoriumRow) -> Result<ShowtimeRow, Error> {
    let movie = serde_json::to_value(plan.movie).map_err(|error| Error::Unreadable {
        table: "showtimes",
        key: plan.showtime_id.to_string(),
        why: error.to_string(),
    })?;
    let Standing { available_count, revision, .. } = Standing::initial(auditorium.seat_count);
    let local_date = auditorium.clone().auditorium()?.local_date(plan.slot.start);
    Ok(ShowtimeRow {
        showtime_id: plan.showtime_id.0,
        auditorium_id: auditorium.auditorium_id,
        movie,
        start_time: plan.slot.start,
        end_time: plan.slot.end,
        local_date,
        currency: plan.new.price.currency.code().to_owned(),
        price_minor: plan.new.price.minor,
        hold_us: plan.hold_duration.as_micros() as i64,
        create_time: plan.now,
        state: "scheduled".to_owned(),
        cancel_time: None,
        available_count,
        revision,
        auditorium_name: auditorium.name,
        cinema: auditorium.cinema,
        time_zone: auditorium.time_zone,
        seat_count: auditorium.seat_count,
        auditorium_create_time: auditorium.create_time,
    })
}

async fn insert(tx: &Tx, plan: &Schedule<'_>, row: &ShowtimeRow) -> Result<(), Error> {
    let insert = Entity::insert(ActiveModel {
        showtime_id: Set(row.showtime_id),
        auditorium_id: Set(row.auditorium_id),
        // As the provider writes it: it may know the movie under another spelling than it was asked for.
        movie_id: Set(plan.movie.value.movie_id.to_string()),
        movie: Set(row.movie.clone()),
        start_time: Set(row.start_time),
        end_time: Set(row.end_time),
        free_again: Set(plan.slot.free_again),
        local_date: Set(row.local_date),
        currency: Set(row.currency.clone()),
        price_minor: Set(row.price_minor),
        hold_us: Set(row.hold_us),
        create_time: Set(row.create_time),
        state: Set(row.state.clone()),
        cancel_time: Set(row.cancel_time),
    });
    insert.exec_without_returning(&tx.inner).await?;
    let insert = standing::Entity::insert(standing::ActiveModel {
        showtime_id: Set(row.showtime_id),
        available_count: Set(row.available_count),
        revision: Set(row.revision),
        next_lapse: Set(None),
        decide_time: Set(None),
    });
    insert.exec_without_returning(&tx.inner).await?;
    Ok(())
}
