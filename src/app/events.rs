//! Events: the feed, its subscribers, and the tokens from which they resume.

use std::time::Duration;

use super::{App, Error, Origin, errors::FeedRefusal, pages::Pages};
use crate::{
    feed::{Cursor, Delivery, Filter, Subscription},
    store::{ABANDONED, FeedHead, LetterCounts, Sink},
};

/// The version of tokens, and the length of what is signed.
const TOKEN_VERSION: u8 = 1;
const TOKEN_BYTES: usize = 1 + EPOCH_BYTES + 16;
const EPOCH_BYTES: usize = 8;
/// Under which tokens are signed, so that no other token of the service is taken for one.
const TOKEN_LIST: &str = "events";

/// From where a subscriber reads.
#[derive(Clone, Debug, Default)]
pub enum EventStart {
    /// From the oldest event that is kept.
    #[default]
    Oldest,
    /// From the events that are committed from now on.
    Now,
    /// From the place of a token.
    Token(String),
}

/// The state of the feed.
#[derive(Clone, Debug)]
pub struct EventFeed {
    /// The token from which everything that is kept can be read.
    pub oldest: String,
    /// The token of the last event.
    pub newest: String,
    /// The last position.
    pub position: i64,
    /// The position before the oldest one that is kept.
    pub compacted: i64,
    /// The sinks.
    pub sinks: Vec<EventSink>,
}

/// How far a sink is.
#[derive(Clone, Debug)]
pub struct EventSink {
    /// What is stored of it.
    pub sink: Sink,
    /// Whether an instance delivers to it.
    pub is_running: bool,
    /// The number of events that are not delivered.
    pub lag: u64,
    /// The age of the first of them.
    pub lag_time: Option<Duration>,
    /// How many events were refused, and how many wait behind those.
    pub letters: LetterCounts,
}

/// The events for a subscriber, with the tokens from which it resumes.
pub struct EventStream {
    subscription: Subscription,
    tokens: Tokens,
    app: App,
    /// Whether the stream begins with the oldest event that is kept, whichever that is, and nothing was sent yet.
    begins: bool,
}

/// Makes tokens of one epoch.
#[derive(Clone)]
struct Tokens {
    pages: Pages,
    epoch: [u8; EPOCH_BYTES],
}

impl App {
    /// Begins to deliver events. `heartbeat` is the longest time without a message.
    ///
    /// # Errors
    /// The token is malformed, of another history, or of events that were deleted; there are too many subscribers; or the
    /// database cannot be used.
    pub async fn subscribe_events(
        &self,
        _origin: &Origin,
        start: EventStart,
        filter: Filter,
        heartbeat: Duration,
    ) -> Result<EventStream, Error> {
        let feed = &self.0.feed;
        let head = if matches!(start, EventStart::Now) { feed.present_head().await? } else { feed.head().await? };
        let tokens = self.tokens(&head);
        let begins = matches!(start, EventStart::Oldest);
        let cursor = match start {
            EventStart::Oldest => Cursor::after(head.compacted),
            EventStart::Now => self.end(&head).await?,
            EventStart::Token(token) => {
                let (epoch, cursor) = tokens.read(&token).ok_or(Error::Feed(FeedRefusal::TokenMalformed))?;
                self.check(&head, &tokens, epoch, cursor).await?;
                cursor
            }
        };
        let subscription = self.0.feed.subscribe(head.epoch, cursor, filter, heartbeat);
        let subscription = subscription.ok_or(Error::Feed(FeedRefusal::TooManySubscribers))?;
        Ok(EventStream { subscription, tokens, app: self.clone(), begins })
    }

    /// The place after the last event, which tells it from the same position in another history of the database.
    async fn end(&self, head: &FeedHead) -> Result<Cursor, Error> {
        let mark = self.0.feed.row(head.position).await?.map_or(0, |row| row.mark);
        Ok(Cursor { mark, ..Cursor::after(head.position) })
    }

    /// Refuses a place that is not in this feed.
    async fn check(
        &self,
        head: &FeedHead,
        tokens: &Tokens,
        epoch: [u8; EPOCH_BYTES],
        cursor: Cursor,
    ) -> Result<(), Error> {
        let oldest = || tokens.write(Cursor::after(head.compacted));
        if epoch != tokens.epoch || cursor.last() > head.position {
            return Err(Error::Feed(FeedRefusal::Unknown { oldest: oldest() }));
        }
        if cursor.after < head.compacted {
            return Err(Error::Feed(FeedRefusal::Compacted { oldest: oldest() }));
        }
        // A database that was set back and went on has other events at the same positions.
        if cursor.mark != 0
            && let Some(row) = self.0.feed.row(cursor.last()).await?
            && row.mark != cursor.mark
        {
            return Err(Error::Feed(FeedRefusal::Unknown { oldest: oldest() }));
        }
        Ok(())
    }

