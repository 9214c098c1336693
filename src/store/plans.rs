//! Plans of showtimes: their facts, and the seats of their house. Neither ever changes.

use std::{collections::HashMap, sync::Arc};

use sea_orm::FromQueryResult as _;

use super::{
    Error, Store,
    facts::{SELECT_SHOWTIMES, ShowtimeRow},
    reader::by_ids,
    transactions::look,
};
use crate::domain::{
    ids::{AuditoriumId, ShowtimeId},
    seat_index::SeatIndex,
    seating::ShowtimePlan,
};

/// Plans in memory, of showtimes that are sold: bounded, as each keeps a house.
pub(super) type Plans = moka::sync::Cache<ShowtimeId, Arc<ShowtimePlan>>;

/// With as many houses of 200 seats it is 40 MB; mostly they have houses in common.
pub(super) const PLANS: u64 = 4_000;

/// The seats of auditoriums in memory: bounded, the least used forgotten first.
pub(super) type SeatIndexes = moka::future::Cache<AuditoriumId, Arc<SeatIndex>>;

/// A house of 2,000 seats takes about 100 KB.
pub(super) const SEAT_INDEXES: u64 = 500;

impl Store {
    /// The plan of a showtime, if there is one. A crowd that asks for what is not in memory shares the question.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn plan(&self, id: ShowtimeId) -> Result<Option<Arc<ShowtimePlan>>, Arc<Error>> {
        if let Some(plan) = self.0.plans.get(&id) {
            return Ok(Some(plan));
        }
        // Every request waits in a future with room for this: on the heap, so that only those who load it pay for it.
        Box::pin(self.load_plan(id)).await
    }

    async fn load_plan(&self, id: ShowtimeId) -> Result<Option<Arc<ShowtimePlan>>, Arc<Error>> {
        let facts = match self.0.facts.get(id) {
            Some(facts) => facts,
            None => match self.0.reader.read(id).await? {
                Some(showtime) => showtime.facts,
                None => return Ok(None),
            },
        };
        let seat_index = self.seat_index(facts.auditorium.auditorium_id).await?;
        let plan = seat_index.map(|seat_index| Arc::new(ShowtimePlan { facts, seat_index }));
        if let Some(plan) = &plan {
            self.0.plans.insert(id, Arc::clone(plan));
        }
        Ok(plan)
    }

    /// The plans of these showtimes, as far as there are any.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn plans(&self, ids: &[ShowtimeId]) -> Result<Vec<Arc<ShowtimePlan>>, Arc<Error>> {
        let mut facts = HashMap::with_capacity(ids.len());
        let mut unknown = Vec::new();
        for id in ids {
            match self.0.facts.get(*id) {
                Some(known) => drop(facts.insert(*id, known)),
                None => unknown.push(*id),
            }
        }
        if !unknown.is_empty() {
            let rows = look("get_plans", async {
                let held = self.0.reads.acquire().await?;
                let query = ShowtimeRow::find_by_statement(by_ids(self.0.reads.backend(), SELECT_SHOWTIMES, &unknown));
                held.read(query.all(held.connection)).await
            });
            for row in rows.await? {
                facts.insert(ShowtimeId(row.showtime_id), self.0.facts.learn(&row)?);
            }
        }
        let mut plans = Vec::with_capacity(facts.len());
        for facts in facts.into_values() {
            let seat_index = self.seat_index(facts.auditorium.auditorium_id).await?;
            plans.extend(seat_index.map(|seat_index| Arc::new(ShowtimePlan { facts, seat_index })));
        }
        Ok(plans)
    }

    /// The seats of an auditorium; one question is under way for all who want the same.
    async fn seat_index(&self, id: AuditoriumId) -> Result<Option<Arc<SeatIndex>>, Arc<Error>> {
        if let Some(seat_index) = self.0.seat_indexes.get(&id).await {
            return Ok(Some(seat_index));
        }
        // There is no house, or it is not known whether there is one.
        let load = async {
            let auditorium = self.auditorium(id).await.map_err(|error| Some(Arc::new(error)))?;
            let layout = auditorium.and_then(|auditorium| auditorium.layout).ok_or(None)?;
            Ok(Arc::new(SeatIndex::new(&layout)))
        };
        match Box::pin(self.0.seat_indexes.try_get_with::<_, Option<Arc<Error>>>(id, load)).await {
            Ok(seat_index) => Ok(Some(seat_index)),
            Err(why) => (*why).clone().map_or(Ok(None), Err),
        }
    }
}
