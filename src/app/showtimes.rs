//! Use cases of showtimes. A showtime is scheduled with a movie of the provider.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};

use super::{
    Answer, App, Error, Inner, Kind, Origin, PageRequest, ShowtimePage,
    decisions::Accepted,
    pages::{read_timed, write_timed},
    shared_reads::Source,
    showtime_pages::PageKey,
};
use crate::{
    domain::{
        ids::{AuditoriumId, ShowtimeId},
        movie::Sourced,
        seating::{Command, ShowtimePlan},
        showtime::{Filter, NewShowtime, Phase, Showtime},
    },
    store::{self, Cursor, Permit, Schedule, ShowtimeScheduled, SoldLines},
};

const LIST: &str = "showtimes";
/// Why the sales of a cancelled showtime are refunded.
const CANCELLED: &str = "the showtime was cancelled";

impl App {
    /// Schedules a showtime.
    ///
    /// A repeated request is answered before anything is checked or fetched: by then the start may have passed or the provider
    /// may be down, and neither changes the answer.
    ///
    /// # Errors
    /// The start is in the past, the movie or the auditorium does not exist, the showtime overlaps another one, or the provider
    /// or the store fails.
    pub async fn create_showtime(&self, origin: &Origin, new: NewShowtime) -> Result<Answer<Showtime>, Error> {
        if let Some(key) = &origin.key
            && let Some(answered) = self.0.store.schedule_answered(key).await?
        {
            return scheduled(answered, &new, self.0.rules.turnaround);
        }
        NewShowtime::check_start(new.start_time, self.0.clock.now())?;
        let found = self.movie(origin, &new.movie_id).await?;
        let movie = Sourced { value: (*found.value).clone(), source: found.source, fetch_time: found.fetch_time };
        let (app, key, trace) = (self.clone(), origin.key.clone(), origin.trace);
        self.detached(async move {
            let rules = &app.0.rules;
            let schedule = Schedule {
                showtime_id: ShowtimeId(app.0.clock.new_id()),
                new: &new,
                movie: &movie,
                slot: new.slot(rules.turnaround),
                hold_duration: new.hold_duration.unwrap_or(rules.hold_duration),
                now: app.0.clock.now(),
                trace,
            };
            scheduled(app.0.store.schedule(&schedule, key.as_ref()).await?, &new, rules.turnaround)
        })
        .await
    }

    /// The plan of a showtime.
    pub(super) async fn plan_of(&self, id: ShowtimeId) -> Result<Arc<ShowtimePlan>, Error> {
        self.0.store.plan(id).await?.ok_or_else(|| Error::no_showtime(id))
    }

    /// Reads a showtime, which must have reached this revision.
    ///
    /// # Errors
    /// There is no such showtime, it has not reached the revision, or the store fails.
    pub async fn showtime(&self, _origin: &Origin, id: ShowtimeId, at_least_revision: i64) -> Result<Showtime, Error> {
        let showtime = self.0.store.showtime(id).await?.ok_or_else(|| Error::no_showtime(id))?;
        let reached = showtime.standing.revision;
        if reached < at_least_revision {
            return Err(Error::RevisionNotReached { asked: at_least_revision, reached });
        }
        Ok(showtime)
    }

    /// Reads what was sold of a showtime.
    ///
    /// # Errors
    /// There is no such showtime, or the store fails.
    pub async fn showtime_sales(&self, _origin: &Origin, id: ShowtimeId) -> Result<SoldLines, Error> {
        self.0.store.sold_lines(id).await?.ok_or_else(|| Error::no_showtime(id))
    }

    /// Reads a page of showtimes. The read begins after this call, and callers who ask for the same page share it.
    ///
    /// # Errors
    /// The page token is not of this list and filter, or the store fails.
    pub async fn showtimes(
        &self,
        _origin: &Origin,
        filter: &Filter,
        page: &PageRequest,
    ) -> Result<Arc<ShowtimePage>, Error> {
        let limit = page.limit()?;
        let signed = canonical(filter);
        let cursor = self.0.pages.cursor(LIST, &signed, &page.token)?;
        let after = cursor.and_then(|cursor| read_timed(&cursor));
        let after = after.map(|(start_time, id)| Cursor { start_time, showtime_id: ShowtimeId(id) });
        let key = (signed, page.token.clone(), limit);
        let read = PageRead { app: self.clone(), filter: filter.clone(), after, key: key.clone() };
        Ok(self.0.showtime_pages.reads.read(&key, read).await?)
    }

