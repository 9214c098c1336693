//! The load: so many callers for so long, over a few connections; each answer makes room for the caller's next question.

use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::line::{self, Line, Method};

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
    let plan: Plan = super::instructions(file);
    let messages = plan.messages.iter().map(|content| {
        let mut message = line::begin(content.len());
        message.put_slice(content);
        line::prefixed(message)
    });
    let messages: Vec<_> = messages.collect();
    let lines = connect(&[plan.address], plan.in_flight).await.into_iter().enumerate();
    let callers = lines.map(|(caller, line)| {
        let next = caller * 31 % messages.len();
        Repeating { method: line.method(&plan.path), line, messages: messages.clone(), next }
    });
    println!("{}", serde_json::to_string(&drive(plan.seconds, callers.collect()).await).expect("an outcome as text"));
}

/// A way to the server for each of so many callers: as in a few busy clients, up to 32 share a connection.
pub(crate) async fn connect(addresses: &[String], callers: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    for at in 0..callers.div_ceil(32).next_multiple_of(addresses.len()) {
        lines.push(Line::connect(&addresses[at % addresses.len()]).await);
    }
    (0..callers).map(|caller| lines[caller % lines.len()].clone()).collect()
}

/// Lets them all ask for so long, after a warm-up of a fifth of it.
pub(crate) async fn drive<C: Caller>(seconds: f64, callers: Vec<C>) -> Outcome {
    let length = Duration::from_secs_f64(seconds);
    let start = Instant::now() + length / 5;
    let end = start + length;
    let callers: Vec<_> = callers.into_iter().map(|caller| tokio::spawn(ask(caller, start, end))).collect();
    let mut all = Tally::new(start);
    for caller in callers {
        all.add(&caller.await.expect("a caller to end"));
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
            tally.latencies.record(asked.elapsed().as_micros() as u64).expect("a latency within bounds");
            tally.bytes += answer.bytes as u64;
        }
        tally.failed += u64::from(answer.failed);
    }
    caller.finish().await;
    tally
}

/// What was counted.
struct Tally {
    latencies: Histogram<u64>,
    bytes: u64,
    failed: u64,
    /// When the last question was asked.
    until: Instant,
}

impl Tally {
    fn new(until: Instant) -> Self {
        Self { latencies: Histogram::new(3).expect("a histogram"), bytes: 0, failed: 0, until }
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

/// Sends its messages again and again.
struct Repeating {
    line: Line,
    method: Method,
    messages: Vec<Bytes>,
    next: usize,
}

impl Caller for Repeating {
    async fn call(&mut self) -> Option<Answer> {
        let message = self.messages[self.next].clone();
        self.next = (self.next + 1) % self.messages.len();
        match self.line.unary(&self.method, message).await {
            Ok(answer) => Some(Answer { bytes: answer.len(), failed: false }),
            Err(_) => Some(Answer { bytes: 0, failed: true }),
        }
    }
}
