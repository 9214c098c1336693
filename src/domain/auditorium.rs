//! Auditoriums: rooms with seats, in a house, in a time zone.

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;

use super::{
    ids::AuditoriumId,
    layout::{Layout, LayoutRow},
    violations::{Violations, printable},
};

/// The longest name of an auditorium or a house.
pub const MAX_NAME: usize = 100;

/// An auditorium that somebody wants, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct NewAuditorium {
    /// "Screen 1"
    pub name: String,
    /// "Grand Palace"
    pub cinema: String,
    /// Where the house's days begin and end.
    pub time_zone: Tz,
    /// Where the seats are.
    pub layout: Layout,
}

impl NewAuditorium {
    /// Checks what a caller wrote.
    ///
    /// # Errors
    /// Names every flaw under its field of `CreateAuditoriumRequest`.
    pub fn check(name: String, cinema: String, zone: &str, plan: Option<Vec<LayoutRow>>) -> Result<Self, Violations> {
        let mut violations = Violations::new();
        violations.take("name", printable(&name, MAX_NAME));
        violations.take("cinema", printable(&cinema, MAX_NAME));
        let time_zone = violations.take("time_zone", parse_zone(zone));
        let layout = match plan {
            Some(plan) => violations.take("layout", Layout::new(plan)),
            None => violations.take("layout", Err(Violations::one("", "is required"))),
        };
        match (time_zone, layout) {
            (Some(time_zone), Some(layout)) if violations.is_empty() => Ok(Self { name, cinema, time_zone, layout }),
            _ => Err(violations),
        }
    }
}

/// An auditorium as it stands; it never changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Auditorium {
    /// Its id.
    pub auditorium_id: AuditoriumId,
    /// "Screen 1"
    pub name: String,
    /// "Grand Palace"
    pub cinema: String,
    /// Where the house's days begin and end.
    pub time_zone: Tz,
    /// Left out where many are listed.
    pub layout: Option<Layout>,
    /// How many people can sit.
    pub seat_count: i32,
    /// When it was created.
    pub create_time: DateTime<Utc>,
}

impl Auditorium {
    /// The date in the house at a moment.
    #[must_use]
    pub fn local_date(&self, moment: DateTime<Utc>) -> NaiveDate {
        moment.with_timezone(&self.time_zone).date_naive()
    }
}

fn parse_zone(name: &str) -> Result<Tz, Violations> {
    name.parse().map_err(|_| Violations::one("", "must be the name of an IANA time zone, such as Europe/Madrid"))
}
