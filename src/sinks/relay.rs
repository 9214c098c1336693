//! Delivers to one sink, while this instance is the one that does.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    address::Address,
    message::Message,
    redis::{Connection, Last},
    trouble::Trouble,
};
use crate::{
    background::{NextRun, Task},
    clock::Clock,
    feed::{Feed, Follower, Found, Row},
    store::{ABANDONED, Error, Progress, Sink, Store},
    telemetry::metrics,
};

/// How often an instance says that it delivers.
const BEAT: Duration = Duration::from_secs(2);
/// The most time for a connection and a delivery. With a beat it is less than the time after which the instance is taken for dead.
const LONGEST_SEND: Duration = Duration::from_secs(6);
/// How often the others look.
const LOOK: Duration = Duration::from_secs(1);
/// The first pause after trouble, and the longest. Each is up to twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(15));
/// The most events that are delivered at once. A row has at least one.
const AT_ONCE: usize = 500;

pub(super) struct Relay {
    address: Address,
    store: Store,
    feed: Feed,
    clock: Clock,
    owner: Arc<str>,
}

/// What another instance has written last, and when that was first seen.
struct Seen {
    sink: Sink,
    at: Instant,
}

/// The delivery by this instance.
struct Delivery {
    follower: Follower,
    /// `None` until the broker was reached, and after trouble.
    connection: Option<Connection>,
    fence: i64,
    position: i64,
    shift: i64,
    problem: String,
    troubles: u32,
    /// When the row of the sink was written.
    beat: Instant,
}

impl Relay {
    pub(super) fn new(address: Address, store: Store, feed: Feed, clock: Clock, owner: Arc<str>) -> Self {
        Self { address, store, feed, clock, owner }
    }

    pub(super) async fn run(self, shutdown: CancellationToken) {
        let task = Task::new("delivery of events to a sink", LOOK).shutdown(shutdown.clone());
        let mut seen = None;
        task.run(async move || {
            let Some(sink) = self.take(&mut seen).await? else { return Ok::<_, Error>(NextRun::Period) };
            let Some(follower) = self.feed.follow() else { return Ok(NextRun::Period) };
            let Sink { fence, position, shift, .. } = sink;
            tracing::info!(sink = self.address.name, position, "delivering events");
            let (problem, beat) = (String::new(), Instant::now());
            let connection = None;
            let delivery = Delivery { follower, connection, fence, position, shift, problem, troubles: 0, beat };
            let delivered = self.deliver(delivery, &shutdown).await;
            metrics::sink(|sink| sink.lag(&self.address.name, 0, 0.0));
            delivered.map(|()| NextRun::Period)
        })
        .await;
    }

    /// Becomes the instance that delivers, if no other one does.
    async fn take(&self, seen: &mut Option<Seen>) -> Result<Option<Sink>, Error> {
        let sink = self.store.sink(&self.address.name, self.clock.now()).await?;
        let at = match seen {
            Some(before) if (before.sink.fence, before.sink.beat) == (sink.fence, sink.beat) => before.at,
            _ => Instant::now(),
        };
        let is_free = sink.owner.is_empty() || *sink.owner == *self.owner;
        // An SQLite file has one process, so that the one before is certainly gone.
        let is_abandoned = is_free || !self.store.has_clock() || at.elapsed() >= ABANDONED;
        let taken = if is_abandoned { self.store.take_sink(&sink, &self.owner, self.clock.now()).await? } else { None };
        *seen = Some(Seen { sink, at });
        Ok(taken)
    }

    /// Delivers until the shutdown, or until another instance does.
    async fn deliver(&self, mut delivery: Delivery, shutdown: &CancellationToken) -> Result<(), Error> {
        loop {
            let found = tokio::select! {
                () = shutdown.cancelled() => {
                    self.write(&mut delivery, true).await?;
                    return Ok(());
                }
                () = sleep_until(delivery.beat + BEAT) => None,
                found = delivery.follower.after(delivery.position) => Some(found?),
            };
            match found {
                None => {}
                Some(Found::Unknown) => return Ok(()),
                Some(Found::Compacted) => self.skip(&mut delivery).await?,
                Some(Found::Rows(rows)) => self.deliver_rows(&mut delivery, rows, shutdown).await,
            }
            if !self.write(&mut delivery, false).await? {
                tracing::warn!(sink = self.address.name, "another instance delivers events now");
                return Ok(());
            }
        }
    }

