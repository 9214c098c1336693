//! An event as a message of a broker: the attributes of a `CloudEvent`, and the event as its data.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use prost::Message as _;

use crate::feed::{Entry, Row};

/// The content type of the data.
pub(super) const CONTENT_TYPE: &str = "application/protobuf";

/// An event as a message.
#[derive(Debug)]
pub(super) struct Message {
    /// The position of the event's row in the feed.
    pub(super) position: i64,
    /// The index of the event in its row.
    pub(super) index: usize,
    /// What the event is of. Its events are delivered in their order.
    pub(super) aggregate: String,
    /// The id of the `CloudEvent`.
    pub(super) id: String,
    /// The type of the `CloudEvent`, as in `boxoffice.v1.ReservationConfirmed`.
    pub(super) event_type: String,
    /// When it happened.
    pub(super) time: DateTime<Utc>,
    /// The epoch of the database, where a consumer cannot see it otherwise. With another one events may come again that are others.
    pub(super) epoch: Option<Arc<str>>,
    source: String,
    subject: String,
    /// The time as text; empty if there is none.
    time_text: String,
    traceparent: String,
    /// The event, as in `events.proto`.
    pub(super) data: Bytes,
}

impl Message {
    /// The messages of a row.
    pub(super) fn of(row: &Row) -> impl Iterator<Item = Self> + '_ {
        row.entries.iter().enumerate().map(|(index, entry)| Self::new(row.position, index, entry))
    }

    /// The message of an event at this place of the feed.
    pub(super) fn new(position: i64, index: usize, entry: &Entry) -> Self {
        let event = &entry.event;
        let time = event.time.as_ref();
        let time = time.and_then(|time| DateTime::from_timestamp(time.seconds, time.nanos.cast_unsigned()));
        Self {
            position,
            index,
            aggregate: event.aggregate_id.clone(),
            id: entry.id(),
            event_type: entry.event_type(),
            time: time.unwrap_or_default(),
            epoch: None,
            source: entry.source(),
            subject: entry.subject().to_owned(),
            time_text: time.map_or_else(String::new, |time| time.to_rfc3339_opts(SecondsFormat::Micros, true)),
            traceparent: event.traceparent.clone(),
            data: event.encode_to_vec().into(),
        }
    }

    /// The attributes of the `CloudEvent` by their names, without the content type.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let always = [
            ("id", self.id.as_str()),
            ("type", &self.event_type),
            ("specversion", "1.0"),
            ("source", &self.source),
            ("subject", &self.subject),
            ("partitionkey", &self.aggregate),
        ];
        let sometimes = [
            ("epoch", self.epoch.as_deref().unwrap_or_default()),
            ("time", &self.time_text),
            ("traceparent", &self.traceparent),
        ];
        always.into_iter().chain(sometimes.into_iter().filter(|(_, value)| !value.is_empty()))
    }

    /// The name of the event, as in `ReservationConfirmed`.
    pub(super) fn name(&self) -> &str {
        self.event_type.rsplit('.').next().unwrap_or_default()
    }

    /// Tells the event from one of another history of the database that has its id.
    pub(super) fn unique_id(&self) -> String {
        format!("{}@{}", self.id, self.time.timestamp_micros())
    }
}
