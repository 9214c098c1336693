//! Access lines: one console line per request.
//!
//! Every request pays for its line, so it is put together here: the logging machinery would cost ten times as much. In the
//! JSON form `serde_json` writes the texts, and the frame around them is written by hand: serializing a struct for the whole
//! line takes 2.5 times as long.

use std::{cell::RefCell, io::Write as _, net::SocketAddr, sync::OnceLock, time::Duration};

use chrono::{DateTime, Timelike as _, Utc};

use super::{
    console::Console,
    options::LogFormat,
    request::{Ended, ResponseStatus},
};
use crate::clock::Clock;

/// The target of these lines in the log level: `boxoffice::access=off` turns them off.
pub(super) const TARGET: &str = "boxoffice::access";

/// Where the lines go, and in which form. Empty if the log level excludes them.
static SINK: OnceLock<(Console, LogFormat)> = OnceLock::new();

pub(super) fn install(console: Console, format: LogFormat) {
    SINK.get_or_init(|| (console, format));
}

pub(super) fn write_line(request: &Ended<'_>) {
    thread_local! {
        // Lines are formatted here, so that the console's lock is held only for a copy.
        static SCRATCH: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(512));
    }
    let Some((console, format)) = SINK.get() else { return };
    SCRATCH.with_borrow_mut(|line| {
        line.clear();
        match format {
            LogFormat::Human => human(line, Clock::System.now(), request),
            LogFormat::Json => json(line, Clock::System.now(), request),
        }
        console.push(line);
    });
}

fn human(line: &mut Vec<u8>, now: DateTime<Utc>, request: &Ended<'_>) {
    timestamp(line, now);
    line.extend_from_slice(b"  INFO request service=");
    line.extend_from_slice(request.service.as_bytes());
    line.extend_from_slice(b" method=");
    line.extend_from_slice(request.method.as_bytes());
    line.extend_from_slice(b" status=");
    status(line, request.status);
    line.extend_from_slice(b" ms=");
    milliseconds(line, request.elapsed);
    line.extend_from_slice(b" peer=");
    match request.peer {
        Some(peer) => address(line, peer),
        None => line.push(b'-'),
    }
    line.extend_from_slice(b" trace=");
    line.extend_from_slice(&hexadecimal(request.trace_id));
    line.push(b'\n');
}

fn json(line: &mut Vec<u8>, now: DateTime<Utc>, request: &Ended<'_>) {
    line.extend_from_slice(b"{\"timestamp\":\"");
    timestamp(line, now);
    line.extend_from_slice(b"\",\"level\":\"INFO\",\"message\":\"request\",\"service\":");
    quoted(line, request.service);
    line.extend_from_slice(b",\"method\":");
    quoted(line, request.method);
    line.extend_from_slice(b",\"status\":\"");
    status(line, request.status);
    line.extend_from_slice(b"\",\"protocol\":");
    quoted(line, request.protocol.label());
    line.extend_from_slice(b",\"ms\":");
    milliseconds(line, request.elapsed);
    if let Some(peer) = request.peer {
        line.extend_from_slice(b",\"peer\":\"");
        address(line, peer);
        line.push(b'"');
    }
    line.extend_from_slice(b",\"trace\":\"");
    line.extend_from_slice(&hexadecimal(request.trace_id));
    line.extend_from_slice(b"\",\"target\":");
    quoted(line, TARGET);
    line.extend_from_slice(b"}\n");
}

/// A text as JSON, with its quotation marks.
fn quoted(line: &mut Vec<u8>, text: &str) {
    // Writing a text to a vector cannot fail.
    let _ = serde_json::to_writer(line, text);
}

/// gRPC's name for the code, or the number of the HTTP status.
fn status(line: &mut Vec<u8>, status: ResponseStatus) {
    match status {
        ResponseStatus::Grpc(_) => line.extend_from_slice(status.label().as_bytes()),
        ResponseStatus::Http(code) => number(line, code),
    }
}

