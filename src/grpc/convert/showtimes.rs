//! Showtimes.

use bytes::{BufMut as _, Bytes, BytesMut};
use chrono::{DateTime, Utc};
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint},
};

use super::{
    auditoriums::auditorium,
    common::{at_most, finish, page, revision},
    movies::movie,
    prices::{encoded_list, prices, showtime_sales},
    values::{duration, local_date, money, optional, required, span, time, timestamp},
};
use crate::{
    app::{PageRequest, ShowtimePage, SoldLines},
    domain::{
        ids::{AuditoriumId, ShowtimeId},
        movie::MovieId,
        showtime::{Facts, Filter, MAX_SPAN, MIN_DURATION, MIN_HOLD, NewShowtime, Phase, Showtime, Standing, State},
        violations::Violations,
    },
    pb::boxoffice::v1 as pb,
};

/// States that the contract accepts in one filter.
const MAX_STATES: usize = 8;
/// The number of the fields `showtime` of `GetShowtimeResponse` and `showtimes` of `ListShowtimesResponse`.
const SHOWTIME: u32 = 1;
/// What a showtime takes in a response, for the first guess of the buffer's size.
const TYPICAL_BYTES: usize = 512;

/// A start in the past is reported here only beside other violations. Alone it is refused by the app, because a repeated
/// request may arrive after the start and is answered first.
pub(crate) fn new_showtime(request: &pb::CreateShowtimeRequest, now: DateTime<Utc>) -> Result<NewShowtime, Violations> {
    let mut violations = Violations::new();
    let movie_id = violations.take("movie_id", MovieId::parse(&request.movie_id));
    let auditorium_id = violations.take("auditorium_id", AuditoriumId::parse(&request.auditorium_id));
    let start_time = violations.take("start_time", required(request.start_time).and_then(time));
    let length = required(request.duration).and_then(|length| span(length, MIN_DURATION, MAX_SPAN));
    let length = violations.take("duration", length);
    let prices = violations.take("", prices(request.price.as_ref(), request.price_list.as_ref()));
    let hold = request.hold_duration.map(|hold| span(hold, MIN_HOLD, MAX_SPAN)).transpose();
    let hold_duration = violations.take("hold_duration", hold);
    if !violations.is_empty()
        && let Some(start) = start_time
    {
        violations.take("", NewShowtime::check_start(start, now));
    }
    let new = movie_id.zip(auditorium_id).zip(start_time).zip(length).zip(prices).zip(hold_duration).map(
        |(((((movie_id, auditorium_id), start_time), duration), prices), hold_duration)| NewShowtime {
            movie_id,
            auditorium_id,
            start_time,
            duration,
            prices,
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
    at_most(&mut violations, "cinema", &request.cinema, 100);
    let states = violations.take("states", states(&request.states));
    let page = page(&mut violations, request.page_size, request.page_token);
    let filter = auditorium_id.zip(movie_id).zip(start_after).zip(start_before).zip(local_date).zip(states).map(
        |(((((auditorium_id, movie_id), start_after), start_before), local_date), states)| Filter {
            cinema: (!request.cinema.is_empty()).then_some(request.cinema),
            auditorium_id,
            movie_id,
            start_after,
            start_before,
            local_date,
            include_cancelled: request.include_cancelled,
            states,
        },
    );
    finish(violations, filter.map(|filter| (filter, page)))
}

fn states(states: &[i32]) -> Result<Vec<Phase>, Violations> {
    let mut violations = Violations::new();
    if states.len() > MAX_STATES {
        violations.add("", format!("must have at most {MAX_STATES} states"));
    }
    let mut phases = Vec::new();
    for (index, state) in states.iter().enumerate().take(MAX_STATES) {
        let phase = match pb::ShowtimeState::try_from(*state) {
            Ok(pb::ShowtimeState::Scheduled) => Phase::Scheduled,
            Ok(pb::ShowtimeState::Cancelled) => Phase::Cancelled,
            Ok(pb::ShowtimeState::Unspecified) | Err(_) => {
                violations.add(format!("[{index}]"), "must be a known state");
                continue;
            }
        };
        if !phases.contains(&phase) {
            phases.push(phase);
        }
    }
    finish(violations, Some(phases))
}

pub(crate) fn showtime(showtime: &Showtime) -> pb::Showtime {
    let standing = standing_fields(showtime.standing);
    pb::Showtime {
        state: standing.state,
        available_count: standing.available_count,
        revision: standing.revision,
        cancel_time: standing.cancel_time,
        ..fact_fields(&showtime.facts)
    }
}

/// The fields that never change.
fn fact_fields(facts: &Facts) -> pb::Showtime {
    pb::Showtime {
        showtime_id: facts.showtime_id.to_string(),
        movie: Some(movie(&facts.movie.value, facts.movie.source, facts.movie.fetch_time)),
        auditorium: Some(auditorium(&facts.auditorium)),
        start_time: Some(timestamp(facts.start_time)),
        end_time: Some(timestamp(facts.end_time)),
        local_date: facts.local_date.to_string(),
        price: Some(money(facts.prices.price())),
        price_list: Some(encoded_list(&facts.prices)),
        hold_duration: Some(duration(facts.hold_duration)),
        create_time: Some(timestamp(facts.create_time)),
        ..pb::Showtime::default()
    }
}

/// The fields that change.
fn standing_fields(standing: Standing) -> pb::Showtime {
    let (state, cancel_time) = match standing.state {
        State::Scheduled => (pb::ShowtimeState::Scheduled, None),
        State::Cancelled { at } => (pb::ShowtimeState::Cancelled, Some(timestamp(at))),
    };
    pb::Showtime {
        state: state.into(),
        available_count: standing.available_count,
        revision: standing.revision,
        cancel_time,
        ..pb::Showtime::default()
    }
}

/// Encodes a showtime as a `GetShowtimeResponse`.
pub(crate) fn encoded_showtime(showtime: &Showtime, sales: Option<&SoldLines>) -> Bytes {
    let mut bytes = BytesMut::with_capacity(TYPICAL_BYTES);
    put_showtime(showtime, &mut bytes);
    if let Some(sold) = sales {
        let sales = Some(showtime_sales(&showtime.facts.prices, sold));
        pb::GetShowtimeResponse { showtime: None, sales }.encode_raw(&mut bytes);
    }
    bytes.freeze()
}

/// Encodes a page as a `ListShowtimesResponse`.
pub(crate) fn encoded_page(page: &ShowtimePage) -> Bytes {
    let mut bytes = BytesMut::with_capacity(page.showtimes.len() * TYPICAL_BYTES + TYPICAL_BYTES);
    for showtime in &page.showtimes {
        put_showtime(showtime, &mut bytes);
    }
    let rest = pb::ListShowtimesResponse { showtimes: Vec::new(), next_page_token: page.next.clone() };
    rest.encode_raw(&mut bytes);
    bytes.freeze()
}

/// Encodes a showtime as a field of a response. The fields that never change are encoded once, and only the others are encoded
/// for each response.
fn put_showtime(showtime: &Showtime, bytes: &mut BytesMut) {
    let facts = showtime.facts.encoded.get_or_encode(|| fact_fields(&showtime.facts).encode_to_vec());
    let standing = standing_fields(showtime.standing);
    encode_key(SHOWTIME, WireType::LengthDelimited, bytes);
    encode_varint((facts.len() + standing.encoded_len()) as u64, bytes);
    bytes.put_slice(facts);
    standing.encode_raw(bytes);
}

/// Reads the showtime to cancel, whether that is forced, and the revision that it must have.
pub(crate) fn cancel_showtime(
    request: &pb::CancelShowtimeRequest,
) -> Result<(ShowtimeId, bool, Option<i64>), Violations> {
    let mut violations = Violations::new();
    let id = violations.take("showtime_id", ShowtimeId::parse(&request.showtime_id));
    revision(&mut violations, "expected_revision", request.expected_revision);
    let expected = (request.expected_revision > 0).then_some(request.expected_revision);
    finish(violations, id.map(|id| (id, request.force, expected)))
}

/// Reads the showtime that a read names.
pub(crate) fn showtime_id(id: &str) -> Result<ShowtimeId, Violations> {
    let mut violations = Violations::new();
    let id = violations.take("showtime_id", ShowtimeId::parse(id));
    finish(violations, id)
}

/// Reads the showtime that a read names, and the revision that the answer must have reached.
pub(crate) fn showtime_at_least(id: &str, at_least_revision: i64) -> Result<(ShowtimeId, i64), Violations> {
    let mut violations = Violations::new();
    let id = violations.take("showtime_id", ShowtimeId::parse(id));
    revision(&mut violations, "at_least_revision", at_least_revision);
    finish(violations, id.map(|id| (id, at_least_revision)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoded_standing_and_facts_are_one_message() {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap_or_default();
        for state in [State::Scheduled, State::Cancelled { at }] {
            let standing = Standing { state, available_count: 7, revision: 9 };
            let facts = pb::Showtime {
                showtime_id: "an id".to_owned(),
                local_date: "2027-02-28".to_owned(),
                ..pb::Showtime::default()
            };
            let mut bytes = facts.encode_to_vec();
            standing_fields(standing).encode_raw(&mut bytes);
            let read = pb::Showtime::decode(&*bytes).ok();
            let fields = standing_fields(standing);
            let whole = pb::Showtime { showtime_id: facts.showtime_id, local_date: facts.local_date, ..fields };
            assert_eq!(read, Some(whole));
        }
    }
}
