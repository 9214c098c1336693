//! Notices, in what a connection sends, that its client broke the protocol, or does not answer pings.
//!
//! The HTTP library reports such errors to its caller, tonic, which logs them without the peer at a level that nobody reads.
//! But it also tells the client: by a GOAWAY frame over HTTP/2, and by a status over HTTP/1.1. So the bytes that are sent are
//! looked at: of HTTP/2 the head of each frame, of HTTP/1.1 the beginning of each write.
//!
//! A GOAWAY frame has an error code if the client broke the protocol. It has none if a ping was not answered, if the client
//! ends the connection, or if the service shuts down. In the second case something was read since the last ping, and in the
//! third the frame accepts all streams at first.

use std::{io::IoSlice, net::IpAddr};

use crate::telemetry::connection_errors::{self, Kind};

/// The head of a frame: three bytes of length, type, flags, and the stream in four bytes.
const HEAD: usize = 9;
/// The type of PING.
const PING: u8 = 6;
/// The flag of a PING frame that answers one of the client.
const ACK: u8 = 1;
/// The type of GOAWAY.
const GOAWAY: u8 = 7;
/// The head of a GOAWAY frame and what it begins with: the last stream, and the error code.
const GOAWAY_HEAD: usize = HEAD + 8;
/// The last stream of a GOAWAY frame that accepts all streams, as a shutdown begins with.
const ALL_STREAMS: u32 = (1 << 31) - 1;
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
    /// The client was notified that the connection will be closed. What follows is of no interest.
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
    /// Whether a ping was sent, and nothing was received since.
    unanswered: bool,
}

impl ProtocolErrors {
    pub(super) fn new(peer: IpAddr) -> Self {
        Self { peer, sent: Sent::Nothing }
    }

    /// Notes that the client sent something, or ended the connection.
    pub(super) fn received(&mut self) {
        if let Sent::Http2(frames) = &mut self.sent {
            frames.unanswered = false;
        }
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
                let kind = frames.find(bytes)?;
                *self = Self::Error;
                Some(kind)
            }
        }
    }
}

impl Frames {
    /// What is wrong with the client according to a GOAWAY frame whose code is complete with these bytes.
    fn find(&mut self, mut bytes: &[u8]) -> Option<Kind> {
        loop {
            let skipped = self.skip.min(bytes.len());
            (self.skip, bytes) = (self.skip - skipped, &bytes[skipped..]);
            // Nearly all frames are sent whole, and are of no interest.
            if self.filled == 0
                && let Some([a, b, c, kind, ..]) = bytes.first_chunk::<HEAD>()
                && !matches!(*kind, PING | GOAWAY)
            {
                self.skip = HEAD + u32::from_be_bytes([0, *a, *b, *c]) as usize;
                continue;
            }
            let wanted = if self.filled < HEAD { HEAD } else { GOAWAY_HEAD };
            let taken = bytes.len().min(wanted - self.filled);
            self.head[self.filled..][..taken].copy_from_slice(&bytes[..taken]);
            (self.filled, bytes) = (self.filled + taken, &bytes[taken..]);
            if self.filled < wanted {
                return None;
            }
            let [a, b, c, kind, flags, ..] = self.head;
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if kind == GOAWAY && wanted == HEAD {
                continue;
            }
            (self.filled, self.skip) = (0, (HEAD + length).saturating_sub(wanted));
            self.unanswered |= kind == PING && flags & ACK == 0;
            if kind == GOAWAY
                && let Some(kind) = self.goaway()
            {
                return Some(kind);
            }
        }
    }

    /// What is wrong with the client according to the GOAWAY frame in `head`.
    fn goaway(&self) -> Option<Kind> {
        let number = |at: usize| self.head[at..at + 4].try_into().map_or(0, u32::from_be_bytes);
        match number(HEAD + 4) {
            NO_ERROR => (self.unanswered && number(HEAD) != ALL_STREAMS).then_some(Kind::Unanswered),
            ENHANCE_YOUR_CALM => Some(Kind::Flood),
            _ => Some(Kind::ProtocolError),
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
    fn a_ping_that_nothing_follows_before_a_goaway_is_unanswered() {
        let ping = frame(PING, b"anything");
        let answer = [&ping[..4], &[ACK], &ping[5..]].concat();
        let begins_shutdown = frame(GOAWAY, &[ALL_STREAMS.to_be_bytes(), NO_ERROR.to_be_bytes()].concat());
        let found = |sent: &[&[u8]]| {
            let mut errors = ProtocolErrors::new([192, 0, 2, 1].into());
            for part in sent {
                match part {
                    [] => errors.received(),
                    _ => {
                        if let Some(kind) = errors.sent.find(part) {
                            return Some(kind);
                        }
                    }
                }
            }
            None
        };
        let (settings, end) = (frame(4, &[]), goaway(NO_ERROR));
        assert_eq!(found(&[&settings, &ping, &end]), Some(Kind::Unanswered));
        assert_eq!(found(&[&settings, &ping, b"", &ping, &settings, &end]), Some(Kind::Unanswered));
        assert_eq!(found(&[&settings, &ping, b"", &end]), None, "the client answered, or ended the connection");
        assert_eq!(found(&[&settings, &answer, &end]), None, "only the client asked");
        assert_eq!(found(&[&settings, &ping, &begins_shutdown]), None, "the service shuts down");
        assert_eq!(found(&[&settings, &ping, &goaway(1)]), Some(Kind::ProtocolError));
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
