//! The sample: three auditoriums and six upcoming showtimes, each with a pair of blocked seats. They are created once, by the use
//! cases that callers use.
//!
//! Each step has a request id that is the same in every run, so that a start continues a sample that was interrupted. A setting
//! is set when the sample is complete.

use std::time::Duration;

use chrono::{Days, NaiveTime, TimeDelta};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{App, Caller, Error, Origin};
use crate::domain::{
    auditorium::{Auditorium, NewAuditorium},
    ids::RequestId,
    layout::{LayoutRow, SeatKind},
    money::Currency,
    movie::MovieId,
    prices::{PriceList, TicketType},
    seat_index::{RowLabel, SeatName},
    seating::{BlockReason, Blockage},
    showtime::NewShowtime,
    violations::Violations,
};

/// The setting that is set when the sample is complete.
const DONE: &str = "sample";
const CINEMA: &str = "Grand Palace";
const TIME_ZONE: &str = "Europe/Madrid";
/// The name, the number of rows, and the seats of each row.
const AUDITORIUMS: [(&str, u8, usize); 3] = [("Screen 1", 28, 22), ("Screen 2", 21, 18), ("Screen 3", 15, 21)];
/// The index of the auditorium, days from now, local hour and minute, movie, duration in minutes, price in cents.
const SHOWTIMES: [(usize, u64, u32, u32, &str, u64, i64); 6] = [
    (0, 1, 18, 0, "tt1375666", 148, 1_200),
    (0, 1, 21, 30, "tt0068646", 175, 1_200),
    (1, 1, 19, 0, "tt0133093", 136, 950),
    (1, 2, 20, 0, "tt1375666", 148, 950),
    (2, 2, 17, 30, "tt0111161", 142, 800),
    (2, 3, 20, 0, "tt0109830", 142, 800),
];

impl App {
    /// Creates the sample, unless it is complete. Returns whether it was created now.
    ///
    /// # Errors
    /// The store or the provider fails. The next start continues.
    pub async fn make_sample(&self) -> Result<bool, Error> {
        if self.0.store.setting(DONE).await?.is_some() {
            return Ok(false);
        }
        let mut screens = Vec::new();
        for (name, rows, seats) in AUDITORIUMS {
            screens.push(self.sample_auditorium(name, rows, seats).await?);
        }
        for showtime in SHOWTIMES {
            self.sample_showtime(&screens[showtime.0], AUDITORIUMS[showtime.0].1, showtime).await?;
        }
        self.0.store.setting_or_insert(DONE, b"complete").await?;
        Ok(true)
    }

    async fn sample_auditorium(&self, name: &str, rows: u8, seats: usize) -> Result<Auditorium, Error> {
        let rows =
            (0..rows).map(|row| LayoutRow { label: label(row), places: cells(row, rows, seats), numbers: Vec::new() });
        let new = NewAuditorium::check(name.to_owned(), CINEMA.to_owned(), TIME_ZONE, Some(rows.collect()))?;
        Ok(self.create_auditorium(&sample_origin("CreateAuditorium", name), new).await?.value)
    }

    async fn sample_showtime(
        &self,
        screen: &Auditorium,
        rows: u8,
        (_, days, hour, minute, movie, minutes, cents): (usize, u64, u32, u32, &str, u64, i64),
    ) -> Result<(), Error> {
        let day = screen.local_date(self.0.clock.now()) + Days::new(days);
        let time = NaiveTime::from_hms_opt(hour, minute, 0).unwrap_or_default();
        let start = day.and_time(time).and_local_timezone(screen.time_zone).earliest();
        // The hour may not exist on the day on which summer time begins.
        let start = start.map_or_else(|| self.0.clock.now() + TimeDelta::days(days as i64), |local| local.to_utc());
        let new = NewShowtime {
            movie_id: MovieId::parse(movie)?,
            auditorium_id: screen.auditorium_id,
            start_time: start,
            duration: Duration::from_secs(minutes * 60),
            prices: prices(cents)?,
            hold_duration: None,
        };
        let name = format!("{} {days} {hour}:{minute}", screen.name);
        let id = match self.create_showtime(&sample_origin("CreateShowtime", &name), new).await {
            Ok(scheduled) => scheduled.value.facts.showtime_id,
            // An interrupted run, or another instance, has scheduled it.
            Err(Error::Overlaps { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let blockage = Blockage { reason: BlockReason::House, note: "For guests of the house".to_owned() };
        match self.block_seats(&sample_origin("BlockSeats", &name), id, house_seats(rows), blockage).await {
            // Somebody was faster, or the showtime was cancelled meanwhile.
            Ok(_) | Err(Error::Refused(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The price list of a showtime whose adults pay this much, in cents: less for children and seniors, more for premium seats, and all of
/// it with a tax of 10 %.
fn prices(adult: i64) -> Result<PriceList, Violations> {
    let ticket_type =
        |code: &str, name: &str, minor| TicketType { code: code.to_owned(), name: name.to_owned(), minor };
    let list = PriceList {
        currency: Currency::parse("EUR").ok_or_else(|| Violations::one("currency", "is not known"))?,
        ticket_types: vec![
            ticket_type("adult", "Adult", adult),
            ticket_type("child", "Child up to 12", adult - 300),
            ticket_type("senior", "Senior from 65", adult - 200),
        ],
        supplements: vec![(SeatKind::Premium, 250)],
        fee: 0,
        tax_basis_points: 1_000,
    };
    list.check().map(|()| list)
}

/// The label of a row: A to Z, then AA, AB and so on.
fn label(row: u8) -> String {
    let letter = char::from(b'A' + row % 26);
    if row < 26 { letter.to_string() } else { format!("A{letter}") }
}

/// The cells of one of so many rows, with two aisles. The first row has an accessible seat and its companion seat at each end, and the
/// last two have premium seats.
fn cells(row: u8, rows: u8, seats: usize) -> String {
    let side = seats / 4;
    let kinds = match row {
        0 => format!("ac{}ca", "s".repeat(seats - 4)),
        _ if row + 2 >= rows => "p".repeat(seats),
        _ => "s".repeat(seats),
    };
    format!("{}_{}_{}", &kinds[..side], &kinds[side..seats - side], &kinds[seats - side..])
}

/// The pair of seats that each showtime keeps back: the first two of the middle one of so many rows.
fn house_seats(rows: u8) -> Vec<SeatName> {
    let row = RowLabel::parse(&label(rows / 2));
    row.into_iter().flat_map(|row| [1, 2].map(|number| SeatName { row, number })).collect()
}

/// The origin of one step of the sample. The fingerprint leaves the content out, because a start that continues the sample
/// after midnight computes other times and still means the same step.
fn sample_origin(method: &'static str, name: &str) -> Origin {
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("boxoffice sample {method} {name}").as_bytes());
    let caller = Caller::sample();
    let key = caller.request_key(method, RequestId(id), Sha256::digest(name).into());
    Origin { key: Some(key), ..caller.into() }
}
