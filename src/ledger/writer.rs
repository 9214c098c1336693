//! A writer: takes what is queued, has it decided and written together, and answers.
//!
//! There is no lingering: one command alone is a batch of one. A batch whose writing meets a conflict is taken apart, so
//! that whoever caused it is the only one to be refused; and so is one of whose showtimes somebody else has the lock.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use super::{Reply, Request, TimeSource, memory::Memory, views::Views};
use crate::{
    domain::{
        ids::ShowtimeId,
        seating::{Command, Rules, ShowtimePlan},
    },
    store::{Error, LedgerConnection, LockWait, Store},
    telemetry::{metrics, panics},
};

/// Commands decided together, at most.
const TOGETHER: usize = 512;
/// A command alone that meets a conflict is tried so often in all.
const ATTEMPTS: u32 = 4;
/// And so much later, times the number of the attempt.
const PAUSE: Duration = Duration::from_millis(5);

/// How often those who are ready are let go first, where several are at it. Batches are larger for it: under load it was
/// worth a tenth. Somebody alone would wait for other threads to wake up and find nothing.
const YIELDS: u32 = 2;
/// Batches in which repetitions are expected after one was met.
const DUPLICATE_CHECK_BATCHES: u32 = 256;
/// Showtimes that are remembered as stuck, at most.
const STUCK: usize = 1_024;

pub(super) type ReplyResult = Result<Option<Reply>, Arc<Error>>;

/// What comes through a writer's queue.
pub(super) enum Message {
    QueuedRequest(Box<QueuedRequest>),
    /// Everything before this is done when it is answered.
    Flush(oneshot::Sender<()>),
}

pub(super) struct QueuedRequest {
    pub(super) ask: Request,
    pub(super) plan: Arc<ShowtimePlan>,
    pub(super) tell: oneshot::Sender<ReplyResult>,
}

/// Decides for the showtimes that are its own.
pub(super) struct Writer {
    pub(super) store: Store,
    pub(super) line: LedgerConnection,
    pub(super) time: TimeSource,
    pub(super) rules: Rules,
    pub(super) memory: Memory,
    pub(super) views: Views,
    /// Showtimes whose locks somebody had for too long: nobody waits for them again before they were had once.
    stuck: HashSet<ShowtimeId>,
    /// For so many batches more, requests to reserve are looked for before they are decided: of late some were made twice.
    pub(super) duplicate_checks: u32,
}

