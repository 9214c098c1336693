//! The rows that a batch of the ledger writes.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};

use super::companions::Companion;
use crate::{
    domain::{
        ids::{ReservationId, ShowtimeId},
        reservation::Reservation,
    },
    store::{errors::Error, request_key::RequestKey},
};

/// What was decided, to be written in one transaction.
#[derive(Debug, Default)]
pub struct LedgerWrites {
    /// New reservations, and the keys of the requests that made them.
    pub made: Vec<(Arc<Reservation>, Option<RequestKey>)>,
    /// The ids of `made`.
    made_ids: HashSet<ReservationId>,
    /// Reservations that exist and change, as they are after it.
    pub changed: HashMap<ReservationId, Arc<Reservation>>,
    /// Reservations whose seats become free.
    pub released: Vec<Arc<Reservation>>,
    /// One for each showtime that changes.
    pub advances: Vec<ShowtimeAdvance>,
    /// Answers that are stored under their request ids. Without an advance they are answers to commands that changed nothing.
    pub answers: Vec<NewAnswer>,
    /// Showtimes of which only the time of the next lapse is corrected.
    pub lapses: Vec<(ShowtimeId, Option<DateTime<Utc>>)>,
    /// Rows of other tables. They are written in this order, after everything else.
    pub companions: Vec<Companion>,
}

/// An answer as it is given, to be stored for when its request is repeated.
#[derive(Debug)]
pub struct NewAnswer {
    /// The request that is answered.
    pub key: RequestKey,
    /// The revision in the answer.
    pub revision: i64,
    /// The reservation in the answer.
    pub reservation: Option<Arc<Reservation>>,
    /// When the request was decided.
    pub decide_time: DateTime<Utc>,
}

/// What one batch does to one showtime: it leads from the locked revision to a later one.
#[derive(Debug)]
pub struct ShowtimeAdvance {
    /// The showtime's id.
    pub showtime_id: ShowtimeId,
    /// The revision that was locked.
    pub before: i64,
    /// The revision after the batch.
    pub revision: i64,
    /// Seats without a claim after the batch.
    pub available_count: i32,
    /// No hold lapses before this time. `None`: there is no hold.
    pub next_lapse: Option<DateTime<Utc>>,
    /// The time by which the batch was decided.
    pub decide_time: DateTime<Utc>,
    /// Set if the showtime was cancelled.
    pub cancel_time: Option<DateTime<Utc>>,
    /// The row of the outbox: public events in field 1, steps for other instances in field 2.
    pub events: Vec<u8>,
    /// The number of public events in it.
    pub event_count: i32,
}

impl LedgerWrites {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.advances.is_empty() && self.lapses.is_empty() && self.answers.is_empty() && self.companions.is_empty()
    }

    /// Adds a change of a reservation that exists. Of several changes the last one is written.
    ///
    /// # Errors
    /// The reservation was made in the same batch; change it in the next one.
    pub fn change(&mut self, reservation: &Arc<Reservation>) -> Result<(), Error> {
        if self.made_ids.contains(&reservation.reservation_id) {
            return Err(Error::Fenced("a reservation"));
        }
        self.changed.insert(reservation.reservation_id, Arc::clone(reservation));
        Ok(())
    }

    /// Adds a new reservation, with the key of the request that made it.
    pub fn make(&mut self, reservation: &Arc<Reservation>, key: Option<RequestKey>) {
        self.made_ids.insert(reservation.reservation_id);
        self.made.push((Arc::clone(reservation), key));
    }
}

/// Refuses a statement that affected another number of rows than expected: a row is not as it was locked.
pub(super) fn expect_rows(rows: u64, expected: u64, what: &'static str) -> Result<(), Error> {
    if rows == expected { Ok(()) } else { Err(Error::Fenced(what)) }
}

/// The part of a request's fingerprint that is stored with a reservation. Half of the digest tells requests apart as well.
pub(super) fn stored_fingerprint(fingerprint: &[u8; 32]) -> Vec<u8> {
    fingerprint[..16].to_vec()
}
