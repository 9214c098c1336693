//! What the cache holds: under which key, in which bytes.
//!
//! The bytes are protobuf, versioned by the key's prefix: a change that old instances could not read takes a new prefix.
//! What does not decode is a miss, never an error.

use std::{fmt, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use prost::Message;
use sha2::{Digest as _, Sha256};

use super::wire;
use crate::{
    domain::movie::{Movie, MovieId},
    pb::movies::ShowResponse,
};

/// Longer texts are hashed: a key stays short whatever people search for.
const LONGEST_TEXT: usize = 64;

/// A question to the provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// One movie.
    Movie(MovieId),
    /// Titles with this text in them; empty means all.
    Search(Arc<str>),
}

impl Key {
    /// Spaces are normalised, letters are not: whether the provider minds their case is its own affair, and what is
    /// asked must follow from the key alone.
    pub(super) fn search(text: &str) -> Self {
        Self::Search(text.split_whitespace().collect::<Vec<_>>().join(" ").into())
    }

    /// The provider's answer when it has none.
    pub(super) fn nothing(&self) -> Content {
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
            Self::Search(text) if text.len() <= LONGEST_TEXT => write!(f, "boxoffice:v1:search:{text}"),
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

/// An answer and when it was given.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) fetch_time: DateTime<Utc>,
    pub(super) content: Content,
}

/// The bytes of an entry. A movie's entry has one show, or none if there is no such movie; a search's has its hits.
#[derive(Clone, PartialEq, Message)]
struct Record {
    /// Microseconds since 1970. Never 0, so that emptied bytes are no record.
    #[prost(int64, tag = "1")]
    fetch_time: i64,
    #[prost(message, repeated, tag = "2")]
    shows: Vec<ShowResponse>,
}

impl Entry {
    /// How old it is at `now`. A time in the future, from a clock that was set back, counts as just as old: such an entry
    /// is not fresh for ever.
    pub(super) fn age(&self, now: DateTime<Utc>) -> Duration {
        (now - self.fetch_time).abs().to_std().unwrap_or(Duration::MAX)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let shows = match &self.content {
            Content::Movie(movie) => vec![wire::show(movie)],
            Content::Movies(movies) => movies.iter().map(wire::show).collect(),
            Content::Absent => Vec::new(),
        };
        Record { fetch_time: self.fetch_time.timestamp_micros(), shows }.encode_to_vec()
    }

    /// `None` for anything that is no whole entry for this key.
    pub(super) fn decode(key: &Key, bytes: &[u8]) -> Option<Self> {
        let record = Record::decode(bytes).ok().filter(|record| record.fetch_time != 0)?;
        let content = match (key, record.shows.as_slice()) {
            (Key::Movie(_), []) => Content::Absent,
            (Key::Movie(_), [show]) => Content::Movie(Arc::new(wire::movie(show)?)),
            (Key::Movie(_), _) => return None,
            (Key::Search(_), shows) => Content::Movies(Arc::new(wire::movies(shows))),
        };
        Some(Self { fetch_time: DateTime::from_timestamp_micros(record.fetch_time)?, content })
    }

    /// Its place in memory, roughly, in bytes.
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
