//! A client that repeats prepared calls and costs next to nothing: it writes HTTP/2 frames as bytes and only looks for where
//! answers begin and end.
//!
//! The load shares the machine with the service, and a full client would take as much of it as the service does. Headers
//! are those that the h2 library writes.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Buf as _, BufMut, Bytes, BytesMut};
use h2::client;
use http::{HeaderValue, Request};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
    net::TcpStream,
    time::timeout_at,
};

use super::{
    client::{PREFIX, add_grpc_headers},
    tally::Tally,
};

/// What a client sends first on a connection.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head: length, kind, flags and stream.
const FRAME_HEAD: usize = 9;
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const WINDOW_UPDATE: u8 = 8;
/// Flag of data and headers.
pub(crate) const END_STREAM: u8 = 1;
/// Flag of headers.
pub(crate) const END_HEADERS: u8 = 4;
/// Flag of settings and pings.
pub(crate) const ACK: u8 = 1;
/// The setting for the window of new streams.
pub(crate) const INITIAL_WINDOW_SIZE: u8 = 4;
/// The largest window that HTTP/2 allows.
pub(crate) const LARGEST_WINDOW: u32 = (1 << 31) - 1;
/// The window of a connection at its start.
pub(crate) const INITIAL_WINDOW: u32 = (1 << 16) - 1;
/// A window update is sent after this many bytes.
const UPDATE_AFTER: u32 = 1 << 29;
/// The longest frame that may be sent without a setting from the server.
const LONGEST_FRAME: usize = 1 << 14;
pub(crate) const READ_BUFFER: usize = 1 << 16;
/// How long after the end of the measurement an answer may come.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Calls of one method, encoded once.
pub(super) struct PreparedCalls {
    /// Encoded headers of a connection's first call.
    first_headers: Bytes,
    /// Encoded headers of all further calls; they refer to the first ones.
    other_headers: Bytes,
    /// Messages with their prefixes.
    messages: Vec<Bytes>,
}

impl PreparedCalls {
    pub(super) async fn new(address: &str, path: &str, messages: Vec<Bytes>) -> Self {
        let [first_headers, other_headers] = encode_headers(address, [path, path], None).await;
        Self { first_headers, other_headers, messages }
    }

    pub(super) fn messages(&self) -> usize {
        self.messages.len()
    }
}

/// Encodes the headers of calls on one connection, by letting h2 write the requests into a buffer. The headers of the first one
/// must be sent first; those of the others refer to them, and may be sent in any order and often.
pub(crate) async fn encode_headers<const N: usize>(
    address: &str,
    paths: [&str; N],
    timeout: Option<&'static str>,
) -> [Bytes; N] {
    let (near, mut far) = duplex(READ_BUFFER);
    let (mut send, connection) = client::handshake(near).await.expect("a client of HTTP/2");
    let writing = tokio::spawn(connection);
    let mut answers = Vec::new();
    for path in paths {
        let mut request = Request::post(format!("http://{address}{path}")).body(()).expect("a request");
        add_grpc_headers(request.headers_mut());
        if let Some(timeout) = timeout {
            request.headers_mut().insert("grpc-timeout", HeaderValue::from_static(timeout));
        }
        answers.push(send.send_request(request, false).expect("the headers are sent"));
    }
    let mut written = BytesMut::new();
    let mut blocks = Vec::new();
    while blocks.len() < answers.len() {
        assert_ne!(far.read_buf(&mut written).await.expect("what h2 writes"), 0, "h2 closed the connection");
        if written.starts_with(PREFACE) {
            written.advance(PREFACE.len());
        }
        while let Some(frame) = Frame::split_from(&mut written) {
            if frame.kind == HEADERS {
                blocks.push(frame.content);
            }
        }
    }
    writing.abort();
    blocks.try_into().expect("headers of each request")
}

/// When a measurement begins and ends. Calls before its start are a warm-up and are not counted.
#[derive(Clone, Copy)]
pub(super) struct Period {
    pub(super) start: Instant,
    pub(super) end: Instant,
}

/// Keeps this many calls in flight on one connection until the end of the period. The first message has number `first`.
pub(super) async fn drive_connection(
    address: String,
    calls: Arc<PreparedCalls>,
    in_flight: usize,
    first: usize,
    period: Period,
) -> Tally {
    let mut stream = TcpStream::connect(&address).await.expect("a connection");
    stream.set_nodelay(true).expect("an open socket");
    let mut connection = Connection::new(&calls, first, period);
    for _ in 0..in_flight {
        connection.call(Instant::now());
    }
    let mut received = BytesMut::with_capacity(READ_BUFFER);
    while !connection.open.is_empty() {
        stream.write_all(&connection.output).await.expect("a server that reads");
        connection.output.clear();
        received.reserve(READ_BUFFER);
        let deadline = period.end + ANSWER_TIMEOUT;
        let read = timeout_at(deadline.into(), stream.read_buf(&mut received)).await.expect("an answer in time");
        assert_ne!(read.expect("a server that answers"), 0, "the server closed the connection");
        while let Some(frame) = Frame::split_from(&mut received) {
            connection.handle(&frame);
        }
    }
    connection.tally
}

