//! An event as a message of a broker: the attributes of a `CloudEvent`, and the event as its data.

use chrono::{DateTime, SecondsFormat, Utc};
use prost::Message as _;

use crate::feed::{Entry, Row};

/// The content type of the data.
const CONTENT_TYPE: &str = "application/protobuf";

/// An event as a message.
#[derive(Debug)]
pub(super) struct Message {
    /// The position of the event's row in the feed.
    pub(super) position: i64,
    /// The index of the event in its row.
    pub(super) index: usize,
    /// The attributes of the `CloudEvent` by their names.
    pub(super) attributes: Vec<(&'static str, String)>,
    /// The event, as in `events.proto`.
    pub(super) data: Vec<u8>,
}

impl Message {
    /// The messages of a row.
    pub(super) fn of(row: &Row) -> impl Iterator<Item = Self> + '_ {
        row.entries.iter().enumerate().map(|(index, entry)| Self {
            position: row.position,
            index,
            attributes: attributes(entry),
            data: entry.event.encode_to_vec(),
        })
    }
}

fn attributes(entry: &Entry) -> Vec<(&'static str, String)> {
    let event = &entry.event;
    let time = event.time.as_ref().and_then(|time| DateTime::from_timestamp(time.seconds, time.nanos.cast_unsigned()));
    let mut attributes = vec![
        ("specversion", "1.0".to_owned()),
        ("id", entry.id()),
        ("source", entry.source()),
        ("type", entry.event_type()),
        ("subject", entry.subject().to_owned()),
        ("datacontenttype", CONTENT_TYPE.to_owned()),
        ("partitionkey", event.aggregate_id.clone()),
    ];
    if let Some(time) = time {
        attributes.push(("time", DateTime::<Utc>::to_rfc3339_opts(&time, SecondsFormat::Micros, true)));
    }
    if !event.traceparent.is_empty() {
        attributes.push(("traceparent", event.traceparent.clone()));
    }
    attributes
}
