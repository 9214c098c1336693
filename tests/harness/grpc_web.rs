//! gRPC-Web written by hand, over HTTP/1.1 as a browser sends it, or over HTTP/2 as a proxy forwards it.

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use prost::Message;
use tonic::{Code, Status, body::Body, transport::Channel};
use tower::ServiceExt as _;

use super::http::{self as plain, Reply};

/// An answer: the HTTP response, and the gRPC message or status that it contains.
pub(crate) struct WebReply {
    pub(crate) http: Reply,
    pub(crate) result: Result<Vec<u8>, Status>,
}

pub(crate) const HEADERS: [(&str, &str); 2] = [("content-type", "application/grpc-web+proto"), ("x-grpc-web", "1")];

/// Makes one unary call over HTTP/1.1.
pub(crate) async fn call(address: &str, path: &str, message: &impl Message, headers: &[(&str, &str)]) -> WebReply {
    let http = plain::request(address, "POST", path, &[&HEADERS[..], headers].concat(), &frame(message)).await;
    let result = read(&http);
    WebReply { http, result }
}

/// Makes one unary call over HTTP/2.
pub(crate) async fn call_over_http_2(channel: Channel, path: &str, message: &impl Message) -> WebReply {
    let mut request = Request::post(path);
    for (name, value) in HEADERS {
        request = request.header(name, value);
    }
    let request = request.body(Body::new(Full::from(frame(message)))).expect("a request");
    let (head, body) = channel.oneshot(request).await.expect("an answer").into_parts();
    let body = body.collect().await.expect("the whole body");
    // gRPC-Web has its trailers in the body, because browsers cannot read HTTP trailers.
    assert!(body.trailers().is_none(), "{:?}", body.trailers());
    let http = Reply::new(head.status.as_u16(), &head.headers, body.to_bytes().to_vec());
    let result = read(&http);
    WebReply { http, result }
}

/// A message with its prefix.
pub(crate) fn frame(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).expect("a small message").to_be_bytes();
    [&[0][..], &length, &message].concat()
}

fn read(reply: &Reply) -> Result<Vec<u8>, Status> {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("content-type").as_deref(), Some("application/grpc-web+proto"), "{reply:?}");
    let (mut message, mut rest) = (Vec::new(), &reply.body[..]);
    // An answer without a message may have its status in the headers. Otherwise the status is in the last frame.
    let mut trailers =
        header_map(["grpc-status", "grpc-message", "grpc-status-details-bin"].iter().filter_map(|name| {
            let value = reply.header(name)?;
            Some(((*name).to_owned(), value))
        }));
    while let [kind, a, b, c, d, tail @ ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let (frame, tail) = tail.split_at(length);
        rest = tail;
        if *kind == 0 {
            message.extend_from_slice(frame);
        } else {
            assert_eq!(*kind, 0x80, "the frame is neither a message nor trailers");
            let text = String::from_utf8(frame.to_vec()).expect("trailers are text");
            let lines = text.lines().filter_map(|line| line.split_once(':'));
            trailers.extend(header_map(lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned()))));
        }
    }
    let status = Status::from_header_map(&trailers).unwrap_or_else(|| panic!("no status in {reply:?}"));
    if status.code() == Code::Ok { Ok(message) } else { Err(status) }
}

fn header_map(pairs: impl Iterator<Item = (String, String)>) -> HeaderMap {
    pairs
        .map(|(name, value)| {
            let name: HeaderName = name.parse().expect("a header's name");
            (name, HeaderValue::from_str(&value).expect("a header's value"))
        })
        .collect()
}
