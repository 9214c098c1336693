//! The load: so many callers for so long, over a few connections; each answer makes room for the caller's next question.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BufMut as _;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::{
    lean::{self, Questions},
    line::{self, Line},
};

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
    /// For so long, after a warm-up.
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
    /// Bytes of an answer, on average.
    pub(crate) bytes: usize,
    /// Calls that were not answered OK.
    pub(crate) failed: u64,
}

/// One answer.
#[derive(Clone, Copy, Default)]
pub(crate) struct Answer {
    /// Its size.
    pub(crate) bytes: usize,
    /// Whether it was not OK.
    pub(crate) failed: bool,
}

/// One of those who ask, one thing at a time.
pub(crate) trait Caller: Send + 'static {
    /// Asks. Nothing when there is nothing left to ask for.
    fn call(&mut self) -> impl Future<Output = Option<Answer>> + Send;

    /// What it still has to do when the time is over, which is not measured.
    fn finish(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

impl Plan {
    /// Has it done by a process of its own.
    pub(crate) fn run(&self) -> Outcome {
        super::instruct("load", self)
    }
}

/// Does what the plan in this file says, and prints the outcome.
pub(crate) async fn run(file: &str) {
    let Plan { address, path, messages, in_flight, seconds } = super::instructions(file);
    let messages = messages.iter().map(|content| {
        let mut message = line::begin(content.len());
        message.put_slice(content);
        line::prefixed(message)
    });
    let messages: Vec<_> = messages.collect();
    // The lean client does not read what a status says.
    let mut line = Line::connect(&address).await;
    line.unary(&line.method(&path), messages[0].clone()).await.expect("an answer");
    let questions = Arc::new(Questions::new(&address, &path, messages).await);
    let connections = in_flight.div_ceil(SHARE);
    let (start, end) = times(seconds);
    let asking = (0..connections).map(|at| {
        let callers = in_flight / connections + usize::from(at < in_flight % connections);
        let first = at * 31 % questions.messages();
        tokio::spawn(lean::ask(address.clone(), Arc::clone(&questions), callers, first, start, end))
    });
    println!("{}", serde_json::to_string(&all(start, asking.collect()).await).expect("an outcome as text"));
}

/// The part of a measurement's time that comes before it.
pub(crate) const WARM_UP: f64 = 0.2;

/// As in a few busy clients, so many share a connection.
const SHARE: usize = 32;

/// A way to the server for each of so many callers.
pub(crate) async fn connect(addresses: &[String], callers: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    for at in 0..callers.div_ceil(SHARE).next_multiple_of(addresses.len()) {
        lines.push(Line::connect(&addresses[at % addresses.len()]).await);
    }
    (0..callers).map(|caller| lines[caller % lines.len()].clone()).collect()
}

/// Lets them all ask for so long, after a warm-up.
pub(crate) async fn drive<C: Caller>(seconds: f64, callers: Vec<C>) -> Outcome {
    let (start, end) = times(seconds);
    all(start, callers.into_iter().map(|caller| tokio::spawn(ask(caller, start, end))).collect()).await
}

/// When the warm-up ends, and when the measurement.
fn times(seconds: f64) -> (Instant, Instant) {
    let length = Duration::from_secs_f64(seconds);
    let start = Instant::now() + length.mul_f64(WARM_UP);
    (start, start + length)
}

async fn all(start: Instant, asking: Vec<JoinHandle<Tally>>) -> Outcome {
    let mut all = Tally::new(start);
    for asking in asking {
        all.add(&asking.await.expect("a caller to end"));
    }
    all.outcome(start)
}

async fn ask<C: Caller>(mut caller: C, start: Instant, end: Instant) -> Tally {
    let mut tally = Tally::new(end);
    loop {
        let asked = Instant::now();
        if asked >= end {
            break;
        }
        let Some(answer) = caller.call().await else {
            tally.until = asked;
            break;
        };
        if asked >= start {
            tally.answered(asked.elapsed(), answer.bytes);
        }
        tally.failed += u64::from(answer.failed);
    }
    caller.finish().await;
    tally
}

/// What was counted.
pub(super) struct Tally {
    latencies: Histogram<u64>,
    bytes: u64,
    pub(super) failed: u64,
    /// When the last question was asked.
    until: Instant,
}

impl Tally {
    pub(super) fn new(until: Instant) -> Self {
        Self { latencies: Histogram::new(3).expect("a histogram"), bytes: 0, failed: 0, until }
    }

    /// One more, after so long, of so many bytes.
    pub(super) fn answered(&mut self, after: Duration, bytes: usize) {
        self.latencies.record(after.as_micros() as u64).expect("a latency within bounds");
        self.bytes += bytes as u64;
    }

    fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies).expect("the same bounds");
        self.bytes += other.bytes;
        self.failed += other.failed;
        self.until = self.until.max(other.until);
    }

    fn outcome(&self, start: Instant) -> Outcome {
        let quantile = |at| self.latencies.value_at_quantile(at) as f64 / 1_000.0;
        let bytes = (self.bytes / self.latencies.len().max(1)) as usize;
        let length = self.until.duration_since(start).as_secs_f64().max(1e-3);
        let rate = self.latencies.len() as f64 / length;
        Outcome { rate, p50: quantile(0.5), p99: quantile(0.99), bytes, failed: self.failed }
    }
}
