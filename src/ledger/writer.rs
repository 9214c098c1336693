//! A writer: takes the requests from its queue, has them decided and written in one transaction, and answers them.
//!
//! It does not wait for more requests: a single request is a batch of one. A batch that meets a conflict is repeated request
//! by request, so that only the request that causes the conflict is refused. A batch that does not get all its locks in time
//! is repeated showtime by showtime.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use super::{
    memory::Memory,
    request::{Reply, Request},
    time::TimeSource,
    views::Views,
};
use crate::{
    background,
    domain::{
        ids::ShowtimeId,
        seating::{Command, Rules, ShowtimePlan},
    },
    store::{Error, LedgerConnection, LockWait, Store},
    telemetry::{metrics, panics},
};

/// Requests that are decided together.
const MAX_BATCH: usize = 512;
/// Attempts in all for a request alone, or for the requests of one showtime, that meet a conflict.
const MAX_ATTEMPTS: u32 = 4;
/// The pause before the second attempt. It grows by the same time with each attempt.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// The pause before a writer that panicked goes on.
const RESTART_PAUSE: Duration = Duration::from_millis(10);
/// Number of yields before a batch is taken, if several callers are active, so that tasks that are ready can enqueue their
/// requests. The larger batches raise throughput under load by a tenth. For a single caller yielding only adds latency.
const YIELDS: u32 = 2;
/// Attempts that look up the request ids of reservations first, after a batch met a repeated request.
const DUPLICATE_CHECK_ATTEMPTS: u32 = 256;
/// Showtimes that are remembered after a lock timeout.
const MAX_LOCK_TIMEOUTS: usize = 1_024;

pub(super) type ReplyResult = Result<Option<Reply>, Arc<Error>>;

/// What a writer's queue carries.
pub(super) enum Message {
    Request(Box<QueuedRequest>),
    /// Answered when every request that was queued before it is answered.
    Flush(oneshot::Sender<()>),
}

pub(super) struct QueuedRequest {
    pub(super) request: Request,
    pub(super) plan: Arc<ShowtimePlan>,
    pub(super) reply: oneshot::Sender<ReplyResult>,
}

/// The writer of a part of all showtimes.
pub(super) struct Writer {
    pub(super) store: Store,
    pub(super) connection: LedgerConnection,
    pub(super) time: TimeSource,
    pub(super) rules: Rules,
    pub(super) memory: Memory,
    pub(super) views: Views,
    /// Showtimes whose lock was not acquired in time. They are tried with NOWAIT until that succeeds once.
    lock_timeouts: HashSet<ShowtimeId>,
    /// Attempts left that look up the request ids of reservations first.
    pub(super) duplicate_checks: u32,
}

impl Writer {
    pub(super) fn new(store: &Store, time: TimeSource, rules: Rules, memory: Memory, views: Views) -> Self {
        let (store, connection, lock_timeouts) = (store.clone(), store.ledger_connection(), HashSet::new());
        Self { store, connection, time, rules, memory, views, lock_timeouts, duplicate_checks: 0 }
    }

