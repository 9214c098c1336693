//! Metrics: one function per instrument, so that names and labels stand in one place.
//!
//! Before `install` nothing is recorded, as in tests that do not call it.

use std::{sync::OnceLock, time::Duration};

use opentelemetry::{
    KeyValue,
    metrics::{BoundHistogram, Counter, Gauge, Histogram, Meter, MeterProvider as _, UpDownCounter},
};
use opentelemetry_sdk::{Resource, error::OTelSdkError, metrics::SdkMeterProvider};
use prometheus::Registry;

use super::{
    purchases::PurchaseInstruments,
    request::{Protocol, ResponseStatus},
    sinks::SinkInstruments,
};

struct Instruments {
    meter: Meter,
    requests: Histogram<f64>,
    streams: UpDownCounter<i64>,
    connections: UpDownCounter<i64>,
    connections_refused: Counter<u64>,
    connection_errors: Counter<u64>,
    lines_dropped: Counter<u64>,
    transactions: Histogram<f64>,
    pool_waits: Histogram<f64>,
    batches: Histogram<u64>,
    seatings_read: Counter<u64>,
    seatings_evicted: Counter<u64>,
    events_deleted: Counter<u64>,
    sinks: SinkInstruments,
    cache_lookups: Counter<u64>,
    feed_messages: Counter<u64>,
    cache_calls: Histogram<f64>,
    provider_calls: Histogram<f64>,
    gateway_calls: Histogram<f64>,
    purchases: PurchaseInstruments,
    refunds: Counter<u64>,
    breaker: Gauge<u64>,
}

/// Bounds of buckets in seconds: from the time of a cached read to the longest deadline.
const BOUNDS: [f64; 16] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

/// Creates the provider of meters, and the registry from which `/metrics` reads them.
pub(super) fn provider(resource: Resource) -> Result<(SdkMeterProvider, Registry), OTelSdkError> {
    let registry = Registry::new();
    // Scope labels would repeat `boxoffice` on every line.
    let exporter =
        opentelemetry_prometheus::exporter().with_registry(registry.clone()).scope_info_enabled(false).build()?;
    Ok((SdkMeterProvider::builder().with_resource(resource).with_reader(exporter).build(), registry))
}

/// Makes this provider the one that everything is recorded with. Only the first call has an effect.
pub(super) fn install(provider: &SdkMeterProvider) {
    INSTRUMENTS.get_or_init(|| Instruments::new(&provider.meter("boxoffice")));
}

impl Instruments {
    fn new(meter: &Meter) -> Self {
        let seconds = |name: &'static str, what: &'static str| {
            meter.f64_histogram(name).with_description(what).with_unit("s").with_boundaries(BOUNDS.to_vec()).build()
        };
        let count = |name: &'static str, what: &'static str| meter.u64_counter(name).with_description(what).build();
        let level =
            |name: &'static str, what: &'static str| meter.i64_up_down_counter(name).with_description(what).build();
        Self {
            meter: meter.clone(),
            requests: seconds("boxoffice.request.duration", "Time from a request's arrival to the end of its answer"),
            transactions: seconds("boxoffice.transaction.duration", "Time in a database transaction or read"),
            pool_waits: seconds("boxoffice.pool.wait", "Wait for a database connection"),
            batches: meter
                .u64_histogram("boxoffice.ledger.batch")
                .with_description("Commands per batch of a ledger writer")
                .with_boundaries(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0])
                .build(),
            seatings_read: count(
                "boxoffice.ledger.read",
                "Showtimes whose seats a ledger writer read from the database",
            ),
            seatings_evicted: count(
                "boxoffice.ledger.forgotten",
                "Showtimes whose seats a ledger writer evicted because its memory was full",
            ),
            events_deleted: count(
                "boxoffice.events.deleted",
                "Commits whose events were deleted, because they were old or because there were too many",
            ),
            sinks: SinkInstruments::new(meter),
            cache_calls: seconds("boxoffice.cache.duration", "Time spent on one call to the movie cache"),
            provider_calls: seconds("boxoffice.provider.duration", "Time of one attempt at the movie provider"),
            refunds: count("boxoffice.refunds", "Refunds that have ended, or that an operator must look at"),
            gateway_calls: seconds("boxoffice.gateway.duration", "Time of one call of the payment gateway"),
            purchases: PurchaseInstruments::new(meter),
            streams: level("boxoffice.request.active", "Requests in flight"),
            connections: level("boxoffice.connection.active", "Open connections"),
            connections_refused: count(
                "boxoffice.connection.refused",
                "Connections closed at once because there were too many",
            ),
            connection_errors: count("boxoffice.connection.errors", "What went wrong with connections, by kind"),
            lines_dropped: count(
                "boxoffice.console.dropped",
                "Console lines dropped because standard output was not read",
            ),
            cache_lookups: count("boxoffice.cache.lookups", "Movie lookups by result"),
            feed_messages: count("boxoffice.feed.messages", "Messages about seat maps between instances, by outcome"),
            breaker: meter
                .u64_gauge("boxoffice.breaker.state")
                .with_description("0 closed, 1 half open, 2 open")
                .build(),
        }
    }
}

