//! Limits how much is under way at once, over all connections, and refuses the rest at once.
//!
//! A place is held to the end of the answer's body; a stream gives it back when it begins, since it lasts for as long as
//! its caller likes and costs little. Health checks and reflection need no place.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;
use tower::Service;

use super::{context::RequestContext, refusal};

/// The layer's service.
#[derive(Clone, Debug)]
pub(super) struct Admission<S> {
    inner: S,
    places: Arc<Semaphore>,
}

impl<S> Admission<S> {
    /// All services made by it share these places.
    pub(super) fn layer(places: usize) -> impl Fn(S) -> Self + Clone {
        let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        move |inner| Self { inner, places: Arc::clone(&places) }
    }
}

impl<S, B> Service<Request<Body>> for Admission<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: HttpBody + Default,
{
    type Response = Response<HeldBody<B>>;
    type Error = Infallible;
    type Future = AdmissionFuture<S::Future, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let context = RequestContext::of(request.extensions());
        let streams = context.is_some_and(|context| context.route.streams);
        let place = if context.is_some_and(|context| context.route.exempt) {
            None
        } else if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            Some(place)
        } else {
            let protocol = context.map_or(crate::telemetry::request::Protocol::Grpc, |context| context.protocol);
            return AdmissionFuture::Refused { response: Some(refusal::answer(refusal::overloaded(), protocol)) };
        };
        AdmissionFuture::Admitted { inner: self.inner.call(request), place, streams }
    }
}

pin_project! {
    #[project = AdmissionProjected]
    pub(super) enum AdmissionFuture<F, B> {
        Refused { response: Option<Response<HeldBody<B>>> },
        Admitted { #[pin] inner: F, place: Option<OwnedSemaphorePermit>, streams: bool },
    }
}

impl<F, B> Future for AdmissionFuture<F, B>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = Result<Response<HeldBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AdmissionProjected::Refused { response } => {
                response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)))
            }
            AdmissionProjected::Admitted { inner, place, streams } => {
                let response = ready!(inner.poll(context))?;
                let place = place.take().filter(|_| !*streams);
                Poll::Ready(Ok(response.map(|inner| HeldBody { inner, place })))
            }
        }
    }
}

pin_project! {
    /// The answer's body, with the place it holds.
    #[derive(Default)]
    pub(super) struct HeldBody<B> {
        #[pin]
        inner: B,
        place: Option<OwnedSemaphorePermit>,
    }
}

impl<B: HttpBody<Data = Bytes>> HttpBody for HeldBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.project().inner.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
