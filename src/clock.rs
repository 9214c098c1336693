//! The only place that reads time or randomness.
//!
//! Everybody else is given a `Clock`, so that a test can hold the time in its hand. Ids count as time: a version 7 UUID
//! begins with the moment of its making.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use uuid::Uuid;

/// Tells the time, in UTC, to the microsecond: the precision that both stores keep.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's.
    System,
    /// A test's.
    Manual(ManualClock),
}

impl Clock {
    /// The time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one home of the clock")]
    pub fn now(&self) -> DateTime<Utc> {
        match self {
            Self::System => Utc::now().trunc_subsecs(6),
            Self::Manual(manual) => manual.now(),
        }
    }

    /// A new id for a thing, ordered by time of making.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one home of randomness")]
    pub fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }

    /// Thirty-two bytes nobody can guess.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one home of randomness")]
    pub fn secret(&self) -> [u8; 32] {
        // Two version 4 UUIDs hold 244 random bits from the operating system; the six fixed bits of each do not matter.
        let mut secret = [0; 32];
        secret[..16].copy_from_slice(Uuid::new_v4().as_bytes());
        secret[16..].copy_from_slice(Uuid::new_v4().as_bytes());
        secret
    }

    /// A number from 0 up to, not including, 1: for jitter, never for secrets.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one home of randomness")]
    pub fn fraction(&self) -> f64 {
        let bytes = *Uuid::new_v4().as_bytes();
        let bits = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }
}

/// A clock that moves only when told.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<DateTime<Utc>>>);

impl ManualClock {
    /// Stopped at `start`.
    #[must_use]
    pub fn new(start: DateTime<Utc>) -> Self {
        Self(Arc::new(Mutex::new(start.trunc_subsecs(6))))
    }

    /// Moves on, or back.
    pub fn advance(&self, by: TimeDelta) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }

    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
