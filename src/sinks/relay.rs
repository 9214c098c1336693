//! Delivers to one sink, while this instance is the one that does.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    address::{Address, Broker},
    connection::Connection,
    delivery::Delivery,
    trouble::Trouble,
};
use crate::{
    background::{NextRun, Task},
    clock::Clock,
    feed::{Feed, Found, Row},
    store::{ABANDONED, Error, Letters, Progress, Sink, Store},
    telemetry::metrics,
};

/// How often an instance says that it delivers.
const BEAT: Duration = Duration::from_secs(2);
/// The most time for a connection and a delivery. With a beat it is less than the time after which the instance is taken for dead.
const LONGEST_SEND: Duration = Duration::from_secs(6);
/// How often the others look.
const LOOK: Duration = Duration::from_secs(1);
/// How soon the row of the sink is written after a delivery. If the instance ends before, the broker has the events already.
const WRITE_PAUSE: Duration = Duration::from_millis(100);
/// The same while there is more to deliver, which waits for the write.
const WRITE_PAUSE_BUSY: Duration = Duration::from_millis(500);
/// The pause when the feed seems to begin later than it does, before it is looked at again.
const STALE_PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Relay {
    pub(super) address: Address,
    pub(super) store: Store,
    pub(super) feed: Feed,
    clock: Clock,
    owner: Arc<str>,
}

/// What another instance has written last, and when that was first seen.
struct Seen {
    sink: Sink,
    at: Instant,
}

/// What is delivered.
enum Next {
    /// Rows of the feed.
    Rows(Vec<Arc<Row>>),
    /// Dead letters that an operator lets be sent again, and what waited behind them.
    Letters,
    /// What the broker has lost, if it has.
    Lost,
}

impl Relay {
    pub(super) fn new(address: Address, store: Store, feed: Feed, clock: Clock, owner: Arc<str>) -> Self {
        Self { address, store, feed, clock, owner }
    }

    pub(super) async fn run(self, shutdown: CancellationToken) {
        let task = Task::new("delivery of events to a sink", LOOK).shutdown(shutdown.clone());
        metrics::sink(|sink| sink.begin(&self.address.name));
        let mut seen = None;
        task.run(async move || {
            let Some(free) = self.look(&mut seen).await? else { return Ok::<_, Error>(NextRun::Period) };
            let epoch = self.feed.head().await?.epoch;
            let taken = self.store.take_sink(&free, &self.owner, &epoch, self.clock.now()).await?;
            let Some(Sink { fence, position, shift, .. }) = taken else { return Ok(NextRun::Period) };
            tracing::info!(sink = self.address.name, position, "delivering events");
            let mut delivery = Delivery::new(self.feed.follow(), fence, epoch);
            (delivery.position, delivery.shift) = (position, shift);
            self.count_letters(&mut delivery).await?;
            let delivered = Box::pin(self.deliver(delivery, &shutdown)).await;
            metrics::sink(|sink| sink.idle(&self.address.name));
            delivered.map(|()| NextRun::Period)
        })
        .await;
    }

    /// The sink, if no instance delivers to it, or this one does.
    async fn look(&self, seen: &mut Option<Seen>) -> Result<Option<Sink>, Error> {
        let sink = self.store.sink(&self.address.name, self.clock.now()).await?;
        let at = match seen {
            Some(before) if (before.sink.fence, before.sink.beat) == (sink.fence, sink.beat) => before.at,
            _ => Instant::now(),
        };
        *seen = Some(Seen { sink: sink.clone(), at });
        let is_free = sink.owner.is_empty() || *sink.owner == *self.owner;
        // An SQLite file has one process, so that the one before is certainly gone.
        let is_abandoned = !self.store.has_clock() || at.elapsed() >= ABANDONED;
        Ok((is_free || is_abandoned).then_some(sink))
    }

    /// Delivers until the shutdown, or until another instance does.
    async fn deliver(&self, mut delivery: Delivery, shutdown: &CancellationToken) -> Result<(), Error> {
        let mut letters_due = Instant::now();
        loop {
            let due = delivery.beat + if delivery.is_ahead { WRITE_PAUSE } else { BEAT };
            let found = tokio::select! {
                biased;
                () = shutdown.cancelled() => {
                    self.write(&mut delivery, true).await?;
                    return Ok(());
                }
                () = sleep_until(letters_due), if !delivery.waiting.is_empty() => {
                    self.attempt(&mut delivery, Next::Letters, shutdown).await;
                    letters_due = Instant::now() + LOOK;
                    None
                }
                found = delivery.follower.after(delivery.position) => Some(found?),
                () = sleep_until(due) => {
                    if !delivery.is_ahead && self.may_lose(&delivery) {
                        self.attempt(&mut delivery, Next::Lost, shutdown).await;
                    }
                    None
                }
            };
            // Not before the rows that were found are delivered.
            let due = if found.is_some() && delivery.is_ahead { delivery.beat + WRITE_PAUSE_BUSY } else { due };
            match found {
                None => {}
                Some(Found::Unknown) => return Ok(()),
                Some(Found::Compacted) => self.skip(&mut delivery).await?,
                Some(Found::Rows(rows)) => self.attempt(&mut delivery, Next::Rows(rows), shutdown).await,
            }
            if delivery.is_uncertain {
                // Only the database knows what it has. The sink is taken and read anew.
                return Ok(());
            }
            if Instant::now() >= due && !self.write(&mut delivery, false).await? {
                tracing::warn!(
                    sink = self.address.name,
                    "another instance delivers events now, or the database was set back"
                );
                return Ok(());
            }
        }
    }

