//! Movies, as the provider describes them.

use std::{fmt, sync::Arc};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::violations::Violations;

/// The provider's id of a movie, such as `tt1375666`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MovieId(Arc<str>);

impl MovieId {
    /// Reads an id that a caller wrote.
    ///
    /// # Errors
    /// The text cannot be the id of a movie. The path of the violation is empty.
    pub fn parse(text: &str) -> Result<Self, Violations> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(Violations::one("", "must have 1 to 64 letters, digits, hyphens or underscores"))
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MovieId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A movie. What the provider leaves out, or what cannot be read, is empty or `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Movie {
    /// Identifies the movie at the provider.
    pub movie_id: MovieId,
    /// The title, such as "Inception".
    pub title: String,
    /// The title with the year, such as "Inception (2010)".
    pub full_title: String,
    /// The year of release.
    pub year: Option<i32>,
    /// The address of the poster.
    pub image_uri: String,
    /// The director and the leading actors in one line.
    pub crew: String,
    /// The average rating, from 0 to 10.
    pub rating: Option<f64>,
    /// The number of ratings.
    pub rating_count: Option<i64>,
    /// The position in the provider's chart, from 1.
    pub rank: Option<i32>,
}

/// The source of an answer about movies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Source {
    /// The provider answered this request.
    Live,
    /// The cache, within the time for which an entry is fresh.
    Fresh,
    /// The cache, after that time, because the provider did not answer.
    Stale,
}

/// An answer with its source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sourced<T> {
    /// The answer.
    pub value: T,
    /// The source of the answer.
    pub source: Source,
    /// When the provider gave the answer.
    pub fetch_time: DateTime<Utc>,
}
