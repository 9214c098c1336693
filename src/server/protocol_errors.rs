//! Notices, in what a connection sends, that its client broke the protocol.
//!
//! The HTTP library reports such errors to its caller, tonic, which logs them without the peer at a level that nobody reads.
//! But it also tells the client: by a GOAWAY frame with an error code over HTTP/2, and by a status over HTTP/1.1. So the
//! bytes that are sent are looked at: of HTTP/2 the head of each frame, of HTTP/1.1 the beginning of each write.

use std::{io::IoSlice, net::IpAddr};

use crate::telemetry::connection_errors::{self, Kind};

/// The head of a frame: three bytes of length, type, flags, and the stream in four bytes.
const HEAD: usize = 9;
/// The type of GOAWAY.
const GOAWAY: u8 = 7;
/// The head of a GOAWAY frame and what it begins with: the last stream, and the error code.
const GOAWAY_HEAD: usize = HEAD + 8;
const NO_ERROR: u32 = 0;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Watches what one connection sends.
#[derive(Debug)]
pub(super) struct ProtocolErrors {
    peer: IpAddr,
    sent: Sent,
}

#[derive(Debug)]
enum Sent {
    Nothing,
    Http1,
    Http2(Frames),
    /// The connection was told that it will be closed. What follows is of no interest.
    Error,
}

/// Where in a frame the bytes that were sent end.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; GOAWAY_HEAD],
    /// The number of bytes in `head`.
    filled: usize,
    /// The number of bytes until the next frame.
    skip: usize,
}

impl ProtocolErrors {
    pub(super) fn new(peer: IpAddr) -> Self {
        Self { peer, sent: Sent::Nothing }
    }

    /// Looks at bytes that were sent.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        if let Some(kind) = self.sent.find(bytes) {
            connection_errors::note(kind, self.peer);
        }
    }

    /// Looks at the first `length` bytes of these slices, which were sent.
    pub(super) fn sent_vectored(&mut self, slices: &[IoSlice<'_>], mut length: usize) {
        for slice in slices {
            let sent = length.min(slice.len());
            self.sent(&slice[..sent]);
            length -= sent;
        }
    }
}

impl Sent {
    fn find(&mut self, bytes: &[u8]) -> Option<Kind> {
        if let (Self::Nothing, Some(first)) = (&*self, bytes.first()) {
            // HTTP/2 begins with the length of a SETTINGS frame.
            *self = if *first == b'H' { Self::Http1 } else { Self::Http2(Frames::default()) };
        }
        match self {
            Self::Nothing | Self::Error => None,
            Self::Http1 => {
                let status = bytes.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
                [b"400", b"414", b"431"].contains(&status.try_into().ok()?).then_some(Kind::Malformed)
            }
            Self::Http2(frames) => {
                let kind = match frames.error(bytes)? {
                    ENHANCE_YOUR_CALM => Kind::Flood,
                    _ => Kind::ProtocolError,
                };
                *self = Self::Error;
                Some(kind)
            }
        }
    }
}

impl Frames {
    /// The code of a GOAWAY frame whose code is complete with these bytes, if it is an error.
    fn error(&mut self, mut bytes: &[u8]) -> Option<u32> {
        loop {
            let skipped = self.skip.min(bytes.len());
            (self.skip, bytes) = (self.skip - skipped, &bytes[skipped..]);
            let wanted = if self.filled < HEAD { HEAD } else { GOAWAY_HEAD };
            let taken = bytes.len().min(wanted - self.filled);
            self.head[self.filled..][..taken].copy_from_slice(&bytes[..taken]);
            (self.filled, bytes) = (self.filled + taken, &bytes[taken..]);
            if self.filled < wanted {
                return None;
            }
            let [a, b, c, kind, ..] = self.head;
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if kind == GOAWAY && wanted == HEAD {
                continue;
            }
            (self.filled, self.skip) = (0, (HEAD + length).saturating_sub(wanted));
            if kind == GOAWAY {
                let code = self.head[GOAWAY_HEAD - 4..].try_into().map_or(NO_ERROR, u32::from_be_bytes);
                if code != NO_ERROR {
                    return Some(code);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 0], payload].concat()
    }

    fn goaway(code: u32) -> Vec<u8> {
        frame(GOAWAY, &[&[0, 0, 0, 1][..], &code.to_be_bytes(), b"too_many_resets"].concat())
    }

    /// What is found if the bytes are sent in parts of this size.
    fn found(bytes: &[u8], size: usize) -> Vec<Kind> {
        let mut sent = Sent::Nothing;
        bytes.chunks(size).filter_map(|part| sent.find(part)).collect()
    }

    #[test]
    fn a_goaway_with_an_error_is_found_however_it_is_split() {
        let before = [frame(4, &[0; 18]), frame(1, b"headers"), frame(0, &goaway(11)), frame(4, &[])].concat();
        let after = frame(0, &[7; 40]);
        for size in [1, 2, 3, 7, 8, 9, 10, 16, 17, 18, 100, 10_000] {
            let sent = |code| [&before[..], &goaway(code), &after, &goaway(code)].concat();
            assert_eq!(found(&sent(NO_ERROR), size), [], "in parts of {size}");
            assert_eq!(found(&sent(ENHANCE_YOUR_CALM), size), [Kind::Flood], "in parts of {size}");
            assert_eq!(found(&sent(1), size), [Kind::ProtocolError], "in parts of {size}");
            // A drain says that there will be an end, and an error may follow.
            let both = [&before[..], &goaway(NO_ERROR), &after, &goaway(2)].concat();
            assert_eq!(found(&both, size), [Kind::ProtocolError], "in parts of {size}");
        }
    }

    #[test]
    fn only_what_was_sent_of_the_slices_is_looked_at() {
        let mut errors = ProtocolErrors::new([192, 0, 2, 1].into());
        let (settings, data) = (frame(4, &[]), frame(0, &[7; 40]));
        let slices = [IoSlice::new(&settings), IoSlice::new(&data), IoSlice::new(&data)];
        errors.sent_vectored(&slices, settings.len() + 10);
        let Sent::Http2(frames) = &errors.sent else { panic!("{errors:?}") };
        assert_eq!((frames.filled, frames.skip), (0, 39));
    }

    #[test]
    fn unreadable_http_1_requests_are_found_by_their_answer() {
        for (answer, kinds) in [
            (&b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"[..], &[Kind::Malformed][..]),
            (b"HTTP/1.1 431 Request Header Fields Too Large\r\n\r\n", &[Kind::Malformed]),
            (b"HTTP/1.1 200 OK\r\n\r\n", &[]),
            (b"HTTP/1.1 404 Not Found\r\n\r\n", &[]),
            (b"HTTP", &[]),
        ] {
            assert_eq!(found(answer, answer.len()), kinds);
        }
    }
}
