//! The ledger: the only module that changes which reservation has which seats.
//!
//! A request for a showtime is queued for that showtime's writer. The writer takes everything in its queue, locks those
//! showtimes in the database, decides in memory by the rules of [`crate::domain::seating`], writes the result in one
//! transaction, and answers after the commit. [`Views`] keeps the seat maps of showtimes that are read or watched.
//!
//! A request that is queued is carried out even if its caller stops waiting. Deliberately absent: timers for holds. A hold
//! has lapsed once its `expire_time` has passed; [`Ledger::sweep`] only records that.

mod batch;
mod decision;
mod lookup;
mod memory;
mod planted;
mod request;
mod time;
mod views;
mod writer;

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};

use crate::{
    domain::seating::{Command, Rules},
    store::{Error, Store},
};
use memory::Memory;
use writer::{Message, QueuedRequest, Writer};

pub use request::{CompanionMaker, Outcome, Reply, Request};
pub use time::TimeSource;
pub use views::{
    DeltaChannel, Encoding, Frame, Snapshot, Views, Watch, WatchError, WatchMessage, WatchPermit, WatchQuota,
};

/// Requests that may wait for one writer. Beyond it a request is refused as overloaded.
const MAX_QUEUED: usize = 8_192;
/// Showtimes whose lapsed holds are recorded at a time.
const SWEEP_CHUNK: usize = 64;

/// How the ledger works.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the deployment allows.
    pub rules: Rules,
    /// The number of writers, which is the number of transactions that can be open at once. Each showtime has one writer.
    pub writers: usize,
    /// Bytes of memory for the seats of showtimes, over all writers. It is an estimate, not an exact limit.
    pub memory: usize,
    /// How many watchers of seat maps and doors there may be at once.
    pub watchers: WatchQuota,
    /// How instances send each other the changes of seat maps, if they do.
    pub delta_channel: Option<DeltaChannel>,
}

/// The way to change seats and to see them. Cheap to clone.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    writers: Vec<mpsc::Sender<Message>>,
    store: Store,
    time: TimeSource,
    views: Views,
}

impl Ledger {
    /// Starts the writers. They end when the last clone is dropped.
    #[must_use]
    pub fn start(store: Store, time: TimeSource, options: &Options) -> Self {
        // Where a transaction locks the whole database, several writers would take turns with smaller batches.
        let count = if store.locks_rows() { options.writers.max(1) } else { 1 };
        let views = Views::start(store.clone(), time.clone(), options.watchers, options.delta_channel.clone());
        let writers = (0..count).map(|_| {
            let (sender, queue) = mpsc::channel(MAX_QUEUED);
            let memory = Memory::new(options.memory / count);
            let writer = Writer::new(&store, time.clone(), options.rules.clone(), memory, views.clone());
            tokio::spawn(writer.run(queue));
            sender
        });
        let writers = writers.collect();
        Self(Arc::new(Inner { writers, store, time, views }))
    }

    /// Seat maps, to be read and watched.
    #[must_use]
    pub fn views(&self) -> &Views {
        &self.0.views
    }

    /// Submits a request and waits for its answer; `None` means that there is no such showtime. Once the request is queued,
    /// it is carried out even if this future is dropped.
    ///
    /// # Errors
    /// The store failed, or `Busy`: the writer's queue is full.
    pub async fn submit(&self, request: Request) -> Result<Option<Reply>, Arc<Error>> {
        // A plan that is not in memory is read here, so that only this request waits for it and no writer does.
        let Some(plan) = self.0.store.plan(request.showtime_id).await? else { return Ok(None) };
        let (reply, answer) = oneshot::channel();
        // Ids end in random bits.
        let writer = request.showtime_id.0.as_u128() as usize % self.0.writers.len();
        let queued = Message::Request(Box::new(QueuedRequest { request, plan, reply }));
        if self.0.writers[writer].try_send(queued).is_err() {
            return Err(Arc::new(Error::overloaded("too many requests wait for this showtime's writer")));
        }
        answer.await.unwrap_or_else(|_| Err(Arc::new(Error::unknown("the writer ended before it answered"))))
    }

    /// Waits until every request submitted before is answered. From here on seat maps are no longer compared with the
    /// database.
    pub async fn drain(&self) {
        self.0.views.close();
        for writer in &self.0.writers {
            let (done, answered) = oneshot::channel();
            if writer.send(Message::Flush(done)).await.is_ok() {
                let _ended = answered.await;
            }
        }
    }

    /// Records the holds that have lapsed, so that lists and counts show it and events are written. Nothing depends on it:
    /// a hold that has lapsed cannot be confirmed, recorded or not. Any number of instances may sweep at once. Returns the
    /// number of showtimes that had lapsed holds.
    ///
    /// # Errors
    /// The store failed. The other showtimes of the same chunk are swept all the same.
    pub async fn sweep(&self) -> Result<usize, Arc<Error>> {
        let now = self.0.time.statement_time(&self.0.store);
        let (mut swept, mut before) = (0, Vec::new());
        loop {
            let lapsed = self.0.store.lapsed(now, SWEEP_CHUNK as u64).await?;
            let count = lapsed.len();
            // Without progress the next sweep goes on, so that this one ends.
            if lapsed == before {
                return Ok(swept);
            }
            before.clone_from(&lapsed);
            let requests = lapsed.into_iter().map(|id| self.submit(Request::new(id, Command::Expire)));
            if let Some(error) = join_all(requests).await.into_iter().find_map(Result::err) {
                return Err(error);
            }
            swept += count;
            if count < SWEEP_CHUNK {
                return Ok(swept);
            }
        }
    }
}
