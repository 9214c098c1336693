//! What is known about a request besides its message: its id, its trace, its peer, its deadline and its method.

use std::{cell::Cell, net::SocketAddr};

use http::{Extensions, HeaderMap};
use tokio::time::Instant;

use super::methods::Method;
use crate::{
    clock::Clock,
    telemetry::{request::Protocol, trace_parent::TraceParent},
};

/// What the layers know about a request. Every request that reaches a service carries it in its extensions.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext {
    /// The caller's `traceparent`. If requests are traced it is that of this request's span, and without either of them new.
    pub trace: TraceParent,
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

/// The caller's place in a trace.
pub(super) fn trace_from_headers(headers: &HeaderMap) -> Option<TraceParent> {
    TraceParent::parse(headers.get("traceparent")?.as_bytes())
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

/// A new trace, which is not recorded.
pub(super) fn new_trace() -> TraceParent {
    // Neither is 0, which W3C Trace Context does not allow.
    let trace = (u128::from(random_id()) << 64 | u128::from(random_id())).max(1);
    TraceParent { trace, span: random_id().max(1), flags: 0 }
}
