//! The metrics of purchases.

use std::time::Duration;

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Histogram, Meter},
};

/// Bounds of buckets in seconds: from a gateway that answers at once to a customer who has ten minutes, and attempts after that.
const BOUNDS: [f64; 14] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 180.0, 600.0, 1_800.0];

/// What is recorded of purchases.
pub(super) struct PurchaseInstruments {
    steps: Counter<u64>,
    ended: Counter<u64>,
    durations: Histogram<f64>,
    stuck: Gauge<u64>,
    refunds_stuck: Gauge<u64>,
}

impl PurchaseInstruments {
    pub(super) fn new(meter: &Meter) -> Self {
        let count = |name: &'static str, what: &'static str| meter.u64_counter(name).with_description(what).build();
        Self {
            steps: count("boxoffice.purchase.steps", "Attempts at steps of purchases, by outcome"),
            ended: count("boxoffice.purchase.ended", "Purchases that have ended here or got stuck, by state"),
            durations: meter
                .f64_histogram("boxoffice.purchase.duration")
                .with_description("Time from the begin of a purchase to its end")
                .with_unit("s")
                .with_boundaries(BOUNDS.to_vec())
                .build(),
            stuck: meter
                .u64_gauge("boxoffice.purchase.stuck")
                .with_description("Purchases that cannot go on without an operator, counted up to 1,000")
                .build(),
            refunds_stuck: meter
                .u64_gauge("boxoffice.refund.stuck")
                .with_description("Refunds that cannot go on without an operator, counted up to 1,000")
                .build(),
        }
    }

    pub(super) fn step(&self, step: &'static str, outcome: &'static str) {
        self.steps.add(1, &[KeyValue::new("step", step), KeyValue::new("outcome", outcome)]);
    }

    pub(super) fn ended(&self, state: &'static str, elapsed: Duration) {
        let labels = [KeyValue::new("state", state)];
        self.ended.add(1, &labels);
        self.durations.record(elapsed.as_secs_f64(), &labels);
    }

    pub(super) fn stuck(&self, count: u64) {
        self.stuck.record(count, &[]);
    }

    pub(super) fn refunds_stuck(&self, count: u64) {
        self.refunds_stuck.record(count, &[]);
    }

    pub(super) fn observe_at_work(meter: &Meter, count: impl Fn() -> usize + Send + Sync + 'static) {
        let gauge = meter.u64_observable_gauge("boxoffice.purchase.at_work");
        let what = "Purchases that this instance works on";
        gauge.with_description(what).with_callback(move |found| found.observe(count() as u64, &[])).build();
    }
}
