//! An event as a message of a broker: the attributes of a `CloudEvent`, and the event as its data.

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat, Utc};

use crate::feed::{Entry, Row};

/// The content type of the data.
pub(super) const CONTENT_TYPE: &str = "application/protobuf";

/// An event as a message. Its attributes and its data are made when it is sent, while others wait for their confirmation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// The position of the event's row in the feed.
    pub(super) position: i64,
    /// The index of the event in its row.
    pub(super) index: usize,
    /// The epoch of the database, where a consumer cannot see it otherwise. With another one events may come again that are others.
    pub(super) epoch: Option<&'a str>,
    pub(super) entry: &'a Entry,
}

impl<'a> Message<'a> {
    /// The messages of a row.
    pub(super) fn of(row: &'a Row, epoch: Option<&'a str>) -> impl Iterator<Item = Self> {
        let message = move |(index, entry)| Self { position: row.position, index, epoch, entry };
        row.entries.iter().enumerate().map(message)
    }

    /// What the event is of. Its events are delivered in their order.
    pub(super) fn aggregate(&self) -> &'a str {
        self.entry.aggregate()
    }

    /// When it happened.
    pub(super) fn time(&self) -> Option<DateTime<Utc>> {
        let time = self.entry.time()?;
        DateTime::from_timestamp(time.seconds, time.nanos.cast_unsigned())
    }

    /// The event, as in `events.proto`.
    pub(super) fn data(&self) -> Vec<u8> {
        self.entry.data()
    }

    /// The length of the data.
    pub(super) fn data_len(&self) -> usize {
        self.entry.data_len()
    }

    /// The attributes of the `CloudEvent` by their names, without the content type.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (&'static str, Cow<'a, str>)> {
        let time = self.time().map(|time| time.to_rfc3339_opts(SecondsFormat::Micros, true));
        let always = [
            ("id", self.entry.id().into()),
            ("type", self.event_type().into()),
            ("specversion", "1.0".into()),
            ("source", self.entry.source().into()),
            ("subject", self.entry.subject().into()),
            ("partitionkey", self.aggregate().into()),
        ];
        let sometimes = [
            ("epoch", self.epoch.unwrap_or_default().into()),
            ("time", time.unwrap_or_default().into()),
            ("traceparent", self.entry.traceparent().into()),
        ];
        always.into_iter().chain(sometimes.into_iter().filter(|(_, value): &(_, Cow<'_, str>)| !value.is_empty()))
    }

    /// The name of the event, as in `ReservationConfirmed`.
    pub(super) fn name(&self) -> &'static str {
        self.entry.kind()
    }

    /// The type of the `CloudEvent`, as in `boxoffice.v1.ReservationConfirmed`.
    pub(super) fn event_type(&self) -> &'static str {
        self.entry.event_type()
    }

    /// Tells the event from one of another history of the database that has its id.
    pub(super) fn unique_id(&self) -> String {
        format!("{}@{}", self.entry.id(), self.time().unwrap_or_default().timestamp_micros())
    }
}
