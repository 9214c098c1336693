//! Reads the stream of events for one endpoint, and makes deliveries of what the endpoint wants.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

use super::{
    endpoints::{Begin, Endpoint},
    message::Messages,
    options::{Failure, Options},
    store::NewDelivery,
};
use crate::{
    clock::Clock,
    consumer::{self, Consumer, Delivery, Ended, Ends, Start},
    pb::boxoffice::v1::FeedEvent,
};

/// The most events that are read before they are written.
const MOST_AT_ONCE: usize = 100;
/// How often the place in the feed is written at most while nothing is queued.
const NOTE_PAUSE: Duration = Duration::from_secs(1);
/// The pause before the service is asked again where the feed ends.
const ASK_PAUSE: Duration = Duration::from_secs(1);
/// So many heartbeats in a row say that nothing is left to be read. A single one may be the end of a stream.
const CERTAIN: u32 = 2;

/// Reads for one endpoint.
pub(super) struct Reader {
    endpoint: Arc<Endpoint>,
    options: consumer::Options,
    consumer: Consumer,
    clock: Clock,
    messages: Messages,
    /// The number of the last delivery.
    number: i64,
    /// The place after everything that was read. `None`: nothing was ever read.
    token: Option<String>,
    /// When the place was written last, and whether it has changed since.
    noted: Instant,
    is_unnoted: bool,
    /// Where reading ends.
    end: Option<String>,
    heartbeats: u32,
    is_done: bool,
}

/// What was read.
pub(super) enum Read {
    /// An event.
    Event(Box<FeedEvent>),
    /// Everything before this token was read.
    Token(String),
}

/// What was read together.
pub(super) struct Batch {
    /// What the endpoint wants of it.
    pub(super) deliveries: Vec<NewDelivery>,
    /// The place after it.
    pub(super) token: String,
}

impl Reader {
    /// Reads after the token, or from where a new endpoint begins. `number` is that of the last delivery.
    pub(super) fn new(
        endpoint: Arc<Endpoint>,
        options: &Options,
        token: Option<String>,
        number: i64,
        clock: Clock,
    ) -> Result<Self, Failure> {
        let start = token.clone().map_or(Start::Oldest, Start::Token);
        Ok(Self {
            consumer: Consumer::new(&options.consumer, start, clock.clone())?,
            options: options.consumer.clone(),
            endpoint,
            clock,
            messages: Messages::new()?,
            number,
            token,
            noted: Instant::now(),
            is_unnoted: false,
            end: None,
            heartbeats: 0,
            is_done: false,
        })
    }

    /// Finds where the feed ends, if that is where a new endpoint begins, or where `--once` ends. Returns the place where reading
    /// begins if it is to be written.
    pub(super) async fn begin(&mut self, once: bool) -> Result<Option<String>, Failure> {
        let begins_now = self.token.is_none() && self.endpoint.begin == Begin::Now;
        if !begins_now && !once {
            return Ok(None);
        }
        let Ends { oldest, newest, .. } = self.ends().await;
        if begins_now {
            self.restart(newest.clone())?;
            self.token = Some(newest.clone());
        }
        if once {
            let place = self.token.as_ref().unwrap_or(&oldest);
            self.is_done = *place == newest;
            self.end = Some(newest);
        }
        Ok(self.token.clone().filter(|_| begins_now))
    }

    async fn ends(&mut self) -> Ends {
        let mut is_logged = false;
        loop {
            match self.consumer.ends().await {
                Ok(ends) => return ends,
                Err(cause) if is_logged => tracing::debug!(cause, "the service does not say where its feed ends"),
                Err(cause) => {
                    tracing::warn!(cause, "the service does not say where its feed ends; it is asked again");
                    is_logged = true;
                }
            }
            sleep(ASK_PAUSE).await;
        }
    }

    fn restart(&mut self, token: String) -> Result<(), Failure> {
        self.consumer = Consumer::new(&self.options, Start::Token(token), self.clock.clone())?;
        Ok(())
    }

