//! Gives every call a deadline, and ends streams when the server shuts down.
//!
//! - A call gets the `grpc-timeout` of its caller, or the default if it has none, and never more than the maximum. When the
//!   deadline passes, the handler is dropped where it waits; a change that must not be torn runs in a task of its own.
//! - A stream gets the caller's deadline only. It also ends a body that has begun. Since a stream without a deadline can
//!   last forever, it ends when the server drains.
//!
//! tonic's transport reads the same header outside of this layer and would answer CANCELLED. This layer always answers
//! first: its clock starts earlier, it is polled first, and it reads the clock itself instead of waiting for its timer.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body};
use tower::Service;

use super::{refusal, stream_guard::StreamGuard};
use crate::{
    grpc::{connections::Connection, request_context::RequestContext, status::transport},
    telemetry::request::Protocol,
};

#[derive(Clone, Debug)]
pub(super) struct Deadlines<S> {
    inner: S,
    default: Duration,
    max: Duration,
}

impl<S> Deadlines<S> {
    pub(super) fn new(inner: S, default: Duration, max: Duration) -> Self {
        Self { inner, default, max }
    }

    /// How long this request may take. `None` for a stream whose caller named no timeout.
    fn timeout(&self, headers: &HeaderMap, streams: bool) -> Result<Option<Duration>, Malformed> {
        let asked = headers.get("grpc-timeout").map(|value| parse(value.as_bytes())).transpose()?;
        Ok(if streams { asked } else { Some(asked.unwrap_or(self.default).min(self.max)) })
    }
}

#[derive(Debug)]
struct Malformed;

/// Reads a `grpc-timeout`: at most eight digits and a unit, as the gRPC specification has it.
fn parse(value: &[u8]) -> Result<Duration, Malformed> {
    let (unit, digits) = value.split_last().ok_or(Malformed)?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    let amount = digits.iter().fold(0_u64, |amount, digit| amount * 10 + u64::from(digit - b'0'));
    Ok(match unit {
        b'H' => Duration::from_hours(amount),
        b'M' => Duration::from_mins(amount),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return Err(Malformed),
    })
}

impl<S, B> Service<Request<Body>> for Deadlines<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: HttpBody + Default,
{
    type Response = Response<DeadlineBody<B>>;
    type Error = Infallible;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (headers, extensions) = (request.headers(), request.extensions());
        let context = RequestContext::of(extensions);
        let streams = context.is_some_and(|context| context.method.streams);
        let protocol = context.map_or(Protocol::Grpc, |context| context.protocol);
        let began = context.map_or_else(Instant::now, |context| context.began);
        let deadline = match self.timeout(headers, streams) {
            // A timeout beyond the range of `Instant` is no limit.
            Ok(timeout) => timeout.and_then(|timeout| began.checked_add(timeout)),
            Err(Malformed) => return DeadlineFuture::Malformed { protocol },
        };
        if let Some(context) = request.extensions_mut().get_mut::<RequestContext>() {
            context.deadline = deadline;
        }
        if !streams {
            return DeadlineFuture::Running {
                inner: self.inner.call(request),
                limit: Limit::new(deadline),
                streams,
                protocol,
            };
        }
        let streams_end = Connection::of(request.extensions()).map(|connection| connection.streams_end().clone());
        let limit = || Limit::new(deadline).or_drain(streams_end.clone());
        // The request body of a stream ends with its response: a handler may read it in another task (reflection does),
        // which would otherwise keep the stream open.
        let request = request.map(|inner| Body::new(RequestBody { inner, limit: limit(), ended: false }));
        let limit = limit();
        DeadlineFuture::Running { inner: self.inner.call(request), limit, streams, protocol }
    }
}

pin_project! {
    #[project = DeadlineProjected]
    pub(super) enum DeadlineFuture<F> {
        Malformed { protocol: Protocol },
        Running {
            #[pin]
            inner: F,
            limit: Limit,
            streams: bool,
            protocol: Protocol,
        },
    }
}

