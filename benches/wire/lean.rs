//! A client that asks the same again and again, and costs next to nothing, for it shares the machine with what it measures: it
//! says what h2 would say, frame by frame, and looks only for where answers begin and end.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Buf as _, Bytes, BytesMut};
use h2::client;
use http::Request;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
    net::TcpStream,
    time::timeout_at,
};

use super::{
    line::{self, PREFIX},
    load::Tally,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length, kind, flags and stream.
const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW: u8 = 8;
/// Of data and headers.
const LAST: u8 = 1;
/// Of settings and pings.
const ACKNOWLEDGED: u8 = 1;
/// As much as a window can be.
const WIDE: u32 = (1 << 31) - 1;
const USUAL: u32 = (1 << 16) - 1;
/// So much is taken before more is asked for.
const MUCH: u32 = 1 << 29;
const ROOM: usize = 1 << 16;
/// Nobody waits for longer after the end.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked over and over.
pub(crate) struct Questions {
    /// The headers of a connection's first call,
    first: Bytes,
    /// and of all others.
    others: Bytes,
    /// With their prefixes.
    messages: Vec<Bytes>,
}

impl Questions {
    /// Calls of one method, with messages as [`line::prefixed`] makes them. The headers are those that h2 writes.
    pub(crate) async fn new(address: &str, path: &str, messages: Vec<Bytes>) -> Self {
        let (near, mut far) = duplex(ROOM);
        let (mut send, connection) = client::handshake(near).await.expect("a client of HTTP/2");
        let talking = tokio::spawn(connection);
        let mut calls = Vec::new();
        for _ in 0..2 {
            let mut request = Request::post(format!("http://{address}{path}")).body(()).expect("a request");
            line::headers(request.headers_mut());
            calls.push(send.send_request(request, false).expect("to ask"));
        }
        let mut said = BytesMut::new();
        let mut blocks = Vec::new();
        while blocks.len() < calls.len() {
            assert_ne!(far.read_buf(&mut said).await.expect("what it says"), 0, "it says no more");
            if said.starts_with(PREFACE) {
                said.advance(PREFACE.len());
            }
            while let Some(frame) = Frame::next(&mut said) {
                if frame.kind == HEADERS {
                    blocks.push(frame.content);
                }
            }
        }
        talking.abort();
        let others = blocks.pop().unwrap_or_default();
        Self { first: blocks.pop().unwrap_or_default(), others, messages }
    }

    /// How many there are.
    pub(crate) fn messages(&self) -> usize {
        self.messages.len()
    }
}

/// So many who ask in turn, on one connection. They begin with this message.
pub(super) async fn ask(
    address: String,
    questions: Arc<Questions>,
    callers: usize,
    first: usize,
    start: Instant,
    end: Instant,
) -> Tally {
    let mut stream = TcpStream::connect(&address).await.expect("a connection");
    stream.set_nodelay(true).expect("a living socket");
    let mut asking = Asking::new(&questions, first, Tally::new(end));
    for _ in 0..callers {
        asking.ask(Instant::now());
    }
    let mut came = BytesMut::with_capacity(ROOM);
    while !asking.open.is_empty() {
        stream.write_all(&asking.say).await.expect("a server that listens");
        asking.say.clear();
        came.reserve(ROOM);
        let read = timeout_at((end + PATIENCE).into(), stream.read_buf(&mut came)).await.expect("an answer in time");
        assert_ne!(read.expect("a server that answers"), 0, "the server has gone");
        while let Some(frame) = Frame::next(&mut came) {
            asking.hear(&frame, start, end);
        }
    }
    asking.tally
}

/// One connection.
struct Asking<'q> {
    questions: &'q Questions,
    next: usize,
    stream: u32,
    open: Vec<Call>,
    /// What is to be said.
    say: Vec<u8>,
    /// Taken since more was asked for.
    taken: u32,
    tally: Tally,
}

struct Call {
    stream: u32,
    asked: Instant,
    /// Of its answer,
    bytes: usize,
    /// and as many as there should be.
    announced: Option<usize>,
}