/// The durations of one method's requests. Recording with labels costs 0.4 µs, with a bound instrument 0.04 µs, so each
/// set of labels is bound when it first occurs.
#[derive(Debug)]
pub struct RequestSeries {
    service: String,
    method: String,
    bound: [[OnceLock<BoundHistogram<f64>>; ResponseStatus::LABELS.len()]; Protocol::COUNT],
}

impl RequestSeries {
    /// The series of a method, still empty.
    #[must_use]
    pub fn new(service: &str, method: &str) -> Self {
        Self { service: service.to_owned(), method: method.to_owned(), bound: Default::default() }
    }

    /// Records a request that has ended.
    pub fn ended(&self, status: ResponseStatus, protocol: Protocol, elapsed: Duration) {
        let Some(instruments) = INSTRUMENTS.get() else { return };
        let bound = self.bound[protocol as usize][status.index()].get_or_init(|| {
            instruments.requests.bind(&[
                KeyValue::new("service", self.service.clone()),
                KeyValue::new("method", self.method.clone()),
                KeyValue::new("status", status.label()),
                KeyValue::new("protocol", protocol.label()),
            ])
        });
        bound.record(elapsed.as_secs_f64());
    }
}

fn record(recording: impl FnOnce(&Instruments)) {
    if let Some(instruments) = INSTRUMENTS.get() {
        recording(instruments);
    }
}

/// Counts a request that began (1) or ended (-1).
pub fn active(change: i64) {
    record(|instruments| instruments.streams.add(change, &[]));
}

/// Counts a connection that was opened (1) or closed (-1).
pub fn connections(change: i64) {
    record(|instruments| instruments.connections.add(change, &[]));
}

/// Counts a connection that was closed at once because there are too many.
pub fn connection_refused() {
    record(|instruments| instruments.connections_refused.add(1, &[]));
}

/// Reports the bytes that are charged to connections whenever metrics are read.
pub fn observe_connection_bytes(bytes: impl Fn() -> usize + Send + Sync + 'static) {
    record(|instruments| {
        let gauge = instruments.meter.u64_observable_gauge("boxoffice.connection.bytes");
        let what = "Bytes of messages that are not complete and of answers that are not delivered";
        gauge.with_description(what).with_callback(move |found| found.observe(bytes() as u64, &[])).build();
    });
}

/// Counts what went wrong with a connection. `telemetry/connection_errors.rs` has the kinds.
pub(super) fn connection_error(kind: &'static str) {
    record(|instruments| instruments.connection_errors.add(1, &[KeyValue::new("kind", kind)]));
}

/// Counts console lines that were dropped.
pub fn lines_dropped(count: u64) {
    record(|instruments| instruments.lines_dropped.add(count, &[]));
}

/// Records a named transaction or read that ended as `done`, `busy`, `unknown` or `failed`.
pub fn transaction(name: &'static str, outcome: &'static str, elapsed: Duration) {
    let labels = [KeyValue::new("name", name), KeyValue::new("outcome", outcome)];
    record(|instruments| instruments.transactions.record(elapsed.as_secs_f64(), &labels));
}

/// Records the size of a batch of commands.
pub fn batch(commands: usize) {
    record(|instruments| instruments.batches.record(commands as u64, &[]));
}

/// Counts showtimes whose seats were read from the database.
pub fn seatings_read(showtimes: usize) {
    record(|instruments| instruments.seatings_read.add(showtimes as u64, &[]));
}

/// Counts showtimes whose seats were evicted from memory because it is full.
pub fn seatings_evicted(showtimes: usize) {
    record(|instruments| instruments.seatings_evicted.add(showtimes as u64, &[]));
}

