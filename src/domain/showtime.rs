//! Showtimes: a movie that plays in an auditorium at a time.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use chrono::{DateTime, NaiveDate, SubsecRound as _, TimeDelta, Utc};

use super::{
    auditorium::Auditorium,
    ids::{AuditoriumId, ShowtimeId},
    movie::{Movie, MovieId, Sourced},
    prices::PriceList,
    violations::Violations,
};

/// The longest showtime, and the longest hold.
pub const MAX_SPAN: Duration = Duration::from_hours(24);
/// The shortest showtime.
pub const MIN_DURATION: Duration = Duration::from_mins(1);
/// The shortest hold.
pub const MIN_HOLD: Duration = Duration::from_secs(1);
/// How far ahead a showtime can be scheduled.
const MAX_AHEAD: TimeDelta = TimeDelta::days(5 * 366);

/// A showtime to be scheduled. It was checked as far as that is possible without the store.
#[derive(Clone, Debug, PartialEq)]
pub struct NewShowtime {
    /// The movie that plays.
    pub movie_id: MovieId,
    /// The auditorium in which it plays.
    pub auditorium_id: AuditoriumId,
    /// When the showtime starts.
    pub start_time: DateTime<Utc>,
    /// How long the showtime lasts.
    pub duration: Duration,
    /// What seats cost.
    pub prices: PriceList,
    /// How long a hold lasts. `None`: as long as the deployment's holds do.
    pub hold_duration: Option<Duration>,
}

impl NewShowtime {
    /// Checks that the start is in the future and not too far ahead.
    ///
    /// # Errors
    /// It is not. The path of the violation is `start_time`.
    pub fn check_start(start: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Violations> {
        if start <= now {
            return Err(Violations::one("start_time", "must be in the future"));
        }
        if start > now + MAX_AHEAD {
            return Err(Violations::one("start_time", "must be at most five years ahead"));
        }
        Ok(())
    }

    /// The time for which the auditorium is taken: the showtime and the turnaround after it.
    #[must_use]
    pub fn slot(&self, turnaround: Duration) -> TimeSlot {
        let end = self.start_time + whole(self.duration);
        TimeSlot { start: self.start_time, end, free_again: end + whole(turnaround) }
    }
}

/// The time for which a showtime takes its auditorium. Two time slots overlap if each starts before the other's auditorium is free
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeSlot {
    /// When the showtime starts.
    pub start: DateTime<Utc>,
    /// When the showtime ends.
    pub end: DateTime<Utc>,
    /// When the turnaround is over and the next showtime can start.
    pub free_again: DateTime<Utc>,
}

impl TimeSlot {
    /// Whether two showtimes cannot have these time slots in one auditorium.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.free_again && other.start < self.free_again
    }
}

/// The state of a showtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The showtime will play, plays or has played.
    Scheduled,
    /// The showtime was cancelled.
    Cancelled {
        /// When it was cancelled.
        at: DateTime<Utc>,
    },
}

/// What is fixed when a showtime is scheduled. It never changes, so it can be cached without a time limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Identifies the showtime.
    pub showtime_id: ShowtimeId,
    /// The movie as the provider described it when the showtime was scheduled.
    pub movie: Sourced<Movie>,
    /// The auditorium without its layout.
    pub auditorium: Auditorium,
    /// When the showtime starts.
    pub start_time: DateTime<Utc>,
    /// When the showtime ends.
    pub end_time: DateTime<Utc>,
    /// The date of the start in the auditorium's time zone.
    pub local_date: NaiveDate,
    /// What seats cost.
    pub prices: PriceList,
    /// How long a hold lasts.
    pub hold_duration: Duration,
    /// When the showtime was scheduled.
    pub create_time: DateTime<Utc>,
    /// The encoded form for clients.
    pub encoded: Encoded,
}

/// The encoded form of facts. The room that encodes them fills it in once, since facts never change.
///
/// It has the same content as the facts, so all encoded forms are equal, and a clone starts without one.
#[derive(Debug, Default)]
pub struct Encoded(OnceLock<Box<[u8]>>);

impl Encoded {
    /// The encoded form, made by `encode` if there is none yet.
    pub fn get_or_encode(&self, encode: impl FnOnce() -> Vec<u8>) -> &[u8] {
        self.0.get_or_init(|| encode().into_boxed_slice())
    }
}

impl Clone for Encoded {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Encoded {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// What changes about a showtime. It is read from the store for every answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The state of the showtime.
    pub state: State,
    /// The number of seats that are neither held nor sold.
    pub available_count: i32,
    /// The revision, which every change raises by one.
    pub revision: i64,
}

impl Standing {
    /// The standing of a new showtime.
    #[must_use]
    pub fn initial(seat_count: i32) -> Self {
        Self { state: State::Scheduled, available_count: seat_count, revision: 1 }
    }
}

/// A showtime as it was at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Showtime {
    /// What never changes about it.
    pub facts: Arc<Facts>,
    /// What changes about it.
    pub standing: Standing,
}

/// The state of a showtime, without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The showtime will play, plays or has played.
    Scheduled,
    /// The showtime was cancelled.
    Cancelled,
}

/// Which showtimes a list contains. A criterion that is `None` or empty excludes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only showtimes of this cinema.
    pub cinema: Option<String>,
    /// Only showtimes in this auditorium.
    pub auditorium_id: Option<AuditoriumId>,
    /// Only showtimes of this movie.
    pub movie_id: Option<MovieId>,
    /// Only showtimes that start at this time or later.
    pub start_after: Option<DateTime<Utc>>,
    /// Only showtimes that start before this time.
    pub start_before: Option<DateTime<Utc>>,
    /// Only showtimes that start on this date in the auditorium's time zone.
    pub local_date: Option<NaiveDate>,
    /// Whether cancelled showtimes are listed too. It counts only if `states` is empty.
    pub include_cancelled: bool,
    /// Only showtimes in one of these states. Empty: scheduled ones, and cancelled ones as `include_cancelled` says.
    pub states: Vec<Phase>,
}

/// A span as chrono's type. All spans here are shorter than chrono's limit.
fn whole(span: Duration) -> TimeDelta {
    TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX)
}

/// The time to the microsecond, which is the precision of both stores.
#[must_use]
pub fn to_micros(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(6)
}
