//! A row of the feed, read once for all subscribers, and the place of a subscriber in the feed.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use prost::{DecodeError, Message};

use crate::{
    domain::ids::ShowtimeId,
    pb::boxoffice::events::v1::{self as pb},
    store::{Error, FeedRow},
};

/// The events of one commit of one showtime.
#[derive(Debug)]
pub struct Row {
    /// The position in the feed.
    pub position: i64,
    /// The showtime.
    pub showtime_id: ShowtimeId,
    /// The events in their order.
    pub entries: Vec<Entry>,
    /// Tells this row from others that have had its position in another history of the database. It is not 0.
    pub mark: u32,
    /// The bytes that were read.
    pub(super) bytes: usize,
}

/// Rows that follow each other.
pub(super) struct Page {
    pub(super) rows: VecDeque<Arc<Row>>,
    /// Whether there may be more after them.
    pub(super) goes_on: bool,
}

/// An event, and its message to subscribers once it was encoded.
#[derive(Debug)]
pub struct Entry {
    /// The event.
    pub event: pb::Event,
    /// The event as it was read: a part of the row's bytes.
    stored: Bytes,
    /// Whether fields were added to the event when it was read. A letter has them in its bytes.
    has_added: bool,
    encoded: OnceLock<Bytes>,
}

/// The events of a row, each as it is stored. What the row has for other instances is in a field that this does not have.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct StoredEvents {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    events: Vec<Bytes>,
}

impl Entry {
    /// Reads an event that was stored by itself.
    ///
    /// # Errors
    /// These bytes are no event.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let event = pb::Event::decode(bytes).map_err(|error| Error::Unreadable {
            table: "dead_letters",
            key: String::new(),
            why: error.to_string(),
        })?;
        let stored = Bytes::copy_from_slice(bytes);
        Ok(Self { event, stored, has_added: false, encoded: OnceLock::new() })
    }

    /// The event, as in `events.proto`.
    #[must_use]
    pub fn data(&self) -> Vec<u8> {
        // The fields of a message may be in any order.
        [&self.stored[..], &self.added().encode_to_vec()].concat()
    }

    /// The length of the data.
    #[must_use]
    pub fn data_len(&self) -> usize {
        self.stored.len() + self.added().encoded_len()
    }

    /// The fields that were added, as an event that has nothing else.
    fn added(&self) -> pb::Event {
        if !self.has_added {
            return pb::Event::default();
        }
        let pb::Event { aggregate_type, revision_events, .. } = self.event;
        pb::Event {
            aggregate_type,
            aggregate_id: self.event.aggregate_id.clone(),
            revision_events,
            ..Default::default()
        }
    }

    /// The message to subscribers. It is the same for all, and encoded for the first.
    pub fn encoded(&self, encode: impl FnOnce(&pb::Event) -> Bytes) -> Bytes {
        self.encoded.get_or_init(|| encode(&self.event)).clone()
    }
}

impl Row {
    pub(super) fn read(row: FeedRow) -> Result<Self, Error> {
        let FeedRow { position, aggregate, seq, events } = row;
        let (bytes, mark) = (events.len(), mark(&events));
        let read = || {
            let stored = StoredEvents::decode(Bytes::from(events))?.events;
            let decoded = stored.into_iter().map(|stored| Ok((pb::Event::decode(&stored[..])?, stored)));
            decoded.collect::<Result<Vec<_>, DecodeError>>()
        };
        let read = read().map_err(|error| Error::Unreadable {
            table: "outbox",
            key: format!("{aggregate}/{seq}"),
            why: error.to_string(),
        })?;
        let mut events_of = BTreeMap::<i64, i32>::new();
        for (event, _) in &read {
            *events_of.entry(event.revision).or_default() += 1;
        }
        let delivered = |event: pb::Event| pb::Event {
            aggregate_type: pb::AggregateType::Showtime.into(),
            aggregate_id: event.showtime_id.clone(),
            revision_events: events_of.get(&event.revision).copied().unwrap_or_default(),
            ..event
        };
        let entry =
            |(event, stored)| Entry { event: delivered(event), stored, has_added: true, encoded: OnceLock::new() };
        let entries = read.into_iter().map(entry).collect();
        Ok(Self { position, showtime_id: ShowtimeId(aggregate), entries, mark, bytes })
    }
}

