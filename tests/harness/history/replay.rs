//! A showtime as its events make it: the simplest book-keeping that can say of the next event whether it may be.
//!
//! It shares no code with the service. Seats go by name, everything is looked up by walking through it, and no rule is
//! here but those that an event alone can break.

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

/// A seat as it is called: ("F", 7).
pub(super) type Name = (String, i32);

/// The seats of an auditorium from left to right, row by row, each with the number of its run of neighbours.
#[derive(Clone)]
pub(super) struct House(Vec<(Name, usize)>);

/// A reservation as the events have made it.
#[derive(Clone, Debug)]
pub(super) struct Booking {
    pub(super) customer_id: String,
    pub(super) seats: Vec<Name>,
    pub(super) total: Money,
    pub(super) create_time: DateTime<Utc>,
    pub(super) first_expire_time: DateTime<Utc>,
    pub(super) expire_time: DateTime<Utc>,
    pub(super) state: ReservationState,
    /// "": nobody said, or it is not sold.
    pub(super) tender_method: String,
    pub(super) first_revision: i64,
    pub(super) revision: i64,
}

/// A showtime after some of its events.
pub(super) struct Seating {
    pub(super) house: House,
    pub(super) price: Money,
    pub(super) revision: i64,
    pub(super) time: DateTime<Utc>,
    pub(super) cancelled: bool,
    /// Who has written their name on a seat.
    pub(super) owners: BTreeMap<Name, String>,
    pub(super) bookings: BTreeMap<String, Booking>,
}

/// What is against the rules.
type Wrong = Vec<String>;

impl House {
    pub(super) fn new(layout: &Layout) -> Self {
        let (mut seats, mut run) = (Vec::new(), 0);
        for row in &layout.rows {
            run += 1;
            let (mut number, mut given) = (0, row.numbers.iter());
            for place in row.places.chars() {
                number += i32::from(place != '_');
                match place {
                    '_' | '.' => run += 1,
                    _ => seats.push(((row.label.clone(), *given.next().unwrap_or(&number)), run)),
                }
            }
        }
        Self(seats)
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn place(&self, name: &Name) -> Option<usize> {
        self.0.iter().position(|(seat, _)| seat == name)
    }

    /// The seats from `first` on, as the tables count them.
    pub(super) fn names(&self, first: usize, count: usize) -> Vec<Name> {
        self.0.iter().skip(first).take(count).map(|(name, _)| name.clone()).collect()
    }

    /// Whether these are neighbours, from left to right.
    pub(super) fn is_block(&self, seats: &[Name]) -> bool {
        let places: Vec<_> = seats.iter().map(|seat| self.place(seat)).collect();
        let beside = |pair: &[Option<usize>]| match (pair[0], pair[1]) {
            (Some(one), Some(next)) => next == one + 1 && self.0[one].1 == self.0[next].1,
            _ => false,
        };
        !seats.is_empty() && places[0].is_some() && places.windows(2).all(beside)
    }

    /// Every block of this size.
    pub(super) fn blocks(&self, size: usize) -> impl Iterator<Item = Vec<Name>> {
        (0..self.0.len())
            .map(move |first| self.names(first, size))
            .filter(move |block| block.len() == size && self.is_block(block))
    }
}

impl Booking {
    /// Whether its seats can be had by others at this time.
    pub(super) fn is_over(&self, now: DateTime<Utc>) -> bool {
        match self.state {
            ReservationState::Held => self.expire_time <= now,
            ReservationState::Confirmed => false,
            _ => true,
        }
    }
}

impl Seating {
    pub(super) fn new(house: House, price: Money) -> Self {
        let (owners, bookings) = (BTreeMap::new(), BTreeMap::new());
        let time = DateTime::<Utc>::MIN_UTC;
        Self { house, price, revision: 0, time, cancelled: false, owners, bookings }
    }

    /// Who has a seat, if anybody has.
    pub(super) fn owner(&self, seat: &Name) -> Option<&Booking> {
        self.owners.get(seat).and_then(|id| self.bookings.get(id))
    }

