//! What is told of a seat map, with the words for it: found once, by whoever tells it first, and shared. They are bytes that
//! mean nothing to this room.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::domain::{
    seat_map::{Delta, Status},
    seating::ShowtimePlan,
};

/// A seat map at a moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Of this showtime,
    pub plan: Arc<ShowtimePlan>,
    /// in this epoch,
    pub epoch: Arc<str>,
    /// as of this change
    pub revision: i64,
    /// and this moment.
    pub at: DateTime<Utc>,
    /// Every seat.
    pub seats: Vec<Status>,
    /// Since when the showtime is cancelled, if it is.
    pub cancelled: Option<DateTime<Utc>>,
    pub(super) encoded: [OnceLock<Bytes>; 3],
    /// What it is before.
    pub(super) number: u64,
    /// When the first hold ends; then it shows something else.
    pub(super) until: Option<DateTime<Utc>>,
}

/// Ways to say a snapshot.
#[derive(Clone, Copy, Debug)]
pub enum Encoding {
    /// In short,
    Compact,
    /// seat by seat,
    Listed,
    /// or to a watcher.
    Watch,
}

impl Snapshot {
    /// Its words, found once.
    pub fn encoded(&self, form: Encoding, say: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.encoded[form as usize].get_or_init(|| say(self)).clone()
    }
}

/// What watchers are told of one commit, of several, or of a hold that has ended.
#[derive(Debug)]
pub struct Frame {
    /// Of this showtime,
    pub plan: Arc<ShowtimePlan>,
    /// what changed, as it shows
    pub delta: Delta,
    /// at this moment.
    pub at: DateTime<Utc>,
    encoded: OnceLock<Bytes>,
}

impl Frame {
    pub(super) fn new(plan: &Arc<ShowtimePlan>, mut delta: Delta, at: DateTime<Utc>) -> Arc<Self> {
        for (_, status) in &mut delta.seats {
            *status = status.at(at);
        }
        Arc::new(Self { plan: Arc::clone(plan), delta, at, encoded: OnceLock::new() })
    }

    /// Its words, found once.
    pub fn encoded(&self, say: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.encoded.get_or_init(|| say(self)).clone()
    }
}
