//! Records every request exactly once, in the metrics and in the console: how long it took, from its arrival to the end of
//! the response body, and how it ended.
//!
//! A request whose caller leaves before the end is recorded as CANCELLED.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tonic::body::Body;
use tower::Service;
use tracing::Span;

use super::protocol;
use crate::{
    grpc::{
        connections::Connection,
        methods,
        request_context::{self, RequestContext},
    },
    telemetry::{
        self, metrics,
        request::{Ended, Protocol, ResponseStatus},
        traces,
    },
};

#[derive(Clone, Debug)]
pub(super) struct Record<S> {
    inner: S,
}

impl<S> Record<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B> Service<Request<Body>> for Record<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: HttpBody,
{
    type Response = Response<RecordBody<B>>;
    type Error = Infallible;
    type Future = RecordFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let recording = Recording::begin(&mut request);
        let _entered = recording.span.clone().entered();
        RecordFuture { inner: self.inner.call(request), recording: Some(recording) }
    }
}

/// Records a request that is answered before it reaches this layer.
pub(super) fn record_refused(request: &mut Request<Body>, response: &Response<Body>) {
    Recording::begin(request).finish(status_in_head(response).unwrap_or(ResponseStatus::UNKNOWN));
}

/// One request in flight. If it is dropped before `finish`, the request was cancelled.
#[derive(Debug)]
struct Recording {
    context: RequestContext,
    span: Span,
    finished: bool,
}

impl Recording {
    fn begin(request: &mut Request<Body>) -> Self {
        let began = Instant::now();
        let protocol = protocol::of(request);
        let method = match protocol {
            Protocol::Http => methods::page(),
            _ => methods::find(request.uri().path()).unwrap_or_else(methods::unknown),
        };
        let (span, trace) = if traces::enabled() {
            traces::request_span(request.headers(), &method.service, &method.name)
        } else {
            (Span::none(), request_context::trace_from_headers(request.headers()))
        };
        let context = RequestContext {
            trace: trace.unwrap_or_else(request_context::new_trace),
            request_id: request_context::random_id(),
            peer: Connection::of(request.extensions()).and_then(|connection| connection.peer()),
            began,
            deadline: None,
            method,
            protocol,
        };
        request.extensions_mut().insert(context);
        // Counted last: a request that counts as active is about to be admitted. The first request of a process reads the
        // contracts before that, which takes a while.
        metrics::active(1);
        Self { context, span, finished: false }
    }

    fn finish(&mut self, status: ResponseStatus) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        metrics::active(-1);
        if let (ResponseStatus::Grpc(code), false) = (status, self.span.is_none()) {
            self.span.record("rpc.grpc.status_code", code);
            // The codes that OpenTelemetry counts as a server's errors: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED,
            // INTERNAL, UNAVAILABLE, DATA_LOSS.
            if matches!(code, 2 | 4 | 12..=15) {
                self.span.record("otel.status_code", "ERROR");
            }
        }
        let method = self.context.method;
        let ended = Ended {
            service: &method.service,
            method: &method.name,
            status,
            protocol: self.context.protocol,
            elapsed: self.context.began.elapsed(),
            peer: self.context.peer,
            trace_id: self.context.trace.trace,
        };
        telemetry::request_ended(&ended, &method.series);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.finish(ResponseStatus::CANCELLED);
    }
}

/// The gRPC status in headers or trailers.
fn status_in(headers: &HeaderMap) -> Option<ResponseStatus> {
    let code = std::str::from_utf8(headers.get("grpc-status")?.as_bytes()).ok()?.parse().ok()?;
    Some(ResponseStatus::Grpc(code))
}

/// The status, if the head of the response has it. A gRPC response without a status in its headers has it in its trailers.
fn status_in_head<B>(response: &Response<B>) -> Option<ResponseStatus> {
    match status_in(response.headers()) {
        None if !protocol::is_grpc(response.headers()) => Some(ResponseStatus::Http(response.status().as_u16())),
        status => status,
    }
}

pin_project! {
    pub(super) struct RecordFuture<F> {
        #[pin]
        inner: F,
        recording: Option<Recording>,
    }
}

impl<F, B> Future for RecordFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: HttpBody,
{
    type Output = Result<Response<RecordBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = {
            let _entered = this.recording.as_ref().map(|recording| recording.span.enter());
            ready!(this.inner.poll(context))?
        };
        let Some(mut recording) = this.recording.take() else { return Poll::Pending };
        let in_head = status_in_head(&response);
        if response.body().is_end_stream() {
            recording.finish(in_head.unwrap_or(ResponseStatus::UNKNOWN));
        }
        Poll::Ready(Ok(response.map(|inner| RecordBody { inner, recording: Some(recording), in_head })))
    }
}

pin_project! {
    /// The response body. It finishes the recording when it ends.
    #[derive(Default)]
    pub(super) struct RecordBody<B> {
        #[pin]
        inner: B,
        recording: Option<Recording>,
        in_head: Option<ResponseStatus>,
    }
}

impl<B: HttpBody<Data = Bytes>> HttpBody for RecordBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut this = self.project();
        let frame = {
            let _entered = this.recording.as_ref().map(|recording| recording.span.enter());
            ready!(this.inner.as_mut().poll_frame(context))
        };
        let status = match &frame {
            Some(Ok(frame)) => match frame.trailers_ref() {
                Some(trailers) => Some(status_in(trailers).or(*this.in_head).unwrap_or(ResponseStatus::UNKNOWN)),
                // The connection does not poll a body of known length again after its last frame.
                None => this.inner.is_end_stream().then(|| this.in_head.unwrap_or(ResponseStatus::UNKNOWN)),
            },
            Some(Err(_)) => Some(ResponseStatus::UNKNOWN),
            None => Some(this.in_head.unwrap_or(ResponseStatus::UNKNOWN)),
        };
        if let (Some(status), Some(recording)) = (status, this.recording.as_mut()) {
            recording.finish(status);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