    /// Makes the next revision, and says what about it cannot be.
    pub(super) fn step(&mut self, events: &[Event]) -> Wrong {
        let mut wrong = Wrong::new();
        self.revision += 1;
        let before = self.time;
        for (ordinal, event) in events.iter().enumerate() {
            let time = event.time.as_ref().and_then(moment).unwrap_or(DateTime::<Utc>::MIN_UTC);
            if event.ordinal != i32::try_from(ordinal).expect("few events") {
                wrong.push(format!("the event in place {ordinal} has the ordinal {}", event.ordinal));
            }
            if time < before || ordinal > 0 && time != self.time {
                wrong.push(format!("time runs from {} to {time}", self.time));
            }
            self.time = time;
            wrong.extend(self.apply(event, events).err());
        }
        // Nobody who is gone keeps a seat.
        for (seat, id) in &self.owners {
            if !self.bookings.get(id).is_some_and(|booking| is_live(booking.state)) {
                wrong.push(format!("{seat:?} still belongs to {id}, which is over"));
            }
        }
        wrong
    }

    fn apply(&mut self, event: &Event, step: &[Event]) -> Result<(), String> {
        let first = self.revision == 1;
        match event.payload.as_ref().ok_or("an event without payload")? {
            Payload::ShowtimeCreated(created) => {
                check(first && step.len() == 1, || "a showtime is made twice".to_owned())?;
                check(usize::try_from(created.seat_count) == Ok(self.house.count()), || format!("{created:?}"))
            }
            _ if first || self.cancelled => Err("there is no such showtime, or none any more".to_owned()),
            Payload::ShowtimeCancelled(cancelled) => {
                self.cancelled = true;
                let was_confirmed = |event: &&Event| matches!(&event.payload, Some(Payload::ReservationCancelled(gone)) if gone.was_confirmed);
                let count = step.iter().filter(was_confirmed).count();
                check(usize::try_from(cancelled.confirmed_count) == Ok(count), || {
                    format!("{count} sold: {cancelled:?}")
                })?;
                check(self.owners.is_empty(), || "seats of a cancelled showtime have owners".to_owned())
            }
            Payload::ReservationCreated(created) => self.create(created),
            Payload::ReservationConfirmed(confirmed) => self.confirm(confirmed),
            Payload::ReservationExtended(extended) => self.extend(extended),
            Payload::ReservationCancelled(cancelled) => {
                let whole = |event: &Event| matches!(event.payload, Some(Payload::ShowtimeCancelled(_)));
                self.cancel(cancelled, step.iter().any(whole))
            }
            Payload::ReservationExpired(expired) => self.expire(expired),
            Payload::SeatsReleased(released) => self.release(released),
        }
    }

