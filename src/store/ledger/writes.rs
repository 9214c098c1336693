//! What a batch comes to, before it is written.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};

use crate::{
    domain::{
        ids::{ReservationId, ShowtimeId},
        reservation::Reservation,
    },
    store::{Error, RequestKey},
};

/// What was decided, to be written in one go.
#[derive(Debug, Default)]
pub struct LedgerWrites {
    /// New reservations, and the requests that made them.
    pub made: Vec<(Arc<Reservation>, Option<RequestKey>)>,
    /// Which they are.
    made_ids: HashSet<ReservationId>,
    /// Reservations that were there, as they are now.
    pub changed: HashMap<ReservationId, Arc<Reservation>>,
    /// Those whose seats become free.
    pub released: Vec<Arc<Reservation>>,
    /// Each showtime's step.
    pub steps: Vec<ShowtimeStep>,
    /// Answers that are stored under their request ids. There can be answers without a step, to commands that changed nothing.
    pub answers: Vec<NewAnswer>,
    /// Showtimes of which only the next lapse was learnt.
    pub lapses: Vec<(ShowtimeId, Option<DateTime<Utc>>)>,
}

/// An answer as it is given, to be stored for a repetition of its request.
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

/// A showtime from one revision to another.
#[derive(Debug)]
pub struct ShowtimeStep {
    /// Which.
    pub showtime_id: ShowtimeId,
    /// The revision under the lock.
    pub before: i64,
    /// The new one.
    pub revision: i64,
    /// Seats without a claim.
    pub available_count: i32,
    /// No hold ends before this.
    pub next_lapse: Option<DateTime<Utc>>,
    /// When it was decided.
    pub decide_time: DateTime<Utc>,
    /// Set if the showtime was cancelled.
    pub cancel_time: Option<DateTime<Utc>>,
    /// What others are told, encoded.
    pub events: Vec<u8>,
}

impl LedgerWrites {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.lapses.is_empty() && self.answers.is_empty()
    }

    /// A reservation that was there is another now. Of several changes the last one stands.
    ///
    /// # Errors
    /// It is only being made: that belongs into two transactions.
    pub fn change(&mut self, reservation: &Arc<Reservation>) -> Result<(), Error> {
        if self.made_ids.contains(&reservation.reservation_id) {
            return Err(Error::Fenced("a reservation"));
        }
        self.changed.insert(reservation.reservation_id, Arc::clone(reservation));
        Ok(())
    }

    /// A new reservation, made by a request that may have had an id.
    pub fn make(&mut self, reservation: &Arc<Reservation>, key: Option<RequestKey>) {
        self.made_ids.insert(reservation.reservation_id);
        self.made.push((Arc::clone(reservation), key));
    }
}
