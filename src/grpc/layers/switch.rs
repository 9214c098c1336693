//! A fork: most requests go straight on at no cost; the few that need it take a side path, which may allocate.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::body::Body;
use tower::{BoxError, Service};

/// Where a request goes.
#[derive(Debug)]
pub(super) enum Way {
    On,
    Side,
    Back(Box<Response<Body>>),
}

/// The fork. Both paths must always be ready, which all of ours are.
#[derive(Debug)]
pub(super) struct Switch<G, A, B> {
    gate: G,
    side: Arc<A>,
    on: B,
}

impl<G, A, B> Switch<G, A, B> {
    pub(super) fn new(gate: G, side: A, on: B) -> Self {
        Self { gate, side: Arc::new(side), on }
    }
}

// By hand, because the side path need not be cloned for every request.
impl<G: Clone, A, B: Clone> Clone for Switch<G, A, B> {
    fn clone(&self) -> Self {
        Self { gate: self.gate.clone(), side: Arc::clone(&self.side), on: self.on.clone() }
    }
}

impl<G, A, ABody, B, BBody> Service<Request<Body>> for Switch<G, A, B>
where
    G: Fn(&mut Request<Body>) -> Way,
    A: Service<Request<Body>, Response = Response<ABody>, Error = Infallible> + Clone + Send + 'static,
    A::Future: Send + 'static,
    ABody: HttpBody<Data = Bytes> + Send + 'static,
    ABody::Error: Into<BoxError>,
    B: Service<Request<Body>, Response = Response<BBody>, Error = Infallible>,
{
    type Response = Response<SwitchBody<BBody>>;
    type Error = Infallible;
    type Future = SwitchFuture<B::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.on.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match (self.gate)(&mut request) {
            Way::On => SwitchFuture::On { inner: self.on.call(request) },
            Way::Side => {
                let answer = A::clone(&self.side).call(request);
                SwitchFuture::Side { inner: Box::pin(async move { Ok(answer.await?.map(Body::new)) }) }
            }
            Way::Back(response) => SwitchFuture::Back { response: Some(response) },
        }
    }
}

type SideFuture = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

pin_project! {
    #[project = SwitchProjected]
    pub(super) enum SwitchFuture<F> {
        On { #[pin] inner: F },
        Side { inner: SideFuture },
        Back { response: Option<Box<Response<Body>>> },
    }
}

impl<F, B> Future for SwitchFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = Result<Response<SwitchBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let side = |response: Response<Body>| response.map(|inner| SwitchBody::Side { inner });
        match self.project() {
            SwitchProjected::On { inner } => {
                inner.poll(context).map_ok(|response| response.map(|inner| SwitchBody::On { inner }))
            }
            SwitchProjected::Side { inner } => inner.as_mut().poll(context).map_ok(side),
            SwitchProjected::Back { response } => {
                response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(side(*response))))
            }
        }
    }
}

pin_project! {
    /// What came back from either path.
    #[project = SwitchBodyProjected]
    pub(super) enum SwitchBody<B> {
        On { #[pin] inner: B },
        Side { #[pin] inner: Body },
    }
}

impl<B> Default for SwitchBody<B> {
    fn default() -> Self {
        Self::Side { inner: Body::empty() }
    }
}

impl<B> HttpBody for SwitchBody<B>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project() {
            SwitchBodyProjected::On { inner } => inner.poll_frame(context).map_err(Into::into),
            SwitchBodyProjected::Side { inner } => inner.poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::On { inner } => inner.is_end_stream(),
            Self::Side { inner } => inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::On { inner } => inner.size_hint(),
            Self::Side { inner } => inner.size_hint(),
        }
    }
}
