//! Statuses of requests that end without the answer of a handler: the layers and the codec refuse them.

use std::time::Duration;

use http::HeaderValue;
use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
};
use tonic_types::StatusExt as _;

use super::details::{self, error_info};
use crate::grpc::request_context::{RequestContext, random_id};

/// When to try again at a server that is overloaded or shutting down, in milliseconds. Each refusal gets a random value of
/// this range, so that refused callers do not all return at the same moment.
const RETRY_MS: std::ops::Range<u64> = 100..500;
/// Most bytes of a path that a message repeats to its caller.
const MAX_PATH_BYTES: usize = 200;
/// Most bytes of the name of an encoding that a message repeats to its caller.
const MAX_ENCODING_BYTES: usize = 40;

/// The limit of requests in flight is reached.
pub(in crate::grpc) fn overloaded() -> Status {
    let wait = random_wait();
    let message = format!("the server has as many requests in flight as it allows; try again in {wait:?}");
    details::unavailable("OVERLOADED", &message, wait)
}

/// The connection holds too many bytes of answers that are not delivered.
pub(in crate::grpc) fn connection_overloaded() -> Status {
    let wait = random_wait();
    let message =
        format!("this connection has too many bytes of undelivered answers; read answers, and try again in {wait:?}");
    details::unavailable("OVERLOADED", &message, wait)
}

/// Too many bytes of messages that are not complete have arrived, and others have waited for a shorter time.
pub(in crate::grpc) fn messages_overloaded() -> Status {
    let wait = random_wait();
    let message = format!(
        "the server has too many bytes of unfinished messages, and cannot wait for the rest of this one; try again in {wait:?}"
    );
    details::unavailable("OVERLOADED", &message, wait)
}

/// The server is shutting down, so the stream ends. Another instance, or this one after its restart, can continue it.
pub(in crate::grpc) fn draining() -> Status {
    let wait = random_wait();
    let message = format!("the server is shutting down; try again in {wait:?}");
    details::unavailable("DRAINING", &message, wait)
}

fn random_wait() -> Duration {
    Duration::from_millis(RETRY_MS.start + random_id() % (RETRY_MS.end - RETRY_MS.start))
}

/// The deadline has passed, be it the caller's or the server's default.
pub(in crate::grpc) fn deadline_exceeded() -> Status {
    let message = "the deadline passed before the answer was complete; a change may still take effect, so repeat it with \
                   the same request_id";
    Status::with_error_details(Code::DeadlineExceeded, message, error_info("DEADLINE_EXCEEDED", []))
}

/// The caller's `grpc-timeout` cannot be read.
pub(in crate::grpc) fn malformed_timeout() -> Status {
    let description = "must be 1 to 8 digits followed by one of the units H, M, S, m, u, n";
    let mut details = error_info("INVALID_REQUEST", []);
    details.add_bad_request_violation("grpc-timeout", description);
    Status::with_error_details(Code::InvalidArgument, format!("grpc-timeout {description}"), details)
}

/// The handler panicked. The log has the panic under the same request id.
pub(in crate::grpc) fn panicked(context: Option<&RequestContext>) -> Status {
    details::internal(context.map(RequestContext::request_id_hex))
}

/// No service has a method with this path.
pub(in crate::grpc) fn method_unknown(path: &str) -> Status {
    let shown = &path[..path.floor_char_boundary(MAX_PATH_BYTES)];
    let ellipsis = if shown.len() < path.len() { "…" } else { "" };
    let message = format!("there is no method {shown}{ellipsis}; check the names of the service and the method");
    Status::with_error_details(Code::Unimplemented, message, error_info("METHOD_UNKNOWN", []))
}

/// The request is longer than a message may be. It is refused before it is read.
pub(in crate::grpc) fn message_too_large(length: u64, max_message_bytes: u64) -> Status {
    let message = format!("the request body has {length} bytes; a message may have {max_message_bytes}");
    Status::with_error_details(Code::OutOfRange, message, error_info("MESSAGE_TOO_LARGE", []))
}

/// The bytes of the request are no protobuf message of the method's request type.
pub(in crate::grpc) fn malformed_message(error: &prost::DecodeError) -> Status {
    let message = format!("the request message is malformed: {error}");
    Status::with_error_details(Code::InvalidArgument, message, error_info("MALFORMED_MESSAGE", []))
}

/// The body of the request is not one message with its prefix.
pub(in crate::grpc) fn malformed_frame(why: &str) -> Status {
    let message = format!("the request message is malformed: {why}");
    Status::with_error_details(Code::InvalidArgument, message, error_info("MALFORMED_MESSAGE", []))
}

/// The message of the request is compressed.
pub(in crate::grpc) fn compressed(encoding: &HeaderValue) -> Status {
    let encoding = encoding.to_str().unwrap_or("an unreadable encoding");
    let shown = &encoding[..encoding.floor_char_boundary(MAX_ENCODING_BYTES)];
    let message = format!("the request message is compressed ({shown}); send it without compression");
    let mut metadata = MetadataMap::new();
    metadata.insert("grpc-accept-encoding", MetadataValue::from_static("identity"));
    let details = error_info("ENCODING_UNSUPPORTED", []);
    Status::with_error_details_and_metadata(Code::Unimplemented, message, details, metadata)
}

/// The message of the request did not arrive in time. Nothing was done.
pub(in crate::grpc) fn message_late(timeout: Duration) -> Status {
    let message = format!("the request message was not complete within {timeout:?}; nothing was changed");
    Status::with_error_details(Code::DeadlineExceeded, message, error_info("DEADLINE_EXCEEDED", []))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_method_is_named_within_a_bound() {
        assert!(method_unknown("/no.such.Service/Method").message().contains("/no.such.Service/Method;"));
        let long = format!("/{}", "ñ".repeat(10_000));
        let status = method_unknown(&long);
        assert!(status.message().contains("ñ…; check") && status.message().len() < 300, "{status:?}");
    }
}
