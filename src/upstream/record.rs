//! The stored form of a cache entry: protobuf bytes.
//!
//! Bytes that do not decode as a whole entry for their key are a miss, never an error.

use std::sync::Arc;

use chrono::DateTime;
use prost::Message;

use super::{
    entry::{Content, Entry, Key},
    wire,
};
use crate::pb::movies::ShowResponse;

/// The entry of a movie has one show, or none if there is no such movie. The entry of a search has the movies found.
#[derive(Clone, PartialEq, Message)]
struct Record {
    /// When the answer was fetched, in microseconds since 1970. An entry with 0 is refused, because empty bytes decode to 0.
    #[prost(int64, tag = "1")]
    fetch_time: i64,
    #[prost(message, repeated, tag = "2")]
    shows: Vec<ShowResponse>,
}

pub(super) fn encode(entry: &Entry) -> Vec<u8> {
    let shows = match &entry.content {
        Content::Movie(movie) => vec![wire::show(movie)],
        Content::Movies(movies) => movies.iter().map(wire::show).collect(),
        Content::Absent => Vec::new(),
    };
    Record { fetch_time: entry.fetch_time.timestamp_micros(), shows }.encode_to_vec()
}

/// `None` for bytes that are not a whole entry for this key.
pub(super) fn decode(key: &Key, bytes: &[u8]) -> Option<Entry> {
    let record = Record::decode(bytes).ok().filter(|record| record.fetch_time != 0)?;
    let content = match (key, record.shows.as_slice()) {
        (Key::Movie(_), []) => Content::Absent,
        (Key::Movie(_), [show]) => Content::Movie(Arc::new(wire::movie(show)?)),
        (Key::Movie(_), _) => return None,
        (Key::Search(_), shows) => Content::Movies(Arc::new(wire::movies(shows))),
    };
    Some(Entry { fetch_time: DateTime::from_timestamp_micros(record.fetch_time)?, content })
}
