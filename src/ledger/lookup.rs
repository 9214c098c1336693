//! What was read under the locks of a batch: the time, the revisions, and the answers to repeated requests.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};

use super::{request::Outcome, time::TimeSource};
use crate::{
    domain::{ids::ShowtimeId, reservation::Reservation},
    store::{Error, LedgerTx, LockedShowtime, LockedShowtimes, PriorReservation, RequestKey, StoredAnswer},
};

/// Caller, method and request id.
type Key<'a> = (&'a str, &'a str, uuid::Uuid);

/// What was read under the locks of a batch.
pub(super) struct Lookup<'a> {
    /// The time to decide by, read after the locks were taken.
    pub(super) now: DateTime<Utc>,
    pub(super) locked: HashMap<ShowtimeId, LockedShowtime>,
    answers: HashMap<Key<'a>, PriorAnswer>,
}

/// The answer to a request that was accepted.
struct PriorAnswer {
    fingerprint: Vec<u8>,
    revision: i64,
    reservation: Option<Arc<Reservation>>,
}

impl<'a> Lookup<'a> {
    pub(super) fn new(time: &TimeSource, found: LockedShowtimes) -> Self {
        let locked = found.locked.into_iter().map(|locked| (locked.showtime_id, locked)).collect();
        Self { now: time.decide_time(found.now), locked, answers: HashMap::new() }
    }

    /// Reads the reservations that were made under these request ids.
    pub(super) async fn read_reservations(&mut self, tx: &mut LedgerTx, keys: &[&'a RequestKey]) -> Result<(), Error> {
        for PriorReservation { caller, scoped_id, fingerprint, reservation } in tx.prior_reservations(keys).await? {
            if let Some(key) = keys.iter().find(|key| key.scoped_id() == scoped_id && key.caller == caller) {
                let reservation = reservation.as_made();
                let revision = reservation.revision();
                let answer = PriorAnswer { fingerprint, revision, reservation: Some(Arc::new(reservation)) };
                self.answers.insert(parts(key), answer);
            }
        }
        Ok(())
    }

    /// Reads the answers that are stored under these request ids.
    pub(super) async fn read_answers(&mut self, tx: &mut LedgerTx, keys: &[&'a RequestKey]) -> Result<(), Error> {
        for answer in tx.answers(keys).await? {
            let StoredAnswer { caller, method, request_id, fingerprint, revision, reservation } = answer;
            if let Some(key) = keys.iter().find(|key| parts(key) == (caller.as_str(), method.as_str(), request_id)) {
                self.answers.insert(parts(key), PriorAnswer { fingerprint, revision, reservation });
            }
        }
        Ok(())
    }

    /// Adds the answer to a request of this batch, in case the same batch repeats the request.
    pub(super) fn insert(&mut self, key: &'a RequestKey, revision: i64, reservation: Option<Arc<Reservation>>) {
        let fingerprint = key.fingerprint.to_vec();
        self.answers.insert(parts(key), PriorAnswer { fingerprint, revision, reservation });
    }

    /// The answer to a repeated request: the stored one, or that the request id was used with other content.
    pub(super) fn stored_answer(&self, key: &RequestKey) -> Option<(i64, Outcome)> {
        let answer = self.answers.get(&parts(key))?;
        let same = key.fingerprint.starts_with(&answer.fingerprint) && !answer.fingerprint.is_empty();
        let outcome = if same { Outcome::Repeated(answer.reservation.clone()) } else { Outcome::RequestReused };
        Some((answer.revision, outcome))
    }
}

fn parts(key: &RequestKey) -> Key<'_> {
    (&key.caller, key.method, key.request_id.0)
}