    /// Runs until the queue is closed, and goes on after a panic.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        let work = async move || {
            // What a panic has left in memory may be half done.
            self.memory.invalidate_all();
            self.work(&mut queue).await;
        };
        background::supervise("a writer of the ledger", RESTART_PAUSE, work).await;
    }

    /// Decides what is in the queue, until the queue is closed.
    async fn work(&mut self, queue: &mut mpsc::Receiver<Message>) {
        let mut messages = Vec::with_capacity(MAX_BATCH);
        let mut batch = Vec::with_capacity(MAX_BATCH);
        let mut single = true;
        while queue.recv_many(&mut messages, MAX_BATCH).await > 0 {
            single &= messages.len() == 1;
            for _ in 0..if single { 0 } else { YIELDS } {
                tokio::task::yield_now().await;
            }
            while messages.len() < MAX_BATCH
                && let Ok(message) = queue.try_recv()
            {
                messages.push(message);
            }
            single = messages.len() == 1;
            for message in messages.drain(..) {
                match message {
                    // It also changes reservations made earlier in the queue, so it gets its own transaction:
                    // `LedgerWrites::change` refuses a reservation of the same batch.
                    Message::Request(queued) if matches!(queued.request.command, Command::CancelShowtime { .. }) => {
                        self.process(&mut batch).await;
                        batch.push(*queued);
                        self.process(&mut batch).await;
                    }
                    Message::Request(queued) => batch.push(*queued),
                    Message::Flush(done) => {
                        self.process(&mut batch).await;
                        let _gone = done.send(());
                    }
                }
            }
            self.process(&mut batch).await;
        }
    }

    /// Decides and answers these requests.
    async fn process(&mut self, batch: &mut Vec<QueuedRequest>) {
        if batch.is_empty() {
            return;
        }
        metrics::batch(batch.len());
        let timed_out =
            batch.extract_if(.., |queued| self.lock_timeouts.contains(&queued.request.showtime_id)).collect();
        self.process_together(std::mem::take(batch)).await;
        self.process_by_showtime(timed_out).await;
    }

    async fn process_together(&mut self, batch: Vec<QueuedRequest>) {
        if batch.is_empty() {
            return;
        }
        match self.attempt(&batch, LockWait::Bounded).await {
            // Another transaction holds one of the locks. Only the showtime that it belongs to should suffer for it.
            Err(error @ Error::Busy(_)) if self.store.locks_rows() => {
                tracing::debug!(%error, requests = batch.len(), "batch got no lock and is repeated by showtime");
                self.process_by_showtime(batch).await;
            }
            result => self.answer(batch, result, LockWait::Bounded).await,
        }
    }

    /// Decides one showtime after the other, without waiting for a lock.
    async fn process_by_showtime(&mut self, batch: Vec<QueuedRequest>) {
        let mut showtimes = BTreeMap::<_, Vec<_>>::new();
        for queued in batch {
            showtimes.entry(queued.request.showtime_id).or_default().push(queued);
        }
        for (id, batch) in showtimes {
            let attempts = if self.lock_timeouts.contains(&id) { 1 } else { MAX_ATTEMPTS };
            let result = self.attempt_repeatedly(&batch, attempts, LockWait::NoWait).await;
            if let Err(Error::Busy(_)) = result {
                if self.lock_timeouts.len() >= MAX_LOCK_TIMEOUTS {
                    self.lock_timeouts.clear();
                }
                self.lock_timeouts.insert(id);
            } else {
                self.lock_timeouts.remove(&id);
            }
            self.answer(batch, result, LockWait::NoWait).await;
        }
    }

    /// Answers the requests of a batch, or repeats them one by one if they met a conflict together. A lock is then waited for
    /// as before, until one is not acquired in time: many requests must not wait for it in turn.
    async fn answer(
        &mut self,
        batch: Vec<QueuedRequest>,
        result: Result<Vec<Option<Reply>>, Error>,
        mut lock_wait: LockWait,
    ) {
        match result {
            Ok(replies) => {
                for (queued, reply) in batch.into_iter().zip(replies) {
                    let _gone = queued.reply.send(Ok(reply));
                }
            }
            Err(error) if error.is_about_one() && batch.len() > 1 => {
                tracing::debug!(%error, requests = batch.len(), "batch met a conflict and is repeated request by request");
                for queued in batch {
                    let queued = [queued];
                    let result = self.attempt_repeatedly(&queued, MAX_ATTEMPTS, lock_wait).await;
                    if matches!(result, Err(Error::Busy(_))) && self.store.locks_rows() {
                        lock_wait = LockWait::NoWait;
                    }
                    let result = result.map(|mut replies| replies.pop().flatten()).map_err(Arc::new);
                    let [QueuedRequest { reply, .. }] = queued;
                    let _gone = reply.send(result);
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for queued in batch {
                    let _gone = queued.reply.send(Err(Arc::clone(&error)));
                }
            }
        }
    }

    /// Repeats a batch that meets a conflict, up to this number of attempts.
    async fn attempt_repeatedly(
        &mut self,
        batch: &[QueuedRequest],
        attempts: u32,
        lock_wait: LockWait,
    ) -> Result<Vec<Option<Reply>>, Error> {
        let mut attempt = 1;
        loop {
            match self.attempt(batch, lock_wait).await {
                Err(error) if error.is_conflict() && attempt < attempts => {
                    tokio::time::sleep(RETRY_PAUSE * attempt).await;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    /// One transaction, or two: a batch without lookups that violates a constraint is repeated with them, because a repeated
    /// request is the likely cause.
    async fn attempt(&mut self, batch: &[QueuedRequest], lock_wait: LockWait) -> Result<Vec<Option<Reply>>, Error> {
        let without_lookups = self.duplicate_checks == 0;
        let mut result = self.attempt_once(batch, lock_wait).await;
        if without_lookups && matches!(result, Err(Error::Constraint(_))) {
            self.duplicate_checks = DUPLICATE_CHECK_ATTEMPTS;
            result = self.attempt_once(batch, lock_wait).await;
        }
        self.duplicate_checks = self.duplicate_checks.saturating_sub(1);
        result
    }

    /// One transaction. After an error or a panic, what was decided and not written is dropped from memory.
    async fn attempt_once(
        &mut self,
        batch: &[QueuedRequest],
        lock_wait: LockWait,
    ) -> Result<Vec<Option<Reply>>, Error> {
        let requests: Vec<_> = batch.iter().map(|queued| &queued.request).collect();
        let ids: Vec<_> = requests.iter().map(|request| request.showtime_id).collect();
        for queued in batch {
            self.memory.insert_plan(&queued.plan);
        }
        let transacted = panics::catch_async(std::pin::pin!(self.transact(&requests, lock_wait))).await;
        let transacted = transacted.unwrap_or_else(|panic| {
            panics::report(&panic);
            Err(Error::Panicked(panic))
        });
        let result = match transacted {
            Ok((replies, decision)) => {
                // A panic in a view must not look like a batch that was not committed. The view is compared with the database
                // soon, and is then read again.
                let updated = panics::catch_async(std::pin::pin!(async { self.update_views(decision) })).await;
                let _reported = updated.map_err(|panic| panics::report(&panic));
                Ok(replies)
            }
            Err(error) => Err(error),
        };
        if result.is_err() {
            self.memory.invalidate(ids.iter().copied());
        }
        self.memory.touch(ids.into_iter());
        result
    }
}
