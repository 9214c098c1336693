//! What an event does to the tables, without I/O: rows in, event by event, rows out.
//!
//! A showtime is in the tables from its creation on or not at all. So an event of a showtime whose creation is not there (it was
//! deleted before it was read) is left out, and every number is that of all events of its showtime. An event that is not later
//! than the last one of its showtime was applied before, and is left out too.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;

use super::{
    entities::{hold, sale, showtime},
    error::Error,
};
use crate::{
    domain::money::Currency,
    pb::{
        boxoffice::events::v1::{
            AggregateType, Event, ReservationCancelled, ReservationConfirmed, ReservationCreated, Seat, SeatsExchanged,
            SeatsReleased, SeatsReleasedReason, ShowtimeCreated, event::Payload,
        },
        google::r#type::Money,
    },
};

/// What became of a hold, as the tables have it.
pub mod outcome {
    /// Nothing yet.
    pub const HELD: &str = "held";
    /// It was confirmed in time, and became a sale.
    pub const CONFIRMED: &str = "confirmed";
    /// It was cancelled, by a request or with its showtime.
    pub const CANCELLED: &str = "cancelled";
    /// It lapsed.
    pub const EXPIRED: &str = "expired";
}

/// What was done with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// The rows have it.
    Now,
    /// The rows had it before.
    Before,
    /// The creation of its showtime is missing.
    LeftOut,
    /// It is about something that the tables do not have.
    Ignored,
}

/// The rows that a batch of events changes.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// By id.
    pub(super) showtimes: BTreeMap<String, showtime::Model>,
    /// By reservation.
    pub(super) holds: BTreeMap<String, hold::Model>,
    /// By reservation and seat.
    pub(super) sales: BTreeMap<(String, String), sale::Model>,
}

/// The reservation that an event is about, if the tables have a row for it.
pub(super) fn reservation(event: &Event) -> Option<&str> {
    match event.payload.as_ref()? {
        Payload::ReservationCreated(event) => Some(&event.reservation_id),
        Payload::ReservationExtended(event) => Some(&event.reservation_id),
        Payload::ReservationConfirmed(event) => Some(&event.reservation_id),
        Payload::ReservationCancelled(event) => Some(&event.reservation_id),
        Payload::ReservationExpired(event) => Some(&event.reservation_id),
        Payload::ShowtimeCreated(_)
        | Payload::ShowtimeCancelled(_)
        | Payload::SeatsReleased(_)
        | Payload::SeatsExchanged(_)
        | Payload::RefundDue(_)
        | Payload::ReservationPaying(_)
        | Payload::SeatsBlocked(_)
        | Payload::SeatsUnblocked(_)
        | Payload::PurchaseStarted(_)
        | Payload::PurchaseStepCompleted(_)
        | Payload::PurchaseCompleted(_)
        | Payload::PurchaseCompensated(_)
        | Payload::PurchaseStuck(_)
        | Payload::PaymentAuthorized(_)
        | Payload::PaymentCompleted(_)
        | Payload::PaymentDeclined(_)
        | Payload::PaymentRefundStarted(_)
        | Payload::PaymentRefunded(_)
        | Payload::PaymentRefundFailed(_)
        | Payload::PaymentRefundStuck(_) => None,
    }
}

/// The reservation whose sales an event changes.
pub(super) fn sold(event: &Event) -> Option<&str> {
    match event.payload.as_ref()? {
        Payload::ReservationCancelled(event) if event.was_confirmed => Some(&event.reservation_id),
        Payload::SeatsReleased(event) if is_given_back(event) => Some(&event.reservation_id),
        Payload::SeatsExchanged(event) if event.was_confirmed => Some(&event.reservation_id),
        _ => None,
    }
}

fn is_given_back(released: &SeatsReleased) -> bool {
    released.reason() == SeatsReleasedReason::GivenBack
}