    /// Waits for what comes next. If the wait is dropped nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Read, Failure> {
        loop {
            match self.consumer.next().await {
                Ok(Delivery::Event(event)) => return Ok(Read::Event(event)),
                Ok(Delivery::Heartbeat(token)) => return Ok(Read::Token(token)),
                Err(ended) => self.go_on(ended)?,
            }
        }
    }

    /// Goes on with the oldest event if that is what is left to be done.
    fn go_on(&mut self, ended: Ended) -> Result<(), Failure> {
        let endpoint = &*self.endpoint.name;
        match ended {
            Ended::Compacted { oldest } => {
                tracing::error!(
                    endpoint,
                    "events were deleted before they were queued; the oldest one that is kept is next"
                );
                self.restart(oldest)
            }
            Ended::Unknown { oldest } => {
                tracing::error!(
                    endpoint,
                    "the database of the service was set back or replaced; events come again from the oldest one, and those that \
                     are the same have the same webhook-id"
                );
                self.restart(oldest)
            }
            ended @ (Ended::TokenMalformed | Ended::Refused { .. }) => {
                Err(format!("endpoint {endpoint}: {ended}").into())
            }
        }
    }

    /// What was read, with what else has arrived, and at most as many deliveries.
    pub(super) fn batch(&mut self, first: Read, most: usize) -> Result<Batch, Failure> {
        let mut batch = Batch { deliveries: Vec::new(), token: String::new() };
        self.add(first, &mut batch)?;
        for _ in 1..MOST_AT_ONCE {
            if batch.deliveries.len() >= most || self.is_done {
                break;
            }
            let Some(next) = self.next().now_or_never() else { break };
            self.add(next?, &mut batch)?;
        }
        Ok(batch)
    }

    fn add(&mut self, read: Read, batch: &mut Batch) -> Result<(), Failure> {
        batch.token = match read {
            Read::Event(event) => {
                self.heartbeats = 0;
                if self.endpoint.wants(&event.r#type) {
                    self.number += 1;
                    batch.deliveries.push(self.delivery(&event)?);
                }
                event.resume_token
            }
            Read::Token(token) => {
                self.heartbeats += 1;
                token
            }
        };
        self.token = Some(batch.token.clone());
        self.is_unnoted = true;
        let reached = |end: &String| *end == batch.token || self.heartbeats >= CERTAIN;
        self.is_done = self.end.as_ref().is_some_and(reached);
        Ok(())
    }

    fn delivery(&self, event: &FeedEvent) -> Result<NewDelivery, Failure> {
        Ok(NewDelivery {
            number: self.number,
            webhook_id: webhook_id(event),
            event_id: event.id.clone(),
            event_type: event.r#type.clone(),
            aggregate: event.data.as_ref().map(|data| data.aggregate_id.clone()).unwrap_or_default(),
            body: self.messages.body(event)?,
        })
    }

    /// Whether everything was read that is to be read.
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Whether the place is to be written although nothing is queued.
    pub(super) fn is_note_due(&self) -> bool {
        self.is_unnoted && self.noted.elapsed() >= NOTE_PAUSE
    }

    /// The place, if it is not written.
    pub(super) fn unnoted(&self) -> Option<String> {
        self.token.clone().filter(|_| self.is_unnoted)
    }

    /// The place was written.
    pub(super) fn noted(&mut self) {
        (self.is_unnoted, self.noted) = (false, Instant::now());
    }
}

/// The id of a delivery. It is the same whenever the event is read, and another one for another event with the same id: after the
/// database was set back, revisions come again with other events, at other times.
fn webhook_id(event: &FeedEvent) -> String {
    let time = event.time.unwrap_or_default();
    let parts = [&event.id, &event.r#type, &event.subject].map(String::as_str).join("\n");
    let digest = Sha256::digest(format!("{parts}\n{}.{}", time.seconds, time.nanos));
    digest.iter().take(16).fold("evt_".to_owned(), |id, byte| id + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_delivery_is_that_of_the_event_and_not_of_its_place() {
        let event = FeedEvent { id: "s/7/0".to_owned(), resume_token: "t".to_owned(), ..Default::default() };
        let again = FeedEvent { resume_token: "u".to_owned(), ..event.clone() };
        let time = Some(prost_types::Timestamp { seconds: 1, nanos: 1 });
        let other = FeedEvent { time, ..event.clone() };
        assert_eq!(webhook_id(&event), webhook_id(&again));
        assert_ne!(webhook_id(&event), webhook_id(&other));
        assert_eq!(webhook_id(&event).len(), 4 + 32);
    }
}
