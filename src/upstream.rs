//! What others know: movies, from a provider that is slow and fails a lot, read through a cache.
//!
//! A question is answered from the cache while that is fresh, else by the provider, else from the cache while that is not
//! too stale, and every answer says which it was and when it was fetched. "No such movie" is an answer, remembered
//! briefly.
//!
//! It promises: callers who ask the same thing at once cause one call; the provider is asked within a deadline, a few
//! times, within a budget, and is left alone while it fails; Redis never fails a call and delays one by its timeout at
//! most; whatever the provider sends, what leaves here is well-formed and bounded. What is absent: any write to the
//! provider, any knowledge of showtimes, any durable store.

mod breaker;
mod cache;
mod channel;
pub mod demo;
mod entry;
mod flights;
mod options;
mod provider;
mod redis;
#[cfg(test)]
mod tests;
mod wire;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};

pub use self::options::{Options, ProviderOptions, RedisOptions, Secret, SetupError};
use self::{
    cache::Cache,
    entry::{Content, Entry, Key},
    flights::Flights,
    provider::{Provider, Unanswered},
};
use crate::{
    clock::Clock,
    domain::movie::{Movie, MovieId, Source, Sourced},
    telemetry::metrics,
};

/// Why there is no movie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The provider says that there is none.
    NotFound,
    /// The provider does not answer, and nothing usable is remembered.
    Unavailable {
        /// When asking again may help.
        retry_after: Duration,
    },
}

/// How something that we depend on is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependency {
    /// It answers.
    Up,
    /// It does not, or did not a moment ago.
    Failing,
    /// There is none.
    NotConfigured,
}

/// Movies, read through. Cheap to clone.
#[derive(Clone)]
pub struct Movies(Arc<Shared>);

struct Shared {
    reader: Arc<Reader>,
    flights: Flights,
}

/// What one flight needs.
struct Reader {
    provider: Provider,
    cache: Cache,
    clock: Clock,
    fresh: Duration,
    stale: Duration,
    absent: Duration,
}

/// An answer on its way to whoever asked.
#[derive(Clone)]
struct Answer {
    entry: Entry,
    source: Source,
}

impl Movies {
    /// Furnishes the room. Nobody is waited for: the provider and Redis may come later. Must be called on a runtime.
    ///
    /// # Errors
    /// Says which option cannot work.
    pub fn new(options: &Options, clock: Clock) -> Result<Self, SetupError> {
        let reader = Reader {
            provider: Provider::new(&options.provider, clock.clone())?,
            cache: Cache::new(options)?,
            clock,
            fresh: options.fresh,
            stale: options.stale,
            absent: options.absent,
        };
        Ok(Self(Arc::new(Shared { reader: Arc::new(reader), flights: Flights::default() })))
    }

    /// One movie.
    ///
    /// # Errors
    /// [`Failure::NotFound`] is the provider's word; [`Failure::Unavailable`] its silence.
    pub async fn movie(&self, id: &MovieId) -> Result<Sourced<Arc<Movie>>, Failure> {
        let Answer { entry: Entry { fetch_time, content }, source } = self.read(Key::Movie(id.clone())).await?;
        match content {
            Content::Movie(value) => Ok(Sourced { value, source, fetch_time }),
            Content::Absent | Content::Movies(_) => Err(Failure::NotFound),
        }
    }

    /// Movies with this text in their title, in the provider's order, a thousand at most; all of them if it is empty.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] is the provider's silence.
    pub async fn search(&self, text: &str) -> Result<Sourced<Arc<Vec<Movie>>>, Failure> {
        let Answer { entry: Entry { fetch_time, content }, source } = self.read(Key::search(text)).await?;
        let value = match content {
            Content::Movies(value) => value,
            Content::Absent | Content::Movie(_) => Arc::default(),
        };
        Ok(Sourced { value, source, fetch_time })
    }

    /// Whether the provider is being called.
    #[must_use]
    pub fn provider_state(&self) -> Dependency {
        if self.0.reader.provider.is_up() { Dependency::Up } else { Dependency::Failing }
    }

    /// Whether Redis answers, within its timeout.
    pub async fn redis_state(&self) -> Dependency {
        match self.0.reader.cache.redis_answers().await {
            None => Dependency::NotConfigured,
            Some(true) => Dependency::Up,
            Some(false) => Dependency::Failing,
        }
    }

    async fn read(&self, key: Key) -> Result<Answer, Failure> {
        let reader = &self.0.reader;
        let flight = self.0.flights.join(&key, || reader.clone().read(key.clone()));
        let answer = match flight {
            Some(flight) => flight.await,
            // Too much is under way to begin anything, but what is known may still be told.
            None => reader.remembered(reader.cache.get(&key).await, Unanswered::default()),
        };
        metrics::cache_lookup(match &answer {
            Ok(Answer { source: Source::Live, .. }) => "live",
            Ok(Answer { entry: Entry { content: Content::Absent, .. }, .. }) => "absent",
            Ok(Answer { source: Source::Fresh, .. }) => "fresh",
            Ok(Answer { source: Source::Stale, .. }) => "stale",
            Err(_) => "none",
        });
        answer
    }
}

impl Reader {
    /// The whole way of one question.
    async fn read(self: Arc<Self>, key: Key) -> Result<Answer, Failure> {
        let known = self.cache.get(&key).await;
        let now = self.clock.now();
        if let Some(entry) = known.as_ref().filter(|entry| self.is_fresh(entry, now)) {
            return Ok(Answer { entry: entry.clone(), source: Source::Fresh });
        }
        match self.provider.ask(&key).await {
            Ok(content) => {
                let keep = if content == Content::Absent { self.absent } else { self.stale.max(self.fresh) };
                let entry = Entry { fetch_time: self.clock.now(), content };
                self.cache.put(&key, &entry, keep).await;
                Ok(Answer { entry, source: Source::Live })
            }
            Err(unanswered) => {
                let known = match known {
                    Some(entry) => Some(entry),
                    None => self.cache.last_resort(&key).await,
                };
                self.remembered(known, unanswered)
            }
        }
    }

    /// What stands in for the provider's answer.
    fn remembered(&self, known: Option<Entry>, unanswered: Unanswered) -> Result<Answer, Failure> {
        let now = self.clock.now();
        let known = known.filter(|entry| self.is_fresh(entry, now) || self.may_stand_in(entry, now));
        let source = |entry: &Entry| if self.is_fresh(entry, now) { Source::Fresh } else { Source::Stale };
        known
            .map(|entry| Answer { source: source(&entry), entry })
            .ok_or(Failure::Unavailable { retry_after: unanswered.retry_after })
    }

    /// A fresh window of zero means to ask every time, whatever is known.
    fn is_fresh(&self, entry: &Entry, now: DateTime<Utc>) -> bool {
        !self.fresh.is_zero()
            && entry.age(now) < if entry.content == Content::Absent { self.absent } else { self.fresh }
    }

    fn may_stand_in(&self, entry: &Entry, now: DateTime<Utc>) -> bool {
        let window = if entry.content == Content::Absent { self.absent } else { self.stale };
        entry.age(now) < window
    }
}
