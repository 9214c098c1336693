//! The messages between instances about seat maps, in bytes. A message that cannot be read is ignored.
//!
//! A message is the version (1 byte), the sender (16 bytes), the epoch (its length in 1 byte, then text), and one change after
//! the other. A change is the showtime's id (16 bytes), the revisions before and after it (8 bytes each), the time of the
//! showtime's cancellation or 0 (8 bytes), the number of seats (2 bytes), and for each seat its number (2 bytes), its state (1
//! byte) and, if it is held, the time of the hold's lapse, or until when its payment is given time (8 bytes). Numbers are big-endian, times are microseconds since 1970.
//! Deliberately absent: who has a seat.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::{
    ids::ShowtimeId,
    seat_map::{Delta, Status},
};

const VERSION: u8 = 1;
/// Revisions of one batch.
const MAX_REVISIONS: i64 = 512;
const FREE: u8 = 0;
const HELD: u8 = 1;
const SOLD: u8 = 2;
const BLOCKED: u8 = 3;
/// An instance that does not know it ignores the message, and finds the change by comparison.
const PAYING: u8 = 4;

/// A message that was received.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The process that published it.
    pub(super) sender: Uuid,
    /// The epoch of the changes.
    pub(super) epoch: String,
    /// The changes. A keepalive has none.
    pub(super) changes: Vec<(ShowtimeId, Delta)>,
}

/// A message without changes, to which changes are added.
pub(super) fn begin(sender: Uuid, epoch: &str) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(64);
    bytes.put_u8(VERSION);
    bytes.put_slice(sender.as_bytes());
    bytes.put_u8(epoch.len() as u8);
    bytes.put_slice(epoch.as_bytes());
    bytes
}

/// Adds the change of one showtime.
pub(super) fn put_change(bytes: &mut BytesMut, id: ShowtimeId, delta: &Delta) {
    bytes.put_slice(id.0.as_bytes());
    bytes.put_i64(delta.before);
    bytes.put_i64(delta.revision);
    bytes.put_i64(delta.cancelled.map_or(0, |at| at.timestamp_micros()));
    bytes.put_u16(delta.seats.len() as u16);
    for (seat, status) in &delta.seats {
        bytes.put_u16(*seat);
        match status {
            Status::Free => bytes.put_u8(FREE),
            Status::Held { until } => {
                bytes.put_u8(HELD);
                bytes.put_i64(until.timestamp_micros());
            }
            Status::Paying { until } => {
                bytes.put_u8(PAYING);
                bytes.put_i64(until.timestamp_micros());
            }
            Status::Sold => bytes.put_u8(SOLD),
            Status::Blocked => bytes.put_u8(BLOCKED),
        }
    }
}

/// Reads a message; `None` if it is of another version, cut short, or impossible.
pub(super) fn read(mut bytes: Bytes) -> Option<Message> {
    if bytes.try_get_u8().ok()? != VERSION {
        return None;
    }
    let sender = uuid(&mut bytes)?;
    let length = usize::from(bytes.try_get_u8().ok()?);
    let epoch = (bytes.len() >= length).then(|| bytes.split_to(length))?;
    let epoch = std::str::from_utf8(&epoch).ok()?.to_owned();
    let mut changes = Vec::new();
    while bytes.has_remaining() {
        changes.push((ShowtimeId(uuid(&mut bytes)?), delta(&mut bytes)?));
    }
    Some(Message { sender, epoch, changes })
}

fn uuid(bytes: &mut Bytes) -> Option<Uuid> {
    bytes.try_get_u128().ok().map(Uuid::from_u128)
}

fn delta(bytes: &mut Bytes) -> Option<Delta> {
    let (before, revision) = (bytes.try_get_i64().ok()?, bytes.try_get_i64().ok()?);
    if before < 1 || !(1..=MAX_REVISIONS).contains(&revision.checked_sub(before)?) {
        return None;
    }
    let cancelled = match bytes.try_get_i64().ok()? {
        0 => None,
        at => Some(time(at)?),
    };
    let count = bytes.try_get_u16().ok()?;
    let seat = |_| {
        let seat = bytes.try_get_u16().ok()?;
        let status = match bytes.try_get_u8().ok()? {
            FREE => Status::Free,
            HELD => Status::Held { until: time(bytes.try_get_i64().ok()?)? },
            PAYING => Status::Paying { until: time(bytes.try_get_i64().ok()?)? },
            SOLD => Status::Sold,
            BLOCKED => Status::Blocked,
            _ => return None,
        };
        Some((seat, status))
    };
    let seats = (0..count).map(seat).collect::<Option<_>>()?;
    Some(Delta { before, revision, seats, cancelled })
}

fn time(micros: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some_time() -> impl Strategy<Value = DateTime<Utc>> {
        (1..4_000_000_000_000_000_i64).prop_map(|micros| DateTime::from_timestamp_micros(micros).unwrap())
    }

    fn some_delta() -> impl Strategy<Value = Delta> {
        let status = prop_oneof![
            Just(Status::Free),
            Just(Status::Sold),
            Just(Status::Blocked),
            some_time().prop_map(|until| Status::Held { until }),
            some_time().prop_map(|until| Status::Paying { until })
        ];
        let seats = prop::collection::vec((any::<u16>(), status), 0..20);
        (1..i64::MAX - MAX_REVISIONS, 1..=MAX_REVISIONS, seats, prop::option::of(some_time()))
            .prop_map(|(before, steps, seats, cancelled)| Delta { before, revision: before + steps, seats, cancelled })
    }

    fn some_message() -> impl Strategy<Value = Message> {
        let changes = prop::collection::vec((any::<u128>(), some_delta()), 0..5);
        (any::<u128>(), "[0-9a-f]{0,64}", changes).prop_map(|(sender, epoch, changes)| Message {
            sender: Uuid::from_u128(sender),
            epoch,
            changes: changes.into_iter().map(|(id, delta)| (ShowtimeId(Uuid::from_u128(id)), delta)).collect(),
        })
    }

    fn written(message: &Message) -> Bytes {
        let mut bytes = begin(message.sender, &message.epoch);
        for (id, delta) in &message.changes {
            put_change(&mut bytes, *id, delta);
        }
        bytes.freeze()
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(message in some_message()) {
            prop_assert_eq!(read(written(&message)), Some(message));
        }

        #[test]
        fn a_message_that_is_cut_short_has_no_change_that_was_not_written(message in some_message(), at in any::<prop::sample::Index>()) {
            let bytes = written(&message);
            let read = read(bytes.slice(..at.index(bytes.len())));
            prop_assert!(read.is_none_or(|read| message.changes.starts_with(&read.changes)));
        }

        #[test]
        fn bytes_that_are_no_message_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _read = read(bytes.into());
        }
    }
}
