//! Times, spans, dates, money: the wire's common values.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};

use crate::{
    domain::{money::Money, showtime::to_micros, violations::Violations},
    pb::google::r#type::Money as PbMoney,
};

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z: what a `google.protobuf.Timestamp` may hold.
const TIMESTAMPS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
const NANOS: i32 = 1_000_000_000;

/// Reads a value that may be left out.
pub(crate) fn optional<T>(text: &str, read: impl Fn(&str) -> Result<T, Violations>) -> Result<Option<T>, Violations> {
    if text.is_empty() { Ok(None) } else { read(text).map(Some) }
}

pub(super) fn required<T>(value: Option<T>) -> Result<T, Violations> {
    value.ok_or_else(|| Violations::one("", "is required"))
}

/// Reads a timestamp, truncated to microseconds.
pub(super) fn time(timestamp: prost_types::Timestamp) -> Result<DateTime<Utc>, Violations> {
    let prost_types::Timestamp { seconds, nanos } = timestamp;
    let fits = TIMESTAMPS.contains(&seconds) && (0..NANOS).contains(&nanos);
    fits.then(|| DateTime::from_timestamp(seconds, nanos.unsigned_abs()))
        .flatten()
        .map(to_micros)
        .ok_or_else(|| Violations::one("", "must be a valid timestamp"))
}

/// Reads a span within its limits, truncated to microseconds.
pub(super) fn span(duration: prost_types::Duration, least: Duration, most: Duration) -> Result<Duration, Violations> {
    let prost_types::Duration { seconds, nanos } = duration;
    let exact = match u64::try_from(seconds) {
        Ok(seconds) if (0..NANOS).contains(&nanos) => Some(Duration::new(seconds, nanos.unsigned_abs())),
        _ => None,
    };
    match exact {
        Some(exact) if (least..=most).contains(&exact) => {
            Ok(Duration::new(exact.as_secs(), exact.subsec_micros() * 1_000))
        }
        _ => Err(Violations::one("", format!("must be from {} to {} seconds", least.as_secs(), most.as_secs()))),
    }
}

pub(super) fn price(money: &PbMoney) -> Result<Money, Violations> {
    Money::price(&money.currency_code, money.units, money.nanos)
}

pub(crate) fn local_date(text: &str) -> Result<NaiveDate, Violations> {
    let bytes = text.as_bytes();
    let shaped = bytes.len() == 10
        && bytes
            .iter()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { *byte == b'-' } else { byte.is_ascii_digit() });
    let date = if shaped { text.parse().ok() } else { None };
    date.ok_or_else(|| Violations::one("", "must be a date like 2027-02-28"))
}

pub(crate) fn timestamp(time: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.timestamp(), nanos: time.timestamp_subsec_nanos() as i32 }
}

pub(super) fn duration(span: Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: span.as_secs() as i64, nanos: span.subsec_nanos() as i32 }
}

/// Reads an amount that is paid for several seats.
pub(super) fn amount(money: &PbMoney) -> Result<Money, Violations> {
    Money::amount(&money.currency_code, money.units, money.nanos)
}

pub(super) fn money(money: Money) -> PbMoney {
    let (units, nanos) = money.units_and_nanos();
    PbMoney { currency_code: money.currency.code().to_owned(), units, nanos }
}
