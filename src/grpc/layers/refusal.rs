//! How a layer answers a request itself: the status as a response of the protocol that the caller speaks, or as the
//! trailers of a body that has begun.

use http::{HeaderMap, Response, StatusCode};
use tonic::{Code, Status};

use crate::telemetry::request::Protocol;

/// A response without a body. gRPC and gRPC-Web carry the whole status in the headers; plain HTTP gets the closest HTTP
/// status code.
pub(super) fn response<B: Default>(status: Status, protocol: Protocol) -> Response<B> {
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

/// Trailers that end a body with this status.
pub(super) fn trailers(status: Status) -> HeaderMap {
    let mut headers = status.into_http::<()>().into_parts().0.headers;
    headers.remove(http::header::CONTENT_TYPE);
    headers
}
