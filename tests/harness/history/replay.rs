//! Replays the events of a showtime and finds the ones that are illegal in the state before them.
//!
//! The replay shares no code with the service and is as simple as possible: seats are identified by name and found by a linear
//! search. It has only those rules that can be checked from the events alone.

mod amendments;
mod blocked;
mod prices;
mod reservation;
mod seat_list;

use std::collections::BTreeMap;

use boxoffice::pb::{
    boxoffice::{
        events::v1::{
            Event, Line, ReservationCancelled, ReservationConfirmed, ReservationCreated, ReservationExpired,
            ReservationExtended, ReservationPaying, Seat as EventSeat, SeatsReleased, SeatsReleasedReason,
            event::Payload,
        },
        v1::{ReservationState, Seat},
    },
    google::r#type::Money,
};
use chrono::{DateTime, Utc};
use prost_types::Timestamp;

use self::prices::sum;
pub(super) use self::{
    blocked::ReplayedBlock,
    prices::{Prices, without_seat},
    reservation::ReplayedReservation,
    seat_list::{SeatList, SeatName},
};

/// The most seats of a showtime that a customer may have, which is the default.
pub(super) const MOST_SEATS: usize = 10;

/// The state of a showtime after some of its events.
pub(super) struct ReplayedShowtime {
    pub(super) seats: SeatList,
    pub(super) prices: Prices,
    pub(super) revision: i64,
    pub(super) time: DateTime<Utc>,
    pub(super) cancelled: bool,
    /// The reservation of each seat that is claimed.
    pub(super) owners: BTreeMap<SeatName, String>,
    /// The seats that are kept back from sale.
    pub(super) blocked: BTreeMap<SeatName, ReplayedBlock>,
    pub(super) reservations: BTreeMap<String, ReplayedReservation>,
}

impl ReplayedShowtime {
    pub(super) fn new(seats: SeatList, prices: Prices) -> Self {
        let (owners, blocked, reservations) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let time = DateTime::<Utc>::MIN_UTC;
        Self { seats, prices, revision: 0, time, cancelled: false, owners, blocked, reservations }
    }

    /// Returns the reservation that has claimed the seat.
    pub(super) fn owner(&self, seat: &SeatName) -> Option<&ReplayedReservation> {
        self.owners.get(seat).and_then(|id| self.reservations.get(id))
    }

    /// The number of seats that nobody has claimed and that are not blocked.
    pub(super) fn unclaimed(&self) -> usize {
        self.seats.count() - self.owners.len() - self.blocked.len()
    }

    /// The number of seats that a customer has at this time.
    pub(super) fn customer_seats(&self, customer_id: &str, now: DateTime<Utc>) -> usize {
        let of_customer = self.reservations.values().filter(|one| one.customer_id == customer_id);
        of_customer.filter(|one| !one.has_ended(now)).map(|one| one.seats.len()).sum()
    }

    /// Applies the events of the next revision and returns the anomalies in them.
    pub(super) fn apply(&mut self, events: &[Event]) -> Vec<String> {
        let mut anomalies = Vec::new();
        self.revision += 1;
        let before = self.time;
        for (ordinal, event) in events.iter().enumerate() {
            let time = event.time.as_ref().and_then(datetime).unwrap_or(DateTime::<Utc>::MIN_UTC);
            if event.ordinal != i32::try_from(ordinal).expect("few events") {
                anomalies.push(format!("the event at position {ordinal} has the ordinal {}", event.ordinal));
            }
            if time < before || ordinal > 0 && time != self.time {
                anomalies.push(format!("the time goes from {} to {time}", self.time));
            }
            self.time = time;
            anomalies.extend(self.apply_event(event, events).err());
        }
        anomalies.extend(self.check_claims());
        anomalies
    }

    /// Every claim is of a reservation that has the seat and has not ended, and no claimed seat is blocked.
    fn check_claims(&self) -> Vec<String> {
        let mut anomalies = Vec::new();
        for (seat, id) in &self.owners {
            if !self.reservations.get(id).is_some_and(|reservation| is_live(reservation.state)) {
                anomalies.push(format!("{seat:?} still belongs to {id}, which has ended"));
            }
            if self.blocked.contains_key(seat) {
                anomalies.push(format!("{seat:?} belongs to {id} and is blocked"));
            }
        }
        let changed = self.reservations.iter().filter(|(_, one)| one.revision == self.revision && is_live(one.state));
        for (id, reservation) in changed {
            if !reservation.seats.iter().all(|seat| self.owners.get(seat) == Some(id)) {
                anomalies.push(format!("{id} does not have its seats: {reservation:?}"));
            }
        }
        anomalies
    }

