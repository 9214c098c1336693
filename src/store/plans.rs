//! Plans of showtimes: their facts, and the seats of their auditorium. Neither ever changes, so plans are cached.

use std::{collections::HashMap, sync::Arc};

use super::{errors::Error, handle::Store, reader::remember_facts, rows::showtime::ShowtimeRow, timing::read_named};
use crate::domain::{
    ids::{AuditoriumId, ShowtimeId},
    seat_index::SeatIndex,
    seating::ShowtimePlan,
};

impl Store {
    /// The plan of a showtime, if there is one. Callers who ask at once for what is not in memory share the query.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn plan(&self, id: ShowtimeId) -> Result<Option<Arc<ShowtimePlan>>, Arc<Error>> {
        if let Some(plan) = self.0.caches.plans.get(id) {
            return Ok(Some(plan));
        }
        // Every request's future has room for this one. Boxed, it takes that room only where a plan is loaded.
        Box::pin(self.load_plan(id)).await
    }

    async fn load_plan(&self, id: ShowtimeId) -> Result<Option<Arc<ShowtimePlan>>, Arc<Error>> {
        let facts = match self.0.caches.facts.get(id) {
            Some(facts) => facts,
            None => match self.0.reader.read(id).await? {
                Some(showtime) => showtime.facts,
                None => return Ok(None),
            },
        };
        let seat_index = self.seat_index(facts.auditorium.auditorium_id).await?;
        let plan = seat_index.map(|seat_index| Arc::new(ShowtimePlan { facts, seat_index }));
        if let Some(plan) = &plan {
            self.0.caches.plans.insert(plan);
        }
        Ok(plan)
    }

    /// The plans of these showtimes. Those that do not exist are missing.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn plans(&self, ids: &[ShowtimeId]) -> Result<Vec<Arc<ShowtimePlan>>, Arc<Error>> {
        let mut facts = HashMap::with_capacity(ids.len());
        let mut missing = Vec::new();
        for id in ids {
            match self.0.caches.facts.get(*id) {
                Some(cached) => drop(facts.insert(*id, cached)),
                None => missing.push(*id),
            }
        }
        if !missing.is_empty() {
            let rows = read_named("get_plans", async {
                let pooled = self.0.reads.acquire().await?;
                let query = ShowtimeRow::select_by_ids(pooled.backend(), &missing).into_model::<ShowtimeRow>();
                pooled.read(query.all(pooled.connection)).await
            });
            for row in rows.await? {
                facts.insert(ShowtimeId(row.showtime_id), remember_facts(&self.0.caches.facts, &row)?);
            }
        }
        let mut plans = Vec::with_capacity(facts.len());
        for facts in facts.into_values() {
            let seat_index = self.seat_index(facts.auditorium.auditorium_id).await?;
            plans.extend(seat_index.map(|seat_index| Arc::new(ShowtimePlan { facts, seat_index })));
        }
        Ok(plans)
    }

    async fn seat_index(&self, id: AuditoriumId) -> Result<Option<Arc<SeatIndex>>, Arc<Error>> {
        if let Some(seat_index) = self.0.caches.seat_indexes.get(id).await {
            return Ok(Some(seat_index));
        }
        let load = async {
            let auditorium = self.auditorium(id).await?;
            Ok(auditorium.and_then(|auditorium| auditorium.layout).map(|layout| SeatIndex::new(&layout)))
        };
        Box::pin(self.0.caches.seat_indexes.load(id, load)).await
    }
}
