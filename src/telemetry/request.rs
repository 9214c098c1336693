//! How a request ended, in the words of the console and the metrics. Labels are few and fixed, so that no caller can
//! increase the number of series.

use std::{net::SocketAddr, time::Duration};

/// The protocol of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC over HTTP/2.
    Grpc,
    /// gRPC-Web, which browsers use.
    GrpcWeb,
    /// Plain HTTP.
    Http,
}

impl Protocol {
    /// The number of protocols.
    pub const COUNT: usize = 3;

    /// The label of a metric.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::GrpcWeb => "grpc-web",
            Self::Http => "http",
        }
    }
}

/// The status that a request was answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseStatus {
    /// A gRPC status code, 0 to 16.
    Grpc(u8),
    /// An HTTP status code, where there is no gRPC status.
    Http(u16),
}

impl ResponseStatus {
    /// The caller went away before the end of the answer.
    pub const CANCELLED: Self = Self::Grpc(1);
    /// The answer ended without a status.
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

    /// The label of a metric: gRPC's name for the code, or the class of the HTTP status.
    #[must_use]
    pub fn label(self) -> &'static str {
        Self::LABELS[self.index()]
    }
}

/// A request that has ended.
#[derive(Debug)]
pub struct Ended<'a> {
    /// The service's full name.
    pub service: &'a str,
    /// The method's name.
    pub method: &'a str,
    /// The status that it was answered with.
    pub status: ResponseStatus,
    /// The protocol of the request.
    pub protocol: Protocol,
    /// From the arrival to the last byte handed to the connection.
    pub elapsed: Duration,
    /// The address of the caller, if it is known.
    pub peer: Option<SocketAddr>,
    /// The trace that it belongs to.
    pub trace_id: u128,
}
