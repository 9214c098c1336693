//! Reads the messages of a watch with as little work as possible: ten thousand watchers share the machine with the service.

use bytes::{Buf as _, Bytes, BytesMut};
use prost::encoding::decode_varint;

use crate::wire::client::PREFIX;

/// Splits the bytes of a stream into messages, wherever the bytes were cut.
#[derive(Default)]
pub(crate) struct Frames {
    /// The beginning of a message whose end has not arrived.
    incomplete: BytesMut,
}

impl Frames {
    /// Adds received bytes, and passes on every message that is complete.
    pub(crate) fn read(&mut self, received: &Bytes, pass: impl FnMut(&[u8])) {
        if self.incomplete.is_empty() {
            let read = pass_complete(received, pass);
            self.incomplete.extend_from_slice(&received[read..]);
        } else {
            self.incomplete.extend_from_slice(received);
            let read = pass_complete(&self.incomplete, pass);
            self.incomplete.advance(read);
        }
    }
}

/// Passes on the complete messages at the beginning of these bytes, and returns how many bytes they have.
fn pass_complete(bytes: &[u8], mut pass: impl FnMut(&[u8])) -> usize {
    let mut at = 0;
    while let Some((prefix, rest)) = bytes[at..].split_first_chunk::<PREFIX>() {
        let [_, length @ ..] = *prefix;
        let Some(message) = rest.get(..u32::from_be_bytes(length) as usize) else { break };
        pass(message);
        at += PREFIX + message.len();
    }
    at
}

/// A `WatchSeatMapResponse`, as far as it shows whether a revision was missed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Message {
    Snapshot {
        revision: i64,
    },
    Delta {
        from: i64,
        to: i64,
        /// Its `as_of_time`, in microseconds.
        time: u64,
    },
    Heartbeat,
    /// The end of the stream, or a message of an unknown kind.
    Other,
}

impl Message {
    pub(crate) fn read(message: &[u8]) -> Self {
        match Fields(message).next() {
            Some((1, Value::Bytes(map))) => {
                let revision = Fields(map).find_map(|(field, value)| (field == 2).then(|| value.number()));
                Self::Snapshot { revision: revision.unwrap_or_default().cast_signed() }
            }
            Some((2, Value::Bytes(delta))) => {
                let (mut from, mut to, mut time) = (0, 0, 0);
                // The fields after these are not read.
                for (field, value) in Fields(delta) {
                    match field {
                        1 => from = value.number().cast_signed(),
                        2 => to = value.number().cast_signed(),
                        3 => time = value.microseconds(),
                        _ => break,
                    }
                }
                Self::Delta { from, to, time }
            }
            Some((3, _)) => Self::Heartbeat,
            _ => Self::Other,
        }
    }
}

/// The fields of an encoded message, in the order in which they were written.
struct Fields<'a>(&'a [u8]);

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let key = decode_varint(&mut self.0).ok()?;
        let number = decode_varint(&mut self.0).ok()?;
        let value = match key & 7 {
            0 => Value::Number(number),
            2 => Value::Bytes(self.0.split_off(..number as usize)?),
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

impl Value<'_> {
    fn number(&self) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::Bytes(_) => 0,
        }
    }

    /// The microseconds of an encoded `Timestamp`.
    fn microseconds(&self) -> u64 {
        let Self::Bytes(timestamp) = self else { return 0 };
        let part = |(field, value): (u64, Value<'_>)| match field {
            1 => value.number() * 1_000_000,
            _ => value.number() / 1_000,
        };
        Fields(timestamp).map(part).sum()
    }
}
