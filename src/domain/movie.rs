//! Movies, as the provider describes them.

use std::{fmt, sync::Arc};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::violations::Violations;

/// The provider's name for a movie, `tt1375666`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MovieId(Arc<str>);

impl MovieId {
    /// Reads the id as a caller wrote it.
    ///
    /// # Errors
    /// Says, under an empty path, what an id looks like.
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

/// A movie. What the provider leaves out or garbles is empty or `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Movie {
    /// The provider's id.
    pub movie_id: MovieId,
    /// "Inception"
    pub title: String,
    /// "Inception (2010)"
    pub full_title: String,
    /// The year of release.
    pub year: Option<i32>,
    /// Where its poster can be had.
    pub image_uri: String,
    /// Director and leading actors, as one line.
    pub crew: String,
    /// 0 to 10.
    pub rating: Option<f64>,
    /// How many people rated it.
    pub rating_count: Option<i64>,
    /// Its place in the provider's chart.
    pub rank: Option<i32>,
}

/// Where an answer about movies comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Source {
    /// The provider, just now.
    Live,
    /// The cache, within the fresh window.
    Fresh,
    /// The cache, beyond the fresh window, because the provider did not answer.
    Stale,
}

/// An answer with its provenance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sourced<T> {
    /// The answer.
    pub value: T,
    /// Where it comes from.
    pub source: Source,
    /// When the provider gave it.
    pub fetch_time: DateTime<Utc>,
}
