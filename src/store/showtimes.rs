//! Showtimes: scheduled under their auditorium's lock, read together, listed along an index.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Select,
    Set,
};

use super::{
    dialect,
    entities::{
        auditorium,
        showtime::{ActiveModel, Column, Entity},
        standing,
    },
    errors::Error,
    handle::Store,
    outbox,
    pools::Permit,
    reader::remember_facts,
    request_key::RequestKey,
    requests::{self, IdClaim},
    rows::{
        auditorium::AuditoriumRow,
        prices::stored_list,
        showtime::{ShowtimeRow, StandingRow},
    },
    timing::read_named,
    transactions::Tx,
};
use crate::{
    domain::{
        ids::{AuditoriumId, ShowtimeId},
        movie::{Movie, Sourced},
        showtime::{Filter, MAX_SPAN, NewShowtime, Phase, Showtime, Standing, TimeSlot},
    },
    telemetry::trace_parent::TraceParent,
};

/// A showtime that is to be scheduled.
pub struct Schedule<'a> {
    /// The id that the showtime gets.
    pub showtime_id: ShowtimeId,
    /// The request.
    pub new: &'a NewShowtime,
    /// The movie, which is stored with the showtime as it is now.
    pub movie: &'a Sourced<Movie>,
    /// The time that the showtime takes of its auditorium.
    pub slot: TimeSlot,
    /// How long its reservations are held.
    pub hold_duration: Duration,
    /// The time of the request.
    pub now: DateTime<Utc>,
    /// The trace of the request.
    pub trace: Option<TraceParent>,
}

/// The outcome of a request to schedule a showtime.
pub enum ShowtimeScheduled {
    /// It was scheduled.
    Scheduled(Showtime),
    /// The same request had scheduled it before.
    Repeated(Showtime),
    /// The request id belongs to another request.
    RequestReused,
    /// There is no such auditorium.
    NoAuditorium,
    /// This showtime has the auditorium at that time.
    Overlaps(Showtime),
}

/// The last showtime of a page of the list. The next page begins after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The showtime's start.
    pub start_time: DateTime<Utc>,
    /// The showtime's id.
    pub showtime_id: ShowtimeId,
}

/// The constraint of the schema behind the check made here. It has the same name on both stores.
const NO_OVERLAP: &str = "showtimes_do_not_overlap";

