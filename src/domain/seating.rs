//! The seats of one showtime, and every rule by which they are held and sold.
//!
//! [`Seating::decide`] takes a command and the time and returns changes or a refusal. [`Seating::apply`] makes the changes.
//! Both are pure: the same command at the same state and time has the same result on every machine. So the database, the
//! model of the tests and this module can be compared with each other.

mod blocked;
mod change;
mod choose;
mod command;
mod decide;
mod ending;
mod live;
mod paying;
mod refusal;
#[cfg(test)]
pub(crate) mod tests;

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    ids::ReservationId,
    reservation::{CustomerId, Reservation, State},
    seat_index::SeatIndex,
    showtime,
};

use live::{LiveReservation, digest};

pub use blocked::{BlockReason, Blockage, MAX_NOTE};
pub use change::{Change, Decision};
pub use command::{Choice, Command, Wish};
pub use refusal::{Obstacle, Refusal, Unavailable};

/// The rules that a deployment sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The most seats of one reservation.
    pub max_seats: u16,
    /// The most seats that one customer may hold and have bought in one showtime.
    pub max_customer_seats: u16,
    /// How long before the start of a showtime its sale closes.
    pub closing: Duration,
    /// How much longer an extended hold lasts.
    pub extension: Duration,
    /// Whether a choice may leave orphan seats.
    pub orphan_rule: OrphanRule,
    /// Who may have accessible seats.
    pub accessible_seats: AccessibleSeats,
}

/// Who may have accessible seats, and companion seats beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessibleSeats {
    /// Everybody.
    Open,
    /// Those who ask for them; everybody from some time before the start.
    OnRequest {
        /// How long before the start of a showtime everybody may have them.
        open_before: Duration,
    },
}

/// The orphan-seat rule. An orphan is a free seat without a free neighbour, which is hard to sell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrphanRule {
    /// A choice may leave orphans.
    Allow,
    /// A choice that leaves an orphan is refused if there is a block of the same size that leaves none.
    Refuse,
}

/// What never changes about a showtime: its facts and its seats.
#[derive(Clone, Debug)]
pub struct ShowtimePlan {
    /// The facts of the showtime.
    pub facts: Arc<showtime::Facts>,
    /// The seats of its auditorium.
    pub seat_index: Arc<SeatIndex>,
}

/// The seats of a showtime at a revision, with the reservations that have them.
#[derive(Clone, Debug)]
pub struct Seating {
    plan: Arc<ShowtimePlan>,
    state: showtime::State,
    revision: i64,
    /// The time of the latest decision. None will be made at an earlier time.
    latest: DateTime<Utc>,
    /// The time of the latest decision that changed anything.
    changed_at: DateTime<Utc>,
    /// For each seat the index in `live` of the reservation that has it, plus 1; 0: none has it; or `BLOCKED`.
    seats: Vec<u16>,
    /// The number of seats that no live reservation has and that are not blocked.
    unclaimed: u16,
    live: Vec<Option<LiveReservation>>,
    /// Indexes of `live` that can be used again.
    free_indexes: Vec<u16>,
    /// The index in `live` of each live reservation.
    live_index: HashMap<ReservationId, u16>,
    /// Reservations that are no longer live, so that commands about them are refused with the reason.
    ended: HashMap<ReservationId, Arc<Reservation>>,
}

/// What `Seating::seats` has for a seat that is blocked. There are fewer reservations.
const BLOCKED: u16 = u16::MAX;

impl Seating {
    /// A showtime with all its live reservations and blocked seats. `changed_at` is the time of its latest change.
    #[must_use]
    pub fn new(
        plan: Arc<ShowtimePlan>,
        state: showtime::State,
        revision: i64,
        changed_at: DateTime<Utc>,
        live: impl IntoIterator<Item = Reservation>,
        blocked: impl IntoIterator<Item = u16>,
    ) -> Self {
        let unclaimed = plan.seat_index.seat_count();
        let seats = vec![0; usize::from(unclaimed)];
        let mut seating = Self {
            plan,
            state,
            revision,
            latest: changed_at,
            changed_at,
            seats,
            unclaimed,
            live: Vec::new(),
            free_indexes: Vec::new(),
            live_index: HashMap::new(),
            ended: HashMap::new(),
        };
        for reservation in live {
            seating.seat(Arc::new(reservation));
        }
        for seat in blocked {
            seating.block_seat(seat);
        }
        seating
    }

