//! Answers: how they are read to their end, and what each must be.

use std::{convert::Infallible, fmt, time::Duration};

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use prost::Message as _;
use tokio::task::yield_now;
use tonic::{Code, body::Body};
use tonic_types::pb::{ErrorInfo, Status};
use tower::{ServiceExt as _, util::BoxCloneSyncService};

use crate::request::{Call, frames};

/// The service with all its layers.
pub type Stack = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// The most time for an answer. It is longer than every deadline of the service.
const LIMIT: Duration = Duration::from_secs(20);
/// How often a stream may have nothing to say before its caller leaves.
const PATIENCE: usize = 8;
/// The most bytes of the headers that carry a refusal. Clients accept 8 KiB.
const MAX_REFUSAL: usize = 8 << 10;
/// Base64 as `*-bin` headers have it, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An answer that was read.
pub struct Answer {
    http: StatusCode,
    headers: HeaderMap,
    trailers: Option<HeaderMap>,
    body: Bytes,
    /// Whether the caller left before the end.
    left: bool,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { http, headers, trailers, body, left } = self;
        write!(f, "{http} {headers:?}, trailers {trailers:?}, left {left}, body {}", body.escape_ascii())
    }
}

/// Sends a request, and reads the answer to its end. A stream is left when it has nothing more to say.
pub async fn exchange(stack: &Stack, request: Request<Body>, streams: bool) -> Answer {
    tokio::time::timeout(LIMIT, read(stack, request, streams)).await.expect("every request is answered")
}

async fn read(stack: &Stack, request: Request<Body>, streams: bool) -> Answer {
    let Ok(response) = stack.clone().oneshot(request).await;
    let (head, mut frames) = response.into_parts();
    let (hint, empty) = (frames.size_hint(), frames.is_end_stream());
    let text = kind(&head.headers).starts_with("application/grpc-web-text");
    let mut answer =
        Answer { http: head.status, headers: head.headers, trailers: None, body: Bytes::new(), left: false };
    let (mut body, mut bytes) = (BytesMut::new(), 0);
    loop {
        let idle = async {
            for _ in 0..PATIENCE {
                yield_now().await;
            }
        };
        let frame = tokio::select! {
            biased;
            frame = frames.frame() => frame,
            () = idle, if streams => {
                answer.left = true;
                break;
            }
        };
        let Some(frame) = frame else { break };
        assert!(answer.trailers.is_none(), "there is a frame after the trailers: {answer:?}");
        match frame.expect("an answer does not break off").into_data() {
            Ok(data) => {
                bytes += data.len() as u64;
                if text {
                    body.extend_from_slice(&BASE64.decode(&data).expect("the body is base64"));
                } else {
                    body.extend_from_slice(&data);
                }
            }
            Err(frame) => answer.trailers = frame.into_trailers().ok(),
        }
    }
    answer.body = body.freeze();
    // The HTTP library trusts these.
    assert!(!empty || bytes == 0 && answer.trailers.is_none(), "the body ended before it began: {answer:?}");
    let fits = answer.left || hint.lower() <= bytes && hint.upper().is_none_or(|upper| bytes <= upper);
    assert!(fits, "{bytes} bytes instead of {hint:?}: {answer:?}");
    answer
}

fn kind(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default()
}

impl Answer {
    /// Fails unless the answer is one that the call may get.
    pub fn check(&self, call: &Expected) {
        assert!(self.http.as_u16() < 500 || self.http == 503 || self.http == 504 || self.http == 505, "{self:?}");
        if !kind(&self.headers).starts_with("application/grpc") {
            assert!(!call.native || self.http.is_client_error(), "gRPC is answered as gRPC: {self:?}");
            assert!(!call.grpc || !self.http.is_success() || call.preflight, "a refusal is no success: {self:?}");
            return;
        }
        assert_eq!(self.http, 200, "{self:?}");
        assert!(call.grpc, "pages are not answered as gRPC: {self:?}");
        let mut parts = frames(self.body.clone()).expect("the body is made of messages");
        let web = kind(&self.headers).starts_with("application/grpc-web");
        let in_body = if web { parts.pop_if(|(flag, _)| *flag == 0x80).map(|(_, text)| headers(&text)) } else { None };
        assert!(parts.iter().all(|(flag, _)| *flag == 0), "messages are not compressed: {self:?}");
        let of_status = [Some(&self.headers), self.trailers.as_ref(), in_body.as_ref()];
        let found: Vec<_> = of_status.into_iter().flatten().filter(|part| part.contains_key("grpc-status")).collect();
        match found[..] {
            [] => assert!(self.left, "an answer ends with a status: {self:?}"),
            [status] => self.check_status(status, call),
            _ => panic!("an answer has one status: {self:?}"),
        }
    }

    fn check_status(&self, status: &HeaderMap, call: &Expected) {
        let code = Code::from_bytes(status["grpc-status"].as_bytes());
        let expected = match code {
            Code::Internal | Code::Unknown | Code::DataLoss => false,
            Code::Cancelled => call.broken,
            Code::Unimplemented => !call.message_only,
            _ => true,
        };
        assert!(expected, "{code:?}: {self:?}");
        let bytes: usize = status.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        assert!(bytes <= MAX_REFUSAL, "a refusal of {bytes} bytes: {self:?}");
        if !matches!(code, Code::Ok | Code::Cancelled) && call.ours {
            assert!(!reason(status).is_empty(), "a refusal has a reason: {self:?}");
        }
    }

    /// The message of an answer that is a success.
    ///
    /// # Panics
    /// The answer is a refusal.
    #[must_use]
    pub fn message(&self) -> Bytes {
        let parts = frames(self.body.clone()).unwrap_or_default();
        parts.into_iter().next().unwrap_or_else(|| panic!("no message: {self:?}")).1
    }

    /// The message of an answer, if it has one.
    #[must_use]
    pub fn first_message(&self) -> Option<Bytes> {
        frames(self.body.clone())?.into_iter().next().map(|(_, message)| message)
    }
}

/// The `reason` in the details of a refusal.
fn reason(status: &HeaderMap) -> String {
    let details = status.get("grpc-status-details-bin").map(HeaderValue::as_bytes).unwrap_or_default();
    let details = BASE64.decode(details).expect("details are base64");
    let details = Status::decode(&*details).expect("details are a status").details;
    let info = details.iter().find(|detail| detail.type_url.ends_with("google.rpc.ErrorInfo"));
    info.map(|info| ErrorInfo::decode(&*info.value).expect("an ErrorInfo").reason).unwrap_or_default()
}

/// Reads the trailers that gRPC-Web has in the body.
fn headers(text: &[u8]) -> HeaderMap {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let header = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':').expect("a trailer has a colon");
        let name = HeaderName::from_bytes(&line[..colon]).expect("the name of a header");
        (name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).expect("the value of a header"))
    };
    lines.map(header).collect()
}

/// What an answer depends on.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    native: bool,
    grpc: bool,
    ours: bool,
    broken: bool,
    preflight: bool,
    /// Whether nothing but the message can be wrong.
    message_only: bool,
}

impl Expected {
    /// What is expected of the answer to this call. `message_only`: its path and its headers are right.
    #[must_use]
    pub fn of(call: &Call, message_only: bool) -> Self {
        let Call { native, grpc, ours, broken, ref request, .. } = *call;
        Self { native, grpc, ours, broken, preflight: request.method() == http::Method::OPTIONS, message_only }
    }
}
