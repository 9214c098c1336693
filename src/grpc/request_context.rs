//! What is known about a request besides its message: its id, its trace, its peer, its deadline and its method.

use std::{cell::Cell, fmt, net::SocketAddr};

use http::{Extensions, HeaderMap};
use tokio::time::Instant;

use super::methods::Method;
use crate::{clock::Clock, telemetry::request::Protocol};

/// A trace id as W3C Trace Context defines it. It is written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What the layers know about a request. Every request that reaches a service carries it in its extensions.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext {
    /// The trace that the caller's `traceparent` names, or a new one.
    pub trace_id: TraceId,
    /// Identifies this request among all others. An INTERNAL answer and the log both contain it.
    pub request_id: u64,
    /// Address of the other end of the connection, if the transport knows it.
    pub peer: Option<SocketAddr>,
    /// When the request arrived. The clock is read once for all layers.
    pub began: Instant,
    /// The moment at which the caller stops waiting. A stream without a `grpc-timeout` has none.
    pub deadline: Option<Instant>,
    pub(super) method: &'static Method,
    pub(super) protocol: Protocol,
}

impl RequestContext {
    /// The context of the request with these extensions. `None` for a request that did not pass the layers.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The method that is called, and the protocol.
    pub(super) fn of_method(&self) -> (&'static Method, Protocol) {
        (self.method, self.protocol)
    }

    /// Full name of the service that is called; `unknown` for a path that is in no contract, `http` for plain HTTP.
    #[must_use]
    pub fn service(&self) -> &'static str {
        &self.method.service
    }

    /// The request id as the log and INTERNAL answers write it: 16 hexadecimal digits.
    #[must_use]
    pub fn request_id_hex(&self) -> String {
        format!("{:016x}", self.request_id)
    }
}

/// The trace id in the `traceparent` header, which has the form `00-<trace>-<parent>-<flags>`.
pub(super) fn trace_from_headers(headers: &HeaderMap) -> Option<u128> {
    let value = headers.get("traceparent")?.as_bytes();
    // Later versions of the header may be longer, but begin with the same fields. Version `ff` is forbidden.
    if value.len() < 55 || value[2] != b'-' || value[35] != b'-' || value.starts_with(b"ff") {
        return None;
    }
    let digits = value.get(3..35)?;
    // `from_str_radix` alone would accept a sign and upper-case digits, which the specification forbids.
    if !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    u128::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok().filter(|trace| *trace != 0)
}

/// A new id, random enough to be unique but not secret: the seed is random, the sequence (`SplitMix64`) can be predicted.
/// Asking the operating system for randomness would cost more than most requests do.
pub(super) fn random_id() -> u64 {
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

/// A new trace id. It is never 0, which W3C Trace Context does not allow.
pub(super) fn new_trace() -> u128 {
    (u128::from(random_id()) << 64 | u128::from(random_id())).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace_of(traceparent: &'static str) -> Option<u128> {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", traceparent.parse().unwrap());
        trace_from_headers(&headers)
    }

    #[test]
    fn a_well_formed_traceparent_is_accepted() {
        assert_eq!(
            trace_of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            Some(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c)
        );
    }

    #[test]
    fn a_malformed_traceparent_is_ignored() {
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
