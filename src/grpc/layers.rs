//! What stands between a connection and the services, once for all of them.
//!
//! Promises: every request is timed and told exactly once, however it ends; no request is without a limit; a panic costs
//! its own request only; callers speak gRPC, gRPC-Web or plain HTTP on one port, and are refused in the tongue they spoke.
//! Deliberately absent: tonic's own timeout, load shedding and concurrency limit, which answer with other codes, and per
//! connection.

mod admission;
mod context;
mod cors;
mod deadline;
mod fallback;
mod panics;
mod record;
mod refusal;
mod routes;
mod switch;
mod web;

#[cfg(test)]
mod tests;

use std::{convert::Infallible, error::Error, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::{BoxError, Layer as _, Service, ServiceBuilder};

pub use self::context::{RequestContext, TraceId};
use self::{admission::Admission, deadline::Deadlines, panics::CatchPanics, record::Record, switch::Switch};
pub(super) use self::{deadline::Kept, fallback::unserved};

/// The limits that the layers keep.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For a request whose caller names no deadline.
    pub request_timeout: Duration,
    /// However much time the caller gives. Streams are exempt from both.
    pub max_request_timeout: Duration,
    /// Requests in flight over all connections.
    pub max_requests: usize,
    /// One message, decoded. The services hold it too; here it is held before a browser's text form is decoded.
    pub max_message_bytes: usize,
    /// Headers of one HTTP/1.1 request; HTTP/2 holds it in the connection.
    pub max_header_bytes: usize,
    /// Origins of pages that may call, besides their own server's and this machine's; `*` for any.
    pub cors_origins: Vec<String>,
    /// Cancelled when streams must end, because the server does.
    pub drain: CancellationToken,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(5),
            max_request_timeout: Duration::from_secs(30),
            max_requests: 4096,
            max_message_bytes: 1 << 20,
            max_header_bytes: 16 << 10,
            cors_origins: Vec::new(),
            drain: CancellationToken::new(),
        }
    }
}

/// Services and pages, with every layer around them. From outside in:
#[must_use]
pub fn stack<S, B>(
    services: S,
    settings: &Settings,
) -> impl Service<
    Request<Body>,
    Response = Response<impl HttpBody<Data = Bytes, Error = BoxError> + Send + 'static>,
    Error = Infallible,
    Future: Send + 'static,
> + Clone
+ Send
+ Sync
+ 'static
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
    B: HttpBody<Data = Bytes> + Default + Send + Unpin + 'static,
    B::Error: Error + Send + Sync + 'static,
{
    // The path of every native call. Nothing here is boxed; a call that goes well costs one
    // allocation, for its context.
    let native = ServiceBuilder::new()
        // Around all that has to do with a call, so that it times and tells refusals as well; it also finds out what is
        // called, and gives the request its trace and its context.
        .layer_fn(Record::new)
        // Before any work is done: what cannot be served in time is refused at once, with a hint when to come back.
        .layer_fn(Admission::layer(settings.max_requests, settings.max_request_timeout))
        // Inside admission: a refusal needs no timer. Nothing below waits for longer than the caller does.
        .layer_fn(|inner| {
            let (default, cap) = (settings.request_timeout, settings.max_request_timeout);
            Deadlines::new(inner, default, cap, settings.drain.clone())
        })
        // Innermost: a panic becomes an ordinary INTERNAL, which everything above treats like any answer.
        .layer_fn(CatchPanics::new)
        .service(services);
    // gRPC-Web is translated here, so that everything inside sees native gRPC. The translation would answer 400 to plain
    // HTTP, so only gRPC-Web passes through it; pages pass it by, and what cannot work is sent back, and told, here.
    let any = Switch::new(web::gate(settings), GrpcWebLayer::new().layer(native.clone()), native);
    // Around everything, because a preflight is a browser's question about the server and no call, so nobody records it.
    // Native callers pass it by.
    Switch::new(cors::gate, cors::layer(&settings.cors_origins).layer(any.clone()), any)
}
