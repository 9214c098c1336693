//! Who has which seat of one showtime, and every rule by which that changes.
//!
//! `decide` looks at the state, a command and the time, and answers with changes or a refusal; `apply` makes the changes.
//! Both are pure. The same command, decided on the same state at the same time, comes to the same on every machine, so
//! the database, a test's model and this module can be held against each other.

mod choose;
mod decide;
mod refusal;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};

use super::{
    ids::ReservationId,
    reservation::{CustomerId, Reservation, State, Tender},
    seat_index::{SeatIndex, SeatName},
    showtime,
};

pub use refusal::{Obstacle, Refusal, Unavailable};

/// What a deployment decides about selling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Seats of one reservation, at most.
    pub max_seats: u16,
    /// Seats of one customer in one showtime, at most.
    pub max_customer_seats: u16,
    /// How long before its start a showtime is no longer sold.
    pub closing: Duration,
    /// How much longer a hold lasts when it is prolonged.
    pub extension: Duration,
    /// Whether a choice may leave a single seat alone.
    pub orphan_rule: OrphanRule,
}

/// The orphan rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrphanRule {
    /// Anybody may sit anywhere.
    Allow,
    /// A choice that leaves a single free seat is refused if another of its size does not.
    Refuse,
}

/// What never changes about the showtime that is seated.
#[derive(Clone, Debug)]
pub struct ShowtimePlan {
    /// What, where and when.
    pub facts: Arc<showtime::Facts>,
    /// Its seats.
    pub seat_index: Arc<SeatIndex>,
}

/// What somebody wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// To hold seats.
    Reserve {
        /// The reservation's id, if it comes to be: one that was never used before.
        reservation_id: ReservationId,
        /// For whom.
        customer_id: CustomerId,
        /// Which seats.
        choice: Choice,
    },
    /// To buy what is held.
    Confirm {
        /// Which reservation,
        reservation_id: ReservationId,
        /// whose it must be, if that is said,
        customer_id: Option<CustomerId>,
        /// and how it was paid for.
        tender: Option<Tender>,
    },
    /// To give up a hold.
    Cancel {
        /// Which reservation,
        reservation_id: ReservationId,
        /// and whose it must be.
        customer_id: Option<CustomerId>,
    },
    /// To have it a little longer.
    Extend {
        /// Which reservation,
        reservation_id: ReservationId,
        /// and whose it must be.
        customer_id: Option<CustomerId>,
    },
    /// To write down the holds that are over.
    Expire,
    /// Not to play at all.
    CancelShowtime {
        /// Whether sales are cancelled too. Without it, a showtime with sales is not cancelled.
        force: bool,
        /// The revision that the showtime must have. `None` accepts any.
        expected_revision: Option<i64>,
    },
}

/// Seats that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// These.
    Seats(Vec<SeatName>),
    /// So many of the best, at least one.
    Best(u16),
}

/// One thing that happens. Reservations are as they are after it.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Seats are held.
    Reserved(Arc<Reservation>),
    /// They are sold.
    Confirmed(Arc<Reservation>),
    /// They are held longer.
    Extended(Arc<Reservation>),
    /// The reservation is off, and its seats are free.
    Cancelled(Arc<Reservation>),
    /// The hold is over, and its seats are free.
    Expired(Arc<Reservation>),
    /// The showtime will not play.
    ShowtimeCancelled {
        /// Since when.
        at: DateTime<Utc>,
        /// How many of its reservations had been sold.
        confirmed_count: i32,
    },
}

/// What comes of a command that is not refused. With no changes, nothing had to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// All of them are one step of the revision.
    pub changes: Vec<Change>,
    /// The reservation that was asked about, as it is then.
    pub reservation: Option<Arc<Reservation>>,
}

/// A live reservation, with what is looked at most beside it.
#[derive(Clone, Debug)]
struct Claim {
    /// A digest of the customer.
    customer: u64,
    /// When the hold ends; `None`: it is sold.
    until: Option<DateTime<Utc>>,
    reservation: Arc<Reservation>,
}

/// The seats of a showtime as they stand at a revision.
#[derive(Clone, Debug)]
pub struct Seating {
    plan: Arc<ShowtimePlan>,
    state: showtime::State,
    revision: i64,
    /// No decision was made later than this, and none will be made earlier.
    latest: DateTime<Utc>,
    /// For each seat the number of its place and 1, or 0.
    seats: Vec<u16>,
    /// How many of them are 0.
    unclaimed: u16,
    claims: Vec<Option<Claim>>,
    /// Places that nobody has any more.
    free_slots: Vec<u16>,
    live: HashMap<ReservationId, u16>,
    /// Reservations that are no longer live and that somebody asks about.
    ended: HashMap<ReservationId, Arc<Reservation>>,
}

impl Seating {
    /// A showtime with all that is held or sold. `latest` is when it was last decided on.
    #[must_use]
    pub fn new(
        plan: Arc<ShowtimePlan>,
        state: showtime::State,
        revision: i64,
        latest: DateTime<Utc>,
        live: impl IntoIterator<Item = Reservation>,
    ) -> Self {
        let unclaimed = plan.seat_index.seat_count();
        let seats = vec![0; usize::from(unclaimed)];
        let (claims, free_slots) = (Vec::new(), Vec::new());
        let (index, ended) = (HashMap::new(), HashMap::new());
        let mut seating =
            Self { plan, state, revision, latest, seats, unclaimed, claims, free_slots, live: index, ended };
        for reservation in live {
            seating.seat(Arc::new(reservation));
        }
        seating
    }

    /// What never changes.
    #[must_use]
    pub fn plan(&self) -> &Arc<ShowtimePlan> {
        &self.plan
    }