/// A digest of a row, after FNV-1a. A step takes eight bytes, since every reader computes it for each row.
fn mark(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let step = |hash: u64, word: &[u8; 8]| {
        let product = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x0000_0100_0000_01b3);
        // A product moves nothing from high bits to low ones.
        product ^ product >> 32
    };
    let hash = words.iter().fold(0xcbf2_9ce4_8422_2325, step);
    step(step(hash, &last), &(bytes.len() as u64).to_le_bytes()) as u32 | 1
}

/// The place of a subscriber in the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// All rows up to this position were delivered.
    pub after: i64,
    /// So many events of the next row were delivered, fewer than it has.
    pub sent: u32,
    /// The mark of the row of the last delivered event; 0 if it is not known.
    pub mark: u32,
}

impl Cursor {
    /// The place after this position.
    #[must_use]
    pub fn after(position: i64) -> Self {
        Self { after: position, sent: 0, mark: 0 }
    }

    /// The place after the event with this index of the row.
    #[must_use]
    pub fn past(row: &Row, index: usize) -> Self {
        if index + 1 >= row.entries.len() {
            Self { after: row.position, sent: 0, mark: row.mark }
        } else {
            Self { after: row.position - 1, sent: index as u32 + 1, mark: row.mark }
        }
    }

    /// The position of the row of the last delivered event.
    #[must_use]
    pub fn last(&self) -> i64 {
        self.after + i64::from(self.sent > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::boxoffice::events::v1::event::Payload;

    /// The field 15 with the number 1.
    const UNKNOWN: [u8; 2] = [15 << 3, 1];

    /// The row of these events, as it is stored, with what it has for other instances.
    fn row(events: Vec<pb::Event>) -> Row {
        let mut stored = vec![2 << 3 | 2, 3, 1, 2, 3];
        for event in events {
            // With a field that only a later version knows.
            let event = [event.encode_to_vec(), UNKNOWN.to_vec()].concat();
            stored.extend([1 << 3 | 2, u8::try_from(event.len()).unwrap()]);
            stored.extend(event);
        }
        Row::read(FeedRow { position: 7, aggregate: uuid::Uuid::from_u128(8), seq: 4, events: stored }).unwrap()
    }

    #[test]
    fn the_data_of_an_event_is_the_event_as_it_is_delivered() {
        let event = |revision, ordinal| pb::Event {
            showtime_id: "a".to_owned(),
            revision,
            ordinal,
            traceparent: "b".to_owned(),
            payload: Some(Payload::ShowtimeCancelled(pb::ShowtimeCancelled { confirmed_count: 3 })),
            ..pb::Event::default()
        };
        let row = row(vec![event(4, 0), event(4, 1), event(5, 0)]);
        for (entry, count) in row.entries.iter().zip([2, 2, 1]) {
            let read = pb::Event::decode(&*entry.data()).unwrap();
            assert_eq!((&read, read.revision_events), (&entry.event, count));
            assert_eq!((read.aggregate_id.as_str(), read.traceparent.as_str()), ("a", "b"));
            assert_eq!(entry.data().len(), entry.data_len());
            assert!(entry.data().windows(2).any(|bytes| bytes == UNKNOWN), "consumers may know it");
            // As a letter it has everything already.
            let letter = Entry::decode(&entry.data()).unwrap();
            assert_eq!((&letter.event, letter.data()), (&entry.event, entry.data()));
        }
    }

    #[test]
    fn the_mark_of_a_row_depends_on_each_byte_and_on_the_length() {
        let row: Vec<u8> = (1..=21).collect();
        let mut marks: Vec<_> = (0..=row.len()).map(|length| mark(&row[..length])).collect();
        for (at, bit) in (0..row.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut other = row.clone();
            other[at] ^= 1 << bit;
            marks.push(mark(&other));
        }
        marks.push(mark(&[&row[..], &[0]].concat()));
        let all = marks.len();
        marks.sort_unstable();
        marks.dedup();
        assert_eq!(marks.len(), all);
    }
}
