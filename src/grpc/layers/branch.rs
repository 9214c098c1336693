//! A branch in the stack: most requests take the direct path at no cost, the few that need more take a detour that may
//! allocate, and some are answered right here.

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

/// Where a request goes next.
#[derive(Debug)]
pub(super) enum Route {
    Direct,
    Detour,
    Respond(Box<Response<Body>>),
}

/// Chooses one of two services for each request, or answers the request. Only the direct service is polled for readiness,
/// so the detour must always be ready; all services of this stack are.
#[derive(Debug)]
pub(super) struct Branch<C, A, B> {
    /// The choice and the detour, which are shared instead of cloned.
    shared: Arc<(C, A)>,
    direct: B,
}

impl<C, A, B> Branch<C, A, B> {
    pub(super) fn new(choose: C, detour: A, direct: B) -> Self {
        Self { shared: Arc::new((choose, detour)), direct }
    }
}

// Written by hand, because a derived `Clone` would require that the choice and the detour can be cloned.
impl<C, A, B: Clone> Clone for Branch<C, A, B> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), direct: self.direct.clone() }
    }
}

impl<C, A, ABody, B, BBody> Service<Request<Body>> for Branch<C, A, B>
where
    C: Fn(&mut Request<Body>) -> Route,
    A: Service<Request<Body>, Response = Response<ABody>, Error = Infallible> + Clone + Send + 'static,
    A::Future: Send + 'static,
    ABody: HttpBody<Data = Bytes> + Send + 'static,
    ABody::Error: Into<BoxError>,
    B: Service<Request<Body>, Response = Response<BBody>, Error = Infallible>,
{
    type Response = Response<BranchBody<BBody>>;
    type Error = Infallible;
    type Future = BranchFuture<B::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.direct.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (choose, detour) = &*self.shared;
        match choose(&mut request) {
            Route::Direct => BranchFuture::Direct { inner: self.direct.call(request) },
            Route::Detour => {
                let answer = A::clone(detour).call(request);
                BranchFuture::Detour { inner: Box::pin(async move { Ok(answer.await?.map(Body::new)) }) }
            }
            Route::Respond(response) => BranchFuture::Respond { response: Some(response) },
        }
    }
}

type DetourFuture = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

pin_project! {
    #[project = BranchProjected]
    pub(super) enum BranchFuture<F> {
        Direct { #[pin] inner: F },
        Detour { inner: DetourFuture },
        Respond { response: Option<Box<Response<Body>>> },
    }
}

impl<F, B> Future for BranchFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = Result<Response<BranchBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let boxed = |response: Response<Body>| response.map(|inner| BranchBody::Boxed { inner });
        match self.project() {
            BranchProjected::Direct { inner } => {
                inner.poll(context).map_ok(|response| response.map(|inner| BranchBody::Direct { inner }))
            }
            BranchProjected::Detour { inner } => inner.as_mut().poll(context).map_ok(boxed),
            BranchProjected::Respond { response } => {
                response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(boxed(*response))))
            }
        }
    }
}

pin_project! {
    /// The response body of either path.
    #[project = BranchBodyProjected]
    pub(super) enum BranchBody<B> {
        Direct { #[pin] inner: B },
        Boxed { #[pin] inner: Body },
    }
}

impl<B> Default for BranchBody<B> {
    fn default() -> Self {
        Self::Boxed { inner: Body::empty() }
    }
}

impl<B> HttpBody for BranchBody<B>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project() {
            BranchBodyProjected::Direct { inner } => inner.poll_frame(context).map_err(Into::into),
            BranchBodyProjected::Boxed { inner } => inner.poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Direct { inner } => inner.is_end_stream(),
            Self::Boxed { inner } => inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Direct { inner } => inner.size_hint(),
            Self::Boxed { inner } => inner.size_hint(),
        }
    }
}
