//! Which protocol a request or a response speaks, read from its content type.

use http::{HeaderMap, Request, header};
use tonic::body::Body;

use crate::telemetry::request::Protocol;

/// The prefix of every content type of gRPC and gRPC-Web.
pub(super) const GRPC_PREFIX: &[u8] = b"application/grpc";

/// Marks, in a request's extensions, that it arrived as gRPC-Web. After its translation it looks like native gRPC.
#[derive(Clone, Copy, Debug)]
pub(super) struct ArrivedAsGrpcWeb;

/// Whether the content type is one of gRPC or gRPC-Web.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(GRPC_PREFIX))
}

/// The protocol in which the caller sent this request.
pub(super) fn of(request: &Request<Body>) -> Protocol {
    if request.extensions().get::<ArrivedAsGrpcWeb>().is_some() {
        Protocol::GrpcWeb
    } else if is_grpc(request.headers()) {
        Protocol::Grpc
    } else {
        Protocol::Http
    }
}