impl Model {
    /// Applies an event.
    pub(super) fn apply(&mut self, event: &Event) -> Result<Applied, Error> {
        // A type that only a later release knows is read as a number.
        if ![AggregateType::Unspecified, AggregateType::Showtime].map(i32::from).contains(&event.aggregate_type) {
            return Ok(Applied::Ignored);
        }
        let time = time(event, event.time.as_ref())?;
        let Some(showtime) = self.showtimes.get_mut(&event.showtime_id) else {
            return match &event.payload {
                Some(Payload::ShowtimeCreated(created)) => {
                    let showtime = showtime(event, created, time)?;
                    self.showtimes.insert(showtime.showtime_id.clone(), showtime);
                    Ok(Applied::Now)
                }
                _ => Ok(Applied::LeftOut),
            };
        };
        let (last, now) = ((showtime.revision, showtime.ordinal), (event.revision, event.ordinal));
        if now <= last {
            return Ok(Applied::Before);
        }
        if now != (last.0, last.1 + 1) && now != (last.0 + 1, 0) {
            let why = format!("the last one of its showtime was revision {}, ordinal {}", last.0, last.1);
            return Err(inconsistent(event, why));
        }
        (showtime.revision, showtime.ordinal) = now;
        match &event.payload {
            Some(Payload::ShowtimeCancelled(_)) => showtime.cancel_time = Some(time),
            Some(Payload::ReservationCreated(created)) => self.created(event, created, time)?,
            Some(Payload::ReservationExtended(extended)) => {
                self.hold(event, &extended.reservation_id)?.expire_time =
                    self::time(event, extended.expire_time.as_ref())?;
            }
            Some(Payload::ReservationConfirmed(confirmed)) => self.confirmed(event, confirmed, time)?,
            Some(Payload::ReservationCancelled(cancelled)) => self.cancelled(event, cancelled, time)?,
            Some(Payload::ReservationExpired(expired)) => {
                self.ended(event, &expired.reservation_id, outcome::EXPIRED, time)?;
            }
            Some(Payload::SeatsReleased(released)) if is_given_back(released) => {
                self.returned(event, &released.reservation_id, Some(&released.seats), time)?;
            }
            Some(Payload::SeatsExchanged(exchanged)) if exchanged.was_confirmed => self.exchanged(exchanged),
            // Other seats were counted with the end of their reservation, and a hold that is being paid for is still a hold. What is
            // not known is ignored.
            Some(_) | None => {}
        }
        Ok(Applied::Now)
    }

    fn created(&mut self, event: &Event, created: &ReservationCreated, time: DateTime<Utc>) -> Result<(), Error> {
        let showtime = self.showtime(event)?;
        let seats = created.seats.len() as i32;
        showtime.held_seats += seats;
        let hold = hold::Model {
            reservation_id: created.reservation_id.clone(),
            showtime_id: event.showtime_id.clone(),
            seats,
            hold_time: time,
            hold_date: local_date(time, &showtime.time_zone),
            showing_date: showtime.local_date,
            expire_time: self::time(event, created.expire_time.as_ref())?,
            outcome: outcome::HELD.to_owned(),
            outcome_time: None,
        };
        self.holds.insert(hold.reservation_id.clone(), hold);
        Ok(())
    }

    fn confirmed(&mut self, event: &Event, confirmed: &ReservationConfirmed, time: DateTime<Utc>) -> Result<(), Error> {
        self.ended(event, &confirmed.reservation_id, outcome::CONFIRMED, time)?;
        let showtime = self.showtime(event)?;
        showtime.sold_seats += confirmed.seats.len() as i32;
        let (zone, showing_date) = (showtime.time_zone.clone(), showtime.local_date);
        let (total, currency) = minor(event, confirmed.total_price.as_ref())?;
        let lines = confirmed.lines.iter().map(|line| minor(event, line.total.as_ref()).map(|(price, _)| price));
        let mut prices: Vec<_> = lines.collect::<Result<_, _>>()?;
        if prices.is_empty() {
            // Events of releases up to 0.2 have no lines.
            prices = shares(total, confirmed.seats.len()).collect();
        }
        for (Seat { row, number }, price) in confirmed.seats.iter().zip(prices) {
            let line = sale::Model {
                reservation_id: confirmed.reservation_id.clone(),
                seat: format!("{row}{number}"),
                seat_row: row.clone(),
                seat_number: *number,
                showtime_id: event.showtime_id.clone(),
                price,
                currency: currency.code().to_owned(),
                payment_method: confirmed.tender.as_ref().map(|tender| tender.method.clone()),
                sale_time: time,
                sale_date: local_date(time, &zone),
                showing_date,
                return_time: None,
                return_date: None,
            };
            self.sales.insert((line.reservation_id.clone(), line.seat.clone()), line);
        }
        Ok(())
    }

