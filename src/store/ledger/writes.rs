//! The rows that a batch of the ledger writes.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::companions::Companion;
use crate::{
    domain::{
        ids::{ReservationId, ShowtimeId},
        reservation::Reservation,
        seating::Blockage,
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
    /// Claims that end. Their rows are deleted before any is inserted.
    pub freed: Vec<Claim>,
    /// New claims, except those of the reservations in `made`.
    pub claimed: Vec<Claim>,
    /// Seats that are blocked.
    pub blocked: Vec<NewBlockedSeat>,
    /// Seats that are blocked no more.
    pub unblocked: Vec<(ShowtimeId, u16)>,
    /// One for each showtime that changes.
    pub advances: Vec<ShowtimeAdvance>,
    /// Answers that are stored under their request ids. Without an advance they are answers to commands that changed nothing.
    pub answers: Vec<NewAnswer>,
    /// Showtimes of which only the time of the next lapse is corrected.
    pub lapses: Vec<(ShowtimeId, Option<DateTime<Utc>>)>,
    /// Rows of other tables. They are written in this order, after everything else.
    pub companions: Vec<Companion>,
}

/// That a seat is held or sold by a reservation, or blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The showtime.
    pub showtime_id: ShowtimeId,
    /// The number of the seat.
    pub seat: u16,
    /// The reservation. `None`: the seat is blocked.
    pub reservation_id: Option<ReservationId>,
}

/// A seat that is kept back from sale.
#[derive(Clone, Debug)]
pub struct NewBlockedSeat {
    /// The showtime.
    pub showtime_id: ShowtimeId,
    /// The number of the seat.
    pub seat: u16,
    /// Why.
    pub blockage: Blockage,
    /// When that was decided.
    pub create_time: DateTime<Utc>,
    /// The showtime's revision that blocks it.
    pub revision: i64,
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

    /// Adds claims of a reservation that end.
    pub fn free(&mut self, of: &Reservation, seats: impl IntoIterator<Item = u16>) {
        self.freed.extend(claims(of, seats));
    }

    /// Adds claims of a reservation that exists.
    pub fn claim(&mut self, of: &Reservation, seats: impl IntoIterator<Item = u16>) {
        self.claimed.extend(claims(of, seats));
    }

    /// Adds seats that are blocked.
    pub fn block(
        &mut self,
        (showtime_id, seats): (ShowtimeId, &[u16]),
        blockage: &Blockage,
        create_time: DateTime<Utc>,
        revision: i64,
    ) {
        for &seat in seats {
            self.claimed.push(Claim { showtime_id, seat, reservation_id: None });
            let blockage = blockage.clone();
            self.blocked.push(NewBlockedSeat { showtime_id, seat, blockage, create_time, revision });
        }
    }

    /// Adds seats that are blocked no more.
    pub fn unblock(&mut self, showtime_id: ShowtimeId, seats: &[u16]) {
        for &seat in seats {
            self.freed.push(Claim { showtime_id, seat, reservation_id: None });
            self.unblocked.push((showtime_id, seat));
        }
    }

    /// The claims that are inserted.
    pub(super) fn new_claims(&self) -> impl Iterator<Item = Claim> {
        let made = self.made.iter().flat_map(|(made, _)| claims(made, made.first_block.seats()));
        made.chain(self.claimed.iter().copied())
    }

    /// Adds a new reservation, with the key of the request that made it.
    pub fn make(&mut self, reservation: &Arc<Reservation>, key: Option<RequestKey>) {
        self.made_ids.insert(reservation.reservation_id);
        self.made.push((Arc::clone(reservation), key));
    }
}

fn claims(of: &Reservation, seats: impl IntoIterator<Item = u16>) -> impl Iterator<Item = Claim> {
    let (showtime_id, reservation_id) = (of.showtime_id, Some(of.reservation_id));
    seats.into_iter().map(move |seat| Claim { showtime_id, seat, reservation_id })
}

impl Claim {
    /// The reservation's id as it is stored: nil for a seat that is blocked.
    pub(super) fn stored_reservation_id(&self) -> Uuid {
        self.reservation_id.map_or(Uuid::nil(), |id| id.0)
    }
}

/// Refuses a statement that affected another number of rows than expected: a row is not as it was locked.
pub(super) fn expect_rows(rows: u64, expected: u64, what: &'static str) -> Result<(), Error> {
    expect(rows == expected, what)
}

/// Refuses a statement after which this is not so.
pub(super) fn expect(is_so: bool, what: &'static str) -> Result<(), Error> {
    if is_so { Ok(()) } else { Err(Error::Fenced(what)) }
}

/// The part of a request's fingerprint that is stored with a reservation. Half of the digest tells requests apart as well.
pub(super) fn stored_fingerprint(fingerprint: &[u8; 32]) -> Vec<u8> {
    fingerprint[..16].to_vec()
}
