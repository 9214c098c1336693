//! Auditoriums: the layout of their seats, the cinema that they belong to, and its time zone.

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;

use super::{
    ids::AuditoriumId,
    layout::{Layout, LayoutRow},
    violations::{Violations, printable},
};

/// The most characters of the name of an auditorium or a cinema.
pub const MAX_NAME: usize = 100;

/// An auditorium to be created.
#[derive(Clone, Debug, PartialEq)]
pub struct NewAuditorium {
    /// The name of the auditorium in its cinema, such as "Screen 1".
    pub name: String,
    /// The name of the cinema, such as "Grand Palace".
    pub cinema: String,
    /// The time zone of the cinema. Local dates are dates in this zone.
    pub time_zone: Tz,
    /// The seats and where they are.
    pub layout: Layout,
}

impl NewAuditorium {
    /// Checks an auditorium that a caller wants to create.
    ///
    /// # Errors
    /// Names every flaw under its field of `CreateAuditoriumRequest`.
    pub fn check(name: String, cinema: String, zone: &str, rows: Option<Vec<LayoutRow>>) -> Result<Self, Violations> {
        let mut violations = Violations::new();
        violations.take("name", printable(&name, MAX_NAME));
        violations.take("cinema", printable(&cinema, MAX_NAME));
        let time_zone = violations.take("time_zone", parse_zone(zone));
        let layout = match rows {
            Some(rows) => violations.take("layout", Layout::new(rows)),
            None => violations.take("layout", Err(Violations::one("", "is required"))),
        };
        match (time_zone, layout) {
            (Some(time_zone), Some(layout)) if violations.is_empty() => Ok(Self { name, cinema, time_zone, layout }),
            _ => Err(violations),
        }
    }
}

/// An auditorium. It never changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Auditorium {
    /// Identifies the auditorium.
    pub auditorium_id: AuditoriumId,
    /// The name of the auditorium in its cinema, such as "Screen 1".
    pub name: String,
    /// The name of the cinema, such as "Grand Palace".
    pub cinema: String,
    /// The time zone of the cinema. Local dates are dates in this zone.
    pub time_zone: Tz,
    /// The seats and where they are. `None` in lists and in the facts of a showtime.
    pub layout: Option<Layout>,
    /// The number of seats.
    pub seat_count: i32,
    /// When the auditorium was created.
    pub create_time: DateTime<Utc>,
}

impl Auditorium {
    /// The date in the cinema at a given time.
    #[must_use]
    pub fn local_date(&self, time: DateTime<Utc>) -> NaiveDate {
        time.with_timezone(&self.time_zone).date_naive()
    }
}

fn parse_zone(name: &str) -> Result<Tz, Violations> {
    name.parse().map_err(|_| Violations::one("", "must be the name of an IANA time zone, such as Europe/Madrid"))
}
