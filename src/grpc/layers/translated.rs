//! Charges the answers of gRPC-Web to their connections after their translation, which makes new bytes of them.

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
use tonic::body::Body;
use tower::Service;

use crate::grpc::{connections::Connection, methods};

#[derive(Clone, Debug)]
pub(super) struct Translated<S> {
    inner: S,
}

impl<S> Translated<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B> Service<Request<Body>> for Translated<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
{
    type Response = Response<TranslatedBody<B>>;
    type Error = Infallible;
    type Future = TranslatedFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // Streams give no frames while their client takes no bytes.
        let streams = methods::find(request.uri().path()).is_some_and(|method| method.streams);
        let connection = Connection::of(request.extensions()).filter(|_| !streams).cloned();
        TranslatedFuture { inner: self.inner.call(request), connection }
    }
}

pin_project! {
    pub(super) struct TranslatedFuture<F> {
        #[pin]
        inner: F,
        connection: Option<Arc<Connection>>,
    }
}

impl<F, B> Future for TranslatedFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = Result<Response<TranslatedBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(context))?;
        let connection = this.connection.take();
        Poll::Ready(Ok(response.map(|inner| TranslatedBody { inner, connection })))
    }
}

pin_project! {
    /// The response body, whose data is charged to the connection.
    pub(super) struct TranslatedBody<B> {
        #[pin]
        inner: B,
        connection: Option<Arc<Connection>>,
    }
}

impl<B: HttpBody<Data = Bytes>> HttpBody for TranslatedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        let polled = ready!(this.inner.poll_frame(context));
        let Some(connection) = this.connection else { return Poll::Ready(polled) };
        Poll::Ready(polled.map(|polled| polled.map(|frame| frame.map_data(|data| connection.rest_of_answer(data)))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
