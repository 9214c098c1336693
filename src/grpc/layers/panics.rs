//! A panic costs its own request: the caller gets INTERNAL with an id, the log gets the rest under the same id, once.

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

use super::{context::RequestContext, refusal};
use crate::telemetry::{panics::catch, request::Protocol};

/// The layer's service.
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
        let of = RequestContext::of(request.extensions()).copied();
        match catch(|| self.inner.call(request)) {
            Ok(inner) => CatchFuture { inner: Some(inner), of },
            Err(report) => {
                tell(&report, of.as_ref());
                CatchFuture { inner: None, of }
            }
        }
    }
}

fn tell(report: &str, of: Option<&RequestContext>) {
    let (service, method) = of.map_or(("", ""), |of| (of.route.service.as_str(), of.route.method.as_str()));
    let request_id = of.map(RequestContext::request_name).unwrap_or_default();
    let trace = of.map(|of| of.trace_id.to_string()).unwrap_or_default();
    tracing::error!(target: "boxoffice::panic", service, method, request_id, trace, panic = report, "a handler panicked");
}

pin_project! {
    pub(super) struct CatchFuture<F> {
        // None after a panic: it must not be asked again.
        #[pin]
        inner: Option<F>,
        of: Option<RequestContext>,
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
        let of = *this.of;
        if let Some(inner) = this.inner.as_mut().as_pin_mut() {
            match catch(|| inner.poll(context)) {
                Ok(polled) => {
                    let response = ready!(polled)?;
                    return Poll::Ready(Ok(response.map(|inner| CatchBody { inner, of, over: false })));
                }
                Err(report) => tell(&report, of.as_ref()),
            }
        }
        let protocol = of.map_or(Protocol::Grpc, |of| of.protocol);
        Poll::Ready(Ok(refusal::answer(refusal::internal(of.as_ref()), protocol)))
    }
}

pin_project! {
    /// The answer's body: a stream may panic long after it began.
    #[derive(Default)]
    pub(super) struct CatchBody<B> {
        #[pin]
        inner: B,
        of: Option<RequestContext>,
        over: bool,
    }
}

impl<B: HttpBody<Data = Bytes>> HttpBody for CatchBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        if *this.over {
            return Poll::Ready(None);
        }
        match catch(|| this.inner.poll_frame(context)) {
            Ok(polled) => polled,
            Err(report) => {
                *this.over = true;
                tell(&report, this.of.as_ref());
                Poll::Ready(Some(Ok(Frame::trailers(refusal::trailers(refusal::internal(this.of.as_ref()))))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use axum::{Router, routing::any};
    use tower::ServiceExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_panic_is_logged_once_under_the_id_that_the_caller_got() {
        let log = Log::default();
        let writer = log.clone();
        let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let _here = tracing::subscriber::set_default(lines);
        let panics = Router::new().route("/x/y", any(async || -> &'static str { panic!("told to") }));
        let stack = super::super::stack(panics, &super::super::Settings::default());
        let call = Request::post("/x/y").version(http::Version::HTTP_2).header("content-type", "application/grpc");
        let answer = stack.oneshot(call.body(Body::empty()).unwrap()).await.unwrap();
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.lines().count(), 1, "{log}");
        let (_, rest) = log.split_once("request_id=\"").unwrap();
        let status = tonic::Status::from_header_map(answer.headers()).unwrap();
        let details = tonic_types::StatusExt::get_error_details(&status);
        assert_eq!(details.error_info().unwrap().metadata["request_id"], rest[..16]);
        assert!(log.contains("told to"), "{log}");
    }
}
