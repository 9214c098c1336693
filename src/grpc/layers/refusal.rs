//! Answers that the layers give themselves: proper gRPC answers without a body, with the details that api.md promises;
//! to plain HTTP, the status that comes nearest.

use std::{collections::HashMap, time::Duration};

use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::context::{RequestContext, fresh};
use crate::telemetry::request::Protocol;

const DOMAIN: &str = "boxoffice";
/// When a server that is busy or ending is worth another try; spread, so that refused callers do not come back together.
const PUSHBACK_MS: std::ops::Range<u64> = 100..500;

fn details(reason: &str, metadata: HashMap<String, String>) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, metadata)
}

/// Too much is under way.
pub(super) fn overloaded() -> Status {
    unavailable("OVERLOADED", "the server is busy; try again later")
}

/// The server is about to end; another one, or this one later, will do.
pub(super) fn draining() -> Status {
    unavailable("DRAINING", "the server is shutting down; try again later")
}

fn unavailable(reason: &str, what: &str) -> Status {
    let wait = PUSHBACK_MS.start + fresh() % (PUSHBACK_MS.end - PUSHBACK_MS.start);
    let mut details = details(reason, HashMap::new());
    details.set_retry_info(Some(Duration::from_millis(wait)));
    let mut headers = HeaderMap::new();
    headers.insert("grpc-retry-pushback-ms", HeaderValue::from(wait));
    Status::with_error_details_and_metadata(Code::Unavailable, what, details, MetadataMap::from_headers(headers))
}

/// Time is up.
pub(super) fn deadline_exceeded() -> Status {
    let details = details("DEADLINE_EXCEEDED", HashMap::new());
    Status::with_error_details(Code::DeadlineExceeded, "the deadline has passed", details)
}

/// The caller's `grpc-timeout` cannot be read.
pub(super) fn malformed_timeout() -> Status {
    let mut details = details("INVALID_REQUEST", HashMap::new());
    details.add_bad_request_violation("grpc-timeout", "must be one to eight digits and one of H, M, S, m, u, n");
    Status::with_error_details(Code::InvalidArgument, "grpc-timeout is malformed", details)
}

/// Our own fault; the log knows more under the same id.
pub(super) fn internal(context: Option<&RequestContext>) -> Status {
    let metadata = context.map(|context| ("request_id".to_owned(), context.request_name())).into_iter().collect();
    Status::with_error_details(Code::Internal, "internal error", details("INTERNAL", metadata))
}

/// Nobody serves this method.
pub(super) fn unimplemented() -> Status {
    let details = details("METHOD_UNKNOWN", HashMap::new());
    Status::with_error_details(Code::Unimplemented, "there is no such method", details)
}

/// The message cannot be within the limit, so it is not read.
pub(super) fn too_large() -> Status {
    let details = details("MESSAGE_TOO_LARGE", HashMap::new());
    Status::with_error_details(Code::OutOfRange, "the message is too large", details)
}

/// Says it to a caller who spoke like that.
pub(super) fn answer<B: Default>(status: Status, protocol: Protocol) -> Response<B> {
    if protocol != Protocol::Http {
        return status.into_http();
    }
    let mut response = Response::new(B::default());
    *response.status_mut() = match status.code() {
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    response
}

/// As the last thing in a body that has begun.
pub(super) fn trailers(status: Status) -> HeaderMap {
    let mut headers = status.into_http::<()>().into_parts().0.headers;
    headers.remove(http::header::CONTENT_TYPE);
    headers
}