    /// How many changes there were.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Where the showtime is in its life.
    #[must_use]
    pub fn state(&self) -> showtime::State {
        self.state
    }

    /// When something was last decided.
    #[must_use]
    pub fn latest(&self) -> DateTime<Utc> {
        self.latest
    }

    /// The time to decide by: a clock's, unless that ran backwards. What was once over stays over.
    pub fn moment(&mut self, clock: DateTime<Utc>) -> DateTime<Utc> {
        self.latest = self.latest.max(clock);
        self.latest
    }

    /// A reservation that is live or was recalled.
    #[must_use]
    pub fn reservation(&self, id: ReservationId) -> Option<&Arc<Reservation>> {
        match self.live.get(&id) {
            Some(claim) => self.claims[usize::from(*claim)].as_ref().map(|claim| &claim.reservation),
            None => self.ended.get(&id),
        }
    }

    /// How many reservations are held or sold, lapsed or not.
    #[must_use]
    pub fn live_count(&self) -> usize {
        self.live.len()
    }

    /// All that is held or sold, lapsed or not.
    pub fn live(&self) -> impl Iterator<Item = &Arc<Reservation>> {
        self.claims.iter().flatten().map(|claim| &claim.reservation)
    }

    /// Makes a reservation known that is over, so that it can be refused by name. One that says it were not, and is not live
    /// here, is out of date and is not believed: its seats may be somebody else's.
    pub fn recall(&mut self, reservation: Arc<Reservation>) {
        match reservation.state() {
            State::Cancelled { .. } | State::Expired => {
                self.ended.entry(reservation.reservation_id).or_insert(reservation);
            }
            State::Held | State::Confirmed(_) => {}
        }
    }

    /// Forgets the reservations that are over.
    pub fn forget_ended(&mut self) {
        self.ended.clear();
    }

    /// Seats that are neither held nor sold, as far as it was written down: a hold that is over counts until then.
    #[must_use]
    pub fn unclaimed_count(&self) -> i32 {
        i32::from(self.unclaimed)
    }

    /// When the first of the holds ends, or ended, if nobody has written it down.
    #[must_use]
    pub fn next_lapse(&self) -> Option<DateTime<Utc>> {
        self.claims.iter().flatten().filter_map(|claim| claim.until).min()
    }

    /// Who has a seat, and until when, as far as anything was written down.
    fn claim(&self, seat: u16) -> Option<&Claim> {
        let claim = self.seats[usize::from(seat)].checked_sub(1)?;
        self.claims[usize::from(claim)].as_ref()
    }

    fn is_free(&self, seat: u16, now: DateTime<Utc>) -> bool {
        self.claim(seat).is_none_or(|claim| claim.lapsed(now))
    }

    /// Seats that the customer holds or has bought, and when the first of the holds ends.
    fn customer_seats(&self, customer: &CustomerId, now: DateTime<Utc>) -> (u16, Option<DateTime<Utc>>) {
        let digest = digest(customer);
        let theirs = |claim: &&Claim| {
            claim.customer == digest && !claim.lapsed(now) && claim.reservation.customer_id == *customer
        };
        let theirs = self.claims.iter().flatten().filter(theirs);
        theirs.fold((0, None), |(count, first), claim| {
            let first = [first, claim.until].into_iter().flatten().min();
            (count + claim.reservation.block.count, first)
        })
    }

    /// Makes the changes of one decision: the next revision.
    pub fn apply(&mut self, changes: &[Change], now: DateTime<Utc>) {
        if changes.is_empty() {
            return;
        }
        self.revision += 1;
        self.latest = self.latest.max(now);
        for change in changes {
            match change {
                Change::Reserved(reservation) | Change::Confirmed(reservation) | Change::Extended(reservation) => {
                    self.seat(Arc::clone(reservation));
                }
                Change::Cancelled(reservation) | Change::Expired(reservation) => self.unseat(reservation),
                Change::ShowtimeCancelled { at, .. } => self.state = showtime::State::Cancelled { at: *at },
            }
        }
    }

    fn seat(&mut self, reservation: Arc<Reservation>) {
        let claim = self.live.get(&reservation.reservation_id).copied();
        let claim = claim.or_else(|| self.free_slots.pop()).unwrap_or_else(|| {
            self.claims.push(None);
            self.claims.len() as u16 - 1
        });
        for seat in reservation.block.seats() {
            let before = std::mem::replace(&mut self.seats[usize::from(seat)], claim + 1);
            self.unclaimed -= u16::from(before == 0);
        }
        self.live.insert(reservation.reservation_id, claim);
        let until = match reservation.state() {
            State::Held => Some(reservation.expire_time()),
            State::Confirmed(_) | State::Cancelled { .. } | State::Expired => None,
        };
        let customer = digest(&reservation.customer_id);
        self.claims[usize::from(claim)] = Some(Claim { customer, until, reservation });
    }

    fn unseat(&mut self, reservation: &Arc<Reservation>) {
        if let Some(claim) = self.live.remove(&reservation.reservation_id) {
            self.claims[usize::from(claim)] = None;
            self.free_slots.push(claim);
            for seat in reservation.block.seats() {
                let before = std::mem::take(&mut self.seats[usize::from(seat)]);
                self.unclaimed += u16::from(before != 0);
            }
        }
        self.ended.insert(reservation.reservation_id, Arc::clone(reservation));
    }
}

impl Claim {
    /// Whether this is a hold that is over.
    fn lapsed(&self, now: DateTime<Utc>) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

fn digest(customer: &CustomerId) -> u64 {
    let mut hasher = DefaultHasher::new();
    customer.hash(&mut hasher);
    hasher.finish()
}