impl Writer {
    pub(super) fn new(store: &Store, time: TimeSource, rules: Rules, memory: Memory, views: Views) -> Self {
        let (line, stuck) = (store.ledger_connection(), HashSet::new());
        Self { store: store.clone(), line, time, rules, memory, views, stuck, duplicate_checks: 0 }
    }

    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        let mut messages = Vec::with_capacity(TOGETHER);
        let mut jobs = Vec::with_capacity(TOGETHER);
        let mut alone = true;
        while queue.recv_many(&mut messages, TOGETHER).await > 0 {
            alone &= messages.len() == 1;
            // Whoever is ready to speak may do so first. Nobody is waited for.
            for _ in 0..if alone { 0 } else { YIELDS } {
                tokio::task::yield_now().await;
            }
            while messages.len() < TOGETHER
                && let Ok(message) = queue.try_recv()
            {
                messages.push(message);
            }
            alone = messages.len() == 1;
            for message in messages.drain(..) {
                match message {
                    // It ends every reservation of its showtime, those of this batch among them: it goes by itself.
                    Message::QueuedRequest(job) if matches!(job.ask.command, Command::CancelShowtime { .. }) => {
                        self.decide(&mut jobs).await;
                        jobs.push(*job);
                        self.decide(&mut jobs).await;
                    }
                    Message::QueuedRequest(job) => jobs.push(*job),
                    Message::Flush(tell) => {
                        self.decide(&mut jobs).await;
                        let _gone = tell.send(());
                    }
                }
            }
            self.decide(&mut jobs).await;
        }
    }

    /// Decides these commands and answers them.
    async fn decide(&mut self, jobs: &mut Vec<QueuedRequest>) {
        if jobs.is_empty() {
            return;
        }
        metrics::batch(jobs.len());
        let stuck = jobs.extract_if(.., |job| self.stuck.contains(&job.ask.showtime_id)).collect();
        self.decide_together(std::mem::take(jobs)).await;
        self.decide_by_showtime(stuck).await;
    }

    async fn decide_together(&mut self, jobs: Vec<QueuedRequest>) {
        if jobs.is_empty() {
            return;
        }
        match self.attempt(&jobs, LockWait::Bounded).await {
            // Somebody has one of the locks, and keeps it. The others need not suffer for it.
            Err(error @ Error::Busy(_)) if self.store.locks_rows() => {
                tracing::debug!(%error, commands = jobs.len(), "a batch is decided by showtime");
                self.decide_by_showtime(jobs).await;
            }
            done => self.answer(jobs, done).await,
        }
    }

    /// Decides the commands of one showtime after those of the other, and waits for no lock.
    async fn decide_by_showtime(&mut self, jobs: Vec<QueuedRequest>) {
        let mut showtimes = BTreeMap::<_, Vec<_>>::new();
        for job in jobs {
            showtimes.entry(job.ask.showtime_id).or_default().push(job);
        }
        for (id, jobs) in showtimes {
            let attempts = if self.stuck.contains(&id) { 1 } else { ATTEMPTS };
            let done = self.insist(&jobs, attempts, LockWait::NoWait).await;
            if let Err(Error::Busy(_)) = done {
                if self.stuck.len() >= STUCK {
                    self.stuck.clear();
                }
                self.stuck.insert(id);
            } else {
                self.stuck.remove(&id);
            }
            self.answer(jobs, done).await;
        }
    }

    /// Answers, or takes apart what cannot be done together.
    async fn answer(&mut self, jobs: Vec<QueuedRequest>, done: Result<Vec<Option<Reply>>, Error>) {
        match done {
            Ok(replies) => {
                for (job, reply) in jobs.into_iter().zip(replies) {
                    let _gone = job.tell.send(Ok(reply));
                }
            }
            Err(error) if error.is_about_one() && jobs.len() > 1 => {
                tracing::debug!(%error, commands = jobs.len(), "a batch is taken apart");
                for job in jobs {
                    let job = [job];
                    let done = self.insist(&job, ATTEMPTS, LockWait::Bounded).await;
                    let reply = done.map(|mut replies| replies.pop().flatten()).map_err(Arc::new);
                    let [QueuedRequest { tell, .. }] = job;
                    let _gone = tell.send(reply);
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for job in jobs {
                    let _gone = job.tell.send(Err(Arc::clone(&error)));
                }
            }
        }
    }

    /// Tries again what meets a conflict.
    async fn insist(
        &mut self,
        jobs: &[QueuedRequest],
        attempts: u32,
        lock_wait: LockWait,
    ) -> Result<Vec<Option<Reply>>, Error> {
        let mut attempt = 1;
        loop {
            match self.attempt(jobs, lock_wait).await {
                Err(error) if error.is_conflict() && attempt < attempts => {
                    tokio::time::sleep(PAUSE * attempt).await;
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    /// One transaction; or two, if the first one met a request that had been made before.
    async fn attempt(&mut self, jobs: &[QueuedRequest], lock_wait: LockWait) -> Result<Vec<Option<Reply>>, Error> {
        let unsuspecting = self.duplicate_checks == 0;
        let mut done = self.attempt_once(jobs, lock_wait).await;
        if unsuspecting && matches!(done, Err(Error::Constraint(_))) {
            self.duplicate_checks = DUPLICATE_CHECK_BATCHES;
            done = self.attempt_once(jobs, lock_wait).await;
        }
        self.duplicate_checks = self.duplicate_checks.saturating_sub(1);
        done
    }

    /// What was decided and not written is forgotten, however it came to that.
    async fn attempt_once(&mut self, jobs: &[QueuedRequest], lock_wait: LockWait) -> Result<Vec<Option<Reply>>, Error> {
        let asks: Vec<_> = jobs.iter().map(|job| &job.ask).collect();
        let ids: Vec<_> = asks.iter().map(|ask| ask.showtime_id).collect();
        for job in jobs {
            self.memory.learn_plan(&job.plan);
        }
        let done = match panics::catch_async(std::pin::pin!(self.transact(&asks, lock_wait))).await {
            Ok(done) => done,
            Err(panic) => {
                panics::report(&panic);
                Err(Error::Panicked(panic))
            }
        };
        if done.is_err() {
            self.memory.forget(ids.iter().copied());
        }
        self.memory.used(ids.into_iter());
        done
    }
}
