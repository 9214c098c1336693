//! Replays the events of a showtime and finds the ones that are illegal in the state before them.
//!
//! The replay shares no code with the service and is as simple as possible: seats are identified by name and found by a linear
//! search. It has only those rules that can be checked from the events alone.

use std::collections::BTreeMap;

use boxoffice::pb::{
    boxoffice::{
        events::v1::{
            Event, ReservationCancelled, ReservationConfirmed, ReservationCreated, ReservationExpired,
            ReservationExtended, Seat as EventSeat, SeatsReleased, event::Payload,
        },
        v1::{Layout, ReservationState, Seat},
    },
    google::r#type::Money,
};
use chrono::{DateTime, Utc};
use prost_types::Timestamp;

/// The row and number of a seat, such as ("F", 7).
pub(super) type SeatName = (String, i32);

/// The seats of an auditorium, row by row from left to right, each with the number of its block.
#[derive(Clone)]
pub(super) struct SeatList(Vec<(SeatName, usize)>);

/// A reservation, from the events alone.
#[derive(Clone, Debug)]
pub(super) struct ReplayedReservation {
    pub(super) customer_id: String,
    pub(super) seats: Vec<SeatName>,
    pub(super) total: Money,
    pub(super) create_time: DateTime<Utc>,
    pub(super) first_expire_time: DateTime<Utc>,
    pub(super) expire_time: DateTime<Utc>,
    pub(super) state: ReservationState,
    /// The method is "" if the reservation is not sold or was sold without a tender.
    pub(super) tender_method: String,
    pub(super) first_revision: i64,
    pub(super) revision: i64,
}

/// The state of a showtime after some of its events.
pub(super) struct ReplayedShowtime {
    pub(super) seats: SeatList,
    /// The prices of the ticket types.
    prices: Vec<Money>,
    /// Whether sales have lines. Those of the release before have none.
    has_lines: bool,
    pub(super) revision: i64,
    pub(super) time: DateTime<Utc>,
    pub(super) cancelled: bool,
    /// The reservation of each seat that is claimed.
    pub(super) owners: BTreeMap<SeatName, String>,
    pub(super) reservations: BTreeMap<String, ReplayedReservation>,
}

impl SeatList {
    pub(super) fn new(layout: &Layout) -> Self {
        let (mut seats, mut block) = (Vec::new(), 0);
        for row in &layout.rows {
            block += 1;
            let (mut number, mut numbers) = (0, row.numbers.iter());
            for cell in row.places.chars() {
                number += i32::from(cell != '_');
                match cell {
                    '_' | '.' => block += 1,
                    _ => seats.push(((row.label.clone(), *numbers.next().unwrap_or(&number)), block)),
                }
            }
        }
        Self(seats)
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn position(&self, name: &SeatName) -> Option<usize> {
        self.0.iter().position(|(seat, _)| seat == name)
    }

    /// Returns up to `count` seats from the position `first` on. The tables use the same positions.
    pub(super) fn names(&self, first: usize, count: usize) -> Vec<SeatName> {
        self.0.iter().skip(first).take(count).map(|(name, _)| name.clone()).collect()
    }

    /// Whether the seats are neighbours in one block, from left to right.
    pub(super) fn is_block(&self, seats: &[SeatName]) -> bool {
        let positions: Vec<_> = seats.iter().map(|seat| self.position(seat)).collect();
        let adjacent = |pair: &[Option<usize>]| match (pair[0], pair[1]) {
            (Some(one), Some(next)) => next == one + 1 && self.0[one].1 == self.0[next].1,
            _ => false,
        };
        !seats.is_empty() && positions[0].is_some() && positions.windows(2).all(adjacent)
    }

    /// Returns all runs of this many neighbouring seats.
    pub(super) fn blocks(&self, size: usize) -> impl Iterator<Item = Vec<SeatName>> {
        (0..self.0.len())
            .map(move |first| self.names(first, size))
            .filter(move |block| block.len() == size && self.is_block(block))
    }
}

impl ReplayedReservation {
    /// Whether its seats are free for other reservations at this time.
    pub(super) fn has_ended(&self, now: DateTime<Utc>) -> bool {
        match self.state {
            ReservationState::Held => self.expire_time <= now,
            ReservationState::Confirmed => false,
            _ => true,
        }
    }
}

impl ReplayedShowtime {
    /// A showtime with these prices, or with one price at the release before.
    pub(super) fn new(seats: SeatList, one_price: Option<Money>, prices: Option<Vec<Money>>) -> Self {
        let has_lines = prices.is_some();
        let prices = prices.unwrap_or_else(|| one_price.into_iter().collect());
        let (owners, reservations) = (BTreeMap::new(), BTreeMap::new());
        let time = DateTime::<Utc>::MIN_UTC;
        Self { seats, prices, has_lines, revision: 0, time, cancelled: false, owners, reservations }
    }

