//! Tells gRPC, gRPC-Web and plain HTTP apart.
//!
//! What tonic-web leaves to us: it knows only the four exact content types, answers 400 to all other HTTP/1.1, and looks
//! at `accept` alone to choose between text and binary.

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use tonic::body::Body;

use super::{Settings, record, refusal, routes, switch::Way};

/// How the content types of all kinds of gRPC begin.
pub(super) const GRPC: &[u8] = b"application/grpc";
const WEB: &str = "application/grpc-web";
const WEB_TEXT: &str = "application/grpc-web-text";

/// Marks a request that came as gRPC-Web: inside, it looks like any other.
#[derive(Clone, Copy, Debug)]
pub(super) struct ViaWeb;

/// Whether some kind of gRPC is spoken.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(GRPC))
}

/// Native gRPC over HTTP/2 and pages go on, gRPC-Web aside, and what cannot work goes back with a reason.
pub(super) fn gate(settings: &Settings) -> impl Fn(&mut Request<Body>) -> Way + Clone + Send + Sync + 'static {
    let (message, headers) = (settings.max_message_bytes as u64, settings.max_header_bytes);
    let way = move |request: &mut Request<Body>| {
        if request.version() < Version::HTTP_2 && size(request.headers()) > headers {
            return back(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers are too large.\n");
        }
        let kind = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        if !kind.starts_with(GRPC) {
            return plain(request);
        }
        match &kind[GRPC.len()..] {
            b"" | b"+proto" if request.version() == Version::HTTP_2 => Way::On,
            b"" | b"+proto" => back(
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "gRPC needs HTTP/2, from the first byte where there is no TLS; gRPC-Web works over HTTP/1.1 too.\n",
            ),
            rest => match essence(rest) {
                b"-web" | b"-web+proto" => web(request, message, WEB),
                b"-web-text" | b"-web-text+proto" => web(request, message, WEB_TEXT),
                // With parameters, which mean nothing to gRPC.
                b"" | b"+proto" if request.version() == Version::HTTP_2 => Way::On,
                other => {
                    if other.starts_with(b"-web") {
                        request.extensions_mut().insert(ViaWeb);
                    }
                    back(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Of gRPC's content types, only protobuf is spoken here.\n")
                }
            },
        }
    };
    move |request| {
        let way = way(request);
        // It passes by the layer that tells of all others.
        if let Way::Back(response) = &way {
            record::turned_away(request, response);
        }
        way
    }
}

/// Without parameters such as `; charset=utf-8`.
fn essence(kind: &[u8]) -> &[u8] {
    kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end()
}

fn size(headers: &HeaderMap) -> usize {
    // Colon, space and line end count as well.
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

fn plain(request: &Request<Body>) -> Way {
    if routes::find(request.uri().path()).is_some() {
        return back(StatusCode::UNSUPPORTED_MEDIA_TYPE, "This is a gRPC method: call it with gRPC or gRPC-Web.\n");
    }
    if routes::is_service(request.uri().path()) {
        return back(StatusCode::NOT_FOUND, "There is no such page.\n");
    }
    Way::On
}

fn web(request: &mut Request<Body>, limit: u64, kind: &'static str) -> Way {
    request.extensions_mut().insert(ViaWeb);
    if request.method() != Method::POST {
        return back(StatusCode::METHOD_NOT_ALLOWED, "gRPC-Web is spoken with POST.\n");
    }
    // One message with its prefix; base64 makes four of three. Longer bodies without a length are stopped by the decoder.
    let limit = if kind == WEB_TEXT { (limit + 5).div_ceil(3) * 4 } else { limit + 5 };
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit) {
        let mut response = refusal::too_large().into_http();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc-web+proto"));
        return Way::Back(Box::new(response));
    }
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // Whoever asks in text and takes anything wants text: their transport may not carry anything else.
    let names_web = |accept: &HeaderValue| accept.as_bytes().starts_with(WEB.as_bytes());
    if kind == WEB_TEXT && !headers.get(header::ACCEPT).is_some_and(names_web) {
        headers.insert(header::ACCEPT, HeaderValue::from_static(WEB_TEXT));
    }
    Way::Side
}

fn back(status: StatusCode, reason: &'static str) -> Way {
    let mut response =
        Response::new(Body::new(http_body_util::Full::new(bytes::Bytes::from_static(reason.as_bytes()))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Way::Back(Box::new(response))
}
