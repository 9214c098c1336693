//! Reads the message of a request whole before the request is admitted.
//!
//! - A call whose message does not come takes no permit from others. It is refused when the time for its message is over. What
//!   has arrived of it is charged to its connection, and it is refused if the connection holds too much.
//! - Bytes that are no message, or more than one, are the caller's mistake, and refused with `INVALID_ARGUMENT`. The transport
//!   would answer INTERNAL, which would alert an operator. A message that is too large is refused when its length is read.
//! - Requests of clients that stream, and plain HTTP, pass as they are.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, request::Parts};
use http_body::Body as HttpBody;
use http_body_util::Full;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tonic::{Code, Status, body::Body};
use tower::Service;

use super::refusal;
use crate::{
    grpc::{
        connections::{CALL_BYTES, Connection, WaitingMessage},
        request_context::RequestContext,
        status::transport,
    },
    telemetry::request::Protocol,
};

/// The bytes before a message: a flag that says whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

#[derive(Clone, Debug)]
pub(super) struct WholeMessage<S> {
    inner: S,
    max_message_bytes: usize,
    timeout: Duration,
}

impl<S> WholeMessage<S> {
    /// A message has at most `max_message_bytes`, and must be complete within `timeout`.
    pub(super) fn new(inner: S, max_message_bytes: usize, timeout: Duration) -> Self {
        Self { inner, max_message_bytes, timeout }
    }
}

impl<S, B> Service<Request<Body>> for WholeMessage<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone,
    B: Default,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = MessageFuture<S, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let context = RequestContext::of(request.extensions());
        if !context.is_some_and(|context| context.method.one_message) {
            return MessageFuture::Calling { inner: self.inner.call(request) };
        }
        let protocol = context.map_or(Protocol::Grpc, |context| context.protocol);
        let (head, body) = request.into_parts();
        let message = Message::new(self.max_message_bytes);
        let (service, timeout) = (self.inner.clone(), self.timeout);
        MessageFuture::Reading { service, head: Some(head), body, message, protocol, timeout, wait: None }
    }
}

pin_project! {
    #[project = MessageProjected]
    pub(super) enum MessageFuture<S, F> {
        Reading {
            service: S,
            head: Option<Parts>,
            #[pin]
            body: Body,
            message: Message,
            protocol: Protocol,
            timeout: Duration,
            // Created when the message is not there at the first poll, which is rare.
            wait: Option<Wait>,
        },
        Calling {
            #[pin]
            inner: F,
        },
    }
}

impl<S, B> Future for MessageFuture<S, S::Future>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: Default,
{
    type Output = Result<Response<B>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let inner = match self.as_mut().project() {
                MessageProjected::Calling { inner } => return inner.poll(context),
                MessageProjected::Reading { service, head, body, message, protocol, timeout, wait } => {
                    let mut gave_way = false;
                    let read = match message.poll(body, context) {
                        Poll::Ready(read) => read,
                        Poll::Pending => {
                            let wait = wait.get_or_insert_with(|| Wait::new(head.as_ref(), *timeout));
                            if wait.may_go_on(message.bytes().len(), context) {
                                ready!(wait.sleep.as_mut().poll(context));
                                Err(transport::message_late(*timeout))
                            } else {
                                gave_way = true;
                                Err(transport::messages_overloaded())
                            }
                        }
                    };
                    let headers = head.as_mut().map(|head| &mut head.headers);
                    match read.and_then(|bytes| checked(headers, bytes)) {
                        Ok(bytes) => {
                            let Some(head) = head.take() else { return Poll::Pending };
                            service.call(Request::from_parts(head, Body::new(Full::new(bytes))))
                        }
                        Err(status) => {
                            if let Some(connection) = head.as_ref().and_then(|head| Connection::of(&head.extensions)) {
                                if gave_way { connection.note_overload() } else { connection.note_refusal() }
                            }
                            return Poll::Ready(Ok(refusal::response(status, *protocol)));
                        }
                    }
                }
            };
            self.set(Self::Calling { inner });
        }
    }
}

/// The wait for a message: its end, and what is charged to the connection meanwhile.
#[derive(Debug)]
pub(super) struct Wait {
    sleep: Pin<Box<Sleep>>,
    /// `None` if the request has no connection.
    message: Option<WaitingMessage>,
    /// Approximate memory of the call without its message.
    call_bytes: usize,
}

