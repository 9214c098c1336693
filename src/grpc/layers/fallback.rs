//! What nobody serves is UNIMPLEMENTED in gRPC, and 404 to a browser.

use axum::{body::Body, extract::Request};
use http::{HeaderValue, Response, StatusCode, header};

use super::{refusal, web};

/// UNIMPLEMENTED to those who speak gRPC, a page that says so to the others.
pub(in crate::grpc) async fn unserved(request: Request) -> Response<Body> {
    if web::is_grpc(request.headers()) {
        return refusal::unimplemented().into_http();
    }
    let mut response = Response::new(Body::from("There is no such page.\n"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
