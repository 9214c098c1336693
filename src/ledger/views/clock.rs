//! The time by which seat maps are shown: the database's, as it was last read.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use chrono::{DateTime, Utc};

use super::super::time::TimeSource;

/// The time by which holds lapse, without asking the database for it.
pub(super) struct ViewClock {
    source: TimeSource,
    /// The database's time, and when it was read.
    last_read: Mutex<Option<(DateTime<Utc>, Instant)>>,
}

impl ViewClock {
    pub(super) fn new(source: TimeSource) -> Self {
        Self { source, last_read: Mutex::default() }
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        match &self.source {
            TimeSource::Given(clock) => clock.now(),
            TimeSource::Database(clock) => {
                let last_read = *self.last_read.lock().unwrap_or_else(PoisonError::into_inner);
                last_read.map_or_else(|| clock.now(), |(time, read_at)| time + read_at.elapsed())
            }
        }
    }

    /// Takes over the database's time from an answer. It was read a little while ago, so a hold shows as free too late rather
    /// than too early.
    pub(super) fn set(&self, now: Option<DateTime<Utc>>) {
        if let Some(now) = now {
            *self.last_read.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Instant::now()));
        }
    }
}
