//! Times every request, from its arrival to the end of its answer's body, and tells it exactly once: also when the caller
//! leaves first, which counts as CANCELLED.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::{body::Body, transport::server::TcpConnectInfo};
use tower::Service;
use tracing::Span;

use super::{
    context::{self, RequestContext, TraceId},
    routes,
    web::{self, ViaWeb},
};
use crate::telemetry::{
    self, metrics,
    request::{Ended, Outcome, Protocol},
    traces,
};

/// The layer's service.
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
        let _inside = recording.span.clone().entered();
        RecordFuture { inner: self.inner.call(request), recording: Some(recording) }
    }
}

/// Tells of a request that gets no further than the fork, and of the answer with which it is sent back.
pub(super) fn turned_away(request: &mut Request<Body>, response: &Response<Body>) {
    Recording::begin(request).tell(known(response).unwrap_or(Outcome::UNKNOWN));
}

/// One request under way. Dropped before its end, it was cancelled.
#[derive(Debug)]
struct Recording {
    context: RequestContext,
    began: Instant,
    span: Span,
    told: bool,
}

impl Recording {
    fn begin(request: &mut Request<Body>) -> Self {
        let began = Instant::now();
        metrics::active(1);
        let protocol = if request.extensions().get::<ViaWeb>().is_some() {
            Protocol::GrpcWeb
        } else if web::is_grpc(request.headers()) {
            Protocol::Grpc
        } else {
            Protocol::Http
        };
        let route = match protocol {
            Protocol::Http => routes::page(),
            _ => routes::find(request.uri().path()).unwrap_or_else(routes::unknown),
        };
        let (span, trace) = if traces::enabled() {
            traces::request_span(request.headers(), &route.service, &route.method)
        } else {
            (Span::none(), context::callers_trace(request.headers()).unwrap_or(0))
        };
        let trace = if trace == 0 { context::new_trace() } else { trace };
        let context = RequestContext {
            trace_id: TraceId(trace),
            request_id: context::fresh(),
            peer: request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr),
            deadline: None,
            route,
            protocol,
        };
        request.extensions_mut().insert(context);
        Self { context, began, span, told: false }
    }

    fn tell(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        metrics::active(-1);
        if let (Outcome::Grpc(code), false) = (outcome, self.span.is_none()) {
            self.span.record("rpc.grpc.status_code", code);
            // What a server must answer for: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
            if matches!(code, 2 | 4 | 12..=15) {
                self.span.record("otel.status_code", "ERROR");
            }
        }
        let route = self.context.route;
        let ended = Ended {
            service: &route.service,
            method: &route.method,
            outcome,
            protocol: self.context.protocol,
            elapsed: self.began.elapsed(),
            peer: self.context.peer,
            trace_id: self.context.trace_id.0,
        };
        telemetry::request_ended(&ended, &route.series);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.tell(Outcome::CANCELLED);
    }
}

/// The status in an answer's headers or trailers.
fn status_in(headers: &HeaderMap) -> Option<Outcome> {
    let code = std::str::from_utf8(headers.get("grpc-status")?.as_bytes()).ok()?.parse().ok()?;
    Some(Outcome::Grpc(code))
}

/// What an answer's head tells already. Without a status in the headers, gRPC says it in the trailers.
fn known<B>(response: &Response<B>) -> Option<Outcome> {
    let grpc = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(web::GRPC));
    match status_in(response.headers()) {
        None if !grpc => Some(Outcome::Http(response.status().as_u16())),
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
            let _inside = this.recording.as_ref().map(|recording| recording.span.enter());
            ready!(this.inner.poll(context))?
        };
        let Some(mut recording) = this.recording.take() else { return Poll::Pending };
        let known = known(&response);
        if response.body().is_end_stream() {
            recording.tell(known.unwrap_or(Outcome::UNKNOWN));
        }
        Poll::Ready(Ok(response.map(|inner| RecordBody { inner, recording: Some(recording), known })))
    }
}

pin_project! {
    /// The answer's body, watched to its end.
    #[derive(Default)]
    pub(super) struct RecordBody<B> {
        #[pin]
        inner: B,
        recording: Option<Recording>,
        known: Option<Outcome>,
    }
}

impl<B: HttpBody<Data = Bytes>> HttpBody for RecordBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut this = self.project();
        let frame = {
            let _inside = this.recording.as_ref().map(|recording| recording.span.enter());
            ready!(this.inner.as_mut().poll_frame(context))
        };
        let outcome = match &frame {
            Some(Ok(frame)) => match frame.trailers_ref() {
                Some(trailers) => Some(status_in(trailers).or(*this.known).unwrap_or(Outcome::UNKNOWN)),
                // The connection does not ask a body of known length whether more follows.
                None => this.inner.is_end_stream().then(|| this.known.unwrap_or(Outcome::UNKNOWN)),
            },
            Some(Err(_)) => Some(Outcome::UNKNOWN),
            None => Some(this.known.unwrap_or(Outcome::UNKNOWN)),
        };
        if let (Some(outcome), Some(recording)) = (outcome, this.recording.as_mut()) {
            recording.tell(outcome);
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
