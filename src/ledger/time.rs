//! By whose clock a hold lapses.

use chrono::{DateTime, Utc};

use crate::{clock::Clock, store::Store};

/// The clock that decides when a hold has lapsed.
#[derive(Clone, Debug)]
pub enum TimeSource {
    /// The database's clock, which all instances share. `SQLite` has none: there the process's clock counts, since the file
    /// belongs to one process.
    Database(Clock),
    /// This clock, whatever the database's says. Tests that control time use it.
    Given(Clock),
}

impl TimeSource {
    /// The time to decide by, given the database's time if it was read.
    pub(super) fn decide_time(&self, database: Option<DateTime<Utc>>) -> DateTime<Utc> {
        match self {
            Self::Database(clock) => database.unwrap_or_else(|| clock.now()),
            Self::Given(clock) => clock.now(),
        }
    }

    /// The time to pass to a statement; `None` lets the statement take the database's own.
    pub(super) fn statement_time(&self, store: &Store) -> Option<DateTime<Utc>> {
        match self {
            Self::Database(_) if store.has_clock() => None,
            Self::Database(clock) | Self::Given(clock) => Some(clock.now()),
        }
    }
}
