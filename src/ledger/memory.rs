//! The showtimes that a writer remembers, so that it need not read them for every command.
//!
//! What is remembered is used only after the lock confirmed its revision; to forget something costs a read, and is always
//! right.

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

/// About what a showtime takes, besides its seats and reservations.
const SHOWTIME_BYTES: usize = 1_024;
const SEAT_BYTES: usize = 2;
/// A reservation with its index entries and its customer's name, and what the allocator loses between them.
const RESERVATION_BYTES: usize = 500;
/// No more than one line about a lack of room in this time.
const HUSH: Duration = Duration::from_mins(1);

/// Bounded: the longest unused is forgotten first.
pub(super) struct Memory {
    showtimes: HashMap<ShowtimeId, Remembered>,
    limit: usize,
    bytes: usize,
    /// Counts the batches.
    tick: u64,
    /// When a lack of room was last spoken of.
    told: Option<Instant>,
}

struct Remembered {
    plan: Arc<ShowtimePlan>,
    seating: Option<Seating>,
    /// What is written down as the time before which no hold ends; here it may be earlier, and never later.
    next_lapse: Option<DateTime<Utc>>,
    /// No decision was made later than this, as far as it was known when its seating was forgotten.
    latest: DateTime<Utc>,
    bytes: usize,
    used: u64,
}

impl Memory {
    pub(super) fn new(limit: usize) -> Self {
        Self { showtimes: HashMap::new(), limit, bytes: 0, tick: 0, told: None }
    }

    pub(super) fn plan(&self, id: ShowtimeId) -> Option<&Arc<ShowtimePlan>> {
        self.showtimes.get(&id).map(|remembered| &remembered.plan)
    }

    pub(super) fn learn_plan(&mut self, plan: &Arc<ShowtimePlan>) {
        let (id, used, latest) = (plan.facts.showtime_id, self.tick, plan.facts.create_time);
        let remembered =
            || Remembered { plan: Arc::clone(plan), seating: None, next_lapse: None, latest, bytes: 0, used };
        self.showtimes.entry(id).or_insert_with(remembered);
    }

    pub(super) fn seating(&mut self, id: ShowtimeId) -> Option<&mut Seating> {
        self.showtimes.get_mut(&id)?.seating.as_mut()
    }

    /// The revision as of which a showtime is remembered.
    pub(super) fn seating_at(&self, id: ShowtimeId) -> Option<i64> {
        self.showtimes.get(&id)?.seating.as_ref().map(Seating::revision)
    }

    pub(super) fn learn(&mut self, seating: Seating, next_lapse: Option<DateTime<Utc>>) {
        if let Some(remembered) = self.showtimes.get_mut(&seating.plan().facts.showtime_id) {
            (remembered.seating, remembered.next_lapse) = (Some(seating), next_lapse);
        }
    }

    pub(super) fn next_lapse(&self, id: ShowtimeId) -> Option<DateTime<Utc>> {
        self.showtimes.get(&id)?.next_lapse
    }

    pub(super) fn learn_lapse(&mut self, id: ShowtimeId, next_lapse: Option<DateTime<Utc>>) {
        if let Some(remembered) = self.showtimes.get_mut(&id) {
            remembered.next_lapse = next_lapse;
        }
    }

    /// Forgets who has which seat, since that was decided and then not written. How late it was is not forgotten: what
    /// somebody was told to be over stays over.
    pub(super) fn forget(&mut self, ids: impl Iterator<Item = ShowtimeId>) {
        for id in ids {
            if let Some(remembered) = self.showtimes.get_mut(&id)
                && let Some(seating) = remembered.seating.take()
            {
                remembered.latest = seating.latest();
            }
        }
    }

    /// When a showtime was last decided on, at the earliest.
    pub(super) fn latest(&self, id: ShowtimeId) -> Option<DateTime<Utc>> {
        self.showtimes.get(&id).map(|remembered| remembered.latest)
    }

    /// Notes that these were just used, and forgets others if there is no more room.
    pub(super) fn used(&mut self, ids: impl Iterator<Item = ShowtimeId>) {
        self.tick += 1;
        for id in ids {
            let Some(remembered) = self.showtimes.get_mut(&id) else { continue };
            let bytes = remembered.seating.as_mut().map_or(0, |seating| {
                seating.forget_ended();
                let seats = usize::from(seating.plan().seat_index.seat_count());
                seats * SEAT_BYTES + seating.live_count() * RESERVATION_BYTES
            });
            let bytes = bytes + SHOWTIME_BYTES;
            self.bytes = self.bytes + bytes - remembered.bytes;
            (remembered.bytes, remembered.used) = (bytes, self.tick);
        }
        if self.bytes > self.limit {
            self.make_room();
        }
    }

    /// Down to three quarters, so that this is rare.
    fn make_room(&mut self) {
        let mut oldest: Vec<_> =
            self.showtimes.iter().map(|(id, remembered)| (remembered.used, remembered.bytes, *id)).collect();
        oldest.sort_unstable();
        let before = self.showtimes.len();
        for (_, bytes, id) in oldest {
            if self.bytes <= self.limit / 4 * 3 {
                break;
            }
            self.showtimes.remove(&id);
            self.bytes -= bytes;
        }
        let forgotten = before - self.showtimes.len();
        metrics::seatings_forgotten(forgotten);
        // It is as it should be when these are no longer sold, and slow when they are.
        if self.told.is_none_or(|told| told.elapsed() >= HUSH) {
            self.told = Some(Instant::now());
            tracing::info!(
                forgotten,
                "the seats of the showtimes longest unused are forgotten: --ledger-memory is full"
            );
        }
    }
}
