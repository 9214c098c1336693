//! The only place that reads time or randomness.
//!
//! Other code is given a `Clock`, so that a test can set the time. Ids count as time: a version 7 UUID begins with the
//! instant of its creation.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use uuid::Uuid;

/// A clock, in UTC, to the microsecond, which is the precision of both stores.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The clock of the machine.
    System,
    /// A clock that a test sets.
    Manual(ManualClock),
}

impl Clock {
    /// The current time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one home of the clock")]
    pub fn now(&self) -> DateTime<Utc> {
        match self {
            Self::System => Utc::now().trunc_subsecs(6),
            Self::Manual(manual) => manual.now(),
        }
    }

    /// A new id. Later ids sort after earlier ones.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one home of randomness")]
    pub fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }

    /// 32 bytes that cannot be guessed.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one home of randomness")]
    pub fn secret(&self) -> [u8; 32] {
        // Two version 4 UUIDs hold 244 random bits from the operating system; the six fixed bits of each do not matter.
        let mut secret = [0; 32];
        secret[..16].copy_from_slice(Uuid::new_v4().as_bytes());
        secret[16..].copy_from_slice(Uuid::new_v4().as_bytes());
        secret
    }

    /// 64 bits that cannot be guessed.
    #[must_use]
    pub fn random_bits(&self) -> [u8; 8] {
        // The bytes before and after these have bits that are fixed.
        let (secret, mut bits) = (self.secret(), [0; 8]);
        bits.copy_from_slice(&secret[9..17]);
        bits
    }

    /// A random number from 0 up to but not including 1, for jitter. It is not fit for secrets.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one home of randomness")]
    pub fn fraction(&self) -> f64 {
        let bytes = *Uuid::new_v4().as_bytes();
        let bits = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }
}

/// A clock that stands still until it is advanced.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<DateTime<Utc>>>);

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn new(start: DateTime<Utc>) -> Self {
        Self(Arc::new(Mutex::new(start.trunc_subsecs(6))))
    }

    /// Moves the clock forward, or back by a negative difference.
    pub fn advance(&self, by: TimeDelta) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }

    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
