//! The load: so many calls in flight, for so long, over a few connections; each answer makes room for the next call.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http::uri::PathAndQuery;
use serde::{Deserialize, Serialize};
use tonic::{client::Grpc, transport::Endpoint};

use super::{Raw, Role};

/// What to do.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Where to.
    pub(crate) address: String,
    /// Which method.
    pub(crate) path: String,
    /// The messages, sent in turn.
    pub(crate) messages: Vec<Vec<u8>>,
    /// Calls at once.
    pub(crate) in_flight: usize,
    /// For so long, after a warm-up of a fifth of it.
    pub(crate) seconds: f64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Answers a second.
    pub(crate) rate: f64,
    /// Milliseconds at the median
    pub p50: f64,
    /// and at the 99th percentile.
    pub p99: f64,
    /// Bytes of an answer.
    pub(crate) bytes: usize,
    /// Calls that were not answered OK.
    pub(crate) failed: u64,
}

impl Plan {
    /// Has it done by a process of its own.
    pub(crate) fn run(&self) -> Outcome {
        let file = tempfile::NamedTempFile::new().expect("a file for the plan");
        serde_json::to_writer(&file, self).expect("the plan to be written");
        let path = file.path().to_str().expect("a readable path").to_owned();
        let (_role, line) = Role::start(&["load".to_owned(), path]);
        serde_json::from_str(&line).expect("an outcome")
    }
}

/// Does what the plan in this file says, and prints the outcome.
pub(crate) async fn run(file: &str) {
    let plan: Plan = serde_json::from_str(&std::fs::read_to_string(file).expect("the plan")).expect("a plan");
    let length = Duration::from_secs_f64(plan.seconds);
    let start = Instant::now() + length / 5;
    let end = start + length;
    // As a few busy clients would: up to 32 calls share a connection.
    let connections = plan.in_flight.div_ceil(32);
    let mut callers = Vec::new();
    for connection in 0..connections {
        let endpoint = Endpoint::try_from(format!("http://{}", plan.address)).expect("an address");
        let channel = endpoint.tcp_nodelay(true).connect().await.expect("a connection");
        for caller in (connection..plan.in_flight).step_by(connections) {
            let plan = plan.clone();
            callers.push(tokio::spawn(call(Grpc::new(channel.clone()), plan, caller, start, end)));
        }
    }
    let mut latencies = Histogram::<u64>::new(3).expect("a histogram");
    let (mut failed, mut bytes) = (0, 0);
    for caller in callers {
        let (seen, refused, size) = caller.await.expect("a caller to end");
        latencies.add(seen).expect("the same bounds");
        failed += refused;
        bytes = size.max(bytes);
    }
    let quantile = |at| latencies.value_at_quantile(at) as f64 / 1_000.0;
    let rate = latencies.len() as f64 / length.as_secs_f64();
    let outcome = Outcome { rate, p50: quantile(0.5), p99: quantile(0.99), bytes, failed };
    println!("{}", serde_json::to_string(&outcome).expect("an outcome as text"));
}

async fn call(
    mut grpc: Grpc<tonic::transport::Channel>,
    plan: Plan,
    caller: usize,
    start: Instant,
    end: Instant,
) -> (Histogram<u64>, u64, usize) {
    let path = PathAndQuery::try_from(plan.path).expect("a path");
    let messages: Vec<_> = plan.messages.into_iter().map(Bytes::from).collect();
    let mut latencies = Histogram::new(3).expect("a histogram");
    let (mut failed, mut bytes) = (0, 0);
    for message in messages.iter().cycle().skip(caller * 31 % messages.len()) {
        let asked = Instant::now();
        if asked >= end {
            break;
        }
        grpc.ready().await.expect("a connection that lives");
        match grpc.unary(tonic::Request::new(message.clone()), path.clone(), Raw).await {
            Ok(answer) => bytes = answer.into_inner().len(),
            Err(_) => failed += 1,
        }
        if asked >= start {
            latencies.record(asked.elapsed().as_micros() as u64).expect("a latency within bounds");
        }
    }
    (latencies, failed, bytes)
}
