//! The seatings of showtimes that a writer decided on lately.
//!
//! A seating is used only after the lock has confirmed its revision, so it can be evicted at any time: the next batch reads
//! it again.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};

use crate::{
    domain::{
        ids::ShowtimeId,
        seating::{Seating, ShowtimePlan},
    },
    telemetry::metrics,
};

/// Estimated bytes of a showtime without its seats and reservations.
const SHOWTIME_BYTES: usize = 768;
/// Estimated bytes of a ticket type of its price list.
const TICKET_TYPE_BYTES: usize = 256;
/// Estimated bytes of a seat.
const SEAT_BYTES: usize = 2;
/// Estimated bytes of a reservation with its index entries, its customer's name and what the allocator loses between them.
const RESERVATION_BYTES: usize = 500;
/// Estimated bytes of the line of a seat, where lines are not plain.
const LINE_BYTES: usize = 64;
/// Shortest time between two eviction log lines.
const EVICTION_LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The seatings of one writer, within a limit. The least recently used is evicted first.
pub(super) struct Memory {
    showtimes: HashMap<ShowtimeId, Entry>,
    limit: usize,
    bytes: usize,
    /// The number of batches so far.
    batch: u64,
    eviction_logged_at: Option<Instant>,
}

struct Entry {
    plan: Arc<ShowtimePlan>,
    seating: Option<Seating>,
    /// No hold lapses before this time. The database has such a time too. It is the same one, unless another instance has
    /// changed the showtime since this instance last wrote or read it.
    next_lapse: Option<DateTime<Utc>>,
    /// The latest time of a decision when the seating was last invalidated.
    latest: DateTime<Utc>,
    bytes: usize,
    last_batch: u64,
}

impl Memory {
    pub(super) fn new(limit: usize) -> Self {
        Self { showtimes: HashMap::new(), limit, bytes: 0, batch: 0, eviction_logged_at: None }
    }

    pub(super) fn plan(&self, id: ShowtimeId) -> Option<&Arc<ShowtimePlan>> {
        self.showtimes.get(&id).map(|entry| &entry.plan)
    }

    pub(super) fn insert_plan(&mut self, plan: &Arc<ShowtimePlan>) {
        let (id, last_batch, latest) = (plan.facts.showtime_id, self.batch, plan.facts.create_time);
        let entry = || Entry { plan: Arc::clone(plan), seating: None, next_lapse: None, latest, bytes: 0, last_batch };
        self.showtimes.entry(id).or_insert_with(entry);
    }

    pub(super) fn seating(&mut self, id: ShowtimeId) -> Option<&mut Seating> {
        self.showtimes.get_mut(&id)?.seating.as_mut()
    }

    pub(super) fn revision(&self, id: ShowtimeId) -> Option<i64> {
        self.showtimes.get(&id)?.seating.as_ref().map(Seating::revision)
    }

    /// Puts in a seating that was read from the database. Its plan is there already.
    pub(super) fn insert(&mut self, seating: Seating, next_lapse: Option<DateTime<Utc>>) {
        if let Some(entry) = self.showtimes.get_mut(&seating.plan().facts.showtime_id) {
            (entry.seating, entry.next_lapse) = (Some(seating), next_lapse);
        }
    }

    pub(super) fn next_lapse(&self, id: ShowtimeId) -> Option<DateTime<Utc>> {
        self.showtimes.get(&id)?.next_lapse
    }

    pub(super) fn set_next_lapse(&mut self, id: ShowtimeId, next_lapse: Option<DateTime<Utc>>) {
        if let Some(entry) = self.showtimes.get_mut(&id) {
            entry.next_lapse = next_lapse;
        }
    }

    /// Drops seatings that are not as the database has them: changes were decided and not written, or could not be replayed.
    /// The time of the latest decision stays until the entry is evicted, so that a hold that was refused as lapsed stays lapsed.
    pub(super) fn invalidate(&mut self, ids: impl Iterator<Item = ShowtimeId>) {
        for id in ids {
            if let Some(entry) = self.showtimes.get_mut(&id)
                && let Some(seating) = entry.seating.take()
            {
                entry.latest = seating.latest();
            }
        }
    }

    /// Drops all seatings.
    pub(super) fn invalidate_all(&mut self) {
        let ids: Vec<_> = self.showtimes.keys().copied().collect();
        self.invalidate(ids.into_iter());
    }

    /// A time before which nothing may be decided on this showtime.
    pub(super) fn latest(&self, id: ShowtimeId) -> Option<DateTime<Utc>> {
        self.showtimes.get(&id).map(|entry| entry.latest)
    }

    /// Marks these showtimes as just used, and evicts others if the limit is exceeded.
    pub(super) fn touch(&mut self, ids: impl Iterator<Item = ShowtimeId>) {
        self.batch += 1;
        for id in ids {
            let Some(entry) = self.showtimes.get_mut(&id) else { continue };
            let bytes = entry.seating.as_mut().map_or(0, |seating| {
                seating.evict_ended();
                let seats = usize::from(seating.plan().seat_index.seat_count());
                let claimed = seats.saturating_sub(usize::try_from(seating.unclaimed_count()).unwrap_or_default());
                let lines = if seating.plan().facts.prices.is_plain() { 0 } else { claimed };
                seats * SEAT_BYTES + seating.live_count() * RESERVATION_BYTES + lines * LINE_BYTES
            });
            let bytes = bytes + SHOWTIME_BYTES + entry.plan.facts.prices.ticket_types.len() * TICKET_TYPE_BYTES;
            self.bytes = self.bytes + bytes - entry.bytes;
            (entry.bytes, entry.last_batch) = (bytes, self.batch);
        }
        if self.bytes > self.limit {
            self.evict();
        }
    }

    /// Evicts down to three quarters of the limit, so that it happens rarely.
    fn evict(&mut self) {
        let mut oldest: Vec<_> =
            self.showtimes.iter().map(|(id, entry)| (entry.last_batch, entry.bytes, *id)).collect();
        oldest.sort_unstable();
        let before = self.showtimes.len();
        for (_, bytes, id) in oldest {
            if self.bytes <= self.limit / 4 * 3 {
                break;
            }
            self.showtimes.remove(&id);
            self.bytes -= bytes;
        }
        let evicted = before - self.showtimes.len();
        metrics::seatings_evicted(evicted);
        // Without harm if these are no longer sold, and slow if they are.
        if self.eviction_logged_at.is_none_or(|at| at.elapsed() >= EVICTION_LOG_INTERVAL) {
            self.eviction_logged_at = Some(Instant::now());
            tracing::info!(evicted, "evicted the seats of the least recently used showtimes: --ledger-memory is full");
        }
    }
}
