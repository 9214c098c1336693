//! Limits the requests in flight over all connections, and refuses the others at once.
//!
//! A request has a permit until its work is done, which is not the same as until its answer was read: a caller that never
//! reads would keep its permit for good. Therefore:
//! - The response body is polled once right away. If its first frame is small, as nearly all are, the permit is released.
//! - A large answer keeps its permit while it is read, for a limited time.
//! - A stream releases its permit when it begins, since it lasts as long as its caller likes and costs little.
//! - Health checks and reflection need no permit.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::body::Body;
use tower::Service;

use super::refusal;
use crate::{
    grpc::{request_context::RequestContext, status::transport},
    telemetry::request::Protocol,
};

/// A first frame of up to this many bytes releases the permit. It costs the server little while it waits to be read.
const SMALL_FRAME_BYTES: usize = 64 << 10;

#[derive(Clone, Debug)]
pub(super) struct Admission<S> {
    inner: S,
    permits: Arc<Semaphore>,
    max_hold: Duration,
}

impl<S> Admission<S> {
    /// A layer whose services share `max_requests` permits. A large answer holds its permit for at most `max_hold`.
    pub(super) fn layer(max_requests: usize, max_hold: Duration) -> impl Fn(S) -> Self + Clone {
        let permits = Arc::new(Semaphore::new(max_requests.min(Semaphore::MAX_PERMITS)));
        move |inner| Self { inner, permits: Arc::clone(&permits), max_hold }
    }
}

impl<S, B> Service<Request<Body>> for Admission<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: HttpBody<Data = Bytes> + Default + Unpin,
{
    type Response = Response<AdmissionBody<B>>;
    type Error = Infallible;
    type Future = AdmissionFuture<S::Future, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let context = RequestContext::of(request.extensions());
        let streams = context.is_some_and(|context| context.method.streams);
        let permit = if context.is_some_and(|context| context.method.exempt) {
            None
        } else if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            Some(permit)
        } else {
            let protocol = context.map_or(Protocol::Grpc, |context| context.protocol);
            return AdmissionFuture::Refused { response: Some(refusal::response(transport::overloaded(), protocol)) };
        };
        AdmissionFuture::Admitted { inner: self.inner.call(request), permit, streams, max_hold: self.max_hold }
    }
}

pin_project! {
    #[project = AdmissionProjected]
    pub(super) enum AdmissionFuture<F, B>
    where
        B: HttpBody<Data = Bytes>,
    {
        Refused { response: Option<Response<AdmissionBody<B>>> },
        Admitted { #[pin] inner: F, permit: Option<OwnedSemaphorePermit>, streams: bool, max_hold: Duration },
    }
}

impl<F, B> Future for AdmissionFuture<F, B>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: HttpBody<Data = Bytes> + Unpin,
{
    type Output = Result<Response<AdmissionBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AdmissionProjected::Refused { response } => {
                response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)))
            }
            AdmissionProjected::Admitted { inner, permit, streams, max_hold } => {
                let response = ready!(inner.poll(context))?;
                let permit = permit.take().filter(|_| !*streams);
                Poll::Ready(Ok(response.map(|inner| AdmissionBody::begin(inner, permit, *max_hold, context))))
            }
        }
    }
}

/// A frame, an error, or the end of the body.
type Polled<B> = Option<Result<Frame<Bytes>, <B as HttpBody>::Error>>;

pin_project! {
    /// The response body, with the result of its first poll and, for a large answer, its hold on the permit.
    pub(super) struct AdmissionBody<B>
    where
        B: HttpBody<Data = Bytes>,
    {
        #[pin]
        inner: B,
        first: Option<Polled<B>>,
        hold: Option<DropGuard>,
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> AdmissionBody<B> {
    fn begin(
        mut inner: B,
        permit: Option<OwnedSemaphorePermit>,
        max_hold: Duration,
        context: &mut Context<'_>,
    ) -> Self {
        let Some(permit) = permit.filter(|_| !inner.is_end_stream()) else {
            return Self { inner, first: None, hold: None };
        };
        let (first, small) = match Pin::new(&mut inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let small = frame.data_ref().is_none_or(|data| data.len() <= SMALL_FRAME_BYTES);
                (Some(Some(Ok(frame))), small)
            }
            Poll::Ready(ended) => (Some(ended), true),
            Poll::Pending => (None, false),
        };
        Self { inner, first, hold: (!small).then(|| hold(permit, max_hold)) }
    }
}

/// Holds the permit until the guard is dropped, for at most `max_hold`.
fn hold(permit: OwnedSemaphorePermit, max_hold: Duration) -> DropGuard {
    let released = CancellationToken::new();
    let guard = released.clone().drop_guard();
    // The timer needs a task of its own, because nothing polls the body of a caller that reads nothing.
    tokio::spawn(async move {
        let _elapsed = tokio::time::timeout(max_hold, released.cancelled()).await;
        drop(permit);
    });
    guard
}

impl<B: HttpBody<Data = Bytes> + Default> Default for AdmissionBody<B> {
    fn default() -> Self {
        Self { inner: B::default(), first: None, hold: None }
    }
}

impl<B: HttpBody<Data = Bytes>> HttpBody for AdmissionBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        match this.first.take() {
            Some(first) => Poll::Ready(first),
            None => this.inner.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.inner.size_hint();
        if let Some(Some(Ok(frame))) = &self.first {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            if let Some(upper) = hint.upper() {
                hint.set_upper(upper + length);
            }
            hint.set_lower(hint.lower() + length);
        }
        hint
    }
}
