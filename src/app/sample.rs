//! The sample: three auditoriums and a handful of upcoming showtimes, made through the normal path, once.
//!
//! Every step has a request id of its own that is the same in every run, so a start that was interrupted half-way is
//! taken up where it ended. A setting remembers that the sample is complete.

use std::time::Duration;

use chrono::{Days, NaiveTime, TimeDelta};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{App, Caller, Error, Origin};
use crate::domain::{
    auditorium::{Auditorium, NewAuditorium},
    ids::RequestId,
    layout::LayoutRow,
    money::Money,
    movie::MovieId,
    showtime::NewShowtime,
};

/// Remembers that the sample is complete.
const DONE: &str = "sample";
const CINEMA: &str = "Grand Palace";
const TIME_ZONE: &str = "Europe/Madrid";
/// Name, rows, seats of a row.
const AUDITORIUMS: [(&str, u8, usize); 3] = [("Screen 1", 28, 22), ("Screen 2", 21, 18), ("Screen 3", 15, 21)];
/// Screen, days from now, hour and minute there, movie, minutes, price in cents.
const SHOWTIMES: [(usize, u64, u32, u32, &str, u64, i64); 6] = [
    (0, 1, 18, 0, "tt1375666", 148, 1_200),
    (0, 1, 21, 30, "tt0068646", 175, 1_200),
    (1, 1, 19, 0, "tt0133093", 136, 950),
    (1, 2, 20, 0, "tt1375666", 148, 950),
    (2, 2, 17, 30, "tt0111161", 142, 800),
    (2, 3, 20, 0, "tt0109830", 142, 800),
];

impl App {
    /// Makes the sample, unless it was made before.
    ///
    /// # Errors
    /// The store or the provider fails; the next start goes on from there.
    pub async fn make_sample(&self) -> Result<bool, Error> {
        if self.0.store.setting(DONE).await?.is_some() {
            return Ok(false);
        }
        let mut screens = Vec::new();
        for (name, rows, seats) in AUDITORIUMS {
            screens.push(self.sample_auditorium(name, rows, seats).await?);
        }
        for plan in SHOWTIMES {
            self.sample_showtime(&screens[plan.0], plan).await?;
        }
        self.0.store.setting_or_insert(DONE, b"complete").await?;
        Ok(true)
    }

    async fn sample_auditorium(&self, name: &str, rows: u8, seats: usize) -> Result<Auditorium, Error> {
        let plan =
            (0..rows).map(|row| LayoutRow { label: label(row), places: places(row, seats), numbers: Vec::new() });
        let new = NewAuditorium::check(name.to_owned(), CINEMA.to_owned(), TIME_ZONE, Some(plan.collect()))?;
        Ok(self.create_auditorium(&sample_origin("CreateAuditorium", name), new).await?.value)
    }

    async fn sample_showtime(
        &self,
        screen: &Auditorium,
        (_, days, hour, minute, movie, minutes, cents): (usize, u64, u32, u32, &str, u64, i64),
    ) -> Result<(), Error> {
        let day = screen.local_date(self.0.clock.now()) + Days::new(days);
        let time = NaiveTime::from_hms_opt(hour, minute, 0).unwrap_or_default();
        let start = day.and_time(time).and_local_timezone(screen.time_zone).earliest();
        // An hour that summer time skips: the same number of hours after the day before will do.
        let start = start.map_or_else(|| self.0.clock.now() + TimeDelta::days(days as i64), |local| local.to_utc());
        let new = NewShowtime {
            movie_id: MovieId::parse(movie)?,
            auditorium_id: screen.auditorium_id,
            start_time: start,
            duration: Duration::from_secs(minutes * 60),
            price: Money::price("EUR", cents / 100, (cents % 100) as i32 * 10_000_000)?,
            hold_duration: None,
        };
        let name = format!("{} {days} {hour}:{minute}", screen.name);
        match self.create_showtime(&sample_origin("CreateShowtime", &name), new).await {
            // Somebody was quicker, in a sample that was interrupted: theirs will do.
            Ok(_) | Err(Error::Overlaps { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A, B, … Z, AA, AB …
fn label(row: u8) -> String {
    let letter = char::from(b'A' + row % 26);
    if row < 26 { letter.to_string() } else { format!("A{letter}") }
}

/// Two aisles, and room for two wheelchairs with their companions in the first row.
fn places(row: u8, seats: usize) -> String {
    let side = seats / 4;
    let kinds = if row == 0 { format!("ac{}ca", "s".repeat(seats - 4)) } else { "s".repeat(seats) };
    format!("{}_{}_{}", &kinds[..side], &kinds[side..seats - side], &kinds[seats - side..])
}

/// The origin of one step of the sample. The fingerprint leaves the content out, because a start that continues the sample
/// after midnight computes other times and still means the same step.
fn sample_origin(method: &'static str, name: &str) -> Origin {
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("boxoffice sample {method} {name}").as_bytes());
    let caller = Caller::sample();
    let key = caller.request_key(method, RequestId(id), Sha256::digest(name).into());
    Origin { key: Some(key), ..caller.into() }
}
