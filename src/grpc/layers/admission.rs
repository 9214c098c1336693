//! Limits the requests in flight over all connections, and refuses the others at once.
//!
//! - A request has a permit until its work is done. An answer that is not delivered holds none: its bytes are charged to its
//!   connection, which has a limit and a deadline. [`Connection`] has the rules.
//! - A stream releases its permit when it begins, since it lasts as long as its caller likes and costs little.
//! - Health checks and reflection need no permit. Their streams are charged to the connection while they last.

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
use tokio::time::Instant;
use tonic::{Status, body::Body};
use tower::Service;

use super::refusal;
use crate::{
    grpc::{
        connections::{CALL_BYTES, Charge, Connection, OpenStream, Permit, Undelivered},
        methods::{self, Method, Permits},
        request_context::RequestContext,
        status::transport,
    },
    telemetry::request::Protocol,
};

/// What is charged for a stream whose client may send messages at any time: at most this much waits to be read.
const CLIENT_STREAM_BYTES: usize = 512 << 10;

#[derive(Clone, Debug)]
pub(super) struct Admission<S> {
    inner: S,
}

impl<S> Admission<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

/// What a request holds while it is in flight.
#[derive(Debug)]
pub(super) enum Hold {
    /// Nearly all requests.
    Permit(Permit),
    /// A stream that needs no permit.
    Charge(Arc<Connection>, Charge),
    /// Another request that needs no permit.
    Nothing(Arc<Connection>),
}

impl Hold {
    fn new(connection: &Arc<Connection>, method: &Method, began: Instant) -> Result<Self, Status> {
        // Before the work, which would be lost. The answer to a change is given in any case.
        let has_room = if method.changes { connection.has_room() } else { connection.has_room_for_read() };
        if !has_room {
            return Err(transport::connection_overloaded());
        }
        let permit = |confirms| connection.admit(confirms, began).map(Self::Permit).ok_or_else(transport::overloaded);
        Ok(match (method.needs, method.streams) {
            (Permits::Ordinary, _) => permit(false)?,
            (Permits::Any, _) => permit(true)?,
            (Permits::None, false) => Self::Nothing(Arc::clone(connection)),
            (Permits::None, true) => {
                let bytes = if method.one_message { CALL_BYTES } else { CLIENT_STREAM_BYTES };
                let charge = connection.reserve_stream(bytes).ok_or_else(transport::connection_overloaded)?;
                Self::Charge(Arc::clone(connection), charge)
            }
        })
    }

    /// The connection of the request, whose work is done, and what remains charged while its answer streams.
    fn release(self) -> Option<(Arc<Connection>, Option<Charge>)> {
        match self {
            Self::Permit(permit) => Some((permit.release()?, None)),
            Self::Charge(connection, charge) => Some((connection, Some(charge))),
            Self::Nothing(connection) => Some((connection, None)),
        }
    }
}

impl<S, B> Service<Request<Body>> for Admission<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: HttpBody<Data = Bytes> + Default + Unpin,
{
    type Response = Response<AdmissionBody<B>>;
    type Error = Infallible;
    type Future = AdmissionFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let extensions = request.extensions();
        let (context, connection) = (RequestContext::of(extensions), Connection::of(extensions));
        let (method, protocol) = context.map_or((methods::unknown(), Protocol::Grpc), RequestContext::of_method);
        let began = context.map_or_else(Instant::now, |context| context.began);
        // A request without a connection cannot be limited.
        let hold = connection
            .ok_or_else(transport::overloaded)
            .and_then(|connection| Hold::new(connection, method, began).inspect_err(|_| connection.note_overload()));
        match hold {
            Ok(hold) => {
                AdmissionFuture::Admitted { inner: self.inner.call(request), hold: Some(hold), method, protocol }
            }
            Err(status) => AdmissionFuture::Refused { status: Some(status), protocol },
        }
    }
}

