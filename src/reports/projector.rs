//! The projector: reads the feed of events, and fills the tables.
//!
//! The events of a batch and the cursor are committed together, so an event has its effect once, whenever the projector or the
//! service ends. Trouble with the service or the database lasts as long as it lasts: the projector goes on when it is over.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    batch::{self, Batch, Cursor, Done},
    database::{Database, Options, Use},
    error::Error,
};
use crate::{
    background::Backoff,
    clock::Clock,
    consumer::{self, Consumer, Delivery, Start},
};

/// How long a batch waits for another event.
const LINGER: Duration = Duration::from_millis(10);

/// What the projector does.
#[derive(Clone, Debug)]
pub struct Projection {
    /// The reporting database.
    pub database: Options,
    /// The service.
    pub service: consumer::Options,
    /// The most events of one transaction.
    pub batch: usize,
    /// Whether the tables are emptied first.
    pub rebuild: bool,
    /// Whether it ends when everything is in the tables that was in the feed when it started.
    pub once: bool,
}

struct Projector {
    projection: Projection,
    database: Database,
    clock: Clock,
    cursor: Cursor,
}

/// Fills the tables until the shutdown.
///
/// # Errors
/// The database or the service cannot be used, another projector writes to the database, or the tables have to be rebuilt.
pub async fn project(projection: Projection, clock: Clock, shutdown: CancellationToken) -> Result<(), Error> {
    let database = Database::open(&projection.database, Use::Project).await?;
    batch::migrate(&database).await?;
    let mut cursor = batch::cursor(&database).await?;
    if projection.rebuild {
        batch::empty(&database, &mut cursor).await?;
        tracing::info!("the tables are empty, and are rebuilt from the oldest event that is kept");
    }
    let mut projector = Projector { projection, database, clock, cursor };
    let done = projector.run(&shutdown).await;
    projector.database.close().await;
    done
}

impl Projector {
    async fn run(&mut self, shutdown: &CancellationToken) -> Result<(), Error> {
        let mut backoff = Backoff::default();
        loop {
            let from = self.cursor.version;
            let ended = tokio::select! {
                ended = Box::pin(self.follow()) => ended,
                () = shutdown.cancelled() => return Ok(()),
            };
            let Err(error) = ended else { return Ok(()) };
            if !error.passes() || self.projection.once {
                return Err(error);
            }
            if self.cursor.version != from {
                backoff.reset();
            }
            let pause = backoff.pause(self.clock.fraction());
            tracing::warn!(error = &error as &dyn std::error::Error, ?pause, "the projection is interrupted");
            tokio::select! {
                () = sleep(pause) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    /// Reads from the cursor on, until something goes wrong, or everything is read that is asked for.
    async fn follow(&mut self) -> Result<(), Error> {
        // What a commit has done whose answer was lost, only the database knows.
        self.cursor = batch::cursor(&self.database).await?;
        let start = self.cursor.token.clone().map_or(Start::Oldest, Start::Token);
        let mut consumer = Consumer::new(&self.projection.service, start, self.clock.clone())?;
        let last = if self.projection.once { Some(self.last(&consumer).await?) } else { None };
        if last.is_some() && last == self.cursor.token {
            return Ok(());
        }
        loop {
            let (batch, is_last) = self.next(&mut consumer, last.as_deref()).await?;
            let done = batch::commit(&self.database, &mut self.cursor, &batch).await?;
            log(done);
            if is_last {
                return Ok(());
            }
        }
    }

    /// The token after the last event.
    async fn last(&self, consumer: &Consumer) -> Result<String, Error> {
        Ok(consumer.ends().await.map_err(Error::NotReached)?.newest)
    }

    /// The next batch, and whether it is the last one that is asked for.
    async fn next(&self, consumer: &mut Consumer, last: Option<&str>) -> Result<(Batch, bool), Error> {
        let mut batch = Batch::default();
        let mut is_last = false;
        let mut delivery = Some(self.first(consumer, last.is_some()).await?);
        // A heartbeat comes when there is nothing more.
        while let Some(next) = delivery {
            match next {
                Delivery::Event(event) => {
                    batch.token = event.resume_token;
                    batch.events.extend(event.data);
                    is_last |= last == Some(&*batch.token);
                }
                Delivery::Heartbeat(token) => {
                    batch.token = token;
                    is_last |= last.is_some();
                    break;
                }
            }
            if is_last || batch.events.len() >= self.projection.batch {
                break;
            }
            delivery = match timeout(LINGER, consumer.next()).await {
                Ok(next) => Some(next?),
                Err(_) => None,
            };
        }
        batch.checked = self.clock.now();
        if self.cursor.token.is_none() && consumer.ends().await.map_err(Error::NotReached)?.is_compacted {
            batch.complete_since = Some(first_time(&batch).unwrap_or(batch.checked));
            tracing::warn!(
                since = ?batch.complete_since,
                "the feed does not begin with the first event: showtimes that were scheduled earlier are not in the tables"
            );
        }
        Ok((batch, is_last))
    }

    /// Waits for the first delivery of a batch. If the projector is to end, it does not wait for ever for a service.
    async fn first(&self, consumer: &mut Consumer, must_end: bool) -> Result<Delivery, Error> {
        if !must_end {
            return Ok(consumer.next().await?);
        }
        let limit = self.projection.service.silence + self.projection.service.timeout;
        let end = Instant::now() + limit;
        match tokio::time::timeout_at(end, consumer.next()).await {
            Ok(delivery) => Ok(delivery?),
            Err(_) => Err(Error::NotReached(consumer.trouble().unwrap_or("nothing comes").to_owned())),
        }
    }
}

/// The time of the first event, by the clock of the service.
fn first_time(batch: &Batch) -> Option<chrono::DateTime<chrono::Utc>> {
    let event = batch.events.first()?;
    super::model::time(event, event.time.as_ref()).ok()
}

fn log(done: Done) {
    let Done { now, before, left_out } = done;
    if left_out > 0 {
        tracing::info!(left_out, "events of showtimes whose creation was deleted from the feed are left out");
    }
    if now + before > 0 {
        tracing::debug!(now, before, "projected events");
    }
}
