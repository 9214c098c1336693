//! Sorts requests by protocol: native gRPC and pages pass, gRPC-Web is sent to its translation, and what cannot be served is
//! answered with the reason.
//!
//! It covers what tonic-web does not. tonic-web knows only the four exact content types, answers 400 to every other HTTP/1.1
//! request, and chooses between text and binary by `accept` alone.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::Full;
use tonic::body::Body;

use super::{
    branch::Route,
    host::Hosts,
    protocol::{ArrivedAsGrpcWeb, GRPC_PREFIX},
    record,
};
use crate::grpc::{methods, status::transport};

const WEB: &str = "application/grpc-web";
const WEB_TEXT: &str = "application/grpc-web-text";

/// Chooses the path of a request. Native gRPC over HTTP/2 and plain HTTP go directly, gRPC-Web takes the detour through its
/// translation, and a request that cannot be served is answered with the reason.
pub(super) fn gate(
    max_message_bytes: usize,
    max_header_bytes: usize,
    hosts: &Hosts,
) -> impl Fn(&mut Request<Body>) -> Route + Clone + Send + Sync + 'static {
    let hosts = hosts.clone();
    move |request| {
        let route = route(request, max_message_bytes as u64, max_header_bytes, &hosts);
        record(request, &route);
        route
    }
}

/// Records a request that is answered here, since it never reaches the layer that records all others.
pub(super) fn record(request: &mut Request<Body>, route: &Route) {
    if let Route::Respond(response) = route {
        record::record_refused(request, response);
    }
}

fn route(request: &mut Request<Body>, max_message_bytes: u64, max_header_bytes: usize, hosts: &Hosts) -> Route {
    // Browsers send HTTP/1.1 and gRPC-Web. Only they can be made to call a server by a name that it does not have.
    if (request.version() < Version::HTTP_2 || is_grpc_web(request.headers()))
        && let Err((status, reason)) = hosts.check(request)
    {
        return respond(status, reason);
    }
    if request.version() < Version::HTTP_2 && size(request.headers()) > max_header_bytes {
        let reason = format!("The headers have more than {max_header_bytes} bytes.\n");
        return respond(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, reason);
    }
    let content_type = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let Some(kind) = content_type.strip_prefix(GRPC_PREFIX) else { return plain_http(request) };
    match without_parameters(kind) {
        b"" | b"+proto" if request.version() == Version::HTTP_2 && request.method() == Method::POST => Route::Direct,
        b"" | b"+proto" if request.version() == Version::HTTP_2 => {
            respond(StatusCode::METHOD_NOT_ALLOWED, "gRPC needs the method POST.\n")
        }
        b"" | b"+proto" => respond(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "gRPC needs HTTP/2, with prior knowledge where there is no TLS. gRPC-Web works over HTTP/1.1, too.\n",
        ),
        b"-web" | b"-web+proto" => grpc_web(request, max_message_bytes, WEB),
        b"-web-text" | b"-web-text+proto" => grpc_web(request, max_message_bytes, WEB_TEXT),
        other => {
            if other.starts_with(b"-web") {
                request.extensions_mut().insert(ArrivedAsGrpcWeb);
            }
            let reason =
                "This content type is not supported. gRPC and gRPC-Web are supported with protobuf messages.\n";
            respond(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason)
        }
    }
}

fn is_grpc_web(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(WEB.as_bytes()))
}

/// A content type without parameters such as `; charset=utf-8`, which mean nothing to gRPC.
fn without_parameters(content_type: &[u8]) -> &[u8] {
    content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end()
}

/// Bytes of all header lines. Each has a colon, a space and a line end besides its name and its value.
fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

fn plain_http(request: &Request<Body>) -> Route {
    let path = request.uri().path();
    if methods::find(path).is_some() {
        let reason = "This path is a gRPC method. Call it with gRPC or gRPC-Web.\n";
        return respond(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason);
    }
    if methods::has_service(path) {
        return respond(StatusCode::NOT_FOUND, "There is no page at this path.\n");
    }
    Route::Direct
}

fn grpc_web(request: &mut Request<Body>, max_message_bytes: u64, content_type: &'static str) -> Route {
    request.extensions_mut().insert(ArrivedAsGrpcWeb);
    if request.method() != Method::POST {
        return respond(StatusCode::METHOD_NOT_ALLOWED, "gRPC-Web needs the method POST.\n");
    }
    // A body is one message and its prefix of 5 bytes; base64 makes 4 bytes of 3. A longer body that does not declare its
    // length is stopped by the decoder.
    let framed = max_message_bytes + 5;
    let max_body_bytes = if content_type == WEB_TEXT { framed.div_ceil(3) * 4 } else { framed };
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if let Some(length) = length.filter(|length| *length > max_body_bytes) {
        let mut response = transport::message_too_large(length, max_message_bytes).into_http();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc-web+proto"));
        return Route::Respond(Box::new(response));
    }
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    // A caller that sends text and does not name gRPC-Web in `accept` gets text, because its transport may not carry
    // anything else.
    let names_web = |accept: &HeaderValue| accept.as_bytes().starts_with(WEB.as_bytes());
    if content_type == WEB_TEXT && !headers.get(header::ACCEPT).is_some_and(names_web) {
        headers.insert(header::ACCEPT, HeaderValue::from_static(WEB_TEXT));
    }
    Route::Detour
}

pub(super) fn respond(status: StatusCode, reason: impl Into<Bytes>) -> Route {
    let mut response = Response::new(Body::new(Full::new(reason.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Route::Respond(Box::new(response))
}