    fn create(&mut self, created: &ReservationCreated) -> Result<(), String> {
        let id = &created.reservation_id;
        let seats: Vec<Name> = created.seats.iter().map(event_seat).collect();
        check(!self.bookings.contains_key(id), || format!("{id} is made twice"))?;
        check(self.house.is_block(&seats), || format!("{id} has no block: {seats:?}"))?;
        for seat in &seats {
            if let Some(other) = self.owners.insert(seat.clone(), id.clone()) {
                return Err(format!("{id} is given {seat:?}, which {other} has"));
            }
        }
        let total = created.total_price.clone().unwrap_or_default();
        check(minor(&total) == minor(&self.price) * seats.len() as i128, || format!("{id} costs {total:?}"))?;
        let expire_time = required(created.expire_time.as_ref())?;
        check(expire_time > self.time, || format!("{id} is over when it begins"))?;
        let booking = Booking {
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
        self.bookings.insert(id.clone(), booking);
        Ok(())
    }

    /// A hold that is alive, now at this revision.
    fn held(&mut self, id: &str) -> Result<&mut Booking, String> {
        let (time, revision) = (self.time, self.revision);
        let booking = self.bookings.get_mut(id).ok_or_else(|| format!("{id} was never made"))?;
        check(booking.state == ReservationState::Held, || format!("{id} is {:?}", booking.state))?;
        check(!booking.is_over(time), || format!("{id} was over at {}, and it is {time}", booking.expire_time))?;
        booking.revision = revision;
        Ok(booking)
    }

    fn confirm(&mut self, confirmed: &ReservationConfirmed) -> Result<(), String> {
        let booking = self.held(&confirmed.reservation_id)?;
        booking.state = ReservationState::Confirmed;
        booking.tender_method = confirmed.tender.as_ref().map_or_else(String::new, |tender| tender.method.clone());
        let seats: Vec<Name> = confirmed.seats.iter().map(event_seat).collect();
        let same = seats == booking.seats
            && confirmed.total_price.as_ref() == Some(&booking.total)
            && confirmed.customer_id == booking.customer_id;
        check(same, || format!("{confirmed:?} is not what was held: {booking:?}"))
    }

    fn extend(&mut self, extended: &ReservationExtended) -> Result<(), String> {
        let until = required(extended.expire_time.as_ref())?;
        let booking = self.held(&extended.reservation_id)?;
        let once = booking.expire_time == booking.first_expire_time && until > booking.expire_time;
        booking.expire_time = until;
        check(once, || format!("{extended:?} does not prolong, or twice: {booking:?}"))
    }

    fn cancel(&mut self, cancelled: &ReservationCancelled, with_showtime: bool) -> Result<(), String> {
        let (id, revision) = (&cancelled.reservation_id, self.revision);
        let sold = self.bookings.get(id).is_some_and(|booking| booking.state == ReservationState::Confirmed);
        check(sold == cancelled.was_confirmed && (with_showtime || !sold), || format!("sold: {sold}, {cancelled:?}"))?;
        let booking = match self.bookings.get_mut(id) {
            Some(booking) if sold => booking,
            _ => self.held(id)?,
        };
        (booking.state, booking.revision) = (ReservationState::Cancelled, revision);
        Ok(())
    }

    fn expire(&mut self, expired: &ReservationExpired) -> Result<(), String> {
        let (id, time, revision) = (&expired.reservation_id, self.time, self.revision);
        let booking = self.bookings.get_mut(id).ok_or_else(|| format!("{id} was never made"))?;
        let told = required(expired.expire_time.as_ref())?;
        let over =
            booking.state == ReservationState::Held && booking.expire_time <= time && told == booking.expire_time;
        (booking.state, booking.revision) = (ReservationState::Expired, revision);
        check(over, || format!("at {time} {expired:?}, but {booking:?}"))
    }

    fn release(&mut self, released: &SeatsReleased) -> Result<(), String> {
        let id = &released.reservation_id;
        let booking = self.bookings.get(id).ok_or_else(|| format!("{id} was never made"))?;
        let seats: Vec<Name> = released.seats.iter().map(event_seat).collect();
        let ended = !is_live(booking.state) && booking.revision == self.revision && seats == booking.seats;
        check(ended, || format!("at {} {released:?}, but {booking:?}", self.revision))?;
        for seat in &seats {
            let owner = self.owners.remove(seat);
            check(owner.as_ref() == Some(id), || format!("{id} gives up {seat:?}, which {owner:?} has"))?;
        }
        Ok(())
    }
}

/// Whether somebody in this state keeps others out, as far as anything was written down.
pub(super) fn is_live(state: ReservationState) -> bool {
    matches!(state, ReservationState::Held | ReservationState::Confirmed)
}

fn check(holds: bool, wrong: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(wrong()) }
}

fn required(time: Option<&Timestamp>) -> Result<DateTime<Utc>, String> {
    time.and_then(moment).ok_or_else(|| "an event lacks a time".to_owned())
}

pub(super) fn moment(time: &Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.seconds, time.nanos.cast_unsigned())
}

pub(super) fn seat(seat: &Seat) -> Name {
    (seat.row.clone(), seat.number)
}

fn event_seat(seat: &EventSeat) -> Name {
    (seat.row.clone(), seat.number)
}

/// In billionths, exactly.
pub(super) fn minor(money: &Money) -> i128 {
    i128::from(money.units) * 1_000_000_000 + i128::from(money.nanos)
}
