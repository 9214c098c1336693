//! A row of the feed, read once for all subscribers, and the place of a subscriber in the feed.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use prost::{DecodeError, Message};

use super::entry::{Entry, Envelope};
use crate::{
    domain::ids::ShowtimeId,
    store::{Error, FeedRow},
};

/// The events of one commit of one aggregate.
#[derive(Debug)]
pub struct Row {
    /// The position in the feed.
    pub position: i64,
    /// The showtime that the events are about. `None`: a later release has written them, about something else.
    pub showtime_id: Option<ShowtimeId>,
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

/// The events of a row, each as it is stored. What the row has for other instances is in a field that this does not have.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct StoredEvents {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    events: Vec<Bytes>,
}

impl Row {
    pub(super) fn read(row: FeedRow) -> Result<Self, Error> {
        let FeedRow { position, aggregate, seq, events } = row;
        let (bytes, mark) = (events.len(), mark(&events));
        let read = || {
            let stored = StoredEvents::decode(Bytes::from(events))?.events;
            let read = stored.into_iter().map(|stored| Ok((Envelope::read(&stored, aggregate)?, stored)));
            read.collect::<Result<Vec<_>, DecodeError>>()
        };
        let read = read().map_err(|error| Error::Unreadable {
            table: "outbox",
            key: format!("{aggregate}/{seq}"),
            why: error.to_string(),
        })?;
        // The events of a revision follow each other, and have the same fields added.
        let revisions = read.chunk_by(|(event, _), (next, _)| event.revision == next.revision);
        let added = revisions.flat_map(|events| {
            let added = events.first().map(|(event, _)| event.added(events.len())).unwrap_or_default();
            std::iter::repeat_n(added, events.len())
        });
        let added: Vec<_> = added.collect();
        let showtime_id = read.first().and_then(|(event, _)| event.showtime_id());
        let entry = |((envelope, stored), added)| Entry::new(envelope, stored, added);
        let entries = read.into_iter().zip(added).map(entry).collect();
        Ok(Self { position, showtime_id, entries, mark, bytes })
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
    use crate::pb::boxoffice::events::v1::{self as pb, event::Payload};

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
        let events = [event(4, 0), event(4, 1), event(5, 0)];
        for (entry, (event, revision_events)) in
            row(events.to_vec()).entries.iter().zip(events.into_iter().zip([2, 2, 1]))
        {
            let (aggregate_type, aggregate_id) = (pb::AggregateType::Showtime.into(), "a".to_owned());
            let delivered = pb::Event { aggregate_type, aggregate_id, revision_events, ..event };
            assert_eq!(pb::Event::decode(&*entry.data()).unwrap(), delivered);
            assert_eq!((entry.aggregate(), entry.traceparent(), entry.kind()), ("a", "b", "ShowtimeCancelled"));
            assert_eq!(entry.data().len(), entry.data_len());
            assert!(entry.data().windows(2).any(|bytes| bytes == UNKNOWN), "consumers may know it");
            // As a letter it has everything already.
            let letter = Entry::decode(&entry.data()).unwrap();
            assert_eq!((letter.id(), letter.aggregate(), letter.data()), (entry.id(), entry.aggregate(), entry.data()));
        }
    }

    #[test]
    fn an_event_of_a_purchase_has_the_id_of_its_row_and_the_showtime_that_it_is_about() {
        let (showtime, purchase) = (uuid::Uuid::from_u128(9).to_string(), uuid::Uuid::from_u128(8).to_string());
        let started = pb::PurchaseStarted { purchase_id: "p".to_owned(), ..pb::PurchaseStarted::default() };
        let event = pb::Event {
            showtime_id: showtime,
            revision: 4,
            aggregate_type: pb::AggregateType::Purchase.into(),
            payload: Some(Payload::PurchaseStarted(started)),
            ..pb::Event::default()
        };
        let row = row(vec![event.clone()]);
        assert_eq!(row.showtime_id, Some(ShowtimeId(uuid::Uuid::from_u128(9))));
        let [entry] = &row.entries[..] else { panic!("another number of events: {row:?}") };
        let delivered = pb::Event { aggregate_id: purchase.clone(), revision_events: 1, ..event };
        assert_eq!(pb::Event::decode(&*entry.data()).unwrap(), delivered);
        assert_eq!((entry.aggregate(), entry.subject()), (purchase.as_str(), "p"));
        assert_eq!((entry.id(), entry.source()), (format!("{purchase}/4/0"), format!("/purchases/{purchase}")));
        let letter = Entry::decode(&entry.data()).unwrap();
        assert_eq!((letter.id(), letter.source(), letter.data()), (entry.id(), entry.source(), entry.data()));
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
