//! Counts the answers of a load, and turns the counts into an outcome.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The result of a load.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Answers per second.
    pub(crate) rate: f64,
    /// Median latency in milliseconds.
    pub(crate) p50: f64,
    /// 99th percentile of the latency, in milliseconds.
    pub(crate) p99: f64,
    /// Bytes of an answer, on average.
    pub(crate) bytes: usize,
    /// Calls that were not answered OK.
    pub(crate) failed: u64,
}

/// Counts of answers, by one caller or by several.
pub(super) struct Tally {
    latencies: Histogram<u64>,
    bytes: u64,
    pub(super) failed: u64,
    /// When the last call was made.
    pub(super) until: Instant,
}

impl Tally {
    pub(super) fn new(until: Instant) -> Self {
        Self { latencies: Histogram::new(3).expect("a histogram"), bytes: 0, failed: 0, until }
    }

    /// Counts an answer with its latency and its size.
    pub(super) fn answered(&mut self, latency: Duration, bytes: usize) {
        self.latencies.record(latency.as_micros() as u64).expect("a latency within bounds");
        self.bytes += bytes as u64;
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies).expect("the same bounds");
        self.bytes += other.bytes;
        self.failed += other.failed;
        self.until = self.until.max(other.until);
    }

    /// The outcome of a measurement that began at `start`.
    pub(super) fn outcome(&self, start: Instant) -> Outcome {
        let quantile = |at| self.latencies.value_at_quantile(at) as f64 / 1_000.0;
        let bytes = (self.bytes / self.latencies.len().max(1)) as usize;
        let seconds = self.until.duration_since(start).as_secs_f64().max(1e-3);
        let rate = self.latencies.len() as f64 / seconds;
        Outcome { rate, p50: quantile(0.5), p99: quantile(0.99), bytes, failed: self.failed }
    }
}