    /// What never changes about the showtime.
    #[must_use]
    pub fn plan(&self) -> &Arc<ShowtimePlan> {
        &self.plan
    }

    /// The revision of the showtime.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The state of the showtime.
    #[must_use]
    pub fn state(&self) -> showtime::State {
        self.state
    }

    /// The time of the latest decision.
    #[must_use]
    pub fn latest(&self) -> DateTime<Utc> {
        self.latest
    }

    /// The time to decide by: the clock's, or the latest decision's if the clock ran back. So a hold that has lapsed stays
    /// lapsed. A showtime is cancelled later than everything before, so that its time tells which reservations ended with it.
    pub fn moment(&mut self, command: &Command, clock: DateTime<Utc>) -> DateTime<Utc> {
        self.latest = self.latest.max(clock);
        let after_changes = match command {
            Command::CancelShowtime { .. } => self.changed_at.checked_add_signed(TimeDelta::microseconds(1)),
            _ => None,
        };
        after_changes.map_or(self.latest, |after| after.max(self.latest))
    }

    /// Takes note of a time that something was decided at, whether or not it changed anything.
    pub fn not_before(&mut self, time: DateTime<Utc>) {
        self.latest = self.latest.max(time);
    }

    /// A reservation that is live, ended since the last [`Seating::evict_ended`], or was recalled.
    #[must_use]
    pub fn reservation(&self, id: ReservationId) -> Option<&Arc<Reservation>> {
        match self.live_index.get(&id) {
            Some(index) => self.live[usize::from(*index)].as_ref().map(|live| &live.reservation),
            None => self.ended.get(&id),
        }
    }

    /// The number of reservations that are recorded as held, being paid for or confirmed.
    #[must_use]
    pub fn live_count(&self) -> usize {
        self.live_index.len()
    }

    /// The reservations that are recorded as held, being paid for or confirmed.
    pub fn live(&self) -> impl Iterator<Item = &Arc<Reservation>> {
        self.live.iter().flatten().map(|live| &live.reservation)
    }

    /// Adds a reservation that has ended, so that commands about it are refused with the reason.
    ///
    /// A reservation that is recorded as live is ignored: if it is not live here, the record is out of date, and its seats may
    /// belong to another one.
    pub fn recall(&mut self, reservation: Arc<Reservation>) {
        match reservation.state() {
            State::Cancelled { .. } | State::Expired => {
                self.ended.entry(reservation.reservation_id).or_insert(reservation);
            }
            State::Held | State::Paying(_) | State::Confirmed(_) => {}
        }
    }

    /// Drops a reservation that has ended and was changed by another instance.
    pub fn forget_ended(&mut self, id: ReservationId) {
        self.ended.remove(&id);
    }

    /// Drops the reservations that have ended. They can be read and recalled again.
    pub fn evict_ended(&mut self) {
        self.ended.clear();
    }

    /// The number of seats that are neither held nor sold nor blocked. A hold that has lapsed counts until that is recorded.
    #[must_use]
    pub fn unclaimed_count(&self) -> i32 {
        i32::from(self.unclaimed)
    }

    /// When the first recorded hold lapses, which may be in the past. What is being paid for does not lapse.
    #[must_use]
    pub fn next_lapse(&self) -> Option<DateTime<Utc>> {
        self.live.iter().flatten().filter_map(LiveReservation::lapse).min()
    }

    /// The reservation that has a seat as recorded. Its hold may have lapsed.
    fn live_at(&self, seat: u16) -> Option<&LiveReservation> {
        let index = self.seats[usize::from(seat)].checked_sub(1)?;
        self.live.get(usize::from(index))?.as_ref()
    }

    fn is_blocked(&self, seat: u16) -> bool {
        self.seats[usize::from(seat)] == BLOCKED
    }

    fn is_free(&self, seat: u16, now: DateTime<Utc>) -> bool {
        !self.is_blocked(seat) && self.live_at(seat).is_none_or(|live| live.lapsed(now))
    }