    /// The state of the feed.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn event_feed(&self, _origin: &Origin) -> Result<EventFeed, Error> {
        let head = self.0.feed.head().await?;
        let tokens = self.tokens(&head);
        Ok(EventFeed {
            oldest: tokens.write(Cursor::after(head.compacted)),
            newest: tokens.write(self.end(&head).await?),
            position: head.position,
            compacted: head.compacted,
            sinks: self.event_sinks(head.position).await?,
        })
    }

    async fn event_sinks(&self, last: i64) -> Result<Vec<EventSink>, Error> {
        let now = self.0.clock.now();
        let mut sinks = Vec::new();
        let counts = self.0.store.letter_counts().await?;
        for sink in self.0.store.sinks().await? {
            let undelivered = self.0.store.undelivered(sink.position, last).await?;
            let is_running = !sink.owner.is_empty() && (now - sink.seen_time).to_std().unwrap_or_default() < ABANDONED;
            let letters = counts.get(&sink.name).copied().unwrap_or_default();
            sinks.push(EventSink {
                sink,
                is_running,
                lag: undelivered.events,
                lag_time: undelivered.age(now),
                letters,
            });
        }
        Ok(sinks)
    }

    async fn oldest_token(&self) -> Result<String, Error> {
        let head = self.0.feed.head().await?;
        Ok(self.tokens(&head).write(Cursor::after(head.compacted)))
    }

    fn tokens(&self, head: &FeedHead) -> Tokens {
        let mut epoch = [0; EPOCH_BYTES];
        for (byte, digits) in epoch.iter_mut().zip(head.epoch.as_bytes().chunks(2)) {
            *byte = std::str::from_utf8(digits).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(0);
        }
        Tokens { pages: self.0.pages.clone(), epoch }
    }
}

impl EventStream {
    /// Waits for what is sent next. If the wait is dropped nothing is lost.
    ///
    /// # Errors
    /// What comes next was deleted, the database is another one, or it cannot be used.
    pub async fn next(&mut self) -> Result<Delivery, Error> {
        loop {
            match self.subscription.next().await? {
                Delivery::Compacted => {
                    let head = self.app.0.feed.head().await?;
                    let tokens = self.app.tokens(&head);
                    let oldest = Cursor::after(head.compacted);
                    // A database that was replaced at this moment has fewer rows, and none was deleted.
                    let is_other = tokens.epoch != self.tokens.epoch;
                    if self.begins && !is_other {
                        self.subscription.go_on_at(oldest);
                        continue;
                    }
                    let oldest = tokens.write(oldest);
                    return Err(Error::Feed(if is_other {
                        FeedRefusal::Unknown { oldest }
                    } else {
                        FeedRefusal::Compacted { oldest }
                    }));
                }
                Delivery::Unknown => {
                    return Err(Error::Feed(FeedRefusal::Unknown { oldest: self.app.oldest_token().await? }));
                }
                delivery => {
                    self.begins = false;
                    return Ok(delivery);
                }
            }
        }
    }

    /// The token of a place in the feed.
    #[must_use]
    pub fn token(&self, cursor: Cursor) -> String {
        self.tokens.write(cursor)
    }

    /// The token after everything that was sent.
    #[must_use]
    pub fn resume_token(&self) -> String {
        self.token(self.subscription.cursor())
    }
}

impl Tokens {
    fn write(&self, Cursor { after, sent, mark }: Cursor) -> String {
        let mut bytes = Vec::with_capacity(TOKEN_BYTES);
        bytes.push(TOKEN_VERSION);
        bytes.extend(self.epoch);
        bytes.extend(after.to_be_bytes());
        bytes.extend(sent.to_be_bytes());
        bytes.extend(mark.to_be_bytes());
        self.pages.token(TOKEN_LIST, "", &bytes)
    }

    fn read(&self, token: &str) -> Option<([u8; EPOCH_BYTES], Cursor)> {
        let bytes = self.pages.cursor(TOKEN_LIST, "", token).ok()??;
        let bytes: [u8; TOKEN_BYTES] = bytes.try_into().ok()?;
        let (version, rest) = bytes.split_first()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let (after, rest) = rest.split_first_chunk()?;
        let (sent, rest) = rest.split_first_chunk()?;
        let (mark, _) = rest.split_first_chunk()?;
        let cursor = Cursor {
            after: i64::from_be_bytes(*after),
            sent: u32::from_be_bytes(*sent),
            mark: u32::from_be_bytes(*mark),
        };
        (*version == TOKEN_VERSION).then_some((*epoch, cursor))
    }
}