    /// Whether the broker may lose what it has confirmed, and so is looked at while there is nothing to deliver. Redis writes its file
    /// later. A sink that was not used yet has no connection.
    fn may_lose(&self, delivery: &Delivery) -> bool {
        let was_used = delivery.connection.is_some() || !delivery.problem.is_empty();
        was_used && matches!(self.address.broker, Broker::Redis { .. })
    }

    /// Delivers what comes next, or notes why it was not delivered and waits a while.
    async fn attempt(&self, delivery: &mut Delivery, next: Next, shutdown: &CancellationToken) {
        let sent = timeout(LONGEST_SEND, Box::pin(self.send(delivery, next))).await;
        match sent.unwrap_or_else(|_| Err(Trouble::late(self.address.broker.kind(), LONGEST_SEND))) {
            // A connection alone delivers nothing.
            Ok(false) => {}
            Ok(true) => {
                if !std::mem::take(&mut delivery.problem).is_empty() {
                    tracing::info!(sink = self.address.name, "events are delivered again");
                    delivery.is_ahead = true;
                }
                delivery.backoff.reset();
            }
            Err(trouble) => {
                metrics::sink(|sink| sink.retried(&self.address.name));
                let problem = trouble.to_string();
                if delivery.problem.is_empty() {
                    tracing::warn!(sink = self.address.name, problem, "events are not delivered");
                }
                delivery.problem = problem;
                if !delivery.is_uncertain {
                    self.pause(delivery, shutdown).await;
                }
            }
        }
    }

    /// Connects if that is needed, or delivers, and returns whether it has delivered. With trouble the connection is dropped, unless
    /// it still works.
    async fn send(&self, delivery: &mut Delivery, next: Next) -> Result<bool, Trouble> {
        let Some(connection) = delivery.connection.take() else {
            let mut connection = Connection::open(&self.address).await?;
            if let Connection::Redis(redis) = &mut connection {
                self.align(redis, delivery).await?;
            }
            delivery.connection = Some(connection);
            return Ok(false);
        };
        let (connection, sent) = match connection {
            Connection::Redis(mut redis) => {
                match next {
                    Next::Rows(rows) => self.send_in_sequence(&mut redis, delivery, &rows).await?,
                    Next::Lost if redis.has_another_end().await? => self.align(&mut redis, delivery).await?,
                    Next::Lost | Next::Letters => {}
                }
                (Connection::Redis(redis), Ok(()))
            }
            Connection::Each(mut each) => {
                let sent = match next {
                    Next::Rows(rows) => {
                        let sent = self.send_each(&mut each, delivery, &rows).await;
                        // To free them takes a while, in which the next rows can be sent.
                        tokio::spawn(async move { drop(rows) });
                        sent
                    }
                    Next::Letters => self.send_letters(&mut each, delivery).await,
                    Next::Lost => Ok(()),
                };
                if sent.is_err() && !each.works() {
                    return sent.map(|()| true);
                }
                (Connection::Each(each), sent)
            }
        };
        delivery.connection = Some(connection);
        sent.map(|()| true)
    }

    /// Waits after trouble, and lets the beat go on.
    async fn pause(&self, delivery: &mut Delivery, shutdown: &CancellationToken) {
        let end = Instant::now() + delivery.backoff.pause(self.clock.fraction());
        // The row says why meanwhile. Whether that is written is known by the next write, too.
        while Instant::now() < end && !shutdown.is_cancelled() {
            if self.write(delivery, false).await.is_ok_and(|is_ours| !is_ours) {
                return;
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = sleep(BEAT.min(end.saturating_duration_since(Instant::now()))) => {}
            }
        }
    }

    /// Goes on with the oldest event that is kept.
    async fn skip(&self, delivery: &mut Delivery) -> Result<(), Error> {
        let oldest = self.store.feed_head().await?.compacted;
        if oldest > delivery.position {
            let commits = oldest - delivery.position;
            tracing::error!(sink = self.address.name, commits, "events were deleted before they were delivered");
            metrics::sink(|sink| sink.skipped(&self.address.name, commits.unsigned_abs()));
            delivery.advance(oldest);
        } else {
            sleep(STALE_PAUSE).await;
        }
        Ok(())
    }

    /// Reads of which aggregates events are letters.
    pub(super) async fn count_letters(&self, delivery: &mut Delivery) -> Result<(), Error> {
        let name = &self.address.name;
        delivery.waiting = self.store.letters_by_aggregate(name).await?;
        metrics::sink(|sink| sink.kept(name, delivery.waiting.values().sum()));
        Ok(())
    }

    /// Writes how far the sink is. Returns whether this instance still delivers.
    pub(super) async fn write(&self, delivery: &mut Delivery, stops: bool) -> Result<bool, Error> {
        self.write_with(delivery, delivery.position, stops, &Letters::default()).await
    }

    /// The same for this position, together with changes of letters.
    pub(super) async fn write_with(
        &self,
        delivery: &mut Delivery,
        position: i64,
        stops: bool,
        letters: &Letters,
    ) -> Result<bool, Error> {
        let Delivery { shift, fence, .. } = *delivery;
        let (name, now) = (&self.address.name, self.clock.now());
        let begin = Instant::now();
        let progress = Progress { position, shift, problem: &delivery.problem, stops, letters };
        let is_ours = self.store.advance_sink(name, (fence, &delivery.epoch), &progress, now).await?;
        (delivery.beat, delivery.is_ahead) = (begin, false);
        // What was written is written, whether or not this can be read.
        if let Ok(undelivered) = self.store.undelivered(position, delivery.follower.last()).await {
            let seconds = undelivered.age(now).unwrap_or_default().as_secs_f64();
            metrics::sink(|sink| sink.lag(name, undelivered.events, seconds));
        }
        Ok(is_ours)
    }
}
