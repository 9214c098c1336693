//! The book as all calls share it: behind a lock, with a signal when it has changed.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time};
use tonic::Status;
use uuid::Uuid;

use super::{
    book::{Book, Change},
    request::Request,
    rules::Timing,
};
use crate::{clock::Clock, pb::payments::v1::Payment};

/// The longest wait until the book is looked at again, in case it could not be written.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The book, shared by all calls. A call holds the lock while it writes to the file, which takes some microseconds.
#[derive(Clone)]
pub(super) struct State(Arc<Inner>);

struct Inner {
    book: Mutex<Book>,
    /// The id of the gateway, as it stands in tokens.
    id: String,
    /// The number of the last change.
    changed: watch::Sender<u64>,
}

impl State {
    pub(super) fn new(book: Book) -> Self {
        let changed = watch::Sender::new(book.last_change());
        let id = Uuid::from_bytes(book.id()).simple().to_string();
        Self(Arc::new(Inner { book: Mutex::new(book), id, changed }))
    }

    /// Carries out an operation. Returns the payment, and whether this call has changed it.
    pub(super) fn execute(&self, request: &Request, timing: Timing) -> Result<(Payment, bool), Status> {
        self.with(|book| book.execute(request, timing))
    }

    pub(super) fn complete(&self, key: &str, approve: bool) -> Result<Option<Payment>, Status> {
        self.with(|book| book.complete(key, approve, Clock::System.now()))
    }

    pub(super) fn payment(&self, key: &str) -> Result<Option<Payment>, Status> {
        self.with(|book| {
            book.settle(Clock::System.now())?;
            Ok(book.payment(key).cloned())
        })
    }

    pub(super) fn page(&self, from: usize, most: usize) -> Result<(Vec<Payment>, usize), Status> {
        self.with(|book| {
            book.settle(Clock::System.now())?;
            Ok(book.page(from, most))
        })
    }

    pub(super) fn changes(&self, after: u64, most: usize) -> Vec<Change> {
        self.lock().changes(after, most)
    }

    /// The token of a place in the stream of changes.
    pub(super) fn token(&self, change: u64) -> String {
        format!("{}-{change}", self.0.id)
    }

    /// The reverse of [`token`](Self::token). An empty token is the present place. `None`: it is not one of this gateway.
    pub(super) fn read_token(&self, token: &str) -> Option<u64> {
        let last = *self.0.changed.borrow();
        if token.is_empty() {
            return Some(last);
        }
        let (id, change) = token.split_once('-')?;
        change.parse().ok().filter(|change| id == self.0.id && *change <= last)
    }

    /// A receiver that is woken after changes.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Does what becomes due, when it does, so that it is pushed.
    pub(super) async fn settle_when_due(&self) -> Infallible {
        let mut changed = self.subscribe();
        loop {
            changed.borrow_and_update();
            let now = Clock::System.now();
            let next = self.with(|book| book.settle(now)).ok().flatten();
            let wait = next.and_then(|next| (next - now).to_std().ok()).unwrap_or(LONGEST_WAIT);
            tokio::select! {
                // The sender lives in `self`, so this ends only by a change.
                _ = changed.changed() => {}
                () = time::sleep(wait.min(LONGEST_WAIT)) => {}
            }
        }
    }

    fn with<T>(&self, step: impl FnOnce(&mut Book) -> T) -> T {
        let mut book = self.lock();
        let result = step(&mut book);
        let last = book.last_change();
        self.0.changed.send_if_modified(|known| std::mem::replace(known, last) != last);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