    fn cancelled(&mut self, event: &Event, cancelled: &ReservationCancelled, time: DateTime<Utc>) -> Result<(), Error> {
        if !cancelled.was_confirmed {
            return self.ended(event, &cancelled.reservation_id, outcome::CANCELLED, time);
        }
        // The hold has become a sale, and what is left of the sale is given back.
        self.returned(event, &cancelled.reservation_id, None, time)
    }

    /// Notes that seats of a sale were given back; all that were not before, if none is named.
    fn returned(
        &mut self,
        event: &Event,
        reservation_id: &str,
        seats: Option<&[Seat]>,
        time: DateTime<Utc>,
    ) -> Result<(), Error> {
        let date = local_date(time, &self.showtime(event)?.time_zone);
        let is_named = |sale: &sale::Model| seats.is_none_or(|seats| seats.iter().any(|seat| is_seat(sale, seat)));
        let mut count = 0;
        for ((reservation, _), sale) in &mut self.sales {
            if *reservation == reservation_id && sale.return_time.is_none() && is_named(sale) {
                (sale.return_time, sale.return_date) = (Some(time), Some(date));
                count += 1;
            }
        }
        self.showtime(event)?.sold_seats -= count;
        Ok(())
    }

    /// Notes the seats that a sale has now. Its lines stay what they were: `seat` is the one that was sold first.
    fn exchanged(&mut self, exchanged: &SeatsExchanged) {
        let pairs = || exchanged.previous_seats.iter().zip(&exchanged.seats);
        for ((reservation, _), sale) in &mut self.sales {
            if *reservation == exchanged.reservation_id
                && sale.return_time.is_none()
                && let Some((_, seat)) = pairs().find(|(before, _)| is_seat(sale, before))
            {
                (sale.seat_row, sale.seat_number) = (seat.row.clone(), seat.number);
            }
        }
    }

    /// Notes what became of a hold. Unless it has ended before, its seats are not held any more.
    fn ended(&mut self, event: &Event, id: &str, outcome: &str, time: DateTime<Utc>) -> Result<(), Error> {
        let hold = self.hold(event, id)?;
        let seats = if hold.outcome == outcome::HELD { hold.seats } else { 0 };
        outcome.clone_into(&mut hold.outcome);
        hold.outcome_time = Some(time);
        self.showtime(event)?.held_seats -= seats;
        Ok(())
    }

    fn hold(&mut self, event: &Event, id: &str) -> Result<&mut hold::Model, Error> {
        self.holds.get_mut(id).ok_or_else(|| inconsistent(event, format!("there is no hold {id}")))
    }

    fn showtime(&mut self, event: &Event) -> Result<&mut showtime::Model, Error> {
        let missing = || inconsistent(event, "there is no such showtime");
        self.showtimes.get_mut(&event.showtime_id).ok_or_else(missing)
    }
}

fn showtime(event: &Event, created: &ShowtimeCreated, time: DateTime<Utc>) -> Result<showtime::Model, Error> {
    let start_time = self::time(event, created.start_time.as_ref())?;
    let (price, currency) = minor(event, created.price.as_ref())?;
    // Events of releases up to 0.2 have neither a cinema nor a date.
    let local_date = created.local_date.parse().unwrap_or_else(|_| local_date(start_time, &created.time_zone));
    Ok(showtime::Model {
        showtime_id: event.showtime_id.clone(),
        movie_id: created.movie_id.clone(),
        movie_title: created.movie_title.clone(),
        cinema: created.cinema.clone(),
        auditorium_id: created.auditorium_id.clone(),
        auditorium_name: created.auditorium_name.clone(),
        start_time,
        end_time: self::time(event, created.end_time.as_ref())?,
        local_date,
        time_zone: created.time_zone.clone(),
        capacity: created.seat_count,
        price,
        currency: currency.code().to_owned(),
        create_time: time,
        cancel_time: None,
        held_seats: 0,
        sold_seats: 0,
        revision: event.revision,
        ordinal: event.ordinal,
    })
}

