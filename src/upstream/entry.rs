//! What the cache holds: an answer of the provider, when it was given, and the key that it is stored under.
//!
//! Values only. How they are read from the provider's messages is in `wire`, how they are stored as bytes in `record`.

use std::{fmt, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use crate::domain::movie::{Movie, MovieId};

/// A longer search text is hashed, so that a key stays short whatever is searched for.
const MAX_TEXT_BYTES: usize = 64;

/// What the provider is asked for. Its text form is the key in Redis: the prefix has a version, which rises with every
/// change of the stored bytes that an older instance could not read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// One movie.
    Movie(MovieId),
    /// The movies with this text in their title; all movies if it is empty.
    Search(Arc<str>),
}

impl Key {
    /// The key of a search. White space is normalised. Case is not, because the provider may be case-sensitive, and the key
    /// alone must decide what the provider is asked.
    pub(super) fn search(text: &str) -> Self {
        Self::Search(text.split_whitespace().collect::<Vec<_>>().join(" ").into())
    }

    /// The content of a "not found" answer.
    pub(super) fn not_found(&self) -> Content {
        match self {
            Self::Movie(_) => Content::Absent,
            Self::Search(_) => Content::Movies(Arc::default()),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Movie(id) => write!(f, "boxoffice:v1:movie:{id}"),
            Self::Search(text) if text.len() <= MAX_TEXT_BYTES => write!(f, "boxoffice:v1:search:{text}"),
            Self::Search(text) => {
                f.write_str("boxoffice:v1:search:sha256-")?;
                Sha256::digest(text.as_bytes()).iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// What the provider answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    Movie(Arc<Movie>),
    Movies(Arc<Vec<Movie>>),
    /// There is no such movie.
    Absent,
}

/// An answer of the provider and when it was given.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) fetch_time: DateTime<Utc>,
    pub(super) content: Content,
}

impl Entry {
    /// The age at `now`. A fetch time in the future, left by a clock that was set back, counts as equally far in the past,
    /// so that such an entry does not stay fresh.
    pub(super) fn age(&self, now: DateTime<Utc>) -> Duration {
        (now - self.fetch_time).abs().to_std().unwrap_or(Duration::MAX)
    }

    /// Its approximate size in memory, in bytes.
    pub(super) fn weight(&self) -> u32 {
        fn of(movie: &Movie) -> usize {
            256 + movie.title.len() + movie.full_title.len() + movie.image_uri.len() + movie.crew.len()
        }
        let bytes = match &self.content {
            Content::Movie(movie) => of(movie),
            Content::Movies(movies) => 128 + movies.iter().map(of).sum::<usize>(),
            Content::Absent => 128,
        };
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}
