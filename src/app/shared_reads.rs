//! Reads shared by callers who ask for the same thing at the same time.
//!
//! A read first waits for a permit to use the database. Callers with the same key join it until it has one. Callers who come
//! while it runs wait for the next read, so each answer is read after its question was asked. A key has at most one read under
//! way, and many callers cost one. No read waits for more callers.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::store::Error;

type ReadResult<V> = Result<V, Arc<Error>>;

/// Callers who wait for the next read, by key. A key is present while a read for it is under way.
type Waiting<K, V> = HashMap<K, Vec<oneshot::Sender<ReadResult<V>>>>;

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
    /// Reads `key` from `source`, in a read that begins after this call. The read goes on if the caller leaves.
    pub(super) async fn read(&self, key: &K, source: impl Source<V>) -> ReadResult<V> {
        let (send, receive) = oneshot::channel();
        let first = {
            let mut waiting = self.waiting();
            let first = !waiting.contains_key(key);
            waiting.entry(key.clone()).or_default().push(send);
            first
        };
        if first {
            let reading = Reading { reads: self.clone(), key: key.clone(), ended: false };
            tokio::spawn(reading.run(source));
        }
        receive.await.unwrap_or_else(|_| Err(Arc::new(Error::overloaded("a shared read ended without an answer"))))
    }
}

/// What is read for one key.
pub(super) trait Source<V>: Send + Sync + 'static {
    /// Permits a read to begin.
    type Permit: Send;

    /// Waits for the permit.
    fn permit(&self) -> impl Future<Output = ReadResult<Self::Permit>> + Send;

    /// Reads once.
    fn read(&self, permit: Self::Permit) -> impl Future<Output = ReadResult<V>> + Send;
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
    async fn run(mut self, source: impl Source<V>) {
        while self.is_wanted() {
            let permit = source.permit().await;
            let callers = self.callers();
            let answer = match permit {
                Ok(permit) => source.read(permit).await,
                Err(error) => Err(error),
            };
            for caller in callers {
                // A caller that has left needs no answer.
                let _left = caller.send(answer.clone());
            }
        }
    }

    /// Whether callers wait. If there are none, the key is removed.
    fn is_wanted(&mut self) -> bool {
        let mut waiting = self.reads.waiting();
        let wanted = waiting.get(&self.key).is_some_and(|callers| !callers.is_empty());
        if !wanted {
            waiting.remove(&self.key);
            self.ended = true;
        }
        wanted
    }

    /// The callers of the read that begins now.
    fn callers(&self) -> Vec<oneshot::Sender<ReadResult<V>>> {
        self.reads.waiting().get_mut(&self.key).map(std::mem::take).unwrap_or_default()
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

    use tokio::{sync::Semaphore, task::JoinHandle};

    use super::*;

    /// Counts its reads. The permit of each, and its end, wait for a permit of the test.
    #[derive(Clone)]
    struct Counting(Arc<Counters>);

    struct Counters {
        reads: AtomicUsize,
        begun: Semaphore,
        may_begin: Semaphore,
        may_end: Semaphore,
    }

    impl Counting {
        fn new() -> Self {
            let gate = || Semaphore::new(0);
            Self(Arc::new(Counters { reads: AtomicUsize::new(0), begun: gate(), may_begin: gate(), may_end: gate() }))
        }
    }

    async fn pass(gate: &Semaphore) {
        gate.acquire().await.expect("it is never closed").forget();
    }

    impl Source<usize> for Counting {
        type Permit = ();

        async fn permit(&self) -> ReadResult<()> {
            pass(&self.0.may_begin).await;
            Ok(())
        }

        async fn read(&self, (): ()) -> ReadResult<usize> {
            let number = self.0.reads.fetch_add(1, Ordering::SeqCst) + 1;
            self.0.begun.add_permits(1);
            pass(&self.0.may_end).await;
            Ok(number)
        }
    }

    type Reads = SharedReads<u8, usize>;

    /// Begins a call, and waits until it is among the callers of its key.
    async fn call(reads: &Reads, source: &Counting) -> JoinHandle<Option<usize>> {
        let (shared, source) = (reads.clone(), source.clone());
        let before = waiting(reads);
        let call = tokio::spawn(async move { shared.read(&7, source).await.ok() });
        while waiting(reads) == before {
            tokio::task::yield_now().await;
        }
        call
    }

    fn waiting(reads: &Reads) -> Option<usize> {
        reads.waiting().get(&7).map(Vec::len)
    }

    #[tokio::test]
    async fn callers_join_a_read_until_it_has_its_permit_and_share_the_next_one_after() {
        let (reads, source) = (Reads::new(), Counting::new());
        let gates = &source.0;
        let early = [call(&reads, &source).await, call(&reads, &source).await, call(&reads, &source).await];
        gates.may_begin.add_permits(1);
        pass(&gates.begun).await;
        let late = [call(&reads, &source).await, call(&reads, &source).await];
        gates.may_end.add_permits(2);
        gates.may_begin.add_permits(1);
        for caller in early {
            assert_eq!(caller.await.unwrap(), Some(1), "a read that waits for its permit takes all who ask");
        }
        for caller in late {
            assert_eq!(caller.await.unwrap(), Some(2), "a read that began before the question does not answer it");
        }
        while waiting(&reads).is_some() {
            tokio::task::yield_now().await;
        }
        gates.may_begin.add_permits(1);
        gates.may_end.add_permits(1);
        assert_eq!(reads.read(&7, source.clone()).await.ok(), Some(3));
    }

    struct Panics(bool);

    impl Source<usize> for Panics {
        type Permit = ();

        async fn permit(&self) -> ReadResult<()> {
            Ok(())
        }

        async fn read(&self, (): ()) -> ReadResult<usize> {
            assert!(!self.0, "planned");
            Ok(1)
        }
    }

    #[tokio::test]
    async fn after_a_panic_callers_get_an_error_and_the_next_one_reads_again() {
        let reads = Reads::new();
        assert!(reads.read(&7, Panics(true)).await.is_err());
        assert_eq!(reads.read(&7, Panics(false)).await.ok(), Some(1));
    }
}