    /// Cancels a showtime and all its reservations, and frees its slot. The refund of each sale that a purchase has paid for
    /// begins with that.
    ///
    /// # Errors
    /// There is no such showtime, it cannot be cancelled any more, or the store fails.
    pub async fn cancel_showtime(
        &self,
        origin: &Origin,
        id: ShowtimeId,
        force: bool,
        expected_revision: Option<i64>,
    ) -> Result<Answer<Showtime>, Error> {
        let request = origin.command(id, Command::CancelShowtime { force, expected_revision });
        let reply = Box::pin(self.decide_with_refunds(&request, None, (CANCELLED, ""))).await?;
        let reply = reply.ok_or_else(|| Error::no_showtime(id))?;
        let Accepted { revision, repeated, .. } = Accepted::read(reply, None)?;
        // Nothing of a cancelled showtime changes any more but its revision, which goes on when money comes late.
        let mut value = self.0.store.showtime(id).await?.ok_or_else(|| Error::no_showtime(id))?;
        value.standing.revision = revision;
        Ok(Answer { value, repeated })
    }

    /// The time from which an auditorium has no more showtimes. It is 1970 if the auditorium never had any.
    ///
    /// # Errors
    /// The store fails.
    pub async fn free_from(&self, _origin: &Origin, id: AuditoriumId) -> Result<DateTime<Utc>, Error> {
        Ok(self.0.store.free_from(id).await?.unwrap_or(DateTime::UNIX_EPOCH))
    }
}

/// The read of one page.
struct PageRead {
    app: App,
    filter: Filter,
    after: Option<Cursor>,
    key: PageKey,
}

impl Source<Arc<ShowtimePage>> for PageRead {
    type Permit = Permit;

    async fn permit(&self) -> Result<Permit, Arc<store::Error>> {
        Ok(self.app.0.store.read_permit().await?)
    }

    async fn read(&self, permit: Permit) -> Result<Arc<ShowtimePage>, Arc<store::Error>> {
        let Inner { store, showtime_pages, pages, .. } = &*self.app.0;
        let (signed, _, limit) = &self.key;
        let last = showtime_pages.last(&self.key);
        let known = last.as_ref().map_or(&[][..], |last| &last.showtimes);
        let mut showtimes = store.showtimes(permit, &self.filter, self.after, *limit as u64 + 1, known).await?;
        let more = showtimes.len() > *limit;
        showtimes.truncate(*limit);
        if let Some(last) = last.filter(|last| last.shows(&showtimes, more)) {
            return Ok(last);
        }
        let next = match showtimes.last() {
            Some(Showtime { facts, .. }) if more => {
                pages.token(LIST, signed, &write_timed(facts.start_time, facts.showtime_id.0))
            }
            _ => String::new(),
        };
        Ok(showtime_pages.keep(&self.key, showtimes, next))
    }
}

fn scheduled(outcome: ShowtimeScheduled, new: &NewShowtime, turnaround: Duration) -> Result<Answer<Showtime>, Error> {
    match outcome {
        ShowtimeScheduled::Scheduled(value) => Ok(Answer { value, repeated: false }),
        ShowtimeScheduled::Repeated(value) => Ok(Answer { value, repeated: true }),
        ShowtimeScheduled::RequestReused => Err(Error::RequestReused),
        ShowtimeScheduled::NoAuditorium => {
            Err(Error::NotFound { kind: Kind::Auditorium, id: new.auditorium_id.to_string() })
        }
        ShowtimeScheduled::Overlaps(other) => Err(Error::Overlaps { other: Box::new(other), turnaround }),
    }
}

/// The filter as text. Page tokens are signed with it, so it must not change between versions.
fn canonical(filter: &Filter) -> String {
    let Filter { auditorium_id, movie_id, start_after, start_before, local_date, include_cancelled, cinema, states } =
        filter;
    let shown = |value: Option<String>| value.unwrap_or_default();
    let name = |phase: &Phase| match phase {
        Phase::Scheduled => "scheduled",
        Phase::Cancelled => "cancelled",
    };
    // Without these two the text is as it was before they existed. The name of a cinema may contain any character, so it comes
    // last.
    let more = (cinema.is_some() || !states.is_empty())
        .then(|| [states.iter().map(name).collect::<Vec<_>>().join(","), shown(cinema.clone())].join("|"));
    let mut parts = vec![
        shown(auditorium_id.map(|id| id.to_string())),
        shown(movie_id.as_ref().map(ToString::to_string)),
        shown(start_after.map(|time| time.to_rfc3339())),
        shown(start_before.map(|time| time.to_rfc3339())),
        shown(local_date.map(|date| date.to_string())),
        include_cancelled.to_string(),
    ];
    parts.extend(more);
    parts.join("|")
}