pin_project! {
    #[project = AdmissionProjected]
    pub(super) enum AdmissionFuture<F> {
        Refused { status: Option<Status>, protocol: Protocol },
        Admitted { #[pin] inner: F, hold: Option<Hold>, method: &'static Method, protocol: Protocol },
    }
}

impl<F, B> Future for AdmissionFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: HttpBody<Data = Bytes> + Default + Unpin,
{
    type Output = Result<Response<AdmissionBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AdmissionProjected::Refused { status, protocol } => {
                let Some(status) = status.take() else { return Poll::Pending };
                Poll::Ready(Ok(refusal::response(status, *protocol)))
            }
            AdmissionProjected::Admitted { inner, hold, method, protocol } => {
                let (head, body) = ready!(inner.poll(context))?.into_parts();
                let Some((connection, charge)) = hold.take().and_then(Hold::release) else { return Poll::Pending };
                let body = if method.streams {
                    Some(AdmissionBody::stream(body, connection, charge))
                } else {
                    AdmissionBody::unary(body, connection, method.changes, context)
                };
                Poll::Ready(Ok(match body {
                    Some(body) => Response::from_parts(head, body),
                    None => refusal::response(transport::connection_overloaded(), *protocol),
                }))
            }
        }
    }
}

/// The result of the first poll.
enum First<E> {
    Answer(Undelivered),
    /// A frame without data, an error, or the end of the body.
    Other(Option<Result<Frame<Bytes>, E>>),
}

pin_project! {
    /// The response body, with the result of its first poll.
    pub(super) struct AdmissionBody<B>
    where
        B: HttpBody<Data = Bytes>,
    {
        #[pin]
        inner: B,
        first: Option<First<B::Error>>,
        // In a box, because few answers are streams.
        stream: Option<Box<Stream>>,
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> AdmissionBody<B> {
    fn stream(inner: B, connection: Arc<Connection>, charge: Option<Charge>) -> Self {
        if inner.is_end_stream() {
            return Self { inner, first: None, stream: None };
        }
        let stream = Box::new(Stream { open: connection.stream(), _charge: charge, writable: None });
        Self { inner, first: None, stream: Some(stream) }
    }

    /// `None` if the connection holds too much to be given this answer, and the answer need not be `kept`.
    fn unary(mut inner: B, connection: Arc<Connection>, kept: bool, context: &mut Context<'_>) -> Option<Self> {
        if inner.is_end_stream() {
            return Some(Self { inner, first: None, stream: None });
        }
        // The frame is charged now, and not when the transport asks for it: that depends on the client.
        let first = match Pin::new(&mut inner).poll_frame(context) {
            Poll::Pending => None,
            Poll::Ready(Some(Ok(frame))) => Some(match frame.into_data() {
                Ok(data) => First::Answer(connection.answer(data, kept)?),
                Err(frame) => First::Other(Some(Ok(frame))),
            }),
            Poll::Ready(ended) => Some(First::Other(ended)),
        };
        Some(Self { inner, first, stream: None })
    }
}

/// An answer in a stream. It gives no frames while its client takes no bytes: the transport would keep them in memory.
struct Stream {
    open: OpenStream,
    _charge: Option<Charge>,
    writable: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Stream {
    fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let connection = self.open.connection();
        if self.writable.is_none() && !connection.is_blocked() {
            return Poll::Ready(());
        }
        let wait = || Box::pin(Arc::clone(connection).writable()) as _;
        ready!(self.writable.get_or_insert_with(wait).as_mut().poll(context));
        self.writable = None;
        Poll::Ready(())
    }
}

impl<B: HttpBody<Data = Bytes> + Default> Default for AdmissionBody<B> {
    fn default() -> Self {
        Self { inner: B::default(), first: None, stream: None }
    }
}

impl<B: HttpBody<Data = Bytes>> HttpBody for AdmissionBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        match this.first.take() {
            Some(First::Answer(answer)) => return Poll::Ready(Some(Ok(Frame::data(answer.hand_out())))),
            Some(First::Other(polled)) => return Poll::Ready(polled),
            None => {}
        }
        if let Some(stream) = this.stream {
            ready!(stream.poll_writable(context));
        }
        this.inner.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.inner.size_hint();
        if let Some(First::Answer(answer)) = &self.first {
            let length = answer.len() as u64;
            if let Some(upper) = hint.upper() {
                hint.set_upper(upper + length);
            }
            hint.set_lower(hint.lower() + length);
        }
        hint
    }
}