impl<F, B> Future for DeadlineFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: HttpBody + Default,
{
    type Output = Result<Response<DeadlineBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            DeadlineProjected::Malformed { protocol } => {
                Poll::Ready(Ok(refusal::response(transport::malformed_timeout(), *protocol)))
            }
            DeadlineProjected::Running { inner, limit, streams, protocol } => {
                if let Poll::Ready(mut response) = inner.poll(context)? {
                    let limit = if *streams { std::mem::take(limit) } else { Limit::default() };
                    let guard = response.extensions_mut().remove::<StreamGuard>();
                    return Poll::Ready(Ok(response.map(|inner| DeadlineBody { inner, limit, ended: false, guard })));
                }
                match limit.reached(context) {
                    Some(reached) => Poll::Ready(Ok(refusal::response(reached.status(), *protocol))),
                    None => Poll::Pending,
                }
            }
        }
    }
}

/// Which limit was reached.
#[derive(Debug)]
enum Reached {
    Deadline,
    Drain,
}

impl Reached {
    fn status(&self) -> Status {
        match self {
            Self::Deadline => transport::deadline_exceeded(),
            Self::Drain => transport::draining(),
        }
    }
}

/// When a request or a body has to end. Its futures are boxed, because few requests need them and their size would be
/// carried through every layer.
#[derive(Debug, Default)]
struct Limit {
    deadline: Option<Instant>,
    // Created at the first wait: most answers are ready at the first poll.
    sleep: Option<Pin<Box<Sleep>>>,
    drain: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Limit {
    fn new(deadline: Option<Instant>) -> Self {
        Self { deadline, ..Self::default() }
    }

    fn or_drain(self, drain: Option<CancellationToken>) -> Self {
        Self { drain: drain.map(|drain| Box::pin(drain.cancelled_owned()) as _), ..self }
    }

    /// The limit that has been reached. If there is none yet, the task is woken when there is.
    fn reached(&mut self, context: &mut Context<'_>) -> Option<Reached> {
        if let Some(drain) = &mut self.drain
            && drain.as_mut().poll(context).is_ready()
        {
            // A future must not be polled again after it was ready.
            self.drain = None;
            return Some(Reached::Drain);
        }
        let deadline = self.deadline?;
        let passed = Instant::now() >= deadline
            || self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline))).as_mut().poll(context).is_ready();
        passed.then_some(Reached::Deadline)
    }
}

pin_project! {
    /// The request body of a stream. It ends when the limit is reached.
    struct RequestBody {
        #[pin]
        inner: Body,
        limit: Limit,
        ended: bool,
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        *this.ended = *this.ended || this.limit.reached(context).is_some();
        if *this.ended { Poll::Ready(None) } else { this.inner.poll_frame(context) }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }
}

pin_project! {
    /// The response body. If it streams, it ends with a status when the limit is reached.
    #[derive(Default)]
    pub(super) struct DeadlineBody<B> {
        #[pin]
        inner: B,
        limit: Limit,
        ended: bool,
        guard: Option<StreamGuard>,
    }
}

impl<B: HttpBody<Data = Bytes>> HttpBody for DeadlineBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        if *this.ended {
            return Poll::Ready(None);
        }
        // The limit comes first, so that a stream that always has another frame ends as well.
        if let Some(reached) = this.limit.reached(context) {
            *this.ended = true;
            return Poll::Ready(Some(Ok(Frame::trailers(refusal::trailers(reached.status())))));
        }
        this.inner.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_parsed_as_the_specification_says() {
        assert_eq!(parse(b"250m").unwrap(), Duration::from_millis(250));
        assert_eq!(parse(b"99999999H").unwrap(), Duration::from_hours(99_999_999));
        assert_eq!(parse(b"0n").unwrap(), Duration::ZERO);
        for bad in ["", "m", "5", "5s", "-5S", "+5S", "5 S", "123456789S", "5.5S", "5SS"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_timeout_is_capped_and_a_stream_has_no_default() {
        let layer = Deadlines::new((), Duration::from_secs(5), Duration::from_secs(30));
        let seconds =
            |headers: &HeaderMap, streams| layer.timeout(headers, streams).unwrap().map(|time| time.as_secs());
        let none = HeaderMap::new();
        assert_eq!((seconds(&none, false), seconds(&none, true)), (Some(5), None));
        let asked =
            |text: &'static str| HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), text.parse().unwrap())]);
        assert_eq!(seconds(&asked("20S"), false), Some(20));
        assert_eq!(seconds(&asked("60S"), false), Some(30));
        assert_eq!(seconds(&asked("60S"), true), Some(60));
    }
}
