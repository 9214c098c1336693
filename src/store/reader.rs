//! Showtimes read together: callers who ask while a query is under way share the next one (see `questions`). Nothing is served from an
//! earlier read, apart from the facts of a showtime, which never change.

use std::sync::Arc;

use tracing::Instrument as _;

use super::{
    cache::FactsCache,
    errors::Error,
    pools::Pool,
    questions::{Questions, Workers},
    rows::showtime::{ShowtimeRow, StandingRow},
    timing::timed,
};
use crate::domain::{
    ids::ShowtimeId,
    showtime::{Facts, Showtime},
};

/// Queries under way at once. More of them only take turns on the database's cores.
const READERS: Workers = Workers { count: 2, yields: 0 };

type ReadResult = Result<Option<Showtime>, Arc<Error>>;
/// What was found for each of several ids, in their order. A row that cannot be read fails the callers that asked for it, and no
/// others.
type Found = Vec<Option<Result<Showtime, Arc<Error>>>>;

/// Reads showtimes, those of several callers at once.
pub(super) struct Reader(Questions<ShowtimeId, ReadResult>);

impl Reader {
    pub(super) fn start(pool: &Pool, facts: &FactsCache) -> Self {
        let (pool, facts) = (pool.clone(), facts.clone());
        let answer = move |ids| answer(pool.clone(), facts.clone(), ids);
        Self(Questions::start("a reader of showtimes", READERS, answer))
    }

    /// The showtime as it stands after this was called.
    pub(super) async fn read(&self, id: ShowtimeId) -> ReadResult {
        // The query is shared, so a caller's trace shows the wait for it.
        let wait = tracing::info_span!("read", otel.kind = "client", name = "get_showtime");
        self.0.ask(id).instrument(wait).await?
    }
}

async fn answer(pool: Pool, facts: FactsCache, asked: Vec<ShowtimeId>) -> Vec<ReadResult> {
    let mut ids = asked.clone();
    ids.sort_unstable();
    ids.dedup();
    match timed("get_showtimes", load(&pool, &facts, &ids)).await {
        Ok(found) => {
            let found = |id: &ShowtimeId| found.get(ids.binary_search(id).ok()?)?.clone();
            asked.iter().map(|id| found(id).transpose()).collect()
        }
        Err(error) => {
            let error = Arc::new(error);
            asked.iter().map(|_| Err(Arc::clone(&error))).collect()
        }
    }
}

/// Reads the standings of showtimes whose facts are in memory, and whole rows of the others. The ids are sorted.
async fn load(pool: &Pool, facts: &FactsCache, ids: &[ShowtimeId]) -> Result<Found, Error> {
    let pooled = pool.acquire().await?;
    let backend = pool.backend();
    let mut found: Found = ids.iter().map(|_| None).collect();
    let mut put = |id: ShowtimeId, showtime: Result<Showtime, Error>| {
        if let Some(found) = ids.binary_search(&id).ok().and_then(|at| found.get_mut(at)) {
            *found = Some(showtime.map_err(Arc::new));
        }
    };
    let (mut cached, mut missing) = (Vec::with_capacity(ids.len()), Vec::new());
    let mut cached_facts = Vec::with_capacity(ids.len());
    for id in ids {
        match facts.get(*id) {
            Some(facts) => {
                cached.push(*id);
                cached_facts.push(facts);
            }
            None => missing.push(*id),
        }
    }
    if !cached.is_empty() {
        let query = StandingRow::select_by_ids(backend, &cached);
        for row in pooled.read(StandingRow::all(query, pooled.connection)).await? {
            let id = row.id();
            let facts = cached.binary_search(&id).ok().and_then(|at| cached_facts.get(at));
            if let Some(facts) = facts {
                put(id, row.standing().map(|standing| Showtime { facts: Arc::clone(facts), standing }));
            }
        }
    }
    if !missing.is_empty() {
        let query = ShowtimeRow::select_by_ids(backend, &missing).into_model::<ShowtimeRow>();
        for row in pooled.read(query.all(pooled.connection)).await? {
            let read = || Ok(Showtime { standing: row.standing()?, facts: remember_facts(facts, &row)? });
            put(ShowtimeId(row.showtime_id), read());
        }
    }
    Ok(found)
}

/// Reads a row's facts and caches them.
pub(super) fn remember_facts(cache: &FactsCache, row: &ShowtimeRow) -> Result<Arc<Facts>, Error> {
    Ok(cache.insert(row.facts()?))
}
