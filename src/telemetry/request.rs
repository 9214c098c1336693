//! How one request ended, as the console and the metrics tell it. Labels are few and fixed: whatever callers send, the
//! number of series is bounded.

use std::{net::SocketAddr, time::Duration};

use super::{access, metrics::RequestSeries};

/// How the caller spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC over HTTP/2.
    Grpc,
    /// gRPC-Web, as browsers do.
    GrpcWeb,
    /// Plain HTTP.
    Http,
}

impl Protocol {
    /// How many there are.
    pub const COUNT: usize = 3;

    /// As a metric's label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::GrpcWeb => "grpc-web",
            Self::Http => "http",
        }
    }
}

/// What the caller was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A gRPC status code, 0 to 16.
    Grpc(u8),
    /// An HTTP status code, where there is no gRPC status.
    Http(u16),
}

impl Outcome {
    /// The caller left before the end of the answer.
    pub const CANCELLED: Self = Self::Grpc(1);
    /// The answer ended without saying how.
    pub const UNKNOWN: Self = Self::Grpc(2);

    pub(super) const LABELS: [&str; 22] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
        "HTTP_1XX",
        "HTTP_2XX",
        "HTTP_3XX",
        "HTTP_4XX",
        "HTTP_5XX",
    ];

    pub(super) fn index(self) -> usize {
        match self {
            Self::Grpc(code) if code <= 16 => usize::from(code),
            Self::Grpc(_) => 2,
            Self::Http(code) => 16 + usize::from(code / 100).clamp(1, 5),
        }
    }

    /// As a metric's label: gRPC's name for the code, or the hundred of the HTTP status.
    #[must_use]
    pub fn label(self) -> &'static str {
        Self::LABELS[self.index()]
    }
}

/// A request that is over.
#[derive(Debug)]
pub struct Ended<'a> {
    /// The service's full name.
    pub service: &'a str,
    /// The method's name.
    pub method: &'a str,
    /// What the caller was told.
    pub outcome: Outcome,
    /// How the caller spoke.
    pub protocol: Protocol,
    /// From the arrival to the last byte handed to the connection.
    pub elapsed: Duration,
    /// Who asked.
    pub peer: Option<SocketAddr>,
    /// Which trace it belongs to.
    pub trace_id: u128,
}

/// Counts the request and writes its console line.
pub fn ended(request: &Ended<'_>, series: &RequestSeries) {
    series.ended(request.outcome, request.protocol, request.elapsed);
    access::line(request);
}
