//! Locks of showtimes.

use chrono::{DateTime, Utc};

use crate::domain::ids::ShowtimeId;

/// What to do when another transaction has a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockWait {
    /// Wait, until the database's lock timeout.
    Bounded,
    /// Fail at once.
    NoWait,
}

/// The showtimes whose locks were taken, and what was read with them.
#[derive(Debug)]
pub struct LockedShowtimes {
    /// The showtimes. Those that do not exist are missing.
    pub locked: Vec<LockedShowtime>,
    /// The database's time after the locks were taken. `None` on SQLite, which has no clock of its own.
    pub now: Option<DateTime<Utc>>,
}

/// A showtime whose lock was taken.
#[derive(Clone, Copy, Debug)]
pub struct LockedShowtime {
    /// The showtime's id.
    pub showtime_id: ShowtimeId,
    /// The showtime's revision. No other transaction can raise it while the lock is held.
    pub revision: i64,
}