    fn apply_event(&mut self, event: &Event, step: &[Event]) -> Result<(), String> {
        let first = self.revision == 1;
        match event.payload.as_ref().ok_or("an event without payload")? {
            Payload::ShowtimeCreated(created) => {
                check(first && step.len() == 1, || "the showtime is created twice".to_owned())?;
                check(usize::try_from(created.seat_count) == Ok(self.seats.count()), || format!("{created:?}"))
            }
            Payload::RefundDue(due) if !first => self.owe_refund(due),
            _ if first || self.cancelled => Err("the showtime is not created yet, or is cancelled".to_owned()),
            Payload::ShowtimeCancelled(cancelled) => {
                self.cancelled = true;
                let was_confirmed = |event: &&Event| matches!(&event.payload, Some(Payload::ReservationCancelled(event)) if event.was_confirmed);
                let count = step.iter().filter(was_confirmed).count();
                check(usize::try_from(cancelled.confirmed_count) == Ok(count), || {
                    format!("{count} reservations were sold: {cancelled:?}")
                })?;
                check(self.owners.is_empty(), || "seats of a cancelled showtime have owners".to_owned())
            }
            Payload::ReservationCreated(created) => self.create(created),
            Payload::ReservationConfirmed(confirmed) => self.confirm(confirmed),
            Payload::ReservationExtended(extended) => self.extend(extended),
            Payload::ReservationPaying(paying) => self.pay(paying),
            Payload::ReservationCancelled(cancelled) => self.cancel(cancelled, step),
            Payload::ReservationExpired(expired) => self.expire(expired),
            Payload::SeatsReleased(released) if released.reason() == SeatsReleasedReason::GivenBack => {
                self.give_back(released)
            }
            Payload::SeatsReleased(released) => self.release(released),
            Payload::SeatsExchanged(exchanged) => self.exchange(exchanged),
            Payload::RefundDue(_) => Err("the showtime is not created yet".to_owned()),
            Payload::SeatsBlocked(blocked) => self.block(blocked),
            Payload::SeatsUnblocked(unblocked) => self.unblock(unblocked),
            other => Err(format!("an event of another aggregate: {other:?}")),
        }
    }

    /// Gives seats to a reservation. Nobody may have them, and they must not be blocked.
    fn claim(&mut self, id: &str, seats: &[SeatName]) -> Result<(), String> {
        for seat in seats {
            if let Some(other) = self.owners.insert(seat.clone(), id.to_owned()) {
                return Err(format!("{id} gets {seat:?}, which belongs to {other}"));
            }
            check(!self.blocked.contains_key(seat), || format!("{id} gets {seat:?}, which is blocked"))?;
        }
        Ok(())
    }

    /// Takes seats from a reservation, which must have them.
    fn disclaim(&mut self, id: &str, seats: &[SeatName]) -> Result<(), String> {
        for seat in seats {
            let owner = self.owners.remove(seat);
            check(owner.as_deref() == Some(id), || format!("{id} releases {seat:?}, which belongs to {owner:?}"))?;
        }
        Ok(())
    }

    fn create(&mut self, created: &ReservationCreated) -> Result<(), String> {
        let (id, time) = (&created.reservation_id, self.time);
        let seats = event_seat_names(&created.seats);
        check(!self.reservations.contains_key(id), || format!("{id} is created twice"))?;
        check(self.seats.is_block(&seats), || format!("the seats of {id} are not a block: {seats:?}"))?;
        let has = self.customer_seats(&created.customer_id, time);
        let total = created.total_price.clone().unwrap_or_default();
        let expire_time = required(created.expire_time.as_ref())?;
        let reservation = ReplayedReservation {
            customer_id: created.customer_id.clone(),
            first_seats: seats.clone(),
            first_total: total.clone(),
            all_seats: seats.iter().map(|seat| (seat.clone(), false)).collect(),
            seats: seats.clone(),
            is_amended: false,
            lines: None,
            total: total.clone(),
            create_time: time,
            first_expire_time: expire_time,
            expire_time,
            state: ReservationState::Held,
            confirm_time: None,
            cancel_time: None,
            recovered: false,
            tender_method: String::new(),
            refund_due: None,
            first_revision: self.revision,
            revision: self.revision,
        };
        self.reservations.insert(id.clone(), reservation);
        self.claim(id, &seats)?;
        check(has + seats.len() <= MOST_SEATS, || format!("the customer of {id} had {has} seats"))?;
        check(self.prices.may_cost(&self.seats, &seats, &total), || format!("{id} costs {total:?}"))?;
        check(expire_time > time, || format!("the hold of {id} has lapsed when it is created"))
    }

