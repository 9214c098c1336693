//! Requests made of bytes.
//!
//! An input of the target `layers` looks like an HTTP request: `METHOD TARGET VERSION SCRIPT`, a line for each header, an empty
//! line, and the bytes of the body, which [`Script`] sends. What no HTTP library would pass on is no request.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use tonic::body::Body;

use crate::{body::Script, names::Names};

/// The most header lines of a request, as hyper has it for HTTP/1.1.
const MAX_HEADERS: usize = 100;

/// A request, and what must be known about it to judge its answer.
#[derive(Debug)]
pub struct Call {
    /// The request.
    pub request: Request<Body>,
    /// Whether it is native gRPC as it must be: POST over HTTP/2.
    pub native: bool,
    /// Whether its content type begins as those of gRPC and gRPC-Web do.
    pub grpc: bool,
    /// Whether its path is below one of our own services.
    pub ours: bool,
    /// Whether the answer may have no end.
    pub streams: bool,
    /// Whether the caller breaks off or stops in the middle.
    pub broken: bool,
}

impl Call {
    fn new(request: Request<Body>, broken: bool) -> Self {
        let kind = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let path = request.uri().path();
        let kind_only = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
        Self {
            native: matches!(kind_only, b"application/grpc" | b"application/grpc+proto")
                && request.version() == Version::HTTP_2
                && request.method() == Method::POST,
            grpc: kind.starts_with(b"application/grpc"),
            ours: path.starts_with("/boxoffice.v1."),
            streams: ["/Watch", "/WatchSeatMap", "/ServerReflectionInfo"].iter().any(|end| path.ends_with(end)),
            broken,
            request,
        }
    }
}

/// Reads an input of the target `layers`.
#[must_use]
pub fn read(input: &[u8], names: &Names) -> Option<Call> {
    let (first, mut rest) = line(input)?;
    let mut words = first.split(|byte| *byte == b' ');
    let method = Method::from_bytes(words.next()?).ok()?;
    let uri = Uri::try_from(words.next()?).ok()?;
    let version = match words.next()? {
        b"2" => Version::HTTP_2,
        b"1.1" => Version::HTTP_11,
        b"1.0" => Version::HTTP_10,
        _ => return None,
    };
    let script = words.next().unwrap_or_default();
    let mut headers = HeaderMap::new();
    loop {
        let (header, after) = line(rest)?;
        rest = after;
        if header.is_empty() {
            break;
        }
        let colon = header.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&header[..colon]).ok()?;
        let value = HeaderValue::from_bytes(header[colon + 1..].trim_ascii()).ok()?;
        headers.append(name, value);
        if headers.len() > MAX_HEADERS {
            return None;
        }
    }
    let mut bytes = rest.to_vec();
    names.fill_in(&mut bytes);
    let broken = script.iter().any(|letter| b"fs".contains(letter));
    let mut request = Request::new(Body::new(Script::new(script, bytes)));
    (*request.method_mut(), *request.uri_mut(), *request.version_mut()) = (method, uri, version);
    *request.headers_mut() = headers;
    Some(Call::new(request, broken))
}

/// A native gRPC call with this message.
#[must_use]
pub fn native(path: &str, message: &[u8]) -> Call {
    let mut request = Request::new(Body::new(Script::new(b"p", message.to_vec())));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = path.parse().expect("a path of the contract");
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
    Call::new(request, false)
}

/// The bytes up to the first line feed, and those after it.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// The messages of a body: each with its flag.
#[must_use]
pub fn frames(mut body: Bytes) -> Option<Vec<(u8, Bytes)>> {
    let mut found = Vec::new();
    while !body.is_empty() {
        let prefix = body.get(..5)?;
        let flag = prefix[0];
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        if body.len() < 5 + length {
            return None;
        }
        found.push((flag, body.slice(5..5 + length)));
        body = body.slice(5 + length..);
    }
    Some(found)
}
