//! A writer: takes what is queued, has it decided and written together, and answers.
//!
//! There is no lingering: one command alone is a batch of one. A batch whose writing meets a conflict is taken apart, so
//! that whoever caused it is the only one to be refused.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use super::{Ask, Time, Told, memory::Memory};
use crate::{
    domain::seating::{Command, Rules},
    store::{Error, Store},
    telemetry::{metrics, panics},
};

/// Commands decided together, at most.
const TOGETHER: usize = 512;
/// A command alone that meets a conflict is tried so often in all.
const ATTEMPTS: u32 = 4;
/// And so much later, times the number of the attempt.
const PAUSE: Duration = Duration::from_millis(5);

pub(super) type Reply = Result<Option<Told>, Arc<Error>>;

/// What comes through a writer's queue.
pub(super) enum Message {
    Job(Box<Job>),
    /// Everything before this is done when it is answered.
    Flush(oneshot::Sender<()>),
}

pub(super) struct Job {
    pub(super) ask: Ask,
    pub(super) tell: oneshot::Sender<Reply>,
}

/// Decides for the showtimes that are its own.
pub(super) struct Writer {
    pub(super) store: Store,
    pub(super) time: Time,
    pub(super) rules: Rules,
    pub(super) memory: Memory,
}

impl Writer {
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        let mut messages = Vec::with_capacity(TOGETHER);
        let mut jobs = Vec::with_capacity(TOGETHER);
        while queue.recv_many(&mut messages, TOGETHER).await > 0 {
            for message in messages.drain(..) {
                match message {
                    // It ends every reservation of its showtime, those of this batch among them: it goes by itself.
                    Message::Job(job) if matches!(job.ask.command, Command::CancelShowtime { .. }) => {
                        self.decide(&mut jobs).await;
                        jobs.push(*job);
                        self.decide(&mut jobs).await;
                    }
                    Message::Job(job) => jobs.push(*job),
                    Message::Flush(tell) => {
                        self.decide(&mut jobs).await;
                        let _gone = tell.send(());
                    }
                }
            }
            self.decide(&mut jobs).await;
        }
    }

    /// Decides these commands and answers them: together, or, if that meets a conflict, one by one.
    async fn decide(&mut self, jobs: &mut Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        metrics::batch(jobs.len());
        match self.attempt(jobs.iter().map(|job| &job.ask).collect()).await {
            Ok(replies) => {
                for (job, reply) in jobs.drain(..).zip(replies) {
                    let _gone = job.tell.send(Ok(reply));
                }
            }
            Err(error) if error.is_conflict() || jobs.len() > 1 && error.is_about_data() => {
                tracing::debug!(%error, commands = jobs.len(), "a batch is taken apart");
                for job in jobs.drain(..) {
                    let reply = self.decide_alone(&job.ask).await;
                    let _gone = job.tell.send(reply);
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for job in jobs.drain(..) {
                    let _gone = job.tell.send(Err(Arc::clone(&error)));
                }
            }
        }
    }

    async fn decide_alone(&mut self, ask: &Ask) -> Reply {
        let mut attempt = 1;
        loop {
            match self.attempt(vec![ask]).await {
                Ok(mut replies) => return Ok(replies.pop().flatten()),
                Err(error) if error.is_conflict() && attempt < ATTEMPTS => {
                    tokio::time::sleep(PAUSE * attempt).await;
                    attempt += 1;
                }
                Err(error) => return Err(Arc::new(error)),
            }
        }
    }

    /// One transaction. What was decided and not written is forgotten, however it came to that.
    async fn attempt(&mut self, asks: Vec<&Ask>) -> Result<Vec<Option<Told>>, Error> {
        let ids: Vec<_> = asks.iter().map(|ask| ask.showtime_id).collect();
        let done = match panics::caught(std::pin::pin!(self.transact(&asks))).await {
            Ok(done) => done,
            Err(panic) => {
                panics::tell(&panic);
                // Alone, whoever caused it will be told; nobody else has to know.
                let what = "a rule panicked";
                Err(if asks.len() > 1 { Error::overloaded(what) } else { Error::Panicked(panic) })
            }
        };
        if done.is_err() {
            self.memory.forget(ids.iter().copied());
        }
        self.memory.used(ids.into_iter());
        done
    }
}
