//! The cache of the provider's answers: in Redis if it is configured, and in the memory of this process.
//!
//! The cache never fails a call and delays it by no more than the Redis timeout. While Redis works, Redis decides what is
//! cached, so that all instances agree and an operator can evict an entry; memory gets a copy, and answers while Redis
//! fails. Both are bounded: memory here, Redis by its own `maxmemory`. How old an entry may be is not decided here.

use std::time::{Duration, Instant};

use moka::future::Cache as Map;

use super::{
    entry::{Entry, Key},
    options::{Options, SetupError},
    record,
    redis::{Failure, Redis},
};
use crate::telemetry::metrics;

/// The capacity in memory, in approximate bytes: enough for about 30,000 movies.
const MEMORY_CAPACITY: u64 = 16 << 20;

pub(super) enum Cache {
    Redis(Redis, Memory),
    Memory(Memory),
}

impl Cache {
    pub(super) fn new(options: &Options) -> Result<Self, SetupError> {
        let memory = Memory::new(options.stale.max(options.fresh).max(options.absent));
        Ok(match &options.redis {
            Some(redis) => Self::Redis(Redis::new(redis)?, memory),
            None => Self::Memory(memory),
        })
    }

    /// The cached entry.
    pub(super) async fn get(&self, key: &Key) -> Option<Entry> {
        let (redis, memory) = match self {
            Self::Memory(memory) => return memory.get(key).await,
            Self::Redis(redis, memory) => (redis, memory),
        };
        let start = Instant::now();
        match redis.get(&key.to_string()).await {
            Ok(bytes) => {
                let entry = bytes.and_then(|bytes| record::decode(key, &bytes));
                metrics::cache_call("redis", "get", hit_or_miss(entry.as_ref()), start.elapsed());
                if let Some(entry) = &entry {
                    memory.put_if_newer(key, entry).await;
                }
                entry
            }
            Err(failure) => {
                metrics::cache_call("redis", "get", failure.label(), start.elapsed());
                memory.get(key).await
            }
        }
    }

    /// The entry in memory, after `get` found none in Redis: Redis may have evicted or lost it.
    pub(super) async fn get_from_memory(&self, key: &Key) -> Option<Entry> {
        match self {
            Self::Memory(_) => None,
            Self::Redis(_, memory) => memory.get(key).await,
        }
    }

    /// Stores an answer for at most `ttl`.
    pub(super) async fn put(&self, key: &Key, entry: &Entry, ttl: Duration) {
        if ttl.is_zero() {
            return;
        }
        let (Self::Memory(memory) | Self::Redis(_, memory)) = self;
        memory.put(key, entry).await;
        if let Self::Redis(redis, _) = self {
            let start = Instant::now();
            let outcome = redis.put(&key.to_string(), &record::encode(entry), ttl).await;
            let outcome = outcome.err().map_or("stored", Failure::label);
            metrics::cache_call("redis", "put", outcome, start.elapsed());
        }
    }

    /// Whether Redis answers; `None` without Redis.
    pub(super) async fn redis_answers(&self) -> Option<bool> {
        match self {
            Self::Memory(_) => None,
            Self::Redis(redis, _) => Some(redis.ping().await),
        }
    }
}

/// A bounded map in this process.
pub(super) struct Memory(Map<Key, Entry>);

impl Memory {
    fn new(ttl: Duration) -> Self {
        /// The map panics at a time to live of a thousand years.
        const MAX_TTL: Duration = Duration::from_hours(100 * 365 * 24);
        let map = Map::builder()
            .max_capacity(MEMORY_CAPACITY)
            .weigher(|_, entry: &Entry| entry.weight())
            .time_to_live(ttl.min(MAX_TTL))
            .build();
        Self(map)
    }

    async fn get(&self, key: &Key) -> Option<Entry> {
        let start = Instant::now();
        let entry = self.0.get(key).await;
        metrics::cache_call("memory", "get", hit_or_miss(entry.as_ref()), start.elapsed());
        entry
    }

    async fn put(&self, key: &Key, entry: &Entry) {
        let start = Instant::now();
        self.0.insert(key.clone(), entry.clone()).await;
        metrics::cache_call("memory", "put", "stored", start.elapsed());
    }

    /// Copies an entry of Redis into memory, unless memory has one that is as recent.
    async fn put_if_newer(&self, key: &Key, entry: &Entry) {
        if self.0.get(key).await.is_none_or(|cached| cached.fetch_time < entry.fetch_time) {
            self.put(key, entry).await;
        }
    }
}

fn hit_or_miss(entry: Option<&Entry>) -> &'static str {
    if entry.is_some() { "hit" } else { "miss" }
}
