//! The floor, a baseline of watches: a stock tonic server that sends as many bytes to as many streams as the service does.

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

use super::fan_out::STEADY_RATE;
use crate::wire::{self, RoleProcess, echo::Blob};

/// The path of its only method.
pub(crate) const PATH: &str = "/bench.Floor/Watch";
/// Messages that may wait for a stream. At the steady rate that is more than a minute.
const CAPACITY: usize = 1_024;
/// How often it checks, at the maximum rate, whether the slowest stream has taken enough messages for more of them.
const CHECK_PERIOD: Duration = Duration::from_millis(1);

/// How often it sends.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Rate {
    /// [`STEADY_RATE`] messages per second to each stream.
    Steady,
    /// As many as the slowest stream takes, once all streams are open.
    Maximum,
}

/// It has the wire format of a `WatchSeatMapResponse` with a delta.
#[derive(Clone, PartialEq, prost::Message)]
struct WatchMessage {
    #[prost(bytes = "bytes", tag = "2")]
    delta: Bytes,
}

/// The first fields of a delta, and filler that makes it as long as one of the service.
#[derive(Clone, PartialEq, prost::Message)]
struct Delta {
    #[prost(int64, tag = "1")]
    from: i64,
    #[prost(int64, tag = "2")]
    to: i64,
    #[prost(message, optional, tag = "3")]
    time: Option<Timestamp>,
    #[prost(bytes = "vec", tag = "4")]
    filler: Vec<u8>,
}

#[derive(Clone)]
struct Floor {
    messages: broadcast::Sender<WatchMessage>,
    /// Number of open streams.
    streams: watch::Sender<usize>,
}

impl NamedService for Floor {
    const NAME: &'static str = "bench.Floor";
}

impl ServerStreamingService<Blob> for Floor {
    type Response = WatchMessage;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<WatchMessage, Status>> + Send>>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _: tonic::Request<Blob>) -> Self::Future {
        self.streams.send_modify(|streams| *streams += 1);
        let stream = stream::unfold(self.messages.subscribe(), async |mut messages| {
            let message = messages.recv().await.map_err(|error| Status::data_loss(error.to_string()));
            Some((message, messages))
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
        let codec = ProstCodec::<WatchMessage, Blob>::default();
        Box::pin(async move { Ok(Grpc::new(codec).server_streaming(floor, request).await) })
    }
}

/// A floor for one turn.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Bytes of a message.
    pub(crate) bytes: usize,
    pub(crate) rate: Rate,
    /// Streams that will be opened.
    pub(crate) streams: usize,
}

impl Plan {
    /// Starts the server in a process of its own. Returns it with its address.
    pub(crate) fn start(&self) -> (RoleProcess, String) {
        wire::start_role("floor", self)
    }
}

/// Serves by the plan in this file, and prints the address.
pub(crate) async fn run(file: &str) {
    let Plan { bytes, rate, streams: all } = wire::read_plan(file);
    let (messages, streams) = (broadcast::Sender::new(CAPACITY), watch::Sender::new(0));
    let (open, floor) = (streams.subscribe(), Floor { messages: messages.clone(), streams });
    match rate {
        Rate::Steady => tokio::spawn(send_steadily(messages, bytes)),
        Rate::Maximum => tokio::spawn(send_at_maximum_rate(messages, message(1, bytes), open, all)),
    };
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let incoming = incoming.with_nodelay(Some(true));
    println!("{}", incoming.local_addr().expect("the address of the socket"));
    let server = Server::builder().add_service(floor).serve_with_incoming(incoming);
    server.await.expect("a server that runs until it is killed");
}

async fn send_steadily(messages: broadcast::Sender<WatchMessage>, bytes: usize) {
    let mut ticks = interval(Duration::from_secs_f64(1.0 / STEADY_RATE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for to in 1.. {
        ticks.tick().await;
        // An error means that no stream is open yet.
        let _streams = messages.send(message(to, bytes));
    }
}

async fn send_at_maximum_rate(
    messages: broadcast::Sender<WatchMessage>,
    message: WatchMessage,
    mut open: watch::Receiver<usize>,
    all: usize,
) {
    drop(open.wait_for(|streams| *streams >= all).await);
    loop {
        while messages.len() < CAPACITY / 2 {
            let _streams = messages.send(message.clone());
        }
        sleep(CHECK_PERIOD).await;
    }
}

/// A message with a delta to this revision, of this many bytes.
fn message(to: i64, bytes: usize) -> WatchMessage {
    let now = Clock::System.now();
    let time = Timestamp { seconds: now.timestamp(), nanos: now.timestamp_subsec_nanos().cast_signed() };
    let with_filler = |filler| {
        let delta = Delta { from: to - 1, to, time: Some(time), filler: vec![7; filler] };
        WatchMessage { delta: delta.encode_to_vec().into() }
    };
    let longest = (0..=bytes).rev().map(with_filler).find(|message| message.encoded_len() <= bytes);
    longest.unwrap_or_else(|| with_filler(0))
}