    /// Returns the reservation that has claimed the seat.
    pub(super) fn owner(&self, seat: &SeatName) -> Option<&ReplayedReservation> {
        self.owners.get(seat).and_then(|id| self.reservations.get(id))
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
        // A reservation that has ended has no claims.
        for (seat, id) in &self.owners {
            if !self.reservations.get(id).is_some_and(|reservation| is_live(reservation.state)) {
                anomalies.push(format!("{seat:?} still belongs to {id}, which has ended"));
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
            Payload::ReservationCancelled(cancelled) => {
                let is_showtime = |event: &Event| matches!(event.payload, Some(Payload::ShowtimeCancelled(_)));
                self.cancel(cancelled, step.iter().any(is_showtime))
            }
            Payload::ReservationExpired(expired) => self.expire(expired),
            Payload::SeatsReleased(released) => self.release(released),
            other => Err(format!("an event that is not known yet: {other:?}")),
        }
    }

    /// Whether so many seats may have this price, each being of one of the ticket types, of which there are at most two.
    fn may_cost(&self, total: &Money, seats: i128) -> bool {
        let (first, last) = (nanos(&self.prices[0]), nanos(self.prices.last().expect("a type")));
        (0..=seats).any(|count| first * count + last * (seats - count) == nanos(total))
    }

    fn create(&mut self, created: &ReservationCreated) -> Result<(), String> {
        let id = &created.reservation_id;
        let seats: Vec<SeatName> = created.seats.iter().map(event_seat_name).collect();
        check(!self.reservations.contains_key(id), || format!("{id} is created twice"))?;
        check(self.seats.is_block(&seats), || format!("the seats of {id} are not a block: {seats:?}"))?;
        for seat in &seats {
            if let Some(other) = self.owners.insert(seat.clone(), id.clone()) {
                return Err(format!("{id} gets {seat:?}, which belongs to {other}"));
            }
        }
        let total = created.total_price.clone().unwrap_or_default();
        check(self.may_cost(&total, seats.len() as i128), || format!("{id} costs {total:?}"))?;
        let expire_time = required(created.expire_time.as_ref())?;
        check(expire_time > self.time, || format!("the hold of {id} has lapsed when it is created"))?;
        let reservation = ReplayedReservation {
            customer_id: created.customer_id.clone(),
            seats,
            total,
            create_time: self.time,
            first_expire_time: expire_time,
            expire_time,
            state: ReservationState::Held,
            tender_method: String::new(),
            first_revision: self.revision,
            revision: self.revision,
        };
        self.reservations.insert(id.clone(), reservation);
        Ok(())
    }

    /// Returns a hold that has not lapsed, and sets its revision to the current one.
    fn live_hold(&mut self, id: &str) -> Result<&mut ReplayedReservation, String> {
        let (time, revision) = (self.time, self.revision);
        let reservation = self.reservations.get_mut(id).ok_or_else(|| format!("{id} was never created"))?;
        check(reservation.state == ReservationState::Held, || format!("{id} is {:?}", reservation.state))?;
        check(!reservation.has_ended(time), || {
            format!("the hold of {id} lapsed at {}, and it is {time}", reservation.expire_time)
        })?;
        reservation.revision = revision;
        Ok(reservation)
    }

    fn confirm(&mut self, confirmed: &ReservationConfirmed) -> Result<(), String> {
        let reservation = self.live_hold(&confirmed.reservation_id)?;
        reservation.state = ReservationState::Confirmed;
        reservation.tender_method = confirmed.tender.as_ref().map_or_else(String::new, |tender| tender.method.clone());
        let seats: Vec<SeatName> = confirmed.seats.iter().map(event_seat_name).collect();
        let same = seats == reservation.seats
            && confirmed.total_price.as_ref() == Some(&reservation.total)
            && confirmed.customer_id == reservation.customer_id;
        check(same, || format!("{confirmed:?} is not what was held: {reservation:?}"))?;
        let (lines, total) = (&confirmed.lines, confirmed.total_price.as_ref());
        let sum: i128 = lines.iter().filter_map(|line| line.total.as_ref()).map(nanos).sum();
        let adds_up = lines.len() == seats.len() && total.is_some_and(|total| sum == nanos(total));
        check(adds_up || !self.has_lines, || format!("the lines do not add up: {confirmed:?}"))
    }

    fn extend(&mut self, extended: &ReservationExtended) -> Result<(), String> {
        let expire_time = required(extended.expire_time.as_ref())?;
        let reservation = self.live_hold(&extended.reservation_id)?;
        let once = reservation.expire_time == reservation.first_expire_time && expire_time > reservation.expire_time;
        reservation.expire_time = expire_time;
        check(once, || format!("{extended:?} does not extend the hold, or is the second extension: {reservation:?}"))
    }

    fn cancel(&mut self, cancelled: &ReservationCancelled, with_showtime: bool) -> Result<(), String> {
        let (id, revision) = (&cancelled.reservation_id, self.revision);
        let sold =
            self.reservations.get(id).is_some_and(|reservation| reservation.state == ReservationState::Confirmed);
        check(sold == cancelled.was_confirmed && (with_showtime || !sold), || format!("sold: {sold}, {cancelled:?}"))?;
        let reservation = match self.reservations.get_mut(id) {
            Some(reservation) if sold => reservation,
            _ => self.live_hold(id)?,
        };
        (reservation.state, reservation.revision) = (ReservationState::Cancelled, revision);
        Ok(())
    }

    fn expire(&mut self, expired: &ReservationExpired) -> Result<(), String> {
        let (id, time, revision) = (&expired.reservation_id, self.time, self.revision);
        let reservation = self.reservations.get_mut(id).ok_or_else(|| format!("{id} was never created"))?;
        let recorded = required(expired.expire_time.as_ref())?;
        let has_lapsed = reservation.state == ReservationState::Held
            && reservation.expire_time <= time
            && recorded == reservation.expire_time;
        (reservation.state, reservation.revision) = (ReservationState::Expired, revision);
        check(has_lapsed, || format!("{expired:?} at {time}, but it is {reservation:?}"))
    }

    fn release(&mut self, released: &SeatsReleased) -> Result<(), String> {
        let id = &released.reservation_id;
        let reservation = self.reservations.get(id).ok_or_else(|| format!("{id} was never created"))?;
        let seats: Vec<SeatName> = released.seats.iter().map(event_seat_name).collect();
        let ended = !is_live(reservation.state) && reservation.revision == self.revision && seats == reservation.seats;
        check(ended, || format!("{released:?} at revision {}, but it is {reservation:?}", self.revision))?;
        for seat in &seats {
            let owner = self.owners.remove(seat);
            check(owner.as_ref() == Some(id), || format!("{id} releases {seat:?}, which belongs to {owner:?}"))?;
        }
        Ok(())
    }
}

/// Whether a reservation that is recorded in this state claims its seats.
pub(super) fn is_live(state: ReservationState) -> bool {
    matches!(state, ReservationState::Held | ReservationState::Confirmed)
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

fn event_seat_name(seat: &EventSeat) -> SeatName {
    (seat.row.clone(), seat.number)
}

/// Returns the amount in billionths of the currency unit, without rounding.
pub(super) fn nanos(money: &Money) -> i128 {
    i128::from(money.units) * 1_000_000_000 + i128::from(money.nanos)
}