    /// Returns a reservation, and sets its revision to the current one.
    fn changing(&mut self, id: &str) -> Result<&mut ReplayedReservation, String> {
        let reservation = self.reservations.get_mut(id).ok_or_else(|| format!("{id} was never created"))?;
        reservation.revision = self.revision;
        Ok(reservation)
    }

    /// Returns a hold that has not lapsed, and sets its revision to the current one.
    fn live_hold(&mut self, id: &str) -> Result<&mut ReplayedReservation, String> {
        let time = self.time;
        let reservation = self.changing(id)?;
        check(reservation.state == ReservationState::Held, || format!("{id} is {:?}", reservation.state))?;
        check(!reservation.has_ended(time), || {
            format!("the hold of {id} lapsed at {}, and it is {time}", reservation.expire_time)
        })?;
        Ok(reservation)
    }

    /// Returns a hold that has not lapsed or is being paid for, and sets its revision to the current one.
    fn unsold(&mut self, id: &str) -> Result<&mut ReplayedReservation, String> {
        let is_paying = self.reservations.get(id).is_some_and(|one| one.state == ReservationState::Paying);
        if is_paying { self.changing(id) } else { self.live_hold(id) }
    }

    fn pay(&mut self, paying: &ReservationPaying) -> Result<(), String> {
        let reservation = self.unsold(&paying.reservation_id)?;
        reservation.state = ReservationState::Paying;
        let same =
            event_seat_names(&paying.seats) == reservation.seats && paying.customer_id == reservation.customer_id;
        check(same, || format!("{paying:?} is not what was held: {reservation:?}"))
    }

    fn confirm(&mut self, confirmed: &ReservationConfirmed) -> Result<(), String> {
        let time = self.time;
        if confirmed.recovered {
            self.recover(confirmed)?;
        }
        let id = &confirmed.reservation_id;
        let reservation = if confirmed.recovered { self.changing(id)? } else { self.unsold(id)? };
        reservation.state = ReservationState::Confirmed;
        (reservation.confirm_time, reservation.recovered) = (Some(time), confirmed.recovered);
        reservation.tender_method = confirmed.tender.as_ref().map_or_else(String::new, |tender| tender.method.clone());
        let (before, lines) = (reservation.lines.take(), &confirmed.lines);
        reservation.lines = (!lines.is_empty()).then(|| lines.clone());
        let same = event_seat_names(&confirmed.seats) == reservation.seats
            && confirmed.total_price.as_ref() == Some(&reservation.total)
            && confirmed.customer_id == reservation.customer_id
            && before.is_none_or(|before| before == *lines);
        check(same, || format!("{confirmed:?} is not what was held: {reservation:?}"))?;
        self.check_lines(lines, &confirmed.seats, confirmed.total_price.as_ref())
    }

    /// Checks that each seat has a line, that each line is right, and that they add up.
    fn check_lines(&self, lines: &[Line], seats: &[EventSeat], total: Option<&Money>) -> Result<(), String> {
        let of_seats = lines.iter().map(|line| line.seat.as_ref()).eq(seats.iter().map(Some));
        let adds_up = of_seats && total.is_some_and(|total| sum(lines) == nanos(total));
        check(adds_up || !self.prices.has_lines, || format!("the lines do not add up to {total:?}: {lines:?}"))?;
        let wrong = lines.iter().find(|line| !self.prices.is_right(&self.seats, line));
        wrong.map_or(Ok(()), |line| Err(format!("a seat does not cost that: {line:?}")))
    }

    fn extend(&mut self, extended: &ReservationExtended) -> Result<(), String> {
        let expire_time = required(extended.expire_time.as_ref())?;
        let reservation = self.live_hold(&extended.reservation_id)?;
        let once = reservation.expire_time == reservation.first_expire_time && expire_time > reservation.expire_time;
        reservation.expire_time = expire_time;
        check(once, || format!("{extended:?} does not extend the hold, or is the second extension: {reservation:?}"))
    }

