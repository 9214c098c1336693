//! What instances tell each other of seat maps, in bytes. Whoever cannot read a message goes without it.
//!
//! `1`, the sender (16 bytes), the epoch (its length, then text), and what changed, one showtime after the other: its id (16),
//! the revision before and after, when it was cancelled (or 0), how many seats, and for each its number and how it stands.
//! Numbers are big-endian, times are microseconds. There is nothing in it about who has a seat.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::{
    ids::ShowtimeId,
    seat_map::{Delta, Status},
};

const FORM: u8 = 1;
/// Steps of one batch, at most.
const TOGETHER: i64 = 512;
const FREE: u8 = 0;
const HELD: u8 = 1;
const SOLD: u8 = 2;

/// A message as it was heard.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// By whom,
    pub(super) sender: Uuid,
    /// in which epoch,
    pub(super) epoch: String,
    /// what changed. A sign of life has nothing of it.
    pub(super) changes: Vec<(ShowtimeId, Delta)>,
}

/// Where a message begins.
pub(super) fn head(sender: Uuid, epoch: &str) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(64);
    bytes.put_u8(FORM);
    bytes.put_slice(sender.as_bytes());
    bytes.put_u8(epoch.len() as u8);
    bytes.put_slice(epoch.as_bytes());
    bytes
}

/// Goes on with what changed in one showtime.
pub(super) fn add(bytes: &mut BytesMut, id: ShowtimeId, delta: &Delta) {
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
            Status::Sold => bytes.put_u8(SOLD),
        }
    }
}

/// Reads a message of which nothing is missing.
pub(super) fn read(mut bytes: Bytes) -> Option<Message> {
    if bytes.try_get_u8().ok()? != FORM {
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
    if before < 1 || !(1..=TOGETHER).contains(&revision.checked_sub(before)?) {
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
            SOLD => Status::Sold,
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
        let status =
            prop_oneof![Just(Status::Free), Just(Status::Sold), some_time().prop_map(|until| Status::Held { until })];
        let seats = prop::collection::vec((any::<u16>(), status), 0..20);
        (1..i64::MAX - TOGETHER, 1..=TOGETHER, seats, prop::option::of(some_time()))
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
        let mut bytes = head(message.sender, &message.epoch);
        for (id, delta) in &message.changes {
            add(&mut bytes, *id, delta);
        }
        bytes.freeze()
    }

    proptest! {
        #[test]
        fn what_is_told_is_what_is_heard(message in some_message()) {
            prop_assert_eq!(read(written(&message)), Some(message));
        }

        #[test]
        fn a_message_that_was_cut_off_says_no_more_than_it_does(message in some_message(), at in any::<prop::sample::Index>()) {
            let bytes = written(&message);
            let heard = read(bytes.slice(..at.index(bytes.len())));
            prop_assert!(heard.is_none_or(|heard| message.changes.starts_with(&heard.changes)));
        }

        #[test]
        fn whatever_else_is_heard_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _heard = read(bytes.into());
        }
    }
}
