//! What is known about a request besides its message.

use std::{cell::Cell, fmt, net::SocketAddr};

use http::{Extensions, HeaderMap};
use tokio::time::Instant;

use super::routes::Route;
use crate::{clock::Clock, telemetry::request::Protocol};

/// Names a trace as the W3C does: 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// In the extensions of every request that reaches a service.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext {
    /// The caller's trace, or a new one.
    pub trace_id: TraceId,
    /// Tells this request from all others; an INTERNAL answer and the log both name it.
    pub request_id: u64,
    /// Who asks, if the connection knows.
    pub peer: Option<SocketAddr>,
    /// When the caller stops waiting. Streams may have none.
    pub deadline: Option<Instant>,
    pub(super) route: &'static Route,
    pub(super) protocol: Protocol,
}

impl RequestContext {
    /// Of the request with these extensions, if it came through the layers.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The full name of the service that is called; none that a contract has, if the method is unknown.
    #[must_use]
    pub fn service(&self) -> &'static str {
        &self.route.service
    }

    /// The request's id as it is written.
    #[must_use]
    pub fn request_name(&self) -> String {
        format!("{:016x}", self.request_id)
    }
}

/// The trace that the caller names in `traceparent`, as the W3C writes it: `00-<trace>-<parent>-<flags>`.
pub(super) fn callers_trace(headers: &HeaderMap) -> Option<u128> {
    let value = headers.get("traceparent")?.as_bytes();
    // A version that is not ours may be longer, but begins alike.
    if value.len() < 55 || value[2] != b'-' || value[35] != b'-' || value.starts_with(b"ff") {
        return None;
    }
    let digits = value.get(3..35)?;
    // `from_str_radix` alone would let a sign and capitals pass.
    if !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    u128::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok().filter(|trace| *trace != 0)
}

/// A name for something that nobody gains by guessing. The seed is random, the sequence (`SplitMix64`) is not: asking the
/// system for randomness on every request would cost more than most requests do.
pub(super) fn fresh() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(seed());
    }
    STATE.with(|state| {
        state.set(state.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut mixed = state.get();
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

fn seed() -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&Clock::System.secret()[..8]);
    u64::from_le_bytes(first)
}

/// A trace that begins here.
pub(super) fn new_trace() -> u128 {
    (u128::from(fresh()) << 64 | u128::from(fresh())).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace_of(traceparent: &'static str) -> Option<u128> {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", traceparent.parse().unwrap());
        callers_trace(&headers)
    }

    #[test]
    fn a_well_formed_trace_is_taken_over() {
        assert_eq!(
            trace_of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            Some(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c)
        );
    }

    #[test]
    fn anything_else_is_not() {
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(trace_of(bad), None, "{bad:?}");
        }
    }
}
