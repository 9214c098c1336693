//! Delivers to one sink, while this instance is the one that does.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{address::Address, message::Message, redis::Connection, trouble::Trouble};
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
/// The most of the first pause after trouble, and of the longest. The most doubles with each pause.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(15));
/// How soon the row of the sink is written after a delivery. If the instance ends before, Redis has the events already.
const WRITE_PAUSE: Duration = Duration::from_millis(100);
/// The pause when the feed seems to begin later than it does, before it is looked at again.
const STALE_PAUSE: Duration = Duration::from_millis(50);
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
    /// What each write of the row names.
    fence: i64,
    epoch: String,
    position: i64,
    shift: i64,
    problem: String,
    troubles: u32,
    /// Whether something of this is not in the row.
    is_ahead: bool,
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
            let Some(free) = self.look(&mut seen).await? else { return Ok::<_, Error>(NextRun::Period) };
            // Before the sink is taken: an instance that has no place for it must not keep others from it.
            let Some(follower) = self.feed.follow() else { return Ok(NextRun::Period) };
            let epoch = self.feed.head().await?.epoch;
            let taken = self.store.take_sink(&free, &self.owner, &epoch, self.clock.now()).await?;
            let Some(Sink { fence, position, shift, .. }) = taken else { return Ok(NextRun::Period) };
            tracing::info!(sink = self.address.name, position, "delivering events");
            let delivery = Delivery {
                follower,
                connection: None,
                fence,
                epoch,
                position,
                shift,
                problem: String::new(),
                troubles: 0,
                is_ahead: false,
                beat: Instant::now(),
            };
            let delivered = self.deliver(delivery, &shutdown).await;
            metrics::sink(|sink| sink.lag(&self.address.name, 0, 0.0));
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
        loop {
            let due = delivery.beat + if delivery.is_ahead { WRITE_PAUSE } else { BEAT };
            let found = tokio::select! {
                () = shutdown.cancelled() => {
                    self.write(&mut delivery, true).await?;
                    return Ok(());
                }
                () = sleep_until(due) => None,
                found = delivery.follower.after(delivery.position) => Some(found?),
            };
            match found {
                None => {}
                Some(Found::Unknown) => return Ok(()),
                Some(Found::Compacted) => self.skip(&mut delivery).await?,
                Some(Found::Rows(rows)) => self.deliver_rows(&mut delivery, rows, shutdown).await,
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
                (delivery.position, delivery.troubles, delivery.is_ahead) = (position, 0, true);
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

    /// Waits after trouble, and lets the beat go on.
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
            let before = (delivery.position, delivery.shift);
            self.align(&mut connection, delivery).await?;
            // Written at once: what comes next would otherwise be compared with the shift of before after a crash.
            if (delivery.position, delivery.shift) != before {
                if !self.write(delivery, false).await.map_err(|error| database(&error))? {
                    return Err(Trouble::Broker("another instance delivers events now".to_owned()));
                }
                delivery.connection = Some(connection);
                return Ok(delivery.position);
            }
        }
        let written = connection.write(messages, delivery.shift).await?;
        delivery.connection = Some(connection);
        metrics::sink(|sink| sink.published(&self.address.name, written));
        Ok(last)
    }

    /// Finds where to go on, from the end of the stream.
    ///
    /// - If the server has lost what it had confirmed, delivery goes back, as far as the events are kept.
    /// - If the last entry is an event of this feed at its position, ids go on as they were.
    /// - Otherwise the stream has another history of the database, or of another one. Ids that are lower than its last cannot be
    ///   written, so what is added to positions grows.
    async fn align(&self, connection: &mut Connection, delivery: &mut Delivery) -> Result<(), Trouble> {
        let oldest = self.store.feed_head().await.map_err(|error| database(&error))?.compacted;
        let Some(end) = connection.end().await? else {
            delivery.position = oldest.min(delivery.position);
            return Ok(());
        };
        let (top, index) = end.top;
        let in_feed = top - delivery.shift;
        let row = self.feed.row(in_feed).await.map_err(|error| database(&error))?;
        let event = row.as_ref().and_then(|row| Message::of(row).nth(index));
        // A consumer may delete what it has read.
        let is_of_feed = end.is(event.as_ref(), in_feed <= delivery.position);
        if in_feed <= delivery.position {
            // The events of the last row may not all be there.
            delivery.position = if is_of_feed { in_feed - 1 } else { oldest.min(delivery.position) };
        }
        if !is_of_feed && top > delivery.position + delivery.shift {
            tracing::warn!(
                sink = self.address.name,
                "the end of the stream is not of this database as it is; ids go on after it"
            );
            delivery.shift = top - delivery.position;
        }
        Ok(())
    }

    /// Goes on with the oldest event that is kept.
    async fn skip(&self, delivery: &mut Delivery) -> Result<(), Error> {
        let oldest = self.store.feed_head().await?.compacted;
        if oldest > delivery.position {
            let commits = oldest - delivery.position;
            tracing::error!(sink = self.address.name, commits, "events were deleted before they were delivered");
            metrics::sink(|sink| sink.skipped(&self.address.name, commits.unsigned_abs()));
            (delivery.position, delivery.is_ahead) = (oldest, true);
        } else {
            sleep(STALE_PAUSE).await;
        }
        Ok(())
    }

    /// Writes how far the sink is. Returns whether this instance still delivers.
    async fn write(&self, delivery: &mut Delivery, stops: bool) -> Result<bool, Error> {
        let Delivery { position, shift, fence, .. } = *delivery;
        let (name, now) = (&self.address.name, self.clock.now());
        let begin = Instant::now();
        let progress = Progress { position, shift, problem: &delivery.problem, stops };
        let is_ours = self.store.advance_sink(name, (fence, &delivery.epoch), &progress, now).await?;
        (delivery.beat, delivery.is_ahead) = (begin, false);
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
