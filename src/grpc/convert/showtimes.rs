//! Showtimes.

use chrono::{DateTime, Utc};

use super::{
    auditoriums::auditorium,
    common::{finish, page, revision},
    movies::movie,
    values::{duration, local_date, money, optional, price, required, span, time, timestamp},
};
use crate::{
    app::PageRequest,
    domain::{
        ids::{AuditoriumId, ShowtimeId},
        movie::MovieId,
        showtime::{Filter, MAX_SPAN, MIN_DURATION, MIN_HOLD, NewShowtime, Showtime, State},
        violations::Violations,
    },
    pb::boxoffice::v1 as pb,
};

/// A start in the past is reported here only beside other violations. Alone it is refused by the app, because a repeated
/// request may arrive after the start and is answered first.
pub(crate) fn new_showtime(request: &pb::CreateShowtimeRequest, now: DateTime<Utc>) -> Result<NewShowtime, Violations> {
    let mut violations = Violations::new();
    let movie_id = violations.take("movie_id", MovieId::parse(&request.movie_id));
    let auditorium_id = violations.take("auditorium_id", AuditoriumId::parse(&request.auditorium_id));
    let start_time = violations.take("start_time", required(request.start_time).and_then(time));
    let length = required(request.duration).and_then(|length| span(length, MIN_DURATION, MAX_SPAN));
    let length = violations.take("duration", length);
    let price = violations.take("price", required(request.price.as_ref()).and_then(price));
    let hold = request.hold_duration.map(|hold| span(hold, MIN_HOLD, MAX_SPAN)).transpose();
    let hold_duration = violations.take("hold_duration", hold);
    if !violations.is_empty()
        && let Some(start) = start_time
    {
        violations.take("", NewShowtime::check_start(start, now));
    }
    let new = movie_id.zip(auditorium_id).zip(start_time).zip(length).zip(price).zip(hold_duration).map(
        |(((((movie_id, auditorium_id), start_time), duration), price), hold_duration)| NewShowtime {
            movie_id,
            auditorium_id,
            start_time,
            duration,
            price,
            hold_duration,
        },
    );
    finish(violations, new)
}

pub(crate) fn list_showtimes(request: pb::ListShowtimesRequest) -> Result<(Filter, PageRequest), Violations> {
    let mut violations = Violations::new();
    let auditorium_id = violations.take("auditorium_id", optional(&request.auditorium_id, AuditoriumId::parse));
    let movie_id = violations.take("movie_id", optional(&request.movie_id, MovieId::parse));
    let start_after = violations.take("start_after", request.start_after.map(time).transpose());
    let start_before = violations.take("start_before", request.start_before.map(time).transpose());
    let local_date = violations.take("local_date", optional(&request.local_date, local_date));
    let page = page(&mut violations, request.page_size, request.page_token);
    let filter = auditorium_id.zip(movie_id).zip(start_after).zip(start_before).zip(local_date).map(
        |((((auditorium_id, movie_id), start_after), start_before), local_date)| Filter {
            auditorium_id,
            movie_id,
            start_after,
            start_before,
            local_date,
            include_cancelled: request.include_cancelled,
        },
    );
    finish(violations, filter.map(|filter| (filter, page)))
}

pub(crate) fn showtime(showtime: &Showtime) -> pb::Showtime {
    let (facts, standing) = (&showtime.facts, showtime.standing);
    let (state, cancel_time) = match standing.state {
        State::Scheduled => (pb::ShowtimeState::Scheduled, None),
        State::Cancelled { at } => (pb::ShowtimeState::Cancelled, Some(timestamp(at))),
    };
    pb::Showtime {
        showtime_id: facts.showtime_id.to_string(),
        movie: Some(movie(&facts.movie.value, facts.movie.source, facts.movie.fetch_time)),
        auditorium: Some(auditorium(&facts.auditorium)),
        start_time: Some(timestamp(facts.start_time)),
        end_time: Some(timestamp(facts.end_time)),
        local_date: facts.local_date.to_string(),
        price: Some(money(facts.price)),
        hold_duration: Some(duration(facts.hold_duration)),
        state: state.into(),
        available_count: standing.available_count,
        revision: standing.revision,
        create_time: Some(timestamp(facts.create_time)),
        cancel_time,
    }
}

pub(crate) fn showtime_id(text: &str) -> Result<ShowtimeId, Violations> {
    let mut violations = Violations::new();
    let id = violations.take("showtime_id", ShowtimeId::parse(text));
    finish(violations, id)
}

/// Reads the showtime that a read names, and the revision that the answer must have reached.
pub(crate) fn showtime_at_least(id: &str, at_least_revision: i64) -> Result<(ShowtimeId, i64), Violations> {
    let mut violations = Violations::new();
    let id = violations.take("showtime_id", ShowtimeId::parse(id));
    revision(&mut violations, "at_least_revision", at_least_revision);
    finish(violations, id.map(|id| (id, at_least_revision)))
}
