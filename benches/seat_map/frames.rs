//! What a watcher hears, read with as little work as there can be: ten thousand of them share the machine with the server.

use bytes::{Buf as _, Bytes, BytesMut};
use prost::encoding::decode_varint;

use crate::wire::line::PREFIX;

/// Messages in what comes over a stream, however it is cut.
#[derive(Default)]
pub(crate) struct Frames {
    /// The beginning of one whose end has not come.
    begun: BytesMut,
}

impl Frames {
    /// Takes in what came, and passes on the messages that are whole by now.
    pub(crate) fn read(&mut self, came: &Bytes, pass: impl FnMut(&[u8])) {
        if self.begun.is_empty() {
            let read = whole(came, pass);
            self.begun.extend_from_slice(&came[read..]);
        } else {
            self.begun.extend_from_slice(came);
            let read = whole(&self.begun, pass);
            self.begun.advance(read);
        }
    }
}

/// Passes on the whole messages at the beginning of this; answers how long they are.
fn whole(bytes: &[u8], mut pass: impl FnMut(&[u8])) -> usize {
    let mut at = 0;
    while let Some((prefix, rest)) = bytes[at..].split_first_chunk::<PREFIX>() {
        let [_, length @ ..] = *prefix;
        let Some(message) = rest.get(..u32::from_be_bytes(length) as usize) else { break };
        pass(message);
        at += PREFIX + message.len();
    }
    at
}

/// As much of a `WatchSeatMapResponse` as tells whether anything was missed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Word {
    /// Everything, at this revision.
    Everything(i64),
    /// What changed from one revision to another, and when that was said, in microseconds.
    Changed { from: i64, to: i64, at: u64 },
    /// A sign of life.
    Quiet,
    /// A goodbye, or what nobody knows.
    Other,
}

impl Word {
    pub(crate) fn read(message: &[u8]) -> Self {
        match Fields(message).next() {
            Some((1, Value::Bytes(map))) => {
                let revision = Fields(map).find_map(|(field, value)| (field == 2).then(|| value.number()));
                Self::Everything(revision.unwrap_or_default().cast_signed())
            }
            Some((2, Value::Bytes(delta))) => {
                let (mut from, mut to, mut at) = (0, 0, 0);
                // What comes after these is not looked at.
                for (field, value) in Fields(delta) {
                    match field {
                        1 => from = value.number().cast_signed(),
                        2 => to = value.number().cast_signed(),
                        3 => at = value.time(),
                        _ => break,
                    }
                }
                Self::Changed { from, to, at }
            }
            Some((3, _)) => Self::Quiet,
            _ => Self::Other,
        }
    }
}

/// The fields of a message, in the order in which they are written.
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

    /// A `Timestamp`, in microseconds.
    fn time(&self) -> u64 {
        let Self::Bytes(timestamp) = self else { return 0 };
        let part = |(field, value): (u64, Value<'_>)| match field {
            1 => value.number() * 1_000_000,
            _ => value.number() / 1_000,
        };
        Fields(timestamp).map(part).sum()
    }
}
