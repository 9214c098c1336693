//! Confines a panic to its own request: the caller gets INTERNAL with the request's id, and the log has one line with the
//! panic under the same id.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::body::Body;
use tower::Service;

use super::refusal;
use crate::{
    grpc::{request_context::RequestContext, status::transport},
    telemetry::{panics::catch, request::Protocol},
};

#[derive(Clone, Debug)]
pub(super) struct CatchPanics<S> {
    inner: S,
}

impl<S> CatchPanics<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B> Service<Request<Body>> for CatchPanics<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: HttpBody + Default,
{
    type Response = Response<CatchBody<B>>;
    type Error = Infallible;
    type Future = CatchFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let request_context = RequestContext::of(request.extensions()).copied();
        match catch(|| self.inner.call(request)) {
            Ok(inner) => CatchFuture { inner: Some(inner), request_context },
            Err(panic) => {
                log(&panic, request_context.as_ref());
                CatchFuture { inner: None, request_context }
            }
        }
    }
}

fn log(panic: &str, context: Option<&RequestContext>) {
    let (service, method) = context.map_or(("", ""), |context| (&*context.method.service, &*context.method.name));
    let request_id = context.map(RequestContext::request_id_hex).unwrap_or_default();
    let trace = context.map(|context| format!("{:032x}", context.trace.trace)).unwrap_or_default();
    tracing::error!(target: "boxoffice::panic", service, method, request_id, trace, panic, "a handler panicked");
}

pin_project! {
    pub(super) struct CatchFuture<F> {
        // `None` after a panic, because the future must not be polled again.
        #[pin]
        inner: Option<F>,
        request_context: Option<RequestContext>,
    }
}

impl<F, B> Future for CatchFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: HttpBody + Default,
{
    type Output = Result<Response<CatchBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let request_context = *this.request_context;
        if let Some(inner) = this.inner.as_mut().as_pin_mut() {
            match catch(|| inner.poll(context)) {
                Ok(polled) => {
                    let response = ready!(polled)?;
                    return Poll::Ready(Ok(response.map(|inner| CatchBody { inner, request_context, ended: false })));
                }
                Err(panic) => log(&panic, request_context.as_ref()),
            }
        }
        let protocol = request_context.map_or(Protocol::Grpc, |context| context.protocol);
        Poll::Ready(Ok(refusal::response(transport::panicked(request_context.as_ref()), protocol)))
    }
}

pin_project! {
    /// The response body. A stream can panic long after it began.
    #[derive(Default)]
    pub(super) struct CatchBody<B> {
        #[pin]
        inner: B,
        request_context: Option<RequestContext>,
        ended: bool,
    }
}

impl<B: HttpBody<Data = Bytes>> HttpBody for CatchBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        if *this.ended {
            return Poll::Ready(None);
        }
        match catch(|| this.inner.poll_frame(context)) {
            Ok(polled) => polled,
            Err(panic) => {
                *this.ended = true;
                let request_context = this.request_context.as_ref();
                log(&panic, request_context);
                Poll::Ready(Some(Ok(Frame::trailers(refusal::trailers(transport::panicked(request_context))))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