impl<'q> Asking<'q> {
    fn new(questions: &'q Questions, next: usize, tally: Tally) -> Self {
        let mut say = PREFACE.to_vec();
        let window = [&[0, 4][..], &WIDE.to_be_bytes()].concat();
        frame(&mut say, SETTINGS, 0, 0, &window);
        frame(&mut say, WINDOW, 0, 0, &(WIDE - USUAL).to_be_bytes());
        Self { questions, next, stream: 1, open: Vec::new(), say, taken: 0, tally }
    }

    fn ask(&mut self, now: Instant) {
        const WHOLE: u8 = 4;
        let Questions { first, others, messages } = self.questions;
        let stream = self.stream;
        self.stream += 2;
        frame(&mut self.say, HEADERS, WHOLE, stream, if stream == 1 { first } else { others });
        frame(&mut self.say, DATA, LAST, stream, &messages[self.next]);
        self.next = (self.next + 1) % messages.len();
        self.open.push(Call { stream, asked: now, bytes: 0, announced: None });
    }

    fn hear(&mut self, frame: &Frame, start: Instant, end: Instant) {
        let Frame { kind, flags, stream, ref content } = *frame;
        match kind {
            DATA => {
                self.taken += content.len() as u32;
                if self.taken > MUCH {
                    self::frame(&mut self.say, WINDOW, 0, 0, &mem::take(&mut self.taken).to_be_bytes());
                }
                if let Some(call) = self.open.iter_mut().find(|call| call.stream == stream) {
                    call.announced = call.announced.or_else(|| announced(content));
                    call.bytes += content.len();
                }
                if flags & LAST != 0 {
                    self.ended(stream, false, start, end);
                }
            }
            HEADERS if flags & LAST == 0 => {}
            HEADERS => self.ended(stream, true, start, end),
            RESET => self.ended(stream, false, start, end),
            SETTINGS if flags & ACKNOWLEDGED == 0 => self::frame(&mut self.say, SETTINGS, ACKNOWLEDGED, 0, &[]),
            PING if flags & ACKNOWLEDGED == 0 => self::frame(&mut self.say, PING, ACKNOWLEDGED, 0, content),
            SETTINGS | PING | WINDOW => {}
            _ => panic!("a frame of kind {kind}: {content:?}"),
        }
    }

    /// An answer has ended. It was one if it had one message, whole, and then a status: what is refused has none, and after a
    /// message nobody refuses.
    fn ended(&mut self, stream: u32, in_order: bool, start: Instant, end: Instant) {
        // What was refused early may be reset as well.
        let Some(at) = self.open.iter().position(|call| call.stream == stream) else { return };
        let Call { asked, bytes, announced, .. } = self.open.swap_remove(at);
        let now = Instant::now();
        if asked >= start {
            self.tally.answered(now - asked, bytes.saturating_sub(PREFIX));
        }
        self.tally.failed += u64::from(!in_order || announced != Some(bytes));
        if now < end {
            self.ask(now);
        }
    }
}

/// How long the message is that begins here, with its prefix.
fn announced(content: &[u8]) -> Option<usize> {
    let [_, length @ ..] = *content.first_chunk::<PREFIX>()?;
    Some(PREFIX + u32::from_be_bytes(length) as usize)
}

/// A frame that came.
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    content: Bytes,
}

impl Frame {
    /// The first of these bytes, if it is whole. It is taken out.
    fn next(bytes: &mut BytesMut) -> Option<Self> {
        let [a, b, c, kind, flags, stream @ ..] = *bytes.first_chunk::<HEAD>()?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if bytes.len() < HEAD + length {
            return None;
        }
        bytes.advance(HEAD);
        Some(Self { kind, flags, stream: u32::from_be_bytes(stream), content: bytes.split_to(length).freeze() })
    }
}

/// Adds a frame to what is said. A longer one would need leave.
fn frame(say: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, content: &[u8]) {
    assert!(content.len() <= 1 << 14, "too much for a frame");
    say.extend_from_slice(&(content.len() as u32).to_be_bytes()[1..]);
    say.extend_from_slice(&[kind, flags]);
    say.extend_from_slice(&stream.to_be_bytes());
    say.extend_from_slice(content);
}
