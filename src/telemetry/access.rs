//! One console line for each request, written by hand: through the logging machinery it would cost ten times as much, and
//! every request pays.

use std::{cell::RefCell, io::Write as _, net::SocketAddr, sync::OnceLock, time::Duration};

use chrono::{DateTime, Timelike as _, Utc};

use super::{
    console::Console,
    options::LogFormat,
    request::{Ended, Outcome},
};
use crate::clock::Clock;

/// What the log level names these lines by: `boxoffice::access=off` silences them.
pub(super) const TARGET: &str = "boxoffice::access";

/// Where the lines go. Absent when nobody wants them.
static SINK: OnceLock<(Console, LogFormat)> = OnceLock::new();

pub(super) fn install(console: Console, format: LogFormat) {
    SINK.get_or_init(|| (console, format));
}

pub(super) fn write_line(request: &Ended<'_>) {
    thread_local! {
        // Formatted here first, so that the console's lock is held for a copy only.
        static SCRATCH: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(512));
    }
    let Some((console, format)) = SINK.get() else { return };
    SCRATCH.with_borrow_mut(|line| {
        line.clear();
        write(line, *format, Clock::System.now(), request);
        console.push(line);
    });
}

fn write(line: &mut Vec<u8>, format: LogFormat, now: DateTime<Utc>, request: &Ended<'_>) {
    let status = |line: &mut Vec<u8>| match request.outcome {
        Outcome::Grpc(_) => line.extend_from_slice(request.outcome.label().as_bytes()),
        Outcome::Http(code) => decimal(line, code.into(), 1),
    };
    match format {
        LogFormat::Human => {
            timestamp(line, now);
            line.extend_from_slice(b"  INFO request service=");
            line.extend_from_slice(request.service.as_bytes());
            line.extend_from_slice(b" method=");
            line.extend_from_slice(request.method.as_bytes());
            line.extend_from_slice(b" status=");
            status(line);
            line.extend_from_slice(b" ms=");
            hundredths(line, request.elapsed);
            line.extend_from_slice(b" peer=");
            match request.peer {
                Some(peer) => address(line, peer),
                None => line.push(b'-'),
            }
            line.extend_from_slice(b" trace=");
            line.extend_from_slice(&hexadecimal(request.trace_id));
            line.push(b'\n');
        }
        LogFormat::Json => {
            line.extend_from_slice(b"{\"timestamp\":\"");
            timestamp(line, now);
            line.extend_from_slice(b"\",\"level\":\"INFO\",\"message\":\"request\",\"service\":\"");
            escape(line, request.service);
            line.extend_from_slice(b"\",\"method\":\"");
            escape(line, request.method);
            line.extend_from_slice(b"\",\"status\":\"");
            status(line);
            line.extend_from_slice(b"\",\"protocol\":\"");
            line.extend_from_slice(request.protocol.label().as_bytes());
            line.extend_from_slice(b"\",\"ms\":");
            hundredths(line, request.elapsed);
            if let Some(peer) = request.peer {
                line.extend_from_slice(b",\"peer\":\"");
                address(line, peer);
                line.push(b'"');
            }
            line.extend_from_slice(b",\"trace\":\"");
            line.extend_from_slice(&hexadecimal(request.trace_id));
            put(line, format_args!("\",\"target\":\"{TARGET}\"}}\n"));
        }
    }
}

/// Milliseconds, to the hundredth.
fn hundredths(line: &mut Vec<u8>, elapsed: Duration) {
    let hundredths = ((elapsed.as_nanos() + 5_000) / 10_000) as u64;
    decimal(line, hundredths / 100, 1);
    line.push(b'.');
    decimal(line, hundredths % 100, 2);
}

fn address(line: &mut Vec<u8>, address: SocketAddr) {
    let SocketAddr::V4(address) = address else { return put(line, format_args!("{address}")) };
    for (at, octet) in address.ip().octets().into_iter().enumerate() {
        if at > 0 {
            line.push(b'.');
        }
        decimal(line, octet.into(), 1);
    }
    line.push(b':');
    decimal(line, address.port().into(), 1);
}

/// With so many digits at least.
fn decimal(line: &mut Vec<u8>, mut number: u64, least: usize) {
    let (mut digits, mut first) = ([b'0'; 20], 20);
    while number > 0 || digits.len() - first < least {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    line.extend_from_slice(&digits[first..]);
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

/// What JSON does not allow inside a string.
fn escape(line: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => line.extend_from_slice(&[b'\\', byte]),
            0..=0x1f => put(line, format_args!("\\u{byte:04x}")),
            _ => line.push(byte),
        }
    }
}

/// `2026-11-21T10:00:00.123Z`. All but the milliseconds is the same for a whole second, and is kept.
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
    decimal(line, (now.nanosecond() / 1_000_000).min(999).into(), 3);
    line.push(b'Z');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::request::Protocol;

    fn written(format: LogFormat, service: &str, outcome: Outcome) -> String {
        let now = DateTime::from_timestamp_millis(1_795_255_200_123).unwrap();
        let request = Ended {
            service,
            method: "GetShowtime",
            outcome,
            protocol: Protocol::Grpc,
            elapsed: Duration::from_micros(1_417),
            peer: Some(([127, 0, 0, 1], 51_234).into()),
            trace_id: 0xabc,
        };
        let mut line = Vec::new();
        write(&mut line, format, now, &request);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn people_read_one_line() {
        assert_eq!(
            written(LogFormat::Human, "boxoffice.v1.Showtimes", Outcome::Grpc(5)),
            "2026-11-21T10:00:00.123Z  INFO request service=boxoffice.v1.Showtimes method=GetShowtime status=NOT_FOUND \
             ms=1.42 peer=127.0.0.1:51234 trace=00000000000000000000000000000abc\n"
        );
    }

    #[test]
    fn json_survives_what_json_forbids() {
        let service = "a\"b\\c\nd\u{1}é";
        let line = written(LogFormat::Json, service, Outcome::Http(404));
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
