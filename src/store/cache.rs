//! What never changes, in memory: facts and plans of showtimes, and the seats of auditoriums.
//!
//! Each cache is bounded, and evicts what is used least. Nothing is ever updated, since none of it changes in the database. The
//! caches know no queries: what is missing is inserted by the code that reads it.

use std::{fmt, future::Future, sync::Arc};

use crate::domain::{
    ids::{AuditoriumId, ShowtimeId},
    seat_index::SeatIndex,
    seating::ShowtimePlan,
    showtime::Facts,
};

/// Plans in memory. With a seat index of 200 seats each they take 40 MB, and mostly they share theirs.
const PLANS: u64 = 4_000;
/// Seat indexes in memory. One of 2,000 seats takes about 100 KB.
const SEAT_INDEXES: u64 = 500;

/// The caches of one store, cheap to clone.
#[derive(Clone)]
pub(super) struct Caches {
    pub(super) facts: FactsCache,
    pub(super) plans: PlanCache,
    pub(super) seat_indexes: SeatIndexCache,
}

/// Facts of showtimes.
#[derive(Clone)]
pub(super) struct FactsCache(moka::sync::Cache<ShowtimeId, Arc<Facts>>);

/// Plans of showtimes that are sold.
#[derive(Clone)]
pub(super) struct PlanCache(moka::sync::Cache<ShowtimeId, Arc<ShowtimePlan>>);

/// The seats of auditoriums.
#[derive(Clone)]
pub(super) struct SeatIndexCache(moka::future::Cache<AuditoriumId, Arc<SeatIndex>>);

impl Caches {
    /// Empty caches. `showtimes` bounds the number of facts.
    pub(super) fn new(showtimes: u64) -> Self {
        Self {
            facts: FactsCache(moka::sync::Cache::new(showtimes)),
            plans: PlanCache(moka::sync::Cache::new(PLANS)),
            seat_indexes: SeatIndexCache(moka::future::Cache::new(SEAT_INDEXES)),
        }
    }
}

impl FactsCache {
    pub(super) fn get(&self, id: ShowtimeId) -> Option<Arc<Facts>> {
        self.0.get(&id)
    }

    pub(super) fn insert(&self, facts: Facts) -> Arc<Facts> {
        let facts = Arc::new(facts);
        self.0.insert(facts.showtime_id, Arc::clone(&facts));
        facts
    }
}

impl PlanCache {
    pub(super) fn get(&self, id: ShowtimeId) -> Option<Arc<ShowtimePlan>> {
        self.0.get(&id)
    }

    pub(super) fn insert(&self, plan: &Arc<ShowtimePlan>) {
        self.0.insert(plan.facts.showtime_id, Arc::clone(plan));
    }
}

impl SeatIndexCache {
    pub(super) async fn get(&self, id: AuditoriumId) -> Option<Arc<SeatIndex>> {
        self.0.get(&id).await
    }

    /// Loads the seats of an auditorium. Callers who ask for the same auditorium at once share one load. `None`: there is no
    /// such auditorium, and that is not cached.
    pub(super) async fn load<E>(
        &self,
        id: AuditoriumId,
        load: impl Future<Output = Result<Option<SeatIndex>, Arc<E>>>,
    ) -> Result<Option<Arc<SeatIndex>>, Arc<E>>
    where
        E: fmt::Debug + Send + Sync + 'static,
    {
        // moka shares an error with all who wait, and does not cache it: so "there is none" is an error for it.
        let load = async { load.await.map_err(Some)?.map(Arc::new).ok_or(None) };
        match self.0.try_get_with::<_, Option<Arc<E>>>(id, load).await {
            Ok(seat_index) => Ok(Some(seat_index)),
            Err(none_or_error) => (*none_or_error).clone().map_or(Ok(None), Err),
        }
    }
}
