//! A row of the feed, read once for all subscribers, and the place of a subscriber in the feed.

use std::{collections::BTreeMap, sync::OnceLock};

use bytes::Bytes;
use prost::Message as _;

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

/// An event, and its message to subscribers once it was encoded.
#[derive(Debug)]
pub struct Entry {
    /// The event.
    pub event: pb::Event,
    encoded: OnceLock<Bytes>,
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
        Ok(Self { event, encoded: OnceLock::new() })
    }

    /// The message to subscribers. It is the same for all, and encoded for the first.
    pub fn encoded(&self, encode: impl FnOnce(&pb::Event) -> Bytes) -> Bytes {
        self.encoded.get_or_init(|| encode(&self.event)).clone()
    }
}

impl Row {
    pub(super) fn read(row: FeedRow) -> Result<Self, Error> {
        let FeedRow { position, aggregate, seq, events } = row;
        // The steps for other instances are skipped: they are in a field that the message does not have.
        let read = pb::Events::decode(events.as_slice()).map_err(|error| Error::Unreadable {
            table: "outbox",
            key: format!("{aggregate}/{seq}"),
            why: error.to_string(),
        })?;
        let mut events_of = BTreeMap::<i64, i32>::new();
        for event in &read.events {
            *events_of.entry(event.revision).or_default() += 1;
        }
        let delivered = |event: pb::Event| pb::Event {
            aggregate_type: pb::AggregateType::Showtime.into(),
            aggregate_id: event.showtime_id.clone(),
            revision_events: events_of.get(&event.revision).copied().unwrap_or_default(),
            ..event
        };
        let entry = |event| Entry { event: delivered(event), encoded: OnceLock::new() };
        let entries = read.events.into_iter().map(entry).collect();
        let (showtime_id, mark) = (ShowtimeId(aggregate), mark(&events));
        Ok(Self { position, showtime_id, entries, mark, bytes: events.len() })
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
