//! Movies, read through a cache from a provider that is slow and fails often.
//!
//! An answer comes from the cache while the entry is fresh, else from the provider, else from the cache while the entry is
//! not too stale. Every answer says which of these it was and when it was fetched. "No such movie" is an answer, and is
//! cached for a short time.
//!
//! Callers who ask for the same thing at once cause one call. The provider is called with a deadline, a bounded number of
//! attempts and a retry budget, and not at all while it fails. Redis never fails a call, and delays it by no more than the
//! Redis timeout. Whatever the provider sends, what leaves this room is valid and bounded.
//!
//! Deliberately absent: writes to the provider, showtimes, and durable storage.

mod breaker;
mod cache;
pub mod demo;
mod entry;
mod options;
mod provider;
mod record;
mod redis;
mod single_flight;
#[cfg(test)]
mod tests;
mod wire;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};

pub use self::options::{Options, ProviderOptions, RedisOptions, SetupError};
use self::{
    cache::Cache,
    entry::{Content, Entry, Key},
    provider::{Provider, Unavailable},
    single_flight::SingleFlight,
};
pub use crate::remote::Secret;
use crate::{
    clock::Clock,
    domain::movie::{Movie, MovieId, Source, Sourced},
    telemetry::metrics,
};

/// Why there is no movie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The provider has no such movie.
    NotFound,
    /// The provider does not answer, and the cache has no usable entry.
    Unavailable {
        /// When another request may succeed.
        retry_after: Duration,
    },
}

/// The state of a service that this one calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependency {
    /// It answers.
    Up,
    /// It does not answer, or did not a short time ago.
    Failing,
    /// The deployment has none.
    NotConfigured,
}

/// Reads movies through the cache. Cheap to clone.
#[derive(Clone)]
pub struct Movies(Arc<Inner>);

struct Inner {
    reader: Arc<Reader>,
    calls: SingleFlight<Key, Result<SourcedEntry, Failure>>,
}

/// What a call in flight needs.
struct Reader {
    provider: Provider,
    cache: Cache,
    clock: Clock,
    fresh: Duration,
    stale: Duration,
    absent: Duration,
}

#[derive(Clone)]
struct SourcedEntry {
    entry: Entry,
    source: Source,
}

impl Movies {
    /// Sets up the room without waiting for the provider or Redis: both may be started later. Must be called on a Tokio
    /// runtime.
    ///
    /// # Errors
    /// A [`SetupError`] that names the option that cannot work.
    pub fn new(options: &Options, clock: Clock) -> Result<Self, SetupError> {
        let reader = Reader {
            provider: Provider::new(&options.provider, clock.clone())?,
            cache: Cache::new(options)?,
            clock,
            fresh: options.fresh,
            stale: options.stale,
            absent: options.absent,
        };
        Ok(Self(Arc::new(Inner { reader: Arc::new(reader), calls: SingleFlight::new() })))
    }

    /// Reads one movie.
    ///
    /// # Errors
    /// [`Failure::NotFound`] if the provider has no such movie, [`Failure::Unavailable`] if the provider does not answer
    /// and the cache has no usable entry.
    pub async fn movie(&self, id: &MovieId) -> Result<Sourced<Arc<Movie>>, Failure> {
        let SourcedEntry { entry: Entry { fetch_time, content }, source } = self.read(Key::Movie(id.clone())).await?;
        match content {
            Content::Movie(value) => Ok(Sourced { value, source, fetch_time }),
            Content::Absent | Content::Movies(_) => Err(Failure::NotFound),
        }
    }

    /// Reads the movies with this text in their title, in the provider's order, at most 1,000. An empty text reads all.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] if the provider does not answer and the cache has no usable entry.
    pub async fn search(&self, text: &str) -> Result<Sourced<Arc<Vec<Movie>>>, Failure> {
        let SourcedEntry { entry: Entry { fetch_time, content }, source } = self.read(Key::search(text)).await?;
        let value = match content {
            Content::Movies(value) => value,
            Content::Absent | Content::Movie(_) => Arc::default(),
        };
        Ok(Sourced { value, source, fetch_time })
    }

