//! One flight per key: whoever asks while the same question is under way waits for that answer.
//!
//! It promises that a flight ends although those who wait for it leave, and that no more than so many are in the air. It
//! remembers nothing once a flight has landed.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tokio::sync::oneshot;
use tracing::Instrument as _;

use super::{Answer, Failure, entry::Key, provider::Unanswered};

/// More questions than this are not asked at once.
pub(super) const MOST_FLIGHTS: usize = 1_024;

type Landing = Result<Answer, Failure>;
type Board = Arc<Mutex<HashMap<Key, Flight>>>;

/// Cloned by each who waits.
pub(super) type Flight = Shared<BoxFuture<'static, Landing>>;

/// What is in the air.
#[derive(Default)]
pub(super) struct Flights(Board);

impl Flights {
    /// The flight for this key, begun if there is none; `None` if too many are under way.
    pub(super) fn join<F>(&self, key: &Key, begin: impl FnOnce() -> F) -> Option<Flight>
    where
        F: Future<Output = Landing> + Send + 'static,
    {
        let (land, landing) = oneshot::channel();
        let flight = {
            let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(flight) = board.get(key) {
                return Some(flight.clone());
            }
            if board.len() >= MOST_FLIGHTS {
                return None;
            }
            let crashed = Failure::Unavailable { retry_after: Unanswered::default().retry_after };
            let flight = landing.map(move |landing| landing.unwrap_or(Err(crashed))).boxed().shared();
            board.insert(key.clone(), flight.clone());
            flight
        };
        // A task of its own: a caller who leaves must not take the answer away from the others, or from the cache.
        let entry = OnBoard { board: self.0.clone(), key: key.clone() };
        let question = begin();
        let task = async move {
            let landing = question.await;
            drop(entry);
            // Everybody may have left.
            let _ = land.send(landing);
        };
        tokio::spawn(task.in_current_span());
        Some(flight)
    }
}

/// Takes the flight off the board when it lands or crashes.
struct OnBoard {
    board: Board,
    key: Key,
}

impl Drop for OnBoard {
    fn drop(&mut self) {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
