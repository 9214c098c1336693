//! The layers between a connection and the services, the same for every service. [`stack`] puts them together.
//!
//! Promises:
//! - Every request is recorded exactly once in the metrics and in the console, however it ends.
//! - Every call has a deadline, and the requests in flight have a limit over all connections.
//! - A panic ends its own request only.
//! - gRPC, gRPC-Web and plain HTTP share one port, and a refusal is in the protocol of its request.
//!
//! Deliberately absent are tonic's own timeout, load shedding and concurrency limit: they work per connection, and answer
//! with other codes and without details.

mod admission;
mod branch;
mod cors;
mod deadline;
mod fallback;
mod host;
mod message;
mod panics;
mod protocol;
mod record;
mod refusal;
mod stream_guard;
mod translated;
mod web;

#[cfg(test)]
mod tests;

use std::{convert::Infallible, error::Error, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::{BoxError, Layer as _, Service, ServiceBuilder};

pub use self::host::Hosts;
use self::{
    admission::Admission, branch::Branch, deadline::Deadlines, message::WholeMessage, panics::CatchPanics,
    record::Record, translated::Translated,
};
pub(super) use self::{fallback::unknown_path, stream_guard::StreamGuard};
pub use super::request_context::RequestContext;

/// The limits that the layers enforce.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Deadline of a call whose caller sends no `grpc-timeout`. It does not apply to streams.
    pub request_timeout: Duration,
    /// Longest deadline of a call, whatever its `grpc-timeout` says. It does not apply to streams.
    pub max_request_timeout: Duration,
    /// Most time until the message of a request is complete.
    pub body_timeout: Duration,
    /// Most bytes of one decoded message. The services enforce it, too; the layers refuse a longer gRPC-Web request before
    /// they decode its base64.
    pub max_message_bytes: usize,
    /// Most bytes of the headers of one HTTP/1.1 request. HTTP/2 connections have a limit of their own.
    pub max_header_bytes: usize,
    /// Origins of web pages that may call, besides the server's own and those of this machine; `*` allows every origin.
    pub cors_origins: Vec<String>,
    /// The names of the server, by which browsers may call it.
    pub hosts: Hosts,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(5),
            max_request_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(5),
            max_message_bytes: 256 << 10,
            max_header_bytes: 16 << 10,
            cors_origins: Vec::new(),
            hosts: Hosts::new(None, &[]),
        }
    }
}

/// The services with every layer around them. Each request carries its [`Connection`](super::connections::Connection) in its
/// extensions. It passes the layers in this order:
///
/// 1. **CORS**, for requests of web pages only: refuses those that call the server by a name that it does not have, answers
///    preflights, and says which origins may call and what they may read.
/// 2. **Protocol**: translates gRPC-Web, and answers requests that cannot be served, such as gRPC over HTTP/1.1 or JSON.
/// 3. **Record**: gives the request its id, its trace, its span and its [`RequestContext`], and records it in the metrics
///    and the console when its response has ended.
/// 4. **Deadlines**: ends the request with `DEADLINE_EXCEEDED` in time, and ends streams when the server drains.
/// 5. **`WholeMessage`**: reads the message of the request, and refuses bytes that are no message.
/// 6. **Admission**: refuses the request with UNAVAILABLE and a retry hint if too many are in flight, and charges its answer
///    to its connection.
/// 7. **`CatchPanics`**: turns a panic into INTERNAL, with an id that the log has, too.
/// 8. **The services** themselves.
///
/// A native gRPC call passes 1 and 2 at no cost. None of its layers boxes a future. The transport clones the stack for each
/// request, so what the layers share is reached through the connection, or through one reference of each branch: two
/// processors that count the references of the same value get in each other's way.
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
    let grpc = ServiceBuilder::new()
        // Outside of admission and deadlines, so that their refusals are recorded as well. The layers below and the services
        // read the request's context, which is created here.
        .layer_fn(Record::new)
        // Outside of all that waits, for a message or in a service, so that no wait can outlast the deadline.
        .layer_fn(|inner| Deadlines::new(inner, settings.request_timeout, settings.max_request_timeout))
        // Before admission: a call whose message does not come takes no permit from others.
        .layer_fn(|inner| WholeMessage::new(inner, settings.max_message_bytes, settings.body_timeout))
        // Before any work: a request that cannot be served in time is refused at once.
        .layer_fn(Admission::new)
        // Innermost: the layers above see an ordinary INTERNAL instead of a panic, and need no care of their own.
        .layer_fn(CatchPanics::new)
        .service(services);
    // Outside of `grpc`, so that its layers see native gRPC only. A branch, because tonic-web answers 400 to plain HTTP, so
    // pages must not pass its translation. Whatever the branch answers itself, it records itself.
    let gate = web::gate(settings.max_message_bytes, settings.max_header_bytes, &settings.hosts);
    let any_protocol = Branch::new(gate, Translated::new(GrpcWebLayer::new().layer(grpc.clone())), grpc);
    // Outermost and not recorded, because a preflight is a browser's question about the server and no call.
    let cors = cors::layer(&settings.cors_origins, &settings.hosts).layer(any_protocol.clone());
    Branch::new(cors::gate(&settings.hosts), cors, any_protocol)
}