    /// Whether the circuit breaker of the provider is closed.
    #[must_use]
    pub fn provider_state(&self) -> Dependency {
        if self.0.reader.provider.is_up() { Dependency::Up } else { Dependency::Failing }
    }

    /// Whether Redis answers a PING within its timeout.
    pub async fn redis_state(&self) -> Dependency {
        match self.0.reader.cache.redis_answers().await {
            None => Dependency::NotConfigured,
            Some(true) => Dependency::Up,
            Some(false) => Dependency::Failing,
        }
    }

    async fn read(&self, key: Key) -> Result<SourcedEntry, Failure> {
        let reader = &self.0.reader;
        let answer = match self.0.calls.join(&key, || reader.clone().read(key.clone())) {
            Some(pending) => pending.await.unwrap_or_else(|_| Err(Unavailable::default().into())),
            // Too many calls are in flight to start another one, but the cache can still be read.
            None => reader.fallback(reader.cache.get(&key).await, Unavailable::default()),
        };
        metrics::cache_lookup(match &answer {
            Ok(SourcedEntry { source: Source::Live, .. }) => "live",
            Ok(SourcedEntry { entry: Entry { content: Content::Absent, .. }, .. }) => "absent",
            Ok(SourcedEntry { source: Source::Fresh, .. }) => "fresh",
            Ok(SourcedEntry { source: Source::Stale, .. }) => "stale",
            Err(_) => "none",
        });
        answer
    }
}

impl From<Unavailable> for Failure {
    fn from(Unavailable { retry_after }: Unavailable) -> Self {
        Self::Unavailable { retry_after }
    }
}

impl Reader {
    /// Reads the cache, then the provider, then the cache again for a stale entry.
    async fn read(self: Arc<Self>, key: Key) -> Result<SourcedEntry, Failure> {
        let cached = self.cache.get(&key).await;
        let now = self.clock.now();
        if let Some(entry) = cached.as_ref().filter(|entry| self.is_fresh(entry, now)) {
            return Ok(SourcedEntry { entry: entry.clone(), source: Source::Fresh });
        }
        match self.provider.fetch(&key).await {
            Ok(content) => {
                let ttl = if content == Content::Absent { self.absent } else { self.stale.max(self.fresh) };
                let entry = Entry { fetch_time: self.clock.now(), content };
                self.cache.put(&key, &entry, ttl).await;
                Ok(SourcedEntry { entry, source: Source::Live })
            }
            Err(unavailable) => {
                let cached = match cached {
                    Some(entry) => Some(entry),
                    None => self.cache.get_from_memory(&key).await,
                };
                self.fallback(cached, unavailable)
            }
        }
    }

    /// The answer when the provider has given none: the cached entry if it is not too old.
    fn fallback(&self, cached: Option<Entry>, unavailable: Unavailable) -> Result<SourcedEntry, Failure> {
        let now = self.clock.now();
        let entry =
            cached.filter(|entry| self.is_fresh(entry, now) || self.is_usable(entry, now)).ok_or(unavailable)?;
        let source = if self.is_fresh(&entry, now) { Source::Fresh } else { Source::Stale };
        Ok(SourcedEntry { entry, source })
    }

    /// Whether the entry is served without asking the provider. With a fresh window of zero none is.
    fn is_fresh(&self, entry: &Entry, now: DateTime<Utc>) -> bool {
        !self.fresh.is_zero()
            && entry.age(now) < if entry.content == Content::Absent { self.absent } else { self.fresh }
    }

    /// Whether the entry is served when the provider fails.
    fn is_usable(&self, entry: &Entry, now: DateTime<Utc>) -> bool {
        let window = if entry.content == Content::Absent { self.absent } else { self.stale };
        entry.age(now) < window
    }
}
