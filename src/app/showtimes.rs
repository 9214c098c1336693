//! Showtimes: scheduled with a movie from the provider, read as they stand.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Answer, App, Error, Kind, Origin, PageRequest, Refused, RequestKey};
use crate::{
    domain::{
        ids::{AuditoriumId, ShowtimeId},
        movie::Sourced,
        seating::Command,
        showtime::{Filter, NewShowtime, Showtime},
    },
    ledger::{Outcome, Reply, Request},
    store::{Cursor, Schedule, ShowtimeScheduled},
};

/// A page of showtimes.
pub struct ShowtimePage {
    /// By start time and id.
    pub showtimes: Vec<Showtime>,
    /// Empty on the last page.
    pub next: String,
}

const LIST: &str = "showtimes";

impl App {
    /// Schedules a showtime.
    ///
    /// A retry is answered before anything is checked or fetched: by then the start may have passed and the provider
    /// may be down, and neither changes what was done.
    ///
    /// # Errors
    /// Names what is wrong, missing or in the way.
    pub async fn create_showtime(&self, new: NewShowtime, key: Option<RequestKey>) -> Result<Answer<Showtime>, Error> {
        if let Some(key) = &key
            && let Some(answered) = self.0.store.schedule_answered(key).await?
        {
            return scheduled(answered, &new, self.0.rules.turnaround);
        }
        NewShowtime::check_start(new.start_time, self.0.clock.now())?;
        let found = self.movie(&new.movie_id).await?;
        let movie = Sourced { value: (*found.value).clone(), source: found.source, fetch_time: found.fetch_time };
        let app = self.clone();
        self.detached(async move {
            let rules = &app.0.rules;
            let plan = Schedule {
                showtime_id: ShowtimeId(app.0.clock.new_id()),
                new: &new,
                movie: &movie,
                slot: new.slot(rules.turnaround),
                hold_duration: new.hold_duration.unwrap_or(rules.hold_duration),
                now: app.0.clock.now(),
            };
            scheduled(app.0.store.schedule(&plan, key.as_ref()).await?, &new, rules.turnaround)
        })
        .await
    }

    /// A showtime as it stands now, which must not be before the revision that is asked for.
    ///
    /// # Errors
    /// There is none, it has never been at that revision, or the store fails.
    pub async fn showtime(&self, id: ShowtimeId, at_least_revision: i64) -> Result<Showtime, Error> {
        let showtime = self.0.store.showtime(id).await?.ok_or_else(|| no_showtime(id))?;
        let reached = showtime.standing.revision;
        if reached < at_least_revision {
            return Err(Error::RevisionNotReached { asked: at_least_revision, reached });
        }
        Ok(showtime)
    }

    /// A page of showtimes.
    ///
    /// # Errors
    /// The page is asked for wrongly, or the store fails.
    pub async fn showtimes(&self, filter: &Filter, page: &PageRequest) -> Result<ShowtimePage, Error> {
        let limit = page.limit()?;
        let signed = canonical(filter);
        let place = self.0.pages.place(LIST, &signed, &page.token)?;
        let after = place.and_then(|place| read_place(&place));
        let mut showtimes = self.0.store.showtimes(filter, after, limit as u64 + 1).await?;
        let more = showtimes.len() > limit;
        showtimes.truncate(limit);
        let next = match showtimes.last() {
            Some(last) if more => self.0.pages.token(LIST, &signed, &write_place(last)),
            _ => String::new(),
        };
        Ok(ShowtimePage { showtimes, next })
    }

    /// Cancels a showtime and all its reservations, and frees its slot.
    ///
    /// # Errors
    /// There is none, it cannot be cancelled any more, or the store fails.
    pub async fn cancel_showtime(
        &self,
        id: ShowtimeId,
        force: bool,
        origin: Origin,
    ) -> Result<Answer<Showtime>, Error> {
        let Origin { key, trace_id } = origin;
        let command = Command::CancelShowtime { force };
        let ask = Request { showtime_id: id, command, key, record: None, validate_only: false, trace_id };
        let Reply { plan, revision, now, outcome } = self.ask(ask).await?.ok_or_else(|| no_showtime(id))?;
        let replayed = match outcome {
            Outcome::Done(_) => false,
            Outcome::Replayed(_) => true,
            Outcome::RequestReused => return Err(Error::RequestReused),
            Outcome::Refused(why) => {
                return Err(Error::Refused(Refused { why, plan, revision, now, reservation_id: None }));
            }
        };
        // A cancelled showtime does not change any more: however late it is read, this is what came of it.
        let value = self.0.store.showtime(id).await?.ok_or_else(|| no_showtime(id))?;
        Ok(Answer { value, replayed })
    }

    /// From when an auditorium has no more showtimes; a moment in the past if it never had any.
    ///
    /// # Errors
    /// The store fails.
    pub async fn free_from(&self, id: AuditoriumId) -> Result<DateTime<Utc>, Error> {
        Ok(self.0.store.free_from(id).await?.unwrap_or(DateTime::UNIX_EPOCH))
    }
}

fn scheduled(outcome: ShowtimeScheduled, new: &NewShowtime, turnaround: Duration) -> Result<Answer<Showtime>, Error> {
    match outcome {
        ShowtimeScheduled::Scheduled(value) => Ok(Answer { value, replayed: false }),
        ShowtimeScheduled::Replayed(value) => Ok(Answer { value, replayed: true }),
        ShowtimeScheduled::RequestReused => Err(Error::RequestReused),
        ShowtimeScheduled::NoAuditorium => {
            Err(Error::NotFound { kind: Kind::Auditorium, id: new.auditorium_id.to_string() })
        }
        ShowtimeScheduled::Overlaps(other) => Err(Error::Overlaps { other: Box::new(other), turnaround }),
    }
}

pub(super) fn no_showtime(id: ShowtimeId) -> Error {
    Error::NotFound { kind: Kind::Showtime, id: id.to_string() }
}

/// The filter as text, the same in every version of this program: what a page token is signed with.
fn canonical(filter: &Filter) -> String {
    let Filter { auditorium_id, movie_id, start_after, start_before, local_date, include_cancelled } = filter;
    let shown = |value: Option<String>| value.unwrap_or_default();
    [
        shown(auditorium_id.map(|id| id.to_string())),
        shown(movie_id.as_ref().map(ToString::to_string)),
        shown(start_after.map(|time| time.to_rfc3339())),
        shown(start_before.map(|time| time.to_rfc3339())),
        shown(local_date.map(|date| date.to_string())),
        include_cancelled.to_string(),
    ]
    .join("|")
}

fn write_place(last: &Showtime) -> Vec<u8> {
    let mut place = last.facts.start_time.timestamp_micros().to_be_bytes().to_vec();
    place.extend_from_slice(last.facts.showtime_id.0.as_bytes());
    place
}

fn read_place(place: &[u8]) -> Option<Cursor> {
    let (start, id) = place.split_at_checked(8)?;
    Some(Cursor {
        start_time: DateTime::from_timestamp_micros(i64::from_be_bytes(start.try_into().ok()?))?,
        showtime_id: ShowtimeId(Uuid::from_slice(id).ok()?),
    })
}