    /// A hold is cancelled by a request or with its showtime; a sale is cancelled with its showtime, or gives back its last seats.
    fn cancel(&mut self, cancelled: &ReservationCancelled, step: &[Event]) -> Result<(), String> {
        let (id, time) = (&cancelled.reservation_id, self.time);
        let ends_sale = step.iter().any(|event| match &event.payload {
            Some(Payload::ShowtimeCancelled(_)) => true,
            Some(Payload::SeatsReleased(released)) => {
                released.reservation_id == *id && released.reason() == SeatsReleasedReason::GivenBack
            }
            _ => false,
        });
        let sold = self.reservations.get(id).is_some_and(|one| one.state == ReservationState::Confirmed);
        check(sold == cancelled.was_confirmed && (ends_sale || !sold), || format!("sold: {sold}, {cancelled:?}"))?;
        let reservation = if sold { self.changing(id)? } else { self.unsold(id)? };
        (reservation.state, reservation.cancel_time) = (ReservationState::Cancelled, Some(time));
        let same = event_seat_names(&cancelled.seats) == reservation.seats
            && cancelled.total_price.as_ref().map(nanos) == Some(reservation.remaining())
            && cancelled.customer_id == reservation.customer_id;
        check(same, || format!("{cancelled:?} is not what there was: {reservation:?}"))
    }

    fn expire(&mut self, expired: &ReservationExpired) -> Result<(), String> {
        let (id, time) = (&expired.reservation_id, self.time);
        let recorded = required(expired.expire_time.as_ref())?;
        let reservation = self.changing(id)?;
        let has_lapsed = reservation.state == ReservationState::Held
            && reservation.expire_time <= time
            && recorded == reservation.expire_time
            && event_seat_names(&expired.seats) == reservation.seats
            && expired.total_price.as_ref() == Some(&reservation.total);
        reservation.state = ReservationState::Expired;
        check(has_lapsed, || format!("{expired:?} at {time}, but it is {reservation:?}"))
    }

    /// The seats of a reservation that this revision has ended become free.
    fn release(&mut self, released: &SeatsReleased) -> Result<(), String> {
        let (id, has_reasons) = (&released.reservation_id, self.prices.has_lines);
        let reservation = self.reservations.get(id).ok_or_else(|| format!("{id} was never created"))?;
        let seats = event_seat_names(&released.seats);
        let has_reason = match released.reason() {
            SeatsReleasedReason::Cancelled => reservation.state == ReservationState::Cancelled,
            SeatsReleasedReason::Lapsed => reservation.state == ReservationState::Expired,
            SeatsReleasedReason::Unspecified | SeatsReleasedReason::GivenBack => !has_reasons,
        };
        let ended = !is_live(reservation.state) && reservation.revision == self.revision && seats == reservation.seats;
        check(ended && has_reason, || {
            format!("{released:?} at revision {}, but it is {reservation:?}", self.revision)
        })?;
        self.disclaim(id, &seats)
    }
}

/// Whether a reservation that is recorded in this state claims its seats.
pub(super) fn is_live(state: ReservationState) -> bool {
    matches!(state, ReservationState::Held | ReservationState::Paying | ReservationState::Confirmed)
}

fn check(holds: bool, anomaly: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(anomaly()) }
}

fn required(time: Option<&Timestamp>) -> Result<DateTime<Utc>, String> {
    time.and_then(datetime).ok_or_else(|| "an event has no time".to_owned())
}

pub(super) fn datetime(time: &Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.seconds, time.nanos.cast_unsigned())
}

pub(super) fn seat_name(seat: &Seat) -> SeatName {
    (seat.row.clone(), seat.number)
}

pub(super) fn seat_names(seats: &[Seat]) -> Vec<SeatName> {
    seats.iter().map(seat_name).collect()
}

pub(super) fn event_seat_name(seat: &EventSeat) -> SeatName {
    (seat.row.clone(), seat.number)
}

fn event_seat_names(seats: &[EventSeat]) -> Vec<SeatName> {
    seats.iter().map(event_seat_name).collect()
}

/// Returns the amount in billionths of the currency unit, without rounding.
pub(super) fn nanos(money: &Money) -> i128 {
    i128::from(money.units) * 1_000_000_000 + i128::from(money.nanos)
}