    /// Delivers rows, as many as there may be at once, or notes why they were not delivered and waits a while.
    async fn deliver_rows(&self, delivery: &mut Delivery, rows: VecDeque<Arc<Row>>, shutdown: &CancellationToken) {
        let mut messages = Vec::new();
        let mut last = delivery.position;
        for row in rows {
            if messages.len() >= AT_ONCE {
                break;
            }
            messages.extend(Message::of(&row));
            last = row.position;
        }
        let sent = timeout(LONGEST_SEND, self.send(delivery, &messages, last)).await;
        match sent.unwrap_or_else(|_| Err(Trouble::Broker(format!("Redis does not answer within {LONGEST_SEND:?}")))) {
            Ok(position) => {
                if !std::mem::take(&mut delivery.problem).is_empty() {
                    tracing::info!(sink = self.address.name, "events are delivered again");
                }
                (delivery.position, delivery.troubles) = (position, 0);
            }
            Err(trouble) => {
                metrics::sink(|sink| sink.retried(&self.address.name));
                let problem = trouble.to_string();
                if delivery.problem.is_empty() {
                    tracing::warn!(sink = self.address.name, problem, "events are not delivered");
                }
                delivery.problem = problem;
                self.pause(delivery, shutdown).await;
            }
        }
    }

    /// Waits after trouble, for less than the time after which this instance is taken for dead.
    async fn pause(&self, delivery: &mut Delivery, shutdown: &CancellationToken) {
        let (first, longest) = PAUSES;
        let most = first.saturating_mul(1 << delivery.troubles.min(16)).min(longest);
        delivery.troubles += 1;
        let end = Instant::now() + most.mul_f64(self.clock.fraction());
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

    /// Delivers the messages, and returns the position up to which everything is delivered.
    async fn send(&self, delivery: &mut Delivery, messages: &[Message], last: i64) -> Result<i64, Trouble> {
        let open = delivery.connection.take();
        let is_new = open.is_none();
        let mut connection = if let Some(open) = open { open } else { Connection::open(&self.address).await? };
        if is_new {
            let before = delivery.position;
            self.align(&mut connection, delivery).await?;
            if delivery.position != before {
                delivery.connection = Some(connection);
                return Ok(delivery.position);
            }
        }
        connection.write(messages, delivery.shift).await?;
        delivery.connection = Some(connection);
        metrics::sink(|sink| sink.published(&self.address.name, messages.len()));
        Ok(last)
    }

    /// Finds where to go on, from the last entry of the stream.
    ///
    /// - If the server has lost what it had confirmed, delivery goes back, as far as the events are kept.
    /// - If the stream has events of another history at the positions that come next, since the database was set back, what is
    ///   added to positions grows: ids that are lower than those cannot be written.
    async fn align(&self, connection: &mut Connection, delivery: &mut Delivery) -> Result<(), Trouble> {
        let Some(Last { position, index, event }) = connection.last().await? else {
            return self.go_back(delivery, 0).await;
        };
        let in_feed = position - delivery.shift;
        let row = self.feed.row(in_feed).await.map_err(|error| database(&error))?;
        let is_of_feed = row.and_then(|row| Some(row.entries.get(index)?.id() == event)) == Some(true);
        if in_feed <= delivery.position {
            // The events of the last row may not all be there. Those that are, Redis refuses.
            return self.go_back(delivery, if is_of_feed { in_feed - 1 } else { in_feed }).await;
        }
        if !is_of_feed {
            tracing::warn!(
                sink = self.address.name,
                "the stream has events that are not in this database; ids go on after them"
            );
            delivery.shift = position - delivery.position;
        }
        Ok(())
    }

    async fn go_back(&self, delivery: &mut Delivery, position: i64) -> Result<(), Trouble> {
        let oldest = self.store.feed_head().await.map_err(|error| database(&error))?.compacted;
        delivery.position = position.max(oldest).min(delivery.position);
        Ok(())
    }

    /// Goes on with the oldest event that is kept.
    async fn skip(&self, delivery: &mut Delivery) -> Result<(), Error> {
        let oldest = self.store.feed_head().await?.compacted;
        if oldest > delivery.position {
            let commits = oldest - delivery.position;
            tracing::error!(sink = self.address.name, commits, "events were deleted before they were delivered");
            metrics::sink(|sink| sink.skipped(&self.address.name, commits.unsigned_abs()));
            delivery.position = oldest;
        }
        Ok(())
    }

    /// Writes how far the sink is. Returns whether this instance still delivers.
    async fn write(&self, delivery: &mut Delivery, stops: bool) -> Result<bool, Error> {
        let Delivery { position, shift, fence, .. } = *delivery;
        let (name, now) = (&self.address.name, self.clock.now());
        let begin = Instant::now();
        let progress = Progress { position, shift, problem: &delivery.problem, stops };
        let is_ours = self.store.advance_sink(name, fence, &progress, now).await?;
        delivery.beat = begin;
        let lag = (delivery.follower.last() - position).max(0);
        let waiting = if lag == 0 { None } else { self.store.written_after(position).await? };
        let seconds = waiting.map_or(0.0, |since| (now - since).to_std().unwrap_or_default().as_secs_f64());
        metrics::sink(|sink| sink.lag(name, lag.unsigned_abs(), seconds));
        Ok(is_ours)
    }
}

fn database(error: &Error) -> Trouble {
    Trouble::Broker(format!("the database cannot be used: {error}"))
}
