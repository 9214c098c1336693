//! What readers and watchers get of a seat map, encoded once and shared. The ledger does not interpret the encoded bytes.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::domain::{
    seat_map::{Delta, Status},
    seating::ShowtimePlan,
};

/// A seat map at one time.
#[derive(Debug)]
pub struct Snapshot {
    /// What never changes about the showtime.
    pub plan: Arc<ShowtimePlan>,
    /// The epoch of the database that it was read from.
    pub epoch: Arc<str>,
    /// The revision that it shows.
    pub revision: i64,
    /// The time as of which it shows the seats.
    pub at: DateTime<Utc>,
    /// Every seat, in the order of the auditorium.
    pub seats: Vec<Status>,
    /// When the showtime was cancelled.
    pub cancelled: Option<DateTime<Utc>>,
    pub(super) encoded: [OnceLock<Bytes>; 3],
    /// The number of the next frame.
    pub(super) next_frame: u64,
    /// When the first of its holds lapses. From then on it is out of date.
    pub(super) valid_until: Option<DateTime<Utc>>,
}

/// The ways in which a snapshot is encoded.
#[derive(Clone, Copy, Debug)]
pub enum Encoding {
    /// An answer with one byte for each seat.
    Compact,
    /// An answer that also lists the seats by name.
    Listed,
    /// A message to a watcher.
    Watch,
}

impl Snapshot {
    /// The snapshot in bytes. The first call for each encoding encodes it; the others share the bytes.
    pub fn encoded(&self, encoding: Encoding, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.encoded[encoding as usize].get_or_init(|| encode(self)).clone()
    }
}

/// A change of the seat map for watchers: one commit, several of them, or holds that have lapsed.
#[derive(Debug)]
pub struct Frame {
    /// What never changes about the showtime.
    pub plan: Arc<ShowtimePlan>,
    /// The seats that changed, as they show at `at`.
    pub delta: Delta,
    /// The time as of which the seats show like this.
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

    /// The frame in bytes. The first call encodes it; the others share the bytes.
    pub fn encoded(&self, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.encoded.get_or_init(|| encode(self)).clone()
    }
}
