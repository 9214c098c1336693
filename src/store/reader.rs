//! Showtimes read together: whoever asks while a query is under way shares the next one.
//!
//! There is no lingering. A reader takes what is queued and asks for it at once, so one caller alone waits for one query,
//! and a crowd for at most two. Every answer is read after its question was asked: nothing is served from before.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use sea_orm::{DbBackend, FromQueryResult as _, Statement, Value, prelude::Uuid};
use tokio::sync::{Mutex, mpsc, oneshot};
use tracing::Instrument as _;

use super::{
    Error,
    facts::{Facts, SELECT_SHOWTIMES, ShowtimeRow, StandingRow},
    pools::Pool,
    transactions::timed,
};
use crate::domain::{ids::ShowtimeId, showtime::Showtime};

/// Questions that may wait; beyond it the database is too busy.
const QUEUED: usize = 8_192;
/// Questions answered by one query.
const TOGETHER: usize = 256;
/// Queries under way at once. More only take turns with each other on the database's cores.
const READERS: usize = 2;

type Answer = Result<Option<Showtime>, Arc<Error>>;
/// A row that cannot be read fails those who asked for it, and nobody else.
type Found = HashMap<ShowtimeId, Result<Showtime, Arc<Error>>>;

struct Question {
    id: ShowtimeId,
    answer: oneshot::Sender<Answer>,
}

/// The way to ask. The readers end when it is dropped.
pub(super) struct Reader(mpsc::Sender<Question>);

impl Reader {
    pub(super) fn start(pool: &Pool, facts: &Facts) -> Self {
        let (ask, questions) = mpsc::channel(QUEUED);
        let questions = Arc::new(Mutex::new(questions));
        for _ in 0..READERS {
            let (pool, facts, questions) = (pool.clone(), facts.clone(), Arc::clone(&questions));
            tokio::spawn(async move {
                // A reader that panics is a defect, which the panic has told, and no reason to stop reading.
                while tokio::spawn(run(pool.clone(), facts.clone(), Arc::clone(&questions))).await.is_err() {}
            });
        }
        Self(ask)
    }

    /// The showtime as it stands after this was called.
    pub(super) async fn read(&self, id: ShowtimeId) -> Answer {
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
    Error::Busy(sea_orm::DbErr::Custom("too many reads are waiting".to_owned()))
}

async fn run(pool: Pool, facts: Facts, questions: Arc<Mutex<mpsc::Receiver<Question>>>) {
    let mut batch = Vec::with_capacity(TOGETHER);
    loop {
        if questions.lock().await.recv_many(&mut batch, TOGETHER).await == 0 {
            return;
        }
        let wanted: HashSet<_> = batch.iter().map(|question| question.id).collect();
        match timed("get_showtimes", load(&pool, &facts, &wanted)).await {
            Ok(found) => {
                for Question { id, answer } in batch.drain(..) {
                    let _gone = answer.send(found.get(&id).cloned().transpose());
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for Question { answer, .. } in batch.drain(..) {
                    let _gone = answer.send(Err(Arc::clone(&error)));
                }
            }
        }
    }
}

/// Reads the standing of showtimes whose facts are in memory, and whole rows of the others.
async fn load(pool: &Pool, facts: &Facts, wanted: &HashSet<ShowtimeId>) -> Result<Found, Error> {
    let held = pool.acquire().await?;
    let backend = pool.backend();
    let mut found = HashMap::with_capacity(wanted.len());
    let mut known = HashMap::with_capacity(wanted.len());
    let mut unknown = Vec::new();
    for id in wanted {
        match facts.get(*id) {
            Some(facts) => drop(known.insert(*id, facts)),
            None => unknown.push(*id),
        }
    }
    if !known.is_empty() {
        let ids: Vec<_> = known.keys().copied().collect();
        let query = StandingRow::find_by_statement(by_ids(backend, SELECT_STANDINGS, &ids));
        for row in held.read(query.all(held.connection)).await? {
            let id = ShowtimeId(row.showtime_id);
            if let Some(facts) = known.remove(&id) {
                found.insert(id, row.standing().map(|standing| Showtime { facts, standing }).map_err(Arc::new));
            }
        }
    }
    if !unknown.is_empty() {
        let query = ShowtimeRow::find_by_statement(by_ids(backend, SELECT_SHOWTIMES, &unknown));
        for row in held.read(query.all(held.connection)).await? {
            let read = || Ok(Showtime { standing: row.standing()?, facts: facts.learn(&row)? });
            found.insert(ShowtimeId(row.showtime_id), read().map_err(Arc::new));
        }
    }
    Ok(found)
}

const SELECT_STANDINGS: &str = "SELECT s.showtime_id, s.state, s.cancel_time, n.available_count, n.revision \
    FROM showtimes s JOIN standings n ON n.showtime_id = s.showtime_id";

/// One text for any number of ids, so that it is prepared once.
pub(super) fn by_ids(backend: DbBackend, select: &str, wanted: &[ShowtimeId]) -> Statement {
    let sql = format!("{select} WHERE s.showtime_id {}", ids_among(backend, 1));
    Statement::from_sql_and_values(backend, sql, [ids(backend, wanted.iter().map(|id| id.0))])
}

/// The condition that an id is among those of a parameter made by `ids`.
pub(super) fn ids_among(backend: DbBackend, parameter: usize) -> String {
    if backend == DbBackend::Sqlite {
        format!("IN (SELECT unhex(value) FROM json_each(${parameter}))")
    } else {
        format!("= ANY(${parameter})")
    }
}

/// Ids as one parameter. On SQLite a bound array panics; they travel as JSON there.
pub(super) fn ids(backend: DbBackend, ids: impl Iterator<Item = Uuid>) -> Value {
    if backend == DbBackend::Sqlite {
        let hex: Vec<_> = ids.map(|id| id.simple().to_string()).collect();
        return Value::from(serde_json::json!(hex).to_string());
    }
    ids.collect::<Vec<_>>().into()
}

/// The condition that a text is among those of a parameter made by `texts`.
pub(super) fn texts_among(backend: DbBackend, parameter: usize) -> String {
    if backend == DbBackend::Sqlite {
        format!("IN (SELECT value FROM json_each(${parameter}))")
    } else {
        format!("= ANY(${parameter})")
    }
}

/// Texts as one parameter.
pub(super) fn texts<'a>(backend: DbBackend, texts: impl IntoIterator<Item = &'a str>) -> Value {
    let texts: Vec<_> = texts.into_iter().map(str::to_owned).collect();
    if backend == DbBackend::Sqlite { Value::from(serde_json::json!(texts).to_string()) } else { texts.into() }
}

/// The text and values of the query for what changes in showtimes, for whoever wants to see its plan.
#[must_use]
pub fn standings_statement(backend: DbBackend, ids: &[ShowtimeId]) -> Statement {
    by_ids(backend, SELECT_STANDINGS, ids)
}

/// The same for whole showtimes.
#[must_use]
pub fn whole_statement(backend: DbBackend, ids: &[ShowtimeId]) -> Statement {
    by_ids(backend, SELECT_SHOWTIMES, ids)
}
