//! Delivers to one endpoint: reads the stream of events, queues what the endpoint wants, and attempts what is due.
//!
//! Each endpoint has a stream and a place in the feed of its own. So one that is down for long delays no other one: when too many of
//! its deliveries are waiting, its own stream is not read, and the service keeps the events.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::{
    task::{JoinError, JoinSet},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    client::{Attempt, Client, Content},
    endpoints::Endpoint,
    options::{Failure, Options},
    queue::{Queue, Waiting},
    reader::{Read, Reader},
    schedule::Schedule,
    store::{Error, Outcome, Store},
};
use crate::clock::Clock;

/// The most attempts that are under way at once.
const AT_ONCE: usize = 8;
/// The longest wait before the clock is looked at again. It may have been set.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The pause before a piece of work with the database is attempted again.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);
/// How often what came of attempts is written at most during the shutdown. Without it they are repeated after the next start.
const MOST_LAST_TRIES: u32 = 3;

/// Delivers to one endpoint.
pub(super) struct Courier {
    client: Client,
    reader: Reader,
    state: State,
    once: bool,
    max_waiting: usize,
}

/// What is waiting and under way, and how it is written.
struct State {
    name: Arc<str>,
    store: Store,
    clock: Clock,
    schedule: Schedule,
    queue: Queue,
    in_flight: JoinSet<(Waiting, Attempt)>,
    /// The endpoint has asked for a pause until then.
    paused_until: DateTime<Utc>,
    is_disabled: bool,
    /// Whether the last piece of work with the database has failed.
    is_failing: bool,
    shutdown: CancellationToken,
}

impl Courier {
    /// Reads what is stored of the endpoint. `None`: it is disabled.
    pub(super) async fn new(
        endpoint: Arc<Endpoint>,
        store: Store,
        options: &Options,
        clock: Clock,
        shutdown: CancellationToken,
    ) -> Result<Option<Self>, Failure> {
        let name = Arc::clone(&endpoint.name);
        let stored = store.endpoint(&name).await?;
        if let Some(since) = stored.disabled_time {
            tracing::warn!(endpoint = &*name, %since, "the endpoint is disabled; --enable delivers to it again");
            return Ok(None);
        }
        let mut queue = Queue::default();
        store.waiting(&name).await?.into_iter().for_each(|waiting| queue.push(waiting));
        let last = store.last_number(&name).await?;
        let reader = Reader::new(Arc::clone(&endpoint), options, stored.token, last, clock.clone())?;
        tracing::info!(endpoint = &*name, waiting = queue.len(), "delivering webhooks");
        let client = Client::new(Arc::clone(&endpoint), options.attempt_timeout);
        let state = State {
            name,
            store,
            clock,
            schedule: Schedule::new(options.retry_schedule.clone()),
            queue,
            in_flight: JoinSet::new(),
            paused_until: DateTime::UNIX_EPOCH,
            is_disabled: false,
            is_failing: false,
            shutdown,
        };
        let (once, max_waiting) = (options.once, options.max_waiting);
        Ok(Some(Self { client, reader, state, once, max_waiting }))
    }

    /// Delivers until the shutdown, until the endpoint is disabled, or, with `--once`, until nothing is left to be done now.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        let shutdown = self.state.shutdown.clone();
        // Nothing was begun before this, so it may be dropped.
        let begun = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            begun = self.begin() => begun,
        };
        begun?;
        while !self.state.is_disabled && !shutdown.is_cancelled() {
            self.start_due().await?;
            if self.once && self.is_done() {
                break;
            }
            let (reads, wait) = (self.reads(), self.state.wait());
            tokio::select! {
                () = shutdown.cancelled() => {}
                Some(done) = self.state.in_flight.join_next() => self.state.settle(done).await?,
                () = sleep(wait) => {}
                read = self.reader.next(), if reads => self.enqueue(read?).await?,
            }
        }
        self.drain().await
    }

    /// Finds where to begin, and what `--once` has to do.
    async fn begin(&mut self) -> Result<(), Failure> {
        if let Some(token) = self.reader.begin(self.once).await? {
            let state = &mut self.state;
            while !state.written(state.store.set_token(&state.name, &token).await).await? {}
            self.reader.noted();
        }
        Ok(())
    }

    fn reads(&self) -> bool {
        !self.reader.is_done() && self.state.queue.len() < self.max_waiting
    }

    /// Whether everything that can be done now is done.
    fn is_done(&self) -> bool {
        let state = &self.state;
        !self.reads() && state.in_flight.is_empty() && !state.wait().is_zero()
    }

    /// Queues what was read, and notes up to where.
    async fn enqueue(&mut self, first: Read) -> Result<(), Failure> {
        let room = self.max_waiting.saturating_sub(self.state.queue.len());
        let batch = self.reader.batch(first, room)?;
        let state = &mut self.state;
        if batch.deliveries.is_empty() && !self.reader.is_note_due() {
            return Ok(());
        }
        let now = state.clock.now();
        while !state.written(state.store.enqueue(&state.name, &batch.deliveries, &batch.token, now).await).await? {
            if state.shutdown.is_cancelled() {
                return Ok(());
            }
        }
        self.reader.noted();
        for delivery in batch.deliveries {
            let aggregate = delivery.aggregate.into();
            state.queue.push(Waiting { number: delivery.number, aggregate, attempts: 0, next_time: now });
        }
        Ok(())
    }

    /// Begins attempts whose time has come.
    async fn start_due(&mut self) -> Result<(), Failure> {
        let state = &mut self.state;
        let now = state.clock.now();
        let mut due = Vec::new();
        while state.in_flight.len() + due.len() < AT_ONCE && state.paused_until <= now {
            let Some(waiting) = state.queue.take(now) else { break };
            due.push(waiting);
        }
        if due.is_empty() {
            return Ok(());
        }
        let numbers: Vec<_> = due.iter().map(|waiting| waiting.number).collect();
        let bodies = state.store.bodies(&state.name, &numbers).await;
        let mut bodies = match bodies {
            Ok(bodies) => bodies,
            Err(error) => {
                for waiting in due {
                    state.queue.put_back(waiting);
                }
                return state.written(Err(error)).await.map(|_| ());
            }
        };
        for waiting in due {
            // Without a body it was queued or given up already when it was read again.
            let Some(at) = bodies.iter().position(|body| body.number == waiting.number) else {
                state.queue.remove(&waiting);
                continue;
            };
            let body = bodies.swap_remove(at);
            let content = Content { id: body.webhook_id, body: body.body };
            let (client, clock) = (self.client.clone(), state.clock.clone());
            state.in_flight.spawn(async move {
                let attempt = client.attempt(&content, clock.now()).await;
                (waiting, attempt)
            });
        }
        Ok(())
    }

    /// Waits for what is under way, which is not long, and writes what came of it.
    async fn drain(mut self) -> Result<(), Failure> {
        let state = &mut self.state;
        let under_way = state.in_flight.len();
        if under_way > 0 {
            tracing::info!(endpoint = &*state.name, under_way, "finishing the deliveries that are under way");
        }
        while let Some(done) = state.in_flight.join_next().await {
            state.settle(done).await?;
        }
        if let Some(token) = self.reader.unnoted() {
            state.written(state.store.set_token(&state.name, &token).await).await?;
        }
        if state.is_disabled {
            let waiting = state.queue.len();
            tracing::warn!(endpoint = &*state.name, waiting, "the endpoint has answered 410 and is disabled");
        }
        Ok(())
    }
}

