//! The conversion of the provider's messages: envelopes, failures in band, and fields that are all text.
//!
//! Pure. Whatever the provider sends becomes a valid [`Movie`], a [`Content`] or an [`AttemptError`]. Invalid fields become
//! empty or `None`, texts and lists are bounded, and "no such movie" is accepted only if no other error is reported with
//! it. The provider's own error messages are not passed on to callers.

use std::{sync::Arc, time::Duration};

use prost::Message as _;
use thiserror::Error;
use tonic::{Code, Status};

use super::entry::{Content, Key};
use crate::{
    domain::movie::{Movie, MovieId},
    pb::movies::{ResponseModel, ShowListResponse, ShowResponse},
};

/// The number of movies taken from one answer. Further ones are dropped.
pub(super) const MAX_MOVIES: usize = 1_000;
/// The number of characters taken from one text. Further ones are cut off.
const MAX_CHARACTERS: usize = 1_000;
/// The last part of the type URL of one movie. The parts before it may change without notice.
const SHOW: &str = "showResponse";
/// The last part of the type URL of a list of movies.
const SHOWS: &str = "showListResponse";
/// The code in band that means "no such movie".
const NOT_FOUND: i32 = 404;

/// Why an attempt has no answer.
#[derive(Debug, Error)]
pub(super) enum AttemptError {
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("gRPC status {0:?}")]
    Status(Code),
    #[error("failure in band with code {0}")]
    InBand(i32),
    #[error("invalid answer: {0}")]
    Invalid(&'static str),
}

impl AttemptError {
    /// The value of the metric's label `outcome`.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::TimedOut(_) => "timed_out",
            Self::Status(_) => "failed",
            Self::InBand(_) | Self::Invalid(_) => "failed_in_band",
        }
    }

    /// Whether another attempt may succeed. An error that the request itself causes comes again.
    pub(super) fn is_retryable(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::Invalid(_) => true,
            Self::Status(code) => !matches!(
                code,
                Code::InvalidArgument
                    | Code::OutOfRange
                    | Code::FailedPrecondition
                    | Code::AlreadyExists
                    | Code::Unauthenticated
                    | Code::PermissionDenied
                    | Code::Unimplemented
            ),
            Self::InBand(code) => !matches!(code, 400..=499) || matches!(code, 408 | 429),
        }
    }

    /// Whether the failure counts for the circuit breaker, because it concerns the provider as a whole. One that concerns
    /// a single request does not count: otherwise a caller could open the breaker for all by sending bad requests.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::Invalid(_) => true,
            Self::Status(code) => !matches!(
                code,
                Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition | Code::AlreadyExists
            ),
            Self::InBand(code) => !matches!(code, 400..=499) || matches!(code, 401 | 403 | 408 | 429),
        }
    }
}

/// The result of an attempt that ended with a gRPC error.
pub(super) fn from_status(key: &Key, status: &Status, timeout: Duration) -> Result<Content, AttemptError> {
    match status.code() {
        Code::NotFound => Ok(key.not_found()),
        // When the deadline passes in the transport, tonic returns CANCELLED.
        Code::DeadlineExceeded | Code::Cancelled => Err(AttemptError::TimedOut(timeout)),
        code => Err(AttemptError::Status(code)),
    }
}

/// The result of an attempt that ended with an answer. The answer may be a failure in band.
pub(super) fn from_answer(key: &Key, answer: &ResponseModel) -> Result<Content, AttemptError> {
    if !answer.success {
        return in_band(key, answer);
    }
    let data = answer.data.as_ref().ok_or(AttemptError::Invalid("success without data"))?;
    let kind = data.type_url.rsplit(['/', '.']).next().unwrap_or_default();
    match (key, kind) {
        (Key::Movie(requested), SHOW) => {
            let show = ShowResponse::decode(data.value.as_slice())
                .map_err(|_| AttemptError::Invalid("the movie does not decode"))?;
            let movie = movie(&show).ok_or(AttemptError::Invalid("the movie has no valid id"))?;
            if !movie.movie_id.as_str().eq_ignore_ascii_case(requested.as_str()) {
                return Err(AttemptError::Invalid("the movie has another id than was requested"));
            }
            Ok(Content::Movie(Arc::new(movie)))
        }
        (Key::Search(_), SHOWS) => {
            let list = ShowListResponse::decode(data.value.as_slice())
                .map_err(|_| AttemptError::Invalid("the list of movies does not decode"))?;
            Ok(Content::Movies(Arc::new(movies(&list.shows))))
        }
        _ => Err(AttemptError::Invalid("the data has another type than was requested")),
    }
}

