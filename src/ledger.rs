//! Who has which seat: the only room in which seats change hands.
//!
//! A command for a showtime waits in the queue of that showtime's writer. The writer takes whatever is queued, locks those
//! showtimes in the database, decides in memory with [`crate::domain::seating`], writes what came of it in one
//! transaction, and only then answers. Commands that were queued are carried out whatever becomes of those who asked.

mod batch;
mod decision;
mod memory;
mod views;
mod writer;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot};

use crate::{
    clock::Clock,
    domain::{
        ids::ShowtimeId,
        reservation::Reservation,
        seating::{Command, Refusal, Rules, ShowtimePlan},
    },
    store::{Error, RequestKey, Store},
};
use memory::Memory;
pub use views::{DeltaChannel, Encoding, Frame, Snapshot, Views, Watch, WatchError, WatchMessage, WatchQuota};
use writer::{Message, QueuedRequest, Writer};

/// A command, and all that goes with it.
#[derive(Clone, Debug)]
pub struct Request {
    /// For this showtime.
    pub showtime_id: ShowtimeId,
    /// What is wanted.
    pub command: Command,
    /// Under which request id, so that its repetition has no second effect.
    pub key: Option<RequestKey>,
    /// The reservation it names, as it was found a moment ago.
    pub record: Option<Arc<Reservation>>,
    /// Whether only to say what would come of it.
    pub validate_only: bool,
    /// The trace of the request.
    pub trace_id: Option<u128>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The showtime, without what changes.
    pub plan: Arc<ShowtimePlan>,
    /// Its revision at which this was decided or, for a repetition, was decided at first.
    pub revision: i64,
    /// When it was decided, by the database's clock.
    pub now: DateTime<Utc>,
    /// The rest.
    pub outcome: Outcome,
}

/// The ways in which a command can end, besides not at all.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It was done; the reservation it was about, if it was about one.
    Done(Option<Arc<Reservation>>),
    /// It had been done by this same request, and this was the reservation then.
    Replayed(Option<Arc<Reservation>>),
    /// The request id belongs to another request.
    RequestReused,
    /// It is against the rules. Shared, as many can be refused alike.
    Refused(Arc<Refusal>),
}

/// Whose clock decides when a hold is over.
#[derive(Clone, Debug)]
pub enum TimeSource {
    /// The database's. `SQLite` has none: it is the file of one process, and that process's clock will do.
    Database(Clock),
    /// This one, whatever the database thinks: a test that holds the time in its hand.
    Given(Clock),
}

/// How the ledger works.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is allowed.
    pub rules: Rules,
    /// How many transactions are under way at once, each for showtimes of its own.
    pub writers: usize,
    /// About how many bytes of memory may be used for showtimes, in all.
    pub memory: usize,
    /// How many may watch seat maps at once.
    pub watchers: WatchQuota,
    /// Over which instances tell each other of seat maps, if there is anything.
    pub feed: Option<DeltaChannel>,
}

/// The way to ask. Cheap to clone.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    writers: Vec<mpsc::Sender<Message>>,
    store: Store,
    time: TimeSource,
    views: Views,
}

/// Commands that may wait for one writer; beyond it there is too much going on.
const QUEUED: usize = 8_192;
/// Showtimes that the sweep looks after at a time.
const SWEPT: usize = 64;

impl Ledger {
    /// Starts the writers. They end when the last clone is dropped.
    #[must_use]
    pub fn start(store: Store, time: TimeSource, options: &Options) -> Self {
        // Where a transaction locks all there is, several writers would only take turns, with smaller batches.
        let count = if store.locks_rows() { options.writers.max(1) } else { 1 };
        let views = Views::start(store.clone(), time.clone(), options.watchers, options.feed.clone());
        let writers = (0..count).map(|_| {
            let (send, receive) = mpsc::channel(QUEUED);
            let memory = Memory::new(options.memory / count);
            let writer = Writer::new(&store, time.clone(), options.rules.clone(), memory, views.clone());
            tokio::spawn(writer.run(receive));
            send
        });
        let writers = writers.collect();
        Self(Arc::new(Inner { writers, store, time, views }))
    }

    /// Seat maps, for those who only look.
    #[must_use]
    pub fn views(&self) -> &Views {
        &self.0.views
    }

    /// Has a command decided. `None`: there is no such showtime. Once it is queued, which takes no time for a showtime that
    /// is known, the command is carried out, whether or not anybody waits for the answer.
    ///
    /// # Errors
    /// The store could not be asked, or `Busy`: too many commands are waiting.
    pub async fn ask(&self, ask: Request) -> Result<Option<Reply>, Arc<Error>> {
        // Whoever wants what has to be read first waits for it alone, and holds up no writer.
        let Some(plan) = self.0.store.plan(ask.showtime_id).await? else { return Ok(None) };
        let (tell, told) = oneshot::channel();
        // Ids end in random bits.
        let writer = ask.showtime_id.0.as_u128() as usize % self.0.writers.len();
        if self.0.writers[writer].try_send(Message::QueuedRequest(Box::new(QueuedRequest { ask, plan, tell }))).is_err()
        {
            return Err(Arc::new(Error::overloaded("too many commands are waiting")));
        }
        told.await.unwrap_or_else(|_| Err(Arc::new(Error::unknown("a writer ended before it answered"))))
    }

    /// Waits for every command that was asked before. Seat maps are no longer kept up.
    pub async fn drained(&self) {
        self.0.views.close();
        for writer in &self.0.writers {
            let (tell, told) = oneshot::channel();
            if writer.send(Message::Flush(tell)).await.is_ok() {
                let _ended = told.await;
            }
        }
    }

    /// Writes down the holds that are over, so that others are told and the seats show as free everywhere. Nothing depends
    /// on it: a hold that is over is over. Any number of instances may do it at once. Answers how many showtimes it saw.
    ///
    /// # Errors
    /// The store could not be asked.
    pub async fn sweep(&self) -> Result<usize, Arc<Error>> {
        let now = match &self.0.time {
            TimeSource::Database(_) if self.0.store.has_clock() => None,
            TimeSource::Database(clock) | TimeSource::Given(clock) => Some(clock.now()),
        };
        let mut swept = 0;
        loop {
            let lapsed = self.0.store.lapsed(now, SWEPT as u64).await?;
            let (last, more) = (lapsed.len() < SWEPT, lapsed.len());
            let expire = |showtime_id| Request {
                showtime_id,
                command: Command::Expire,
                key: None,
                record: None,
                validate_only: false,
                trace_id: None,
            };
            let asked = lapsed.into_iter().map(|showtime_id| self.ask(expire(showtime_id)));
            // One that fails keeps nobody from the others of its turn.
            let told = futures_util::future::join_all(asked).await;
            if let Some(error) = told.into_iter().find_map(Result::err) {
                return Err(error);
            }
            swept += more;
            if last {
                return Ok(swept);
            }
        }
    }
}
