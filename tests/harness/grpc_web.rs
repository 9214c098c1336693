//! grpc-web by hand, as a browser sends it: over HTTP/1.1, or over HTTP/2 as behind a proxy.

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use prost::Message;
use tonic::{Code, Status, body::Body, transport::Channel};
use tower::ServiceExt as _;

use super::http::{self as plain, Reply};

/// What came back.
pub(crate) struct WebReply {
    pub(crate) http: Reply,
    pub(crate) result: Result<Vec<u8>, Status>,
}

const USUAL: [(&str, &str); 2] = [("content-type", "application/grpc-web+proto"), ("x-grpc-web", "1")];

/// One unary call.
pub(crate) async fn call(address: &str, path: &str, message: &impl Message, headers: &[(&str, &str)]) -> WebReply {
    let http = plain::request(address, "POST", path, &[&USUAL[..], headers].concat(), &frame(message)).await;
    let result = read(&http);
    WebReply { http, result }
}

/// The same over a connection that speaks HTTP/2.
pub(crate) async fn call_over_http_2(channel: Channel, path: &str, message: &impl Message) -> WebReply {
    let mut request = Request::post(path);
    for (name, value) in USUAL {
        request = request.header(name, value);
    }
    let request = request.body(Body::new(Full::from(frame(message)))).expect("a request");
    let (head, body) = channel.oneshot(request).await.expect("an answer").into_parts();
    let body = body.collect().await.expect("the answer is whole");
    // They are in the body, where a browser can read them.
    assert!(body.trailers().is_none(), "{:?}", body.trailers());
    let http = Reply::of(head.status.as_u16(), &head.headers, body.to_bytes().to_vec());
    let result = read(&http);
    WebReply { http, result }
}

fn frame(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).expect("a small message").to_be_bytes();
    [&[0][..], &length, &message].concat()
}

fn read(reply: &Reply) -> Result<Vec<u8>, Status> {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("content-type").as_deref(), Some("application/grpc-web+proto"), "{reply:?}");
    let (mut message, mut rest) = (Vec::new(), &reply.body[..]);
    // An answer without a message may have its status among the headers; else it is in the last frame.
    let mut trailers = map(["grpc-status", "grpc-message", "grpc-status-details-bin"].iter().filter_map(|name| {
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
            assert_eq!(*kind, 0x80, "neither a message nor trailers");
            let text = String::from_utf8(frame.to_vec()).expect("trailers are text");
            let lines = text.lines().filter_map(|line| line.split_once(':'));
            trailers.extend(map(lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned()))));
        }
    }
    let status = Status::from_header_map(&trailers).unwrap_or_else(|| panic!("without a status: {reply:?}"));
    if status.code() == Code::Ok { Ok(message) } else { Err(status) }
}

fn map(pairs: impl Iterator<Item = (String, String)>) -> HeaderMap {
    pairs
        .map(|(name, value)| {
            let name: HeaderName = name.parse().expect("a header's name");
            (name, HeaderValue::from_str(&value).expect("a header's value"))
        })
        .collect()
}
