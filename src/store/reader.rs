//! Showtimes read together: callers who ask while a query is under way share the next one.
//!
//! A reader takes everything in the queue and reads it at once, without waiting for more. A single caller waits for one
//! query, and of many callers each waits for two at most. Every answer is read after its question was asked: nothing is
//! served from an earlier read, apart from the facts of a showtime, which never change.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Mutex, mpsc, oneshot};
use tracing::Instrument as _;

use super::{
    cache::FactsCache,
    errors::Error,
    pools::Pool,
    rows::showtime::{ShowtimeRow, StandingRow},
    timing::timed,
};
use crate::{
    background,
    domain::{
        ids::ShowtimeId,
        showtime::{Facts, Showtime},
    },
};

/// Questions in the queue. A further one is refused.
const QUEUE: usize = 8_192;
/// Questions that one query answers.
const BATCH: usize = 256;
/// Queries under way at once. More of them only take turns on the database's cores.
const READERS: usize = 2;
/// The pause before a reader that panicked starts again.
const RESTART_PAUSE: Duration = Duration::from_millis(10);

type ReadResult = Result<Option<Showtime>, Arc<Error>>;
/// What was found for each of several ids, in their order. A row that cannot be read fails the callers that asked for it, and no
/// others.
type Found = Vec<Option<Result<Showtime, Arc<Error>>>>;

struct Question {
    id: ShowtimeId,
    answer: oneshot::Sender<ReadResult>,
}

/// The queue of questions. The readers end when it is dropped.
pub(super) struct Reader(mpsc::Sender<Question>);

impl Reader {
    pub(super) fn start(pool: &Pool, facts: &FactsCache) -> Self {
        let (queue, questions) = mpsc::channel(QUEUE);
        let questions = Arc::new(Mutex::new(questions));
        for _ in 0..READERS {
            let (pool, facts, questions) = (pool.clone(), facts.clone(), Arc::clone(&questions));
            let run = move || run(pool.clone(), facts.clone(), Arc::clone(&questions));
            tokio::spawn(background::supervise("a reader of showtimes", RESTART_PAUSE, run));
        }
        Self(queue)
    }

    /// The showtime as it stands after this was called.
    pub(super) async fn read(&self, id: ShowtimeId) -> ReadResult {
        let (answer, answered) = oneshot::channel();
        if self.0.try_send(Question { id, answer }).is_err() {
            return Err(Arc::new(overloaded()));
        }
        // The query is shared, so a caller's trace shows the wait for it.
        let wait = tracing::info_span!("read", otel.kind = "client", name = "get_showtime");
        answered.instrument(wait).await.unwrap_or_else(|_| Err(Arc::new(overloaded())))
    }
}

fn overloaded() -> Error {
    Error::overloaded("too many reads are waiting")
}

async fn run(pool: Pool, facts: FactsCache, questions: Arc<Mutex<mpsc::Receiver<Question>>>) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        if questions.lock().await.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        let mut ids: Vec<_> = batch.iter().map(|question| question.id).collect();
        ids.sort_unstable();
        ids.dedup();
        match timed("get_showtimes", load(&pool, &facts, &ids)).await {
            Ok(found) => {
                for Question { id, answer } in batch.drain(..) {
                    let found = ids.binary_search(&id).ok().and_then(|at| found.get(at)?.clone());
                    let _cancelled = answer.send(found.transpose());
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for Question { answer, .. } in batch.drain(..) {
                    let _cancelled = answer.send(Err(Arc::clone(&error)));
                }
            }
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