/// "Not found" is passed on to callers and cached, so it counts only if no other error is reported with it.
fn in_band(key: &Key, answer: &ResponseModel) -> Result<Content, AttemptError> {
    let codes = || answer.exceptions.iter().map(|exception| exception.status_code);
    if !answer.exceptions.is_empty() && codes().all(|code| code == NOT_FOUND) {
        return Ok(key.not_found());
    }
    Err(AttemptError::InBand(codes().find(|code| *code != NOT_FOUND).unwrap_or_default()))
}

/// The movies with a valid id, at most [`MAX_MOVIES`].
pub(super) fn movies(shows: &[ShowResponse]) -> Vec<Movie> {
    shows.iter().filter_map(movie).take(MAX_MOVIES).collect()
}

/// The movie, or `None` if its id is not valid.
pub(super) fn movie(show: &ShowResponse) -> Option<Movie> {
    Some(Movie {
        movie_id: MovieId::parse(show.id.trim()).ok()?,
        title: text(&show.title),
        full_title: text(&show.full_title),
        year: show.year.trim().parse().ok().filter(|year| (1_800..=2_200).contains(year)),
        image_uri: uri(&show.image),
        crew: text(&show.crew),
        rating: rating(&show.im_db_rating),
        rating_count: count(&show.im_db_rating_count),
        rank: show.rank.trim().parse().ok().filter(|rank| *rank > 0),
    })
}

/// The reverse of [`movie`], for the cache.
pub(super) fn show(movie: &Movie) -> ShowResponse {
    fn number(value: Option<impl ToString>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    ShowResponse {
        id: movie.movie_id.as_str().to_owned(),
        rank: number(movie.rank),
        title: movie.title.clone(),
        full_title: movie.full_title.clone(),
        year: number(movie.year),
        image: movie.image_uri.clone(),
        crew: movie.crew.clone(),
        im_db_rating: number(movie.rating),
        im_db_rating_count: number(movie.rating_count),
    }
}

/// The text as one line of at most [`MAX_CHARACTERS`].
fn text(raw: &str) -> String {
    raw.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_CHARACTERS).collect()
}

/// The URI if it is http or https and not too long, else an empty text. Browsers load it, so `javascript:` must not pass.
fn uri(raw: &str) -> String {
    let raw = raw.trim();
    let fits = (raw.starts_with("https://") || raw.starts_with("http://"))
        && raw.len() <= 2 * MAX_CHARACTERS
        && !raw.contains(|c: char| c.is_control() || c.is_whitespace());
    if fits { raw.to_owned() } else { String::new() }
}

/// A rating such as "8.8", or "8,8" with a decimal comma.
fn rating(raw: &str) -> Option<f64> {
    raw.trim().replace(',', ".").parse().ok().filter(|rating| (0.0..=10.0).contains(rating))
}

/// A count such as "2315432", "2,315,432", "2.315.432" or "2 315 432". Separators are accepted between groups of three
/// digits.
fn count(raw: &str) -> Option<i64> {
    let separator = |c: char| matches!(c, ',' | '.' | ' ' | '\u{a0}' | '\u{202f}' | '\'' | '’' | '_');
    let mut groups = raw.trim().split(separator);
    let digits = |group: &str| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit());
    let mut joined = groups.next().filter(|group| digits(group))?.to_owned();
    for group in groups {
        if !digits(group) || group.len() != 3 {
            return None;
        }
        joined.push_str(group);
    }
    joined.parse().ok()
}
