//! What the provider says, made sense of: envelopes, failures in band, and fields that are all text.
//!
//! Pure. It promises that whatever the provider sends ends as a sane [`Movie`], a [`Content`] or a named [`Trouble`]:
//! garbled fields become empty or `None`, texts and lists are bounded, and "no such movie" is believed only when it is
//! said without contradiction. What the provider writes for people is never shown to ours.

use std::{sync::Arc, time::Duration};

use prost::Message as _;
use thiserror::Error;
use tonic::{Code, Status};

use super::entry::{Content, Key};
use crate::{
    domain::movie::{Movie, MovieId},
    pb::movies::{ResponseModel, ShowListResponse, ShowResponse},
};

/// More movies than this are not taken from one answer.
pub(super) const MOST_MOVIES: usize = 1_000;
/// More characters than this are cut off a text.
const MOST_CHARACTERS: usize = 1_000;
/// What data holds, by the end of its type URL: the provider's host and package are its own affair.
const SHOW: &str = "showResponse";
const SHOWS: &str = "showListResponse";
/// What in band means "no such movie".
const NOT_FOUND: i32 = 404;

/// Why an attempt brought no answer.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("gRPC status {0:?}")]
    Status(Code),
    #[error("failed in band with code {0}")]
    InBand(i32),
    #[error("an answer without sense: {0}")]
    Garbled(&'static str),
}

impl Trouble {
    /// As the metric has it.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::TimedOut(_) => "timed_out",
            Self::Status(_) => "failed",
            Self::InBand(_) | Self::Garbled(_) => "failed_in_band",
        }
    }

    /// Whether asking again may help. Asking the same thing wrongly twice does not.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::Garbled(_) => true,
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

    /// Whether it speaks against the provider as a whole. What it says of one question must not, or anybody could close
    /// the way for all with a question it dislikes.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::Garbled(_) => true,
            Self::Status(code) => !matches!(
                code,
                Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition | Code::AlreadyExists
            ),
            Self::InBand(code) => !matches!(code, 400..=499) || matches!(code, 401 | 403 | 408 | 429),
        }
    }
}

/// Reads a gRPC error.
pub(super) fn refused(key: &Key, status: &Status, timeout: Duration) -> Result<Content, Trouble> {
    match status.code() {
        Code::NotFound => Ok(key.nothing()),
        // The transport's own deadline says CANCELLED.
        Code::DeadlineExceeded | Code::Cancelled => Err(Trouble::TimedOut(timeout)),
        code => Err(Trouble::Status(code)),
    }
}

/// Reads an answer, which may be a failure in band.
pub(super) fn answered(key: &Key, answer: &ResponseModel) -> Result<Content, Trouble> {
    if !answer.success {
        return in_band(key, answer);
    }
    let data = answer.data.as_ref().ok_or(Trouble::Garbled("success without data"))?;
    let kind = data.type_url.rsplit(['/', '.']).next().unwrap_or_default();
    match (key, kind) {
        (Key::Movie(asked), SHOW) => {
            let show = ShowResponse::decode(data.value.as_slice()).map_err(|_| Trouble::Garbled("a broken show"))?;
            let movie = movie(&show).ok_or(Trouble::Garbled("a show without a usable id"))?;
            if !movie.movie_id.as_str().eq_ignore_ascii_case(asked.as_str()) {
                return Err(Trouble::Garbled("another show than was asked for"));
            }
            Ok(Content::Movie(Arc::new(movie)))
        }
        (Key::Search(_), SHOWS) => {
            let list =
                ShowListResponse::decode(data.value.as_slice()).map_err(|_| Trouble::Garbled("a broken list"))?;
            Ok(Content::Movies(Arc::new(movies(&list.shows))))
        }
        _ => Err(Trouble::Garbled("data of another type than was asked for")),
    }
}

/// "Not found" is told to callers and remembered, so it counts only when nothing else is said beside it.
fn in_band(key: &Key, answer: &ResponseModel) -> Result<Content, Trouble> {
    let codes = || answer.exceptions.iter().map(|exception| exception.status_code);
    if !answer.exceptions.is_empty() && codes().all(|code| code == NOT_FOUND) {
        return Ok(key.nothing());
    }
    Err(Trouble::InBand(codes().find(|code| *code != NOT_FOUND).unwrap_or_default()))
}

/// Those with a usable id, as many as we take.
pub(super) fn movies(shows: &[ShowResponse]) -> Vec<Movie> {
    shows.iter().filter_map(movie).take(MOST_MOVIES).collect()
}

/// A movie as we hold it, if it has a usable id.
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

/// The way back, for the cache: it reads as the provider's own.
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

/// One line, bounded.
fn text(raw: &str) -> String {
    raw.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST_CHARACTERS).collect()
}

/// Only what a browser may load: never `javascript:`, never cut in half.
fn uri(raw: &str) -> String {
    let raw = raw.trim();
    let fits = (raw.starts_with("https://") || raw.starts_with("http://"))
        && raw.len() <= 2 * MOST_CHARACTERS
        && !raw.contains(|c: char| c.is_control() || c.is_whitespace());
    if fits { raw.to_owned() } else { String::new() }
}

/// "8.8", or "8,8" where commas stand for points.
fn rating(raw: &str) -> Option<f64> {
    raw.trim().replace(',', ".").parse().ok().filter(|rating| (0.0..=10.0).contains(rating))
}

/// "2315432", "2,315,432", "2.315.432", "2 315 432": separators stand between groups of three.
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