    /// The number of seats that the customer holds, is paying for or has bought, and when the first of the holds lapses.
    fn customer_seats(&self, customer: &CustomerId, now: DateTime<Utc>) -> (u16, Option<DateTime<Utc>>) {
        let digest = digest(customer);
        let counts = |live: &&LiveReservation| {
            live.customer_digest == digest && !live.lapsed(now) && live.reservation.customer_id == *customer
        };
        self.live.iter().flatten().filter(counts).fold((0, None), |(count, first), live| {
            let first = [first, live.lapse()].into_iter().flatten().min();
            (count + live.reservation.seat_count(), first)
        })
    }

    /// Makes the changes of one decision, which raises the revision by one.
    pub fn apply(&mut self, changes: &[Change], now: DateTime<Utc>) {
        if !changes.is_empty() {
            self.replay(changes, now);
        }
    }

    /// Makes the changes of one revision that another instance has decided. It may have changed no seats.
    pub fn replay(&mut self, changes: &[Change], now: DateTime<Utc>) {
        self.revision += 1;
        self.changed_at = self.changed_at.max(now);
        self.latest = self.latest.max(now);
        for change in changes {
            match change {
                Change::Reserved(reservation)
                | Change::Paying(reservation)
                | Change::Confirmed(reservation)
                | Change::Extended(reservation) => {
                    self.seat(Arc::clone(reservation));
                }
                Change::Recovered(reservation) => {
                    self.ended.remove(&reservation.reservation_id);
                    self.seat(Arc::clone(reservation));
                }
                Change::Cancelled(reservation) | Change::Expired(reservation) => self.unseat(reservation),
                Change::Exchanged { reservation, .. } | Change::Released { reservation, .. } => {
                    self.vacate(reservation.reservation_id);
                    match reservation.state() {
                        State::Held | State::Paying(_) | State::Confirmed(_) => self.seat(Arc::clone(reservation)),
                        State::Cancelled { .. } | State::Expired => self.unseat(reservation),
                    }
                }
                Change::RefundDue(reservation) => {
                    self.ended.insert(reservation.reservation_id, Arc::clone(reservation));
                }
                Change::Blocked { seats, .. } => seats.iter().for_each(|seat| self.block_seat(*seat)),
                Change::Unblocked { seats } => seats.iter().for_each(|seat| self.free_seat(*seat)),
                Change::ShowtimeCancelled { at, .. } => self.state = showtime::State::Cancelled { at: *at },
            }
        }
    }

    fn seat(&mut self, reservation: Arc<Reservation>) {
        let index = self.live_index.get(&reservation.reservation_id).copied();
        let index = index.or_else(|| self.free_indexes.pop()).unwrap_or_else(|| {
            self.live.push(None);
            self.live.len() as u16 - 1
        });
        for seat in reservation.seats() {
            let before = std::mem::replace(&mut self.seats[usize::from(seat)], index + 1);
            self.unclaimed -= u16::from(before == 0);
        }
        self.live_index.insert(reservation.reservation_id, index);
        self.live[usize::from(index)] = Some(LiveReservation::new(reservation));
    }

    fn unseat(&mut self, reservation: &Arc<Reservation>) {
        self.vacate(reservation.reservation_id);
        if let Some(index) = self.live_index.remove(&reservation.reservation_id) {
            self.live[usize::from(index)] = None;
            self.free_indexes.push(index);
        }
        self.ended.insert(reservation.reservation_id, Arc::clone(reservation));
    }

    /// Frees the seats that a live reservation has.
    fn vacate(&mut self, id: ReservationId) {
        let Some(live) = self.live_index.get(&id).and_then(|index| self.live[usize::from(*index)].as_ref()) else {
            return;
        };
        let reservation = Arc::clone(&live.reservation);
        reservation.seats().for_each(|seat| self.free_seat(seat));
    }

    fn free_seat(&mut self, seat: u16) {
        let before = std::mem::take(&mut self.seats[usize::from(seat)]);
        self.unclaimed += u16::from(before != 0);
    }

    fn block_seat(&mut self, seat: u16) {
        let before = std::mem::replace(&mut self.seats[usize::from(seat)], BLOCKED);
        self.unclaimed -= u16::from(before == 0);
    }
}
