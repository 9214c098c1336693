//! The baseline of a watch: tonic as it comes, which says as many bytes to as many streams, and does nothing else.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use boxoffice::clock::Clock;
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{Request, Response};
use prost::Message as _;
use prost_types::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{broadcast, watch},
    time::{MissedTickBehavior, interval, sleep},
};
use tonic::{
    Status,
    body::Body,
    codegen::BoxFuture,
    server::{Grpc, NamedService, ServerStreamingService},
    transport::{Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;

use super::fan::PACE;
use crate::wire::{self, Role, echo::Blob};

/// The path that it answers on.
pub(crate) const PATH: &str = "/bench.Floor/Watch";
/// Messages that may wait for a stream. It takes more than a minute until one is missed.
const WAITING: usize = 1_024;
/// When the slowest has heard enough of them, others follow.
const LOOK: Duration = Duration::from_millis(1);

/// When it says something.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Pace {
    /// So often a second, the same to all.
    Steady,
    /// As often as the slowest stream hears it, as soon as all are there.
    AllItCan,
}

/// On the wire it is what a `WatchSeatMapResponse` with a delta is.
#[derive(Clone, PartialEq, prost::Message)]
struct Told {
    #[prost(bytes = "bytes", tag = "2")]
    delta: Bytes,
}

/// A delta, and what makes it as long as those of the service.
#[derive(Clone, PartialEq, prost::Message)]
struct Delta {
    #[prost(int64, tag = "1")]
    from: i64,
    #[prost(int64, tag = "2")]
    to: i64,
    #[prost(message, optional, tag = "3")]
    at: Option<Timestamp>,
    #[prost(bytes = "vec", tag = "4")]
    rest: Vec<u8>,
}

#[derive(Clone)]
struct Floor {
    told: broadcast::Sender<Told>,
    /// How many streams there are.
    streams: watch::Sender<usize>,
}

impl NamedService for Floor {
    const NAME: &'static str = "bench.Floor";
}

impl ServerStreamingService<Blob> for Floor {
    type Response = Told;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<Told, Status>> + Send>>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _: tonic::Request<Blob>) -> Self::Future {
        self.streams.send_modify(|streams| *streams += 1);
        let stream = stream::unfold(self.told.subscribe(), async |mut told| {
            let message = told.recv().await.map_err(|error| Status::data_loss(error.to_string()));
            Some((message, told))
        });
        let stream: Self::ResponseStream = Box::pin(stream);
        ready(Ok(tonic::Response::new(stream)))
    }
}

impl tower::Service<Request<Body>> for Floor {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let floor = self.clone();
        let codec = ProstCodec::<Told, Blob>::default();
        Box::pin(async move { Ok(Grpc::new(codec).server_streaming(floor, request).await) })
    }
}

/// What to do.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Of a message.
    pub(crate) bytes: usize,
    pub(crate) pace: Pace,
    /// Streams that there will be.
    pub(crate) streams: usize,
}

impl Plan {
    /// Has it done by a process of its own: that, and where it listens.
    pub(crate) fn begin(&self) -> (Role, String) {
        wire::begin("floor", self)
    }
}

/// Serves what the plan in this file says, and says where.
pub(crate) async fn run(file: &str) {
    let Plan { bytes, pace, streams: all } = wire::instructions(file);
    let (told, streams) = (broadcast::Sender::new(WAITING), watch::Sender::new(0));
    let (there, floor) = (streams.subscribe(), Floor { told: told.clone(), streams });
    match pace {
        Pace::Steady => tokio::spawn(tell(told, bytes)),
        Pace::AllItCan => tokio::spawn(tell_all_it_can(told, message(1, bytes), there, all)),
    };
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let incoming = incoming.with_nodelay(Some(true));
    println!("{}", incoming.local_addr().expect("its own address"));
    Server::builder().add_service(floor).serve_with_incoming(incoming).await.expect("to serve");
}

async fn tell(told: broadcast::Sender<Told>, bytes: usize) {
    let mut ticks = interval(Duration::from_secs_f64(1.0 / PACE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for to in 1.. {
        ticks.tick().await;
        // It may be that nobody listens yet.
        let _listeners = told.send(message(to, bytes));
    }
}

async fn tell_all_it_can(told: broadcast::Sender<Told>, message: Told, mut there: watch::Receiver<usize>, all: usize) {
    drop(there.wait_for(|streams| *streams >= all).await);
    loop {
        while told.len() < WAITING / 2 {
            let _listeners = told.send(message.clone());
        }
        sleep(LOOK).await;
    }
}

/// The step to this revision, in so many bytes.
fn message(to: i64, bytes: usize) -> Told {
    let now = Clock::System.now();
    let at = Timestamp { seconds: now.timestamp(), nanos: now.timestamp_subsec_nanos().cast_signed() };
    let with = |rest| {
        let delta = Delta { from: to - 1, to, at: Some(at), rest: vec![7; rest] };
        Told { delta: delta.encode_to_vec().into() }
    };
    let shorter = (0..=bytes).rev().map(with).find(|told| told.encoded_len() <= bytes);
    shorter.unwrap_or_else(|| with(0))
}