/// The state of a connection.
struct Connection<'c> {
    calls: &'c PreparedCalls,
    next_message: usize,
    next_stream: u32,
    open: Vec<Call>,
    /// Bytes to be sent.
    output: Vec<u8>,
    /// Bytes received since the last window update.
    received: u32,
    period: Period,
    tally: Tally,
}

/// A call in flight.
struct Call {
    stream: u32,
    sent: Instant,
    /// Bytes of the answer so far.
    bytes: usize,
    /// Length that the answer's prefix announces, with the prefix itself.
    announced: Option<usize>,
}

impl<'c> Connection<'c> {
    fn new(calls: &'c PreparedCalls, next_message: usize, period: Period) -> Self {
        let mut output = PREFACE.to_vec();
        let window = [&[0, INITIAL_WINDOW_SIZE][..], &LARGEST_WINDOW.to_be_bytes()].concat();
        write_frame(&mut output, SETTINGS, 0, 0, &window);
        write_frame(&mut output, WINDOW_UPDATE, 0, 0, &(LARGEST_WINDOW - INITIAL_WINDOW).to_be_bytes());
        let tally = Tally::new(period.end);
        Self { calls, next_message, next_stream: 1, open: Vec::new(), output, received: 0, period, tally }
    }

    fn call(&mut self, now: Instant) {
        let PreparedCalls { first_headers, other_headers, messages } = self.calls;
        let stream = self.next_stream;
        self.next_stream += 2;
        let headers = if stream == 1 { first_headers } else { other_headers };
        write_frame(&mut self.output, HEADERS, END_HEADERS, stream, headers);
        write_frame(&mut self.output, DATA, END_STREAM, stream, &messages[self.next_message]);
        self.next_message = (self.next_message + 1) % messages.len();
        self.open.push(Call { stream, sent: now, bytes: 0, announced: None });
    }

    fn handle(&mut self, frame: &Frame) {
        let Frame { kind, flags, stream, ref content } = *frame;
        match kind {
            DATA => {
                self.received += content.len() as u32;
                if self.received > UPDATE_AFTER {
                    let received = mem::take(&mut self.received);
                    write_frame(&mut self.output, WINDOW_UPDATE, 0, 0, &received.to_be_bytes());
                }
                if let Some(call) = self.open.iter_mut().find(|call| call.stream == stream) {
                    call.announced = call.announced.or_else(|| announced_length(content));
                    call.bytes += content.len();
                }
                if flags & END_STREAM != 0 {
                    self.end_call(stream, false);
                }
            }
            HEADERS if flags & END_STREAM == 0 => {}
            HEADERS => self.end_call(stream, true),
            RST_STREAM => self.end_call(stream, false),
            SETTINGS if flags & ACK == 0 => write_frame(&mut self.output, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => write_frame(&mut self.output, PING, ACK, 0, content),
            SETTINGS | PING | WINDOW_UPDATE => {}
            _ => panic!("a frame of kind {kind}: {content:?}"),
        }
    }

    /// Counts an answer that has ended, and makes the next call. An answer is good if it is one whole message and then
    /// trailers: an error status has no message before it.
    fn end_call(&mut self, stream: u32, with_trailers: bool) {
        // A call that was refused early may be reset afterwards.
        let Some(at) = self.open.iter().position(|call| call.stream == stream) else { return };
        let Call { sent, bytes, announced, .. } = self.open.swap_remove(at);
        let now = Instant::now();
        if sent >= self.period.start {
            self.tally.answered(now - sent, bytes.saturating_sub(PREFIX));
        }
        self.tally.failed += u64::from(!with_trailers || announced != Some(bytes));
        if now < self.period.end {
            self.call(now);
        }
    }
}

/// The length of the message that begins with these bytes, with its prefix.
pub(crate) fn announced_length(content: &[u8]) -> Option<usize> {
    let [_, length @ ..] = *content.first_chunk::<PREFIX>()?;
    Some(PREFIX + u32::from_be_bytes(length) as usize)
}

/// A received frame.
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) content: Bytes,
}

impl Frame {
    /// Takes the first frame out of these bytes, if it is complete.
    pub(crate) fn split_from(bytes: &mut BytesMut) -> Option<Self> {
        let [a, b, c, kind, flags, stream @ ..] = *bytes.first_chunk::<FRAME_HEAD>()?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if bytes.len() < FRAME_HEAD + length {
            return None;
        }
        bytes.advance(FRAME_HEAD);
        Some(Self { kind, flags, stream: u32::from_be_bytes(stream), content: bytes.split_to(length).freeze() })
    }
}

pub(crate) fn write_frame(output: &mut impl BufMut, kind: u8, flags: u8, stream: u32, content: &[u8]) {
    assert!(content.len() <= LONGEST_FRAME, "a frame of {} bytes, {LONGEST_FRAME} are allowed", content.len());
    output.put_slice(&(content.len() as u32).to_be_bytes()[1..]);
    output.put_slice(&[kind, flags]);
    output.put_slice(&stream.to_be_bytes());
    output.put_slice(content);
}