/// Milliseconds with two decimals: `1.42`.
fn milliseconds(line: &mut Vec<u8>, elapsed: Duration) {
    let hundredths = ((elapsed.as_nanos() + 5_000) / 10_000) as u64;
    number(line, hundredths / 100);
    line.push(b'.');
    padded(line, hundredths % 100, 2);
}

fn address(line: &mut Vec<u8>, address: SocketAddr) {
    let SocketAddr::V4(address) = address else { return put(line, format_args!("{address}")) };
    for (at, octet) in address.ip().octets().into_iter().enumerate() {
        if at > 0 {
            line.push(b'.');
        }
        number(line, octet);
    }
    line.push(b':');
    number(line, address.port());
}

fn number(line: &mut Vec<u8>, number: impl itoa::Integer) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A number with leading zeros, up to three digits.
fn padded(line: &mut Vec<u8>, number: u64, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number);
    line.extend_from_slice(&b"000"[..width.saturating_sub(digits.len())]);
    line.extend_from_slice(digits.as_bytes());
}

fn hexadecimal(number: u128) -> [u8; 32] {
    let mut digits = [0; 32];
    for (digits, byte) in digits.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        digits.copy_from_slice(&[byte >> 4, byte & 15].map(|half| b"0123456789abcdef"[usize::from(half)]));
    }
    digits
}

fn put(line: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    // Writing to a vector cannot fail.
    let _ = line.write_fmt(arguments);
}

/// `2026-11-21T10:00:00.123Z`. All but the milliseconds is the same for a whole second, so it is formatted once a second.
pub(super) fn timestamp(line: &mut Vec<u8>, now: DateTime<Utc>) {
    thread_local! {
        static SECOND: RefCell<(i64, Vec<u8>)> = const { RefCell::new((i64::MIN, Vec::new())) };
    }
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != now.timestamp() {
            text.clear();
            put(text, format_args!("{}", now.format("%Y-%m-%dT%H:%M:%S")));
            *second = now.timestamp();
        }
        line.extend_from_slice(text);
    });
    // A leap second counts as the last millisecond.
    line.push(b'.');
    padded(line, (now.nanosecond() / 1_000_000).min(999).into(), 3);
    line.push(b'Z');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::request::Protocol;

    fn written(format: LogFormat, service: &str, status: ResponseStatus) -> String {
        let now = DateTime::from_timestamp_millis(1_795_255_200_123).unwrap();
        let request = Ended {
            service,
            method: "GetShowtime",
            status,
            protocol: Protocol::Grpc,
            elapsed: Duration::from_micros(1_417),
            peer: Some(([127, 0, 0, 1], 51_234).into()),
            trace_id: 0xabc,
        };
        let mut line = Vec::new();
        match format {
            LogFormat::Human => human(&mut line, now, &request),
            LogFormat::Json => json(&mut line, now, &request),
        }
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_line_for_people() {
        assert_eq!(
            written(LogFormat::Human, "boxoffice.v1.Showtimes", ResponseStatus::Grpc(5)),
            "2026-11-21T10:00:00.123Z  INFO request service=boxoffice.v1.Showtimes method=GetShowtime status=NOT_FOUND \
             ms=1.42 peer=127.0.0.1:51234 trace=00000000000000000000000000000abc\n"
        );
    }

    #[test]
    fn texts_are_escaped_in_json() {
        let service = "a\"b\\c\nd\u{1}é";
        let line = written(LogFormat::Json, service, ResponseStatus::Http(404));
        assert_eq!(line.matches('\n').count(), 1, "one line: {line:?}");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["service"], service);
        assert_eq!(value["status"], "404");
        assert_eq!(value["ms"], 1.42);
        assert_eq!(value["peer"], "127.0.0.1:51234");
        assert_eq!(value["timestamp"], "2026-11-21T10:00:00.123Z");
        assert_eq!(value["target"], TARGET);
    }
}
