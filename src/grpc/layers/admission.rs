//! Limits how much is under way at once, over all connections, and refuses the rest at once.
//!
//! A place is held until the work is done, not until the answer has been taken: a caller who never takes it would keep the
//! place for good. So a body is asked once at once, and if what it says is small, as nearly all answers are, the place is
//! given back then; a large answer keeps it while it is being taken, but not for ever. A stream gives it back when it
//! begins, since it lasts for as long as its caller likes and costs little. Health checks and reflection need no place.

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

use super::{context::RequestContext, refusal};

/// An answer up to this size is no burden while it waits to be taken.
const SMALL: usize = 64 << 10;

/// The layer's service.
#[derive(Clone, Debug)]
pub(super) struct Admission<S> {
    inner: S,
    places: Arc<Semaphore>,
    patience: Duration,
}

impl<S> Admission<S> {
    /// All services made by it share these places. A large answer keeps its place for as long as `patience`.
    pub(super) fn layer(places: usize, patience: Duration) -> impl Fn(S) -> Self + Clone {
        let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        move |inner| Self { inner, places: Arc::clone(&places), patience }
    }
}

impl<S, B> Service<Request<Body>> for Admission<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: HttpBody<Data = Bytes> + Default + Unpin,
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
        AdmissionFuture::Admitted { inner: self.inner.call(request), place, streams, patience: self.patience }
    }
}

pin_project! {
    #[project = AdmissionProjected]
    pub(super) enum AdmissionFuture<F, B>
    where
        B: HttpBody<Data = Bytes>,
    {
        Refused { response: Option<Response<HeldBody<B>>> },
        Admitted { #[pin] inner: F, place: Option<OwnedSemaphorePermit>, streams: bool, patience: Duration },
    }
}

impl<F, B> Future for AdmissionFuture<F, B>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: HttpBody<Data = Bytes> + Unpin,
{
    type Output = Result<Response<HeldBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AdmissionProjected::Refused { response } => {
                response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)))
            }
            AdmissionProjected::Admitted { inner, place, streams, patience } => {
                let response = ready!(inner.poll(context))?;
                let place = place.take().filter(|_| !*streams);
                Poll::Ready(Ok(response.map(|inner| HeldBody::begin(inner, place, *patience, context))))
            }
        }
    }
}

type Asked<B> = Option<Result<Frame<Bytes>, <B as HttpBody>::Error>>;

pin_project! {
    /// The answer's body, with what it said when it was asked at once, and a hold on its place if it is large.
    pub(super) struct HeldBody<B>
    where
        B: HttpBody<Data = Bytes>,
    {
        #[pin]
        inner: B,
        first: Option<Asked<B>>,
        held: Option<DropGuard>,
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HeldBody<B> {
    fn begin(mut inner: B, place: Option<OwnedSemaphorePermit>, patience: Duration, context: &mut Context<'_>) -> Self {
        let Some(place) = place.filter(|_| !inner.is_end_stream()) else {
            return Self { inner, first: None, held: None };
        };
        let (first, small) = match Pin::new(&mut inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let small = frame.data_ref().is_none_or(|data| data.len() <= SMALL);
                (Some(Some(Ok(frame))), small)
            }
            Poll::Ready(over) => (Some(over), true),
            Poll::Pending => (None, false),
        };
        Self { inner, first, held: (!small).then(|| hold(place, patience)) }
    }
}

/// Keeps the place until the guard is dropped, or patience ends.
fn hold(place: OwnedSemaphorePermit, patience: Duration) -> DropGuard {
    let taken = CancellationToken::new();
    let guard = taken.clone().drop_guard();
    tokio::spawn(async move {
        // Nobody polls the body of a caller who lets nothing be sent, so the time is kept elsewhere.
        let _either = tokio::time::timeout(patience, taken.cancelled()).await;
        drop(place);
    });
    guard
}

impl<B: HttpBody<Data = Bytes> + Default> Default for HeldBody<B> {
    fn default() -> Self {
        Self { inner: B::default(), first: None, held: None }
    }
}

impl<B: HttpBody<Data = Bytes>> HttpBody for HeldBody<B> {
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
