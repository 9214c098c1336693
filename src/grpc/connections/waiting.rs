//! Messages that are not complete. Together they have half of the budget. When that is used up, a connection that holds much
//! of it gets no more, and otherwise the message loses that has waited the longest: that of an honest client is complete in a
//! moment.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::Context,
};

use futures_util::task::AtomicWaker;

/// The part of the budget that messages may take that are not complete.
const SHARE: usize = 2;
/// If nothing is left, a connection that holds more than this part of it gets no more.
const LITTLE_SHARE: usize = 16;

/// The messages of all connections that are not complete.
#[derive(Clone, Debug)]
pub(super) struct Waiting(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    bytes: AtomicUsize,
    /// In the order in which they began to wait.
    messages: Mutex<Messages>,
}

#[derive(Debug, Default)]
struct Messages {
    next: u64,
    waiting: BTreeMap<u64, Arc<Message>>,
}

#[derive(Debug)]
struct Message {
    waiting: Waiting,
    /// The bytes of all messages of its connection.
    of_connection: Arc<AtomicUsize>,
    /// What is charged for it.
    bytes: AtomicUsize,
    /// Set when it may not wait any longer.
    gave_way: AtomicBool,
    waker: AtomicWaker,
}

impl Message {
    fn charge(&self, bytes: usize) {
        let before = self.bytes.swap(bytes, Relaxed);
        for counter in [&self.waiting.0.bytes, &*self.of_connection] {
            counter.fetch_add(bytes, Relaxed);
            counter.fetch_sub(before, Relaxed);
        }
    }
}

impl Waiting {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Inner { most: max_bytes / SHARE, bytes: AtomicUsize::new(0), messages: Mutex::default() }))
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.bytes.load(Relaxed)
    }

    /// Begins to wait for a message of the connection whose messages have so many bytes.
    pub(super) fn begin(&self, of_connection: &Arc<AtomicUsize>) -> WaitingMessage {
        let message = Message {
            waiting: self.clone(),
            of_connection: Arc::clone(of_connection),
            bytes: AtomicUsize::new(0),
            gave_way: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        };
        let message = Arc::new(message);
        let mut messages = self.lock();
        let number = messages.next;
        messages.next += 1;
        messages.waiting.insert(number, Arc::clone(&message));
        WaitingMessage { number, message }
    }

    fn lock(&self) -> MutexGuard<'_, Messages> {
        self.0.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the wait of the oldest messages until there are at most so many bytes.
    fn reduce_to(&self, most: usize) {
        let mut messages = self.lock();
        while self.bytes() > most
            && let Some((_, oldest)) = messages.waiting.pop_first()
        {
            oldest.charge(0);
            oldest.gave_way.store(true, Release);
            oldest.waker.wake();
        }
    }
}

/// A message that is not complete, and what is charged for it to its connection.
#[derive(Debug)]
pub(in crate::grpc) struct WaitingMessage {
    number: u64,
    message: Arc<Message>,
}

impl WaitingMessage {
    /// Charges so many bytes, and returns whether the message may wait. If it may, the task is woken when it may not any longer.
    pub(in crate::grpc) fn may_wait(&self, bytes: usize, context: &Context<'_>) -> bool {
        let Message { waiting, of_connection, gave_way, waker, .. } = &*self.message;
        waker.register(context.waker());
        if gave_way.load(Acquire) {
            return false;
        }
        self.message.charge(bytes);
        let most = waiting.0.most;
        let left = most.saturating_sub(waiting.bytes());
        if left == 0 && of_connection.load(Relaxed) > most / LITTLE_SHARE {
            self.message.charge(0);
            return false;
        }
        if left == 0 {
            waiting.reduce_to(most);
        }
        !gave_way.load(Acquire)
    }
}

impl Drop for WaitingMessage {
    fn drop(&mut self) {
        self.message.waiting.lock().waiting.remove(&self.number);
        self.message.charge(0);
    }
}
