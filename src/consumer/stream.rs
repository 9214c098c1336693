//! The stream of events, which is opened again as often as it takes.

use std::{pin::Pin, time::Duration};

use tokio::time::{Instant, sleep_until};
use tonic::{Status, transport::Endpoint};
use tonic_types::StatusExt as _;

use super::{
    connection::{self, Messages, Opened},
    ended::Ended,
    options::{Options, SetupError, Start},
};
use crate::{
    background::Backoff,
    clock::Clock,
    pb::boxoffice::v1::{FeedEvent, SubscribeEventsResponse, subscribe_events_response::Message},
    telemetry::cause::innermost,
};

/// The longest pause that the service may ask for.
const LONGEST_HINT: Duration = Duration::from_mins(1);

/// What a consumer is sent.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// An event, with its token.
    Event(Box<FeedEvent>),
    /// Everything before this token was sent.
    Heartbeat(String),
}

/// Where the feed begins and ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The token from which everything is read that is kept.
    pub oldest: String,
    /// The token after the last event.
    pub newest: String,
    /// Whether events were deleted, so that the feed does not begin with the first one.
    pub is_compacted: bool,
}

type Opening = Pin<Box<dyn Future<Output = Result<Opened, Status>> + Send>>;

enum State {
    /// Nothing is sent before this time.
    Paused(Instant),
    Opening(Opening),
    /// A stream, and when it was last heard from.
    Open(Box<Messages>, Instant),
}

/// A subscriber to all events.
pub struct Consumer {
    endpoint: Endpoint,
    timeout: Duration,
    silence: Duration,
    clock: Clock,
    /// Where the next stream begins.
    start: Start,
    state: State,
    backoff: Backoff,
    /// What interrupts the stream at present.
    trouble: Option<String>,
}

impl Consumer {
    /// A consumer that begins here. It connects when it is first asked for an event.
    ///
    /// # Errors
    /// The URL or the certificates cannot be used.
    pub fn new(options: &Options, start: Start, clock: Clock) -> Result<Self, SetupError> {
        Ok(Self {
            endpoint: connection::endpoint(options)?,
            timeout: options.timeout,
            silence: options.silence,
            clock,
            start,
            state: State::Paused(Instant::now()),
            backoff: Backoff::default(),
            trouble: None,
        })
    }

    /// Waits for what comes next, for as long as it takes. If the wait is dropped nothing is lost, and what it had begun goes on
    /// with the next call.
    ///
    /// # Errors
    /// The stream cannot go on after the last token.
    pub async fn next(&mut self) -> Result<Delivery, Ended> {
        loop {
            match &mut self.state {
                State::Paused(end) => {
                    sleep_until(*end).await;
                    let opening = connection::subscribe(self.endpoint.clone(), self.start.clone(), self.timeout);
                    self.state = State::Opening(Box::pin(opening));
                }
                State::Opening(opening) => match opening.await {
                    Ok(Opened { messages, token }) => {
                        self.start = token.map_or_else(|| self.start.clone(), Start::Token);
                        self.state = State::Open(Box::new(messages), Instant::now());
                    }
                    Err(status) => self.interrupted(&status)?,
                },
                State::Open(messages, heard) => {
                    let message = tokio::select! {
                        biased;
                        message = messages.message() => message,
                        () = sleep_until(*heard + self.silence) => {
                            Err(Status::deadline_exceeded(format!("silence for {:?}", self.silence)))
                        }
                    };
                    match message {
                        Ok(Some(message)) => {
                            *heard = Instant::now();
                            if let Some(delivery) = self.delivery(message) {
                                return Ok(delivery);
                            }
                        }
                        Ok(None) => self.interrupted(&Status::unavailable("the service has ended the stream"))?,
                        Err(status) => self.interrupted(&status)?,
                    }
                }
            }
        }
    }

    /// What interrupts the stream at present.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Reads where the feed begins and ends. Everything that was committed before is in it.
    ///
    /// # Errors
    /// The cause, in words.
    pub fn ends(&self) -> impl Future<Output = Result<Ends, String>> + Send + use<> {
        let ends = connection::ends(self.endpoint.clone(), self.timeout);
        async {
            let ends = ends.await.map_err(|status| cause(&status))?;
            let is_compacted = ends.compacted_position > 0;
            Ok(Ends { oldest: ends.oldest_token, newest: ends.newest_token, is_compacted })
        }
    }

    /// What a message is to the caller. `None`: nothing.
    fn delivery(&mut self, message: SubscribeEventsResponse) -> Option<Delivery> {
        if self.trouble.take().is_some() {
            tracing::info!("the stream of events works again");
        }
        self.backoff.reset();
        let (token, delivery) = match message.message? {
            Message::Event(event) => (event.resume_token.clone(), Delivery::Event(Box::new(event))),
            Message::Heartbeat(heartbeat) => {
                (heartbeat.resume_token.clone(), Delivery::Heartbeat(heartbeat.resume_token))
            }
            Message::Draining(draining) => {
                tracing::info!("the service shuts down; the stream of events is opened again");
                self.state = State::Paused(Instant::now() + self.backoff.pause(self.clock.fraction()));
                (draining.resume_token.clone(), Delivery::Heartbeat(draining.resume_token))
            }
        };
        self.start = Start::Token(token);
        Some(delivery)
    }

    /// Ends the stream, and opens another one later if that can help.
    fn interrupted(&mut self, status: &Status) -> Result<(), Ended> {
        // Also if the caller goes on after this has ended.
        let hint = status.get_details_retry_info().and_then(|retry| retry.retry_delay).unwrap_or_default();
        let pause = hint.min(LONGEST_HINT) + self.backoff.pause(self.clock.fraction());
        self.state = State::Paused(Instant::now() + pause);
        if let Some(ended) = Ended::read(status) {
            return Err(ended);
        }
        let cause = cause(status);
        if self.trouble.is_none() {
            tracing::warn!(cause, "the stream of events is interrupted; it is opened again, and logged when it works");
        }
        self.trouble = Some(cause);
        Ok(())
    }
}

/// A status in words. Its message may hide the cause.
fn cause(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(source) => format!("{:?}: {}", status.code(), innermost(source)),
        None => format!("{:?}: {}", status.code(), status.message()),
    }
}