/// Whether this is the seat that a sale has now.
fn is_seat(sale: &sale::Model, seat: &Seat) -> bool {
    (sale.seat_row.as_str(), sale.seat_number) == (seat.row.as_str(), seat.number)
}

/// The date in a time zone, or in UTC if there is no such zone.
fn local_date(time: DateTime<Utc>, zone: &str) -> NaiveDate {
    zone.parse::<Tz>().map_or_else(|_| time.date_naive(), |zone| time.with_timezone(&zone).date_naive())
}

/// A time of an event.
pub(super) fn time(event: &Event, time: Option<&prost_types::Timestamp>) -> Result<DateTime<Utc>, Error> {
    time.and_then(|time| DateTime::from_timestamp(time.seconds, u32::try_from(time.nanos).ok()?))
        .ok_or_else(|| inconsistent(event, "a time is missing"))
}

/// An amount in the currency's smallest units.
fn minor(event: &Event, money: Option<&Money>) -> Result<(i64, Currency), Error> {
    let Some(money) = money else { return Err(inconsistent(event, "a price is missing")) };
    let unknown =
        || inconsistent(event, format!("{:?} is not a currency that this program knows", money.currency_code));
    let currency = Currency::parse(&money.currency_code).ok_or_else(unknown)?;
    let per_unit = currency.minor_per_unit();
    let minor = money.units.checked_mul(per_unit).and_then(|units| {
        // A unit has a billion nanos.
        units.checked_add(i64::from(money.nanos) * per_unit / 1_000_000_000)
    });
    minor.map(|minor| (minor, currency)).ok_or_else(|| inconsistent(event, "a price is too large"))
}

/// The shares of so many seats in a price. They differ by one at most, and their sum is the price.
fn shares(total: i64, seats: usize) -> impl Iterator<Item = i64> {
    let seats = (seats as i64).max(1);
    (0..seats).map(move |seat| total / seats + i64::from(seat < total % seats))
}

fn inconsistent(event: &Event, why: impl Into<String>) -> Error {
    let id = format!("{}/{}/{}", event.showtime_id, event.revision, event.ordinal);
    Error::Inconsistent { id, why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_a_price_add_up_to_it() {
        assert_eq!(shares(1000, 3).collect::<Vec<_>>(), [334, 333, 333]);
        assert_eq!(shares(950, 1).collect::<Vec<_>>(), [950]);
        assert_eq!(shares(0, 2).collect::<Vec<_>>(), [0, 0]);
        assert!((0..200).all(|total| (1..9).all(|seats| shares(total, seats).sum::<i64>() == total)));
    }

    #[test]
    fn a_date_is_that_of_the_time_zone() {
        let late: DateTime<Utc> = "2027-02-28T23:30:00Z".parse().unwrap();
        assert_eq!(local_date(late, "Europe/Madrid").to_string(), "2027-03-01");
        assert_eq!(local_date(late, "America/New_York").to_string(), "2027-02-28");
        assert_eq!(local_date(late, "").to_string(), "2027-02-28");
    }

    #[test]
    fn an_event_that_skips_a_revision_is_refused() {
        let at = |revision: i64, payload| Event {
            showtime_id: "s".to_owned(),
            revision,
            time: Some(prost_types::Timestamp::default()),
            payload,
            ..Event::default()
        };
        let price = Some(Money { currency_code: "JPY".to_owned(), units: 900, nanos: 0 });
        let (start_time, end_time) = (Some(prost_types::Timestamp::default()), Some(prost_types::Timestamp::default()));
        let created = ShowtimeCreated { price, start_time, end_time, ..ShowtimeCreated::default() };
        let mut model = Model::default();
        assert_eq!(model.apply(&at(2, None)).unwrap(), Applied::LeftOut);
        assert_eq!(model.apply(&at(1, Some(Payload::ShowtimeCreated(created)))).unwrap(), Applied::Now);
        assert_eq!(model.showtimes["s"].price, 900);
        assert_eq!(model.apply(&at(2, None)).unwrap(), Applied::Now);
        assert_eq!(model.apply(&at(2, None)).unwrap(), Applied::Before);
        let refused = model.apply(&at(4, None)).unwrap_err();
        assert!(refused.to_string().contains("s/4/0"), "{refused}");
    }
}
