//! What is measured of the delivery of events to sinks.

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Meter},
};

/// The instruments of all sinks. Each value has the label `sink`.
#[derive(Debug)]
pub struct SinkInstruments {
    published: Counter<u64>,
    retried: Counter<u64>,
    skipped: Counter<u64>,
    dead: Counter<u64>,
    kept: Gauge<u64>,
    lag: Gauge<u64>,
    lag_seconds: Gauge<f64>,
}

impl SinkInstruments {
    pub(super) fn new(meter: &Meter) -> Self {
        let count = |name: &'static str, what: &'static str| meter.u64_counter(name).with_description(what).build();
        let lag = "Events that were not delivered to a sink yet; 0 at an instance that does not deliver to it";
        Self {
            published: count("boxoffice.sink.published", "Events that the broker of a sink has confirmed"),
            retried: count("boxoffice.sink.retried", "Failed attempts to deliver events to a sink"),
            skipped: count(
                "boxoffice.sink.skipped",
                "Commits whose events were deleted before they were delivered to a sink",
            ),
            dead: count("boxoffice.sink.dead", "Events that the broker of a sink has refused, and that are dead letters"),
            kept: meter
                .u64_gauge("boxoffice.sink.letters")
                .with_description("Dead letters of a sink, and events that wait behind them; 0 at an instance that does not deliver to it")
                .build(),
            lag: meter.u64_gauge("boxoffice.sink.lag").with_description(lag).build(),
            lag_seconds: meter
                .f64_gauge("boxoffice.sink.lag.age")
                .with_unit("s")
                .with_description("Age of the oldest event that was not delivered to a sink yet")
                .build(),
        }
    }

    /// Shows the counts of a sink from the beginning. An increase from nothing at all is not seen by an alert.
    pub fn begin(&self, sink: &str) {
        for count in [&self.published, &self.retried, &self.skipped, &self.dead] {
            count.add(0, &label(sink));
        }
    }

    /// Counts events that were confirmed.
    pub fn published(&self, sink: &str, events: usize) {
        self.published.add(events as u64, &label(sink));
    }

    /// Counts a failed attempt.
    pub fn retried(&self, sink: &str) {
        self.retried.add(1, &label(sink));
    }

    /// Counts commits whose events were deleted before they were delivered.
    pub fn skipped(&self, sink: &str, commits: u64) {
        self.skipped.add(commits, &label(sink));
    }

    /// Counts an event that has become a dead letter.
    pub fn dead(&self, sink: &str) {
        self.dead.add(1, &label(sink));
    }

    /// Notes how many letters a sink has.
    pub fn kept(&self, sink: &str, letters: u64) {
        self.kept.record(letters, &label(sink));
    }

    /// Notes that this instance does not deliver to the sink.
    pub fn idle(&self, sink: &str) {
        self.lag(sink, 0, 0.0);
        self.kept(sink, 0);
    }

    /// Notes how far a sink is behind.
    pub fn lag(&self, sink: &str, events: u64, seconds: f64) {
        self.lag.record(events, &label(sink));
        self.lag_seconds.record(seconds, &label(sink));
    }
}

fn label(sink: &str) -> [KeyValue; 1] {
    [KeyValue::new("sink", sink.to_owned())]
}
