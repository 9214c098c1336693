//! Showtimes: which movie plays where and when, and what may not happen to them.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use chrono::{DateTime, NaiveDate, SubsecRound as _, TimeDelta, Utc};

use super::{
    auditorium::Auditorium,
    ids::{AuditoriumId, ShowtimeId},
    money::Money,
    movie::{Movie, MovieId, Sourced},
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

/// A showtime that somebody wants, checked as far as the request alone goes.
#[derive(Clone, Debug, PartialEq)]
pub struct NewShowtime {
    /// What plays,
    pub movie_id: MovieId,
    /// where,
    pub auditorium_id: AuditoriumId,
    /// from when
    pub start_time: DateTime<Utc>,
    /// for how long,
    pub duration: Duration,
    /// what a seat costs,
    pub price: Money,
    /// and how long it is held; `None` leaves it to the deployment.
    pub hold_duration: Option<Duration>,
}

impl NewShowtime {
    /// Whether the start lies where a start may lie.
    ///
    /// # Errors
    /// Says what is wrong under `start_time`.
    pub fn check_start(start: DateTime<Utc>, now: DateTime<Utc>) -> Result<(), Violations> {
        if start <= now {
            return Err(Violations::one("start_time", "must be in the future"));
        }
        if start > now + MAX_AHEAD {
            return Err(Violations::one("start_time", "must be at most five years ahead"));
        }
        Ok(())
    }

    /// The time the auditorium is taken: the showtime, and the turnaround after it.
    #[must_use]
    pub fn slot(&self, turnaround: Duration) -> Slot {
        let end = self.start_time + whole(self.duration);
        Slot { start: self.start_time, end, free_again: end + whole(turnaround) }
    }
}

/// A stretch of an auditorium's time. Two slots overlap when either begins before the other's room is free again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The showtime begins,
    pub start: DateTime<Utc>,
    /// ends,
    pub end: DateTime<Utc>,
    /// and the next one may begin.
    pub free_again: DateTime<Utc>,
}

impl Slot {
    /// Whether both cannot stand in one auditorium.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.free_again && other.start < self.free_again
    }
}

/// Where a showtime is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It will play, plays or has played.
    Scheduled,
    /// It will not play, since this moment.
    Cancelled {
        /// When it was cancelled.
        at: DateTime<Utc>,
    },
}

/// What is settled when a showtime is scheduled and never changes after: safe to keep in memory for as long as one likes.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Its id.
    pub showtime_id: ShowtimeId,
    /// The movie as it was then, with its provenance.
    pub movie: Sourced<Movie>,
    /// Where, without the layout.
    pub auditorium: Auditorium,
    /// From when,
    pub start_time: DateTime<Utc>,
    /// until when.
    pub end_time: DateTime<Utc>,
    /// The day it starts, in the auditorium's zone.
    pub local_date: NaiveDate,
    /// For one seat.
    pub price: Money,
    /// How long a reservation is held.
    pub hold_duration: Duration,
    /// When it was scheduled.
    pub create_time: DateTime<Utc>,
    /// The encoded form for clients.
    pub encoded: Encoded,
}

/// The encoded form of facts. The room that encodes them fills it in once, since facts never change.
///
/// It says nothing that the facts do not say, so all encoded forms count as equal, and a clone starts without one.
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

/// What changes: always read from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Where it is in its life.
    pub state: State,
    /// Seats neither held nor sold.
    pub available_count: i32,
    /// Raised by one with every change.
    pub revision: i64,
}

impl Standing {
    /// How every showtime begins.
    #[must_use]
    pub fn initial(seat_count: i32) -> Self {
        Self { state: State::Scheduled, available_count: seat_count, revision: 1 }
    }
}

/// A showtime as it stood at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Showtime {
    /// What never changes.
    pub facts: Arc<Facts>,
    /// What does.
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

/// A span of time as chrono adds it, to the microsecond. All spans here are bounded by years.
fn whole(span: Duration) -> TimeDelta {
    TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX)
}

/// Times are kept to the microsecond, by both stores.
#[must_use]
pub fn to_micros(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(6)
}