impl Store {
    /// The stored answer to a request to schedule, if there is one. A repeated request then needs no movie.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn schedule_answered(&self, key: &RequestKey) -> Result<Option<ShowtimeScheduled>, Error> {
        Ok(match self.stored_answer::<ShowtimeRow>(key).await? {
            IdClaim::New => None,
            IdClaim::Answered(row) => Some(ShowtimeScheduled::Repeated(row.showtime()?)),
            IdClaim::Reused => Some(ShowtimeScheduled::RequestReused),
        })
    }

    /// Schedules a showtime, if its slot is free. Requests for the same auditorium wait for its lock.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn schedule(
        &self,
        schedule: &Schedule<'_>,
        key: Option<&RequestKey>,
    ) -> Result<ShowtimeScheduled, Error> {
        let done = self.run_transaction("create_showtime", || self.schedule_once(schedule, key)).await;
        match done {
            // Nothing that goes through this method gets here, but another program may have inserted a showtime.
            Err(Error::Constraint(name)) if name.contains(NO_OVERLAP) => {
                let pooled = self.0.reads.acquire().await?;
                let other = overlapping(pooled.connection, schedule).await?;
                other.map(ShowtimeScheduled::Overlaps).ok_or(Error::Constraint(name))
            }
            done => done,
        }
    }

    async fn schedule_once(
        &self,
        schedule: &Schedule<'_>,
        key: Option<&RequestKey>,
    ) -> Result<ShowtimeScheduled, Error> {
        let tx = self.begin().await?;
        match requests::claim_id::<ShowtimeRow>(&tx, key, schedule.now).await? {
            IdClaim::Answered(first) => return tx.acknowledge(ShowtimeScheduled::Repeated(first.showtime()?)).await,
            IdClaim::Reused => return tx.rollback(ShowtimeScheduled::RequestReused).await,
            IdClaim::New => {}
        }
        let Some(auditorium) = lock_auditorium(&tx, schedule.new.auditorium_id).await? else {
            return tx.rollback(ShowtimeScheduled::NoAuditorium).await;
        };
        if let Some(other) = overlapping(&tx.inner, schedule).await? {
            return tx.rollback(ShowtimeScheduled::Overlaps(other)).await;
        }
        let row = new_row(schedule, auditorium)?;
        insert(&tx, schedule, &row).await?;
        requests::answer(&tx, key, &row).await?;
        let scheduled = row.showtime()?;
        outbox::showtime_created(&tx, &scheduled, schedule.trace).await?;
        let scheduled = tx.commit(ShowtimeScheduled::Scheduled(scheduled)).await?;
        self.0.events_written.send();
        Ok(scheduled)
    }

    /// A showtime as it stands now.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn showtime(&self, id: ShowtimeId) -> Result<Option<Showtime>, Arc<Error>> {
        self.0.reader.read(id).await
    }

    /// Waits for a permit to read from the database.
    ///
    /// # Errors
    /// No connection came free in time.
    pub async fn read_permit(&self) -> Result<Permit, Error> {
        self.0.reads.permit().await
    }

    /// A page of showtimes by start time and id. `known` are showtimes that the page is likely to have at the same positions:
    /// their facts are taken from there.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn showtimes(
        &self,
        permit: Permit,
        filter: &Filter,
        after: Option<Cursor>,
        limit: u64,
        known: &[Showtime],
    ) -> Result<Vec<Showtime>, Error> {
        read_named("list_showtimes", async {
            let pooled = self.0.reads.connection(permit);
            let cache = &self.0.caches.facts;
            let standings = pooled.read(StandingRow::all(list(filter, after, limit), pooled.connection)).await?;
            let known = known.iter().map(|showtime| Some(&showtime.facts)).chain(std::iter::repeat(None));
            // The facts are held here while the page is put together, since the cache may evict them meanwhile.
            let mut facts: Vec<_> = (standings.iter().zip(known))
                .map(|(row, known)| match known {
                    Some(facts) if facts.showtime_id == row.id() => Some(Arc::clone(facts)),
                    _ => cache.get(row.id()),
                })
                .collect();
            let missing = standings.iter().zip(&facts).filter(|(_, facts)| facts.is_none());
            let missing: Vec<_> = missing.map(|(row, _)| row.id()).collect();
            if !missing.is_empty() {
                let query = ShowtimeRow::select_by_ids(pooled.backend(), &missing).into_model::<ShowtimeRow>();
                let mut read = HashMap::new();
                for row in pooled.read(query.all(pooled.connection)).await? {
                    read.insert(ShowtimeId(row.showtime_id), remember_facts(cache, &row)?);
                }
                for (row, facts) in standings.iter().zip(&mut facts).filter(|(_, facts)| facts.is_none()) {
                    *facts = read.get(&row.id()).cloned();
                }
            }
            let whole = standings.iter().zip(facts).filter_map(|(row, facts)| facts.map(|facts| (row, facts)));
            whole.map(|(row, facts)| Ok(Showtime { facts, standing: row.standing()? })).collect()
        })
        .await
    }

    /// The time from which the auditorium has no more showtimes, if it has any.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn free_from(&self, id: AuditoriumId) -> Result<Option<DateTime<Utc>>, Error> {
        read_named("free_from", async {
            let pooled = self.0.reads.acquire().await?;
            let query = Entity::find()
                .select_only()
                .column(Column::FreeAgain)
                .filter(Column::AuditoriumId.eq(id.0))
                .filter(Column::State.eq("scheduled"))
                .order_by_desc(Column::StartTime)
                .limit(1)
                .into_tuple::<DateTime<Utc>>();
            pooled.read(query.one(pooled.connection)).await
        })
        .await
    }
}

