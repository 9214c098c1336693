//! Remembers answers: in Redis where there is one, and in this process.
//!
//! It promises never to fail a call and to cost no more than Redis's timeout. With Redis in order, Redis decides what is
//! known, so that instances agree and an operator can make them forget; memory follows along, and takes over while Redis
//! is out of order. Both are bounded: memory here, Redis by its own `maxmemory`. How old an entry may be is not decided here.

use std::time::{Duration, Instant};

use moka::future::Cache as Map;

use super::{
    entry::{Entry, Key},
    options::{Options, SetupError},
    redis::Redis,
};
use crate::telemetry::metrics;

/// In bytes, roughly: some thirty thousand movies.
const MEMORY: u64 = 16 << 20;

/// Where answers are kept.
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

    /// What is known.
    pub(super) async fn get(&self, key: &Key) -> Option<Entry> {
        let (redis, memory) = match self {
            Self::Memory(memory) => return memory.get(key).await,
            Self::Redis(redis, memory) => (redis, memory),
        };
        let begin = Instant::now();
        match redis.get(&key.to_string()).await {
            Ok(bytes) => {
                let entry = bytes.and_then(|bytes| Entry::decode(key, &bytes));
                metrics::cache_call("redis", "get", hit_or_miss(entry.as_ref()), begin.elapsed());
                if let Some(entry) = &entry {
                    memory.follow(key, entry).await;
                }
                entry
            }
            Err(silence) => {
                metrics::cache_call("redis", "get", silence.label(), begin.elapsed());
                memory.get(key).await
            }
        }
    }

    /// What memory knows beyond what `get` said: Redis may have lost what was learned.
    pub(super) async fn last_resort(&self, key: &Key) -> Option<Entry> {
        match self {
            Self::Memory(_) => None,
            Self::Redis(_, memory) => memory.get(key).await,
        }
    }

    /// Remembers an answer, for so long at most.
    pub(super) async fn put(&self, key: &Key, entry: &Entry, keep: Duration) {
        if keep.is_zero() {
            return;
        }
        let (Self::Memory(memory) | Self::Redis(_, memory)) = self;
        memory.put(key, entry).await;
        if let Self::Redis(redis, _) = self {
            let begin = Instant::now();
            let outcome = redis.put(&key.to_string(), &entry.encode(), keep).await;
            let outcome = outcome.err().map_or("stored", super::redis::Silence::label);
            metrics::cache_call("redis", "put", outcome, begin.elapsed());
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
    fn new(keep: Duration) -> Self {
        /// The map refuses a thousand years.
        const LONGEST_KEEP: Duration = Duration::from_hours(100 * 365 * 24);
        let map = Map::builder()
            .max_capacity(MEMORY)
            .weigher(|_, entry: &Entry| entry.weight())
            .time_to_live(keep.min(LONGEST_KEEP))
            .build();
        Self(map)
    }

    async fn get(&self, key: &Key) -> Option<Entry> {
        let begin = Instant::now();
        let entry = self.0.get(key).await;
        metrics::cache_call("memory", "get", hit_or_miss(entry.as_ref()), begin.elapsed());
        entry
    }

    async fn put(&self, key: &Key, entry: &Entry) {
        let begin = Instant::now();
        self.0.insert(key.clone(), entry.clone()).await;
        metrics::cache_call("memory", "put", "stored", begin.elapsed());
    }

    /// Learns what Redis knows, unless it knows as much.
    async fn follow(&self, key: &Key, entry: &Entry) {
        if self.0.get(key).await.is_none_or(|known| known.fetch_time < entry.fetch_time) {
            self.put(key, entry).await;
        }
    }
}

fn hit_or_miss(entry: Option<&Entry>) -> &'static str {
    if entry.is_some() { "hit" } else { "miss" }
}
