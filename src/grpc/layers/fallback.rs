//! The answer to a path that no service and no page has.

use axum::{body::Body, extract::Request};
use http::{HeaderValue, Response, StatusCode, header};

use super::protocol;
use crate::grpc::status::transport;

/// UNIMPLEMENTED for gRPC and gRPC-Web, 404 for plain HTTP.
pub(in crate::grpc) async fn unknown_path(request: Request) -> Response<Body> {
    if protocol::is_grpc(request.headers()) {
        return transport::method_unknown(request.uri().path()).into_http();
    }
    let mut response = Response::new(Body::from("There is no page at this path.\n"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
