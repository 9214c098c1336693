//! One console line for each request, written by hand: through the logging machinery it would cost ten times as much, and
//! every request pays.

use std::{cell::RefCell, io::Write as _, sync::OnceLock};

use chrono::{DateTime, Timelike as _, Utc};

use super::{
    LogFormat,
    console::Console,
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

pub(super) fn line(request: &Ended<'_>) {
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
    let hundredths = (request.elapsed.as_nanos() + 5_000) / 10_000;
    let (whole, part) = (hundredths / 100, hundredths % 100);
    let trace = request.trace_id;
    let status = |line: &mut Vec<u8>| match request.outcome {
        Outcome::Grpc(_) => line.extend_from_slice(request.outcome.label().as_bytes()),
        Outcome::Http(code) => put(line, format_args!("{code}")),
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
            put(line, format_args!(" ms={whole}.{part:02} peer="));
            match request.peer {
                Some(peer) => put(line, format_args!("{peer}")),
                None => line.push(b'-'),
            }
            put(line, format_args!(" trace={trace:032x}\n"));
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
            put(line, format_args!("\",\"protocol\":\"{}\",\"ms\":{whole}.{part:02}", request.protocol.label()));
            if let Some(peer) = request.peer {
                put(line, format_args!(",\"peer\":\"{peer}\""));
            }
            put(line, format_args!(",\"trace\":\"{trace:032x}\",\"target\":\"{TARGET}\"}}\n"));
        }
    }
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
    put(line, format_args!(".{:03}Z", (now.nanosecond() / 1_000_000).min(999)));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
