//! The bare echo, a baseline: a stock tonic server that answers every call with the same number of bytes.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use tonic::{
    Status,
    body::Body,
    codegen::BoxFuture,
    server::{Grpc, NamedService, UnaryService},
    transport::{Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;

/// The path of its only method.
pub(crate) const PATH: &str = "/bench.Echo/Echo";

/// A message of any size.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Blob {
    #[prost(bytes = "bytes", tag = "1")]
    data: Bytes,
}

#[derive(Clone)]
struct Echo(Blob);

impl NamedService for Echo {
    const NAME: &'static str = "bench.Echo";
}

impl UnaryService<Blob> for Echo {
    type Response = Blob;
    type Future = Ready<Result<tonic::Response<Blob>, Status>>;

    fn call(&mut self, _: tonic::Request<Blob>) -> Self::Future {
        ready(Ok(tonic::Response::new(self.0.clone())))
    }
}

impl tower::Service<Request<Body>> for Echo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move { Ok(Grpc::new(ProstCodec::<Blob, Blob>::default()).unary(echo, request).await) })
    }
}

/// Serves answers of this many bytes, and prints the address.
pub(crate) async fn serve(bytes: usize) {
    // The field's tag takes one byte, and its length two.
    let blob = Blob { data: vec![7; bytes.saturating_sub(3)].into() };
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let incoming = incoming.with_nodelay(Some(true));
    println!("{}", incoming.local_addr().expect("the address of the socket"));
    Server::builder()
        .add_service(Echo(blob))
        .serve_with_incoming(incoming)
        .await
        .expect("a server that runs until it is killed");
}