/// Counts commits whose events were deleted, for the reason `old` or `cap`.
pub fn events_deleted(reason: &'static str, commits: u64) {
    record(|instruments| instruments.events_deleted.add(commits, &[KeyValue::new("reason", reason)]));
}

/// Records what happened to a sink.
pub fn sink(recording: impl FnOnce(&SinkInstruments)) {
    record(|instruments| recording(&instruments.sinks));
}

/// Records a wait for a connection of the pool `read` or `write`.
pub fn pool_wait(pool: &'static str, elapsed: Duration) {
    record(|instruments| instruments.pool_waits.record(elapsed.as_secs_f64(), &[KeyValue::new("pool", pool)]));
}

/// Counts a movie lookup by what answered it: `fresh`, `stale`, `absent` (a cached "no such movie"), `live` or `none`.
pub fn cache_lookup(kind: &'static str) {
    record(|instruments| instruments.cache_lookups.add(1, &[KeyValue::new("kind", kind)]));
}

/// Counts a message on the delta channel, which metrics call *feed*: `sent`, `heard` (received), `failed` or `lost` (not sent).
pub fn feed_message(outcome: &'static str) {
    record(|instruments| instruments.feed_messages.add(1, &[KeyValue::new("outcome", outcome)]));
}

/// Records a call to the movie cache: backend `redis` or `memory`, call `get` or `put`, outcome `hit`, `miss`, `stored`,
/// `failed`, `timed_out` or `left_alone` (Redis failed just before and was not called).
pub fn cache_call(backend: &'static str, call: &'static str, outcome: &'static str, elapsed: Duration) {
    let labels = [KeyValue::new("backend", backend), KeyValue::new("call", call), KeyValue::new("outcome", outcome)];
    record(|instruments| instruments.cache_calls.record(elapsed.as_secs_f64(), &labels));
}

/// Records an attempt at the movie provider that ended as `ok`, `not_found`, `failed`, `failed_in_band` or `timed_out`.
pub fn provider_call(method: &'static str, outcome: &'static str, elapsed: Duration) {
    let labels = [KeyValue::new("method", method), KeyValue::new("outcome", outcome)];
    record(|instruments| instruments.provider_calls.record(elapsed.as_secs_f64(), &labels));
}

/// Records a call of the payment gateway that ended as `ok`, `not_found`, `refused` or `unknown`.
pub fn gateway_call(method: &'static str, outcome: &'static str, elapsed: Duration) {
    let labels = [KeyValue::new("method", method), KeyValue::new("outcome", outcome)];
    record(|instruments| instruments.gateway_calls.record(elapsed.as_secs_f64(), &labels));
}

/// Records an attempt at a step of a purchase that ended as `done`, `failed`, `refused` or `unknown`.
pub fn purchase_step(step: &'static str, outcome: &'static str) {
    record(|instruments| instruments.purchases.step(step, outcome));
}

/// Records that a purchase has ended in the state `completed`, `compensated` or `stuck`, this long after it began.
pub fn purchase_ended(state: &'static str, elapsed: Duration) {
    record(|instruments| instruments.purchases.ended(state, elapsed));
}

/// Reports the purchases that are worked on here whenever metrics are read.
pub fn observe_purchases_at_work(count: impl Fn() -> usize + Send + Sync + 'static) {
    record(|instruments| PurchaseInstruments::observe_at_work(&instruments.meter, count));
}

/// Records how many purchases are stuck.
pub fn purchases_stuck(count: u64) {
    record(|instruments| instruments.purchases.stuck(count));
}

/// Records how many refunds are stuck.
pub fn refunds_stuck(count: u64) {
    record(|instruments| instruments.purchases.refunds_stuck(count));
}

/// Counts a refund that is `done`, has `failed`, or is `stuck`.
pub fn refund(outcome: &'static str) {
    record(|instruments| instruments.refunds.add(1, &[KeyValue::new("outcome", outcome)]));
}

/// Records the state of a circuit breaker: 0 closed, 1 half open, 2 open.
pub fn breaker(name: &'static str, state: u64) {
    record(|instruments| instruments.breaker.record(state, &[KeyValue::new("breaker", name)]));
}

/// The registry of everything that this test process records.
#[cfg(test)]
pub(crate) fn for_tests() -> &'static Registry {
    static TESTS: OnceLock<(SdkMeterProvider, Registry)> = OnceLock::new();
    let (meters, registry) = TESTS.get_or_init(|| provider(Resource::builder_empty().build()).unwrap());
    install(meters);
    registry
}