impl Wait {
    fn new(head: Option<&Parts>, timeout: Duration) -> Self {
        let headers = head.map_or(0, |head| header_bytes(&head.headers));
        let message = head.and_then(|head| Connection::of(&head.extensions)).map(Connection::begin_to_wait);
        Self { sleep: Box::pin(sleep(timeout)), message, call_bytes: CALL_BYTES + 2 * headers }
    }

    /// Charges the call and what has arrived of its message. Returns whether it may still wait.
    fn may_go_on(&mut self, message_bytes: usize, context: &Context<'_>) -> bool {
        self.message.as_ref().is_some_and(|message| message.may_wait(self.call_bytes + message_bytes, context))
    }
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// Checks the flag of a whole message. A compressed message is refused, with the encodings that are supported.
fn checked(headers: Option<&mut HeaderMap>, bytes: Bytes) -> Result<Bytes, Status> {
    // A message may be uncompressed although its request names an encoding. The transport would refuse it.
    let encoding = headers.and_then(|headers| headers.remove("grpc-encoding"));
    match (bytes.first(), encoding) {
        (Some(0), _) => Ok(bytes),
        (Some(1), Some(encoding)) if encoding != HeaderValue::from_static("identity") => {
            Err(transport::compressed(&encoding))
        }
        (Some(1), Some(_)) => Err(transport::malformed_frame(
            "it is marked as compressed, and the grpc-encoding of the request is identity",
        )),
        (Some(1), None) => {
            Err(transport::malformed_frame("it is marked as compressed, and the request names no grpc-encoding"))
        }
        (Some(flag), _) => Err(transport::malformed_frame(&format!("its flag is {flag}; it can be 0 or 1"))),
        (None, _) => Err(transport::malformed_frame("there is none")),
    }
}

/// The part of a message that has arrived.
#[derive(Debug)]
pub(super) struct Message {
    max_bytes: usize,
    /// The first part, which is the whole message of nearly every request.
    first: Bytes,
    /// All parts, if there are several.
    joined: BytesMut,
}

impl Message {
    fn new(max_bytes: usize) -> Self {
        Self { max_bytes, first: Bytes::new(), joined: BytesMut::new() }
    }

    /// Reads the body to its end. The result has the prefix and the message.
    fn poll(&mut self, mut body: Pin<&mut Body>, context: &mut Context<'_>) -> Poll<Result<Bytes, Status>> {
        loop {
            match ready!(body.as_mut().poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.add(data)?;
                    }
                }
                Some(Err(status)) => return Poll::Ready(Err(cut_off(&status))),
                None => return Poll::Ready(self.end()),
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        if self.joined.is_empty() { &self.first } else { &self.joined }
    }

    fn add(&mut self, data: Bytes) -> Result<(), Status> {
        if self.bytes().is_empty() {
            self.first = data;
        } else {
            if self.joined.is_empty() {
                self.joined.extend_from_slice(&self.first);
            }
            self.joined.extend_from_slice(&data);
        }
        let Some(length) = self.length() else { return Ok(()) };
        if length > self.max_bytes {
            return Err(transport::message_too_large(length as u64, self.max_bytes as u64));
        }
        if self.bytes().len() > PREFIX_BYTES + length {
            return Err(transport::malformed_frame("there are further bytes after it; a call has one message"));
        }
        Ok(())
    }

    /// The length in the prefix, once that has arrived.
    fn length(&self) -> Option<usize> {
        let mut prefix = self.bytes().get(1..PREFIX_BYTES)?;
        Some(prefix.get_u32() as usize)
    }

    fn end(&mut self) -> Result<Bytes, Status> {
        let arrived = self.bytes().len();
        match self.length() {
            Some(length) if arrived == PREFIX_BYTES + length => {}
            _ if arrived == 0 => return Err(transport::malformed_frame("there is none")),
            _ => return Err(transport::malformed_frame("the request ends before it is complete")),
        }
        let joined = std::mem::take(&mut self.joined);
        Ok(if joined.is_empty() { std::mem::take(&mut self.first) } else { joined.freeze() })
    }
}

/// The body failed. If it did not end with its caller, it cannot be read: gRPC-Web has bytes that are no base64.
fn cut_off(status: &Status) -> Status {
    match status.code() {
        Code::Internal | Code::InvalidArgument => transport::malformed_frame(status.message()),
        _ => Status::cancelled("the request ended before its message was complete"),
    }
}