impl State {
    /// How long nothing has to be begun.
    fn wait(&self) -> Duration {
        if self.in_flight.len() >= AT_ONCE {
            return LONGEST_WAIT;
        }
        let now = self.clock.now();
        let next = self.queue.next_time().map(|time| (time.max(self.paused_until) - now).to_std().unwrap_or_default());
        next.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT)
    }

    /// Writes what came of an attempt, and of those that have ended with it.
    async fn settle(&mut self, first: Result<(Waiting, Attempt), JoinError>) -> Result<(), Failure> {
        let mut ended = vec![first];
        ended.extend(std::iter::from_fn(|| self.in_flight.try_join_next()));
        let now = self.clock.now();
        let mut outcomes = Vec::new();
        for attempt in ended {
            // An attempt is never cancelled, so this is a panic, which ends the process.
            let (waiting, attempt) = attempt?;
            outcomes.push(self.outcome(waiting, attempt, now));
        }
        let disabled = self.is_disabled.then_some(now);
        let mut tries = 0;
        while !self.written(self.store.settle(&self.name, &outcomes, disabled, now).await).await? {
            tries += u32::from(self.shutdown.is_cancelled());
            if tries >= MOST_LAST_TRIES {
                tracing::error!(endpoint = &*self.name, "what came of deliveries is not written; they are repeated");
                break;
            }
        }
        for outcome in outcomes {
            match outcome {
                Outcome::Delivered { waiting } | Outcome::Failed { waiting, .. } => self.queue.remove(&waiting),
                Outcome::Again { waiting, .. } => self.queue.put_back(waiting),
            }
        }
        Ok(())
    }

    fn outcome(&mut self, waiting: Waiting, attempt: Attempt, now: DateTime<Utc>) -> Outcome {
        let attempts = waiting.attempts + 1;
        let endpoint = &*self.name;
        match attempt {
            Attempt::Delivered => {
                tracing::debug!(endpoint, number = waiting.number, attempts, "delivered");
                Outcome::Delivered { waiting }
            }
            Attempt::Gone => {
                self.is_disabled = true;
                // It is attempted once the endpoint is enabled again.
                Outcome::Again { waiting: Waiting { next_time: now, ..waiting }, answer: "HTTP 410 Gone".to_owned() }
            }
            Attempt::Failed { answer, retry_after } => {
                if let Some(asked) = retry_after {
                    self.paused_until = self.paused_until.max(after(now, asked));
                }
                let number = waiting.number;
                let Some(pause) = self.schedule.pause(attempts, retry_after, self.clock.fraction()) else {
                    tracing::error!(endpoint, number, attempts, answer, "a delivery is given up");
                    return Outcome::Failed { waiting: Waiting { attempts, next_time: now, ..waiting }, answer };
                };
                tracing::info!(endpoint, number, attempts, answer, "not delivered; attempted again");
                Outcome::Again { waiting: Waiting { attempts, next_time: after(now, pause), ..waiting }, answer }
            }
        }
    }

    /// Whether a piece of work with the database is done. If it may succeed later, this waits before it is attempted again.
    async fn written(&mut self, done: Result<(), Error>) -> Result<bool, Failure> {
        match done {
            Ok(()) => {
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!(endpoint = &*self.name, "the database of webhooks works again");
                }
                Ok(true)
            }
            Err(error) if error.passes() => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, endpoint = &*self.name, "nothing is delivered until the database works");
                }
                sleep(DATABASE_PAUSE).await;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn after(now: DateTime<Utc>, pause: Duration) -> DateTime<Utc> {
    now + TimeDelta::from_std(pause).unwrap_or(TimeDelta::MAX)
}
