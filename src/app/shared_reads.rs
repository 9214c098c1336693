//! Reads shared by callers who ask for the same thing at the same time.
//!
//! While a read for a key is under way, callers with the same key wait for the next one. So each answer is read after its
//! question was asked, a key has at most one read under way, and many callers cost one. No read waits for more callers.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::store::Error;

type Answer<V> = Result<V, Arc<Error>>;

/// Callers who wait for the next read, by key. A key is present while a read for it is under way.
type Waiting<K, V> = HashMap<K, Vec<oneshot::Sender<Answer<V>>>>;

/// The reads under way. Cheap to clone.
pub(super) struct SharedReads<K, V>(Arc<Mutex<Waiting<K, V>>>);

impl<K, V> Clone for SharedReads<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> SharedReads<K, V> {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash + Send + 'static, V: Clone + Send + 'static> SharedReads<K, V> {
    /// Reads `key` by `load`, in a read that begins after this call. The read goes on if the caller leaves.
    pub(super) async fn read<F>(&self, key: &K, load: impl Fn() -> F + Send + Sync + 'static) -> Answer<V>
    where
        F: Future<Output = Answer<V>> + Send + 'static,
    {
        let (send, receive) = oneshot::channel();
        let first = {
            let mut waiting = self.waiting();
            let first = !waiting.contains_key(key);
            waiting.entry(key.clone()).or_default().push(send);
            first
        };
        if first {
            let reading = Reading { reads: self.clone(), key: key.clone(), ended: false };
            tokio::spawn(reading.run(load));
        }
        receive.await.unwrap_or_else(|_| Err(Arc::new(Error::overloaded("a shared read ended without an answer"))))
    }
}

/// The reads of one key, one after the other.
struct Reading<K: Eq + Hash, V> {
    reads: SharedReads<K, V>,
    key: K,
    /// Whether the key was removed, because no caller waits.
    ended: bool,
}

impl<K: Eq + Hash, V: Clone> Reading<K, V> {
    /// Reads for as long as callers wait.
    async fn run<F: Future<Output = Answer<V>>>(mut self, load: impl Fn() -> F) {
        while let Some(callers) = self.next() {
            let answer = load().await;
            for caller in callers {
                // A caller that has left needs no answer.
                let _left = caller.send(answer.clone());
            }
        }
    }

    /// The callers of the next read. If there are none, the key is removed.
    fn next(&mut self) -> Option<Vec<oneshot::Sender<Answer<V>>>> {
        let mut waiting = self.reads.waiting();
        let callers = waiting.get_mut(&self.key).map(std::mem::take).filter(|callers| !callers.is_empty());
        if callers.is_none() {
            waiting.remove(&self.key);
            self.ended = true;
        }
        callers
    }
}

impl<K: Eq + Hash, V> Drop for Reading<K, V> {
    /// After a panic, callers who wait get an error, and the next caller reads again.
    fn drop(&mut self) {
        if !self.ended {
            self.reads.waiting().remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// Counts its reads. Each of them waits for a permit.
    #[derive(Default)]
    struct Source {
        reads: AtomicUsize,
        begun: Gate,
        permits: Gate,
    }

    struct Gate(Semaphore);

    impl Default for Gate {
        fn default() -> Self {
            Self(Semaphore::new(0))
        }
    }

    impl Source {
        async fn read(&self) -> Answer<usize> {
            let number = self.reads.fetch_add(1, Ordering::SeqCst) + 1;
            self.begun.0.add_permits(1);
            self.permits.0.acquire().await.map_err(|_| Arc::new(Error::overloaded("closed")))?.forget();
            Ok(number)
        }

        async fn one_has_begun(&self) {
            self.begun.0.acquire().await.unwrap().forget();
        }
    }

    #[tokio::test]
    async fn callers_during_a_read_share_the_next_one() {
        let (reads, source) = (SharedReads::<u8, usize>::new(), Arc::new(Source::default()));
        let ask = || {
            let (reads, source) = (reads.clone(), Arc::clone(&source));
            tokio::spawn(async move {
                let load = move || {
                    let source = Arc::clone(&source);
                    async move { source.read().await }
                };
                reads.read(&7, load).await.ok()
            })
        };
        let first = ask();
        source.one_has_begun().await;
        let later: Vec<_> = (0..20).map(|_| ask()).collect();
        while reads.waiting().get(&7).is_none_or(|callers| callers.len() < later.len()) {
            tokio::task::yield_now().await;
        }
        source.permits.0.add_permits(2);
        assert_eq!(first.await.unwrap(), Some(1));
        for caller in later {
            assert_eq!(caller.await.unwrap(), Some(2), "a read that began before the question does not answer it");
        }
        while !reads.waiting().is_empty() {
            tokio::task::yield_now().await;
        }
        source.permits.0.add_permits(1);
        assert_eq!(ask().await.unwrap(), Some(3));
    }

    #[tokio::test]
    async fn after_a_panic_callers_get_an_error_and_the_next_one_reads_again() {
        let reads = SharedReads::<u8, usize>::new();
        let panics = || async { panic!("planned") };
        assert!(reads.read(&7, panics).await.is_err());
        assert_eq!(reads.read(&7, || async { Ok(1) }).await.ok(), Some(1));
    }
}
