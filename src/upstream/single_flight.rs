//! Single flight: callers that ask for the same key at the same time share one call.
//!
//! A call that was started runs to its end even when every caller has gone away, and at most [`MAX_CALLS`] calls are in
//! flight. No result is stored: a caller that asks after a call has ended starts another one.

use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tokio::sync::oneshot;
use tracing::Instrument as _;

/// The number of calls that may be in flight at once.
pub(super) const MAX_CALLS: usize = 1_024;

/// The task of a call panicked, so the call has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Panicked;

/// The result of a call in flight. Each caller awaits a clone of its own.
pub(super) type Pending<V> = Shared<BoxFuture<'static, Result<V, Panicked>>>;

type InFlight<K, V> = Arc<Mutex<HashMap<K, Pending<V>>>>;

/// The calls in flight, by key.
pub(super) struct SingleFlight<K, V>(InFlight<K, V>);

impl<K, V> SingleFlight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new() -> Self {
        Self(InFlight::default())
    }

    /// The call in flight for this key. If there is none, `call` is started. `None` if [`MAX_CALLS`] are in flight already.
    pub(super) fn join<F>(&self, key: &K, call: impl FnOnce() -> F) -> Option<Pending<V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let pending = {
            let mut in_flight = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(pending) = in_flight.get(key) {
                return Some(pending.clone());
            }
            if in_flight.len() >= MAX_CALLS {
                return None;
            }
            let pending = receiver.map(|result| result.map_err(|_| Panicked)).boxed().shared();
            in_flight.insert(key.clone(), pending.clone());
            pending
        };
        let registration = Registration { in_flight: self.0.clone(), key: key.clone() };
        let call = call();
        // A task of its own: when one caller is dropped, the others and the cache still get the result.
        let task = async move {
            let result = call.await;
            drop(registration);
            // Fails if every caller has gone away.
            let _ = sender.send(result);
        };
        tokio::spawn(task.in_current_span());
        Some(pending)
    }
}

/// Removes its call from those in flight when the call ends or panics.
struct Registration<K: Eq + Hash, V> {
    in_flight: InFlight<K, V>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Registration<K, V> {
    fn drop(&mut self) {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