/// The query behind the list. Each of its filters has an index that ends in its order.
pub(super) fn list(filter: &Filter, after: Option<Cursor>, limit: u64) -> Select<Entity> {
    let mut query = StandingRow::select().order_by_asc(Column::StartTime).order_by_asc(Column::ShowtimeId).limit(limit);
    if let Some(cinema) = &filter.cinema {
        query = query.filter(Column::Cinema.eq(cinema.as_str()));
    }
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
        query = query.filter(Column::LocalDate.eq(date));
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
        let columns = [Column::StartTime, Column::ShowtimeId];
        query = query.filter(dialect::is_after(columns, (start_time, showtime_id.0)));
    }
    query
}

async fn lock_auditorium(tx: &Tx, id: AuditoriumId) -> Result<Option<AuditoriumRow>, Error> {
    let query = dialect::locked(tx.backend, auditorium::Entity::find_by_id(id.0));
    Ok(query.into_model::<AuditoriumRow>().one(&tx.inner).await?)
}

/// The first showtime that overlaps the slot. A slot takes two days at most, which bounds the search on both sides.
async fn overlapping(connection: &impl ConnectionTrait, schedule: &Schedule<'_>) -> Result<Option<Showtime>, Error> {
    let TimeSlot { start, free_again, .. } = schedule.slot;
    let query = ShowtimeRow::select()
        .filter(Column::AuditoriumId.eq(schedule.new.auditorium_id.0))
        .filter(Column::State.eq("scheduled"))
        .filter(Column::StartTime.lt(free_again))
        .filter(Column::FreeAgain.gt(start))
        .filter(Column::StartTime.gt(start - 2 * MAX_SPAN))
        .order_by_asc(Column::StartTime)
        .into_model::<ShowtimeRow>();
    query.one(connection).await?.map(|row| row.showtime()).transpose()
}

fn new_row(schedule: &Schedule<'_>, auditorium: AuditoriumRow) -> Result<ShowtimeRow, Error> {
    let unreadable = |error: serde_json::Error| Error::Unreadable {
        table: "showtimes",
        key: schedule.showtime_id.to_string(),
        why: error.to_string(),
    };
    let movie = serde_json::to_value(schedule.movie).map_err(unreadable)?;
    let prices = &schedule.new.prices;
    let Standing { available_count, revision, .. } = Standing::initial(auditorium.seat_count);
    let local_date = auditorium.clone().auditorium()?.local_date(schedule.slot.start);
    Ok(ShowtimeRow {
        showtime_id: schedule.showtime_id.0,
        auditorium_id: auditorium.auditorium_id,
        movie,
        start_time: schedule.slot.start,
        end_time: schedule.slot.end,
        local_date,
        currency: prices.currency.code().to_owned(),
        price_minor: prices.price().minor,
        price_list: stored_list(prices).map_err(unreadable)?,
        hold_us: schedule.hold_duration.as_micros() as i64,
        create_time: schedule.now,
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

async fn insert(tx: &Tx, schedule: &Schedule<'_>, row: &ShowtimeRow) -> Result<(), Error> {
    let insert = Entity::insert(ActiveModel {
        showtime_id: Set(row.showtime_id),
        auditorium_id: Set(row.auditorium_id),
        // The provider's spelling of the id, which may differ from the one in the request.
        movie_id: Set(schedule.movie.value.movie_id.to_string()),
        movie: Set(row.movie.clone()),
        start_time: Set(row.start_time),
        end_time: Set(row.end_time),
        free_again: Set(schedule.slot.free_again),
        local_date: Set(row.local_date),
        currency: Set(row.currency.clone()),
        price_minor: Set(row.price_minor),
        price_list: Set(row.price_list.clone()),
        hold_us: Set(row.hold_us),
        create_time: Set(row.create_time),
        state: Set(row.state.clone()),
        cancel_time: Set(row.cancel_time),
        cinema: Set(Some(row.cinema.clone())),
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
