//! What is counted and timed, each with one function, so that names and labels stand in one place.
//!
//! Nothing is recorded before `install`: tests that never call it record into the void.

use std::{sync::OnceLock, time::Duration};

use opentelemetry::{
    KeyValue,
    metrics::{BoundHistogram, Counter, Gauge, Histogram, Meter, MeterProvider as _, UpDownCounter},
};
use opentelemetry_sdk::{Resource, error::OTelSdkError, metrics::SdkMeterProvider};
use prometheus::Registry;

use super::request::{Outcome, Protocol};

struct Instruments {
    requests: Histogram<f64>,
    streams: UpDownCounter<i64>,
    connections: UpDownCounter<i64>,
    connections_refused: Counter<u64>,
    lines_dropped: Counter<u64>,
    transactions: Histogram<f64>,
    pool_waits: Histogram<f64>,
    batches: Histogram<u64>,
    seatings_read: Counter<u64>,
    seatings_forgotten: Counter<u64>,
    cache_lookups: Counter<u64>,
    feed_messages: Counter<u64>,
    cache_calls: Histogram<f64>,
    provider_calls: Histogram<f64>,
    breaker: Gauge<u64>,
}

/// In seconds: from what a cached read takes to the longest deadline.
const BOUNDS: [f64; 16] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

/// Metrics that `/metrics` can read out of the registry.
pub(super) fn provider(resource: Resource) -> Result<(SdkMeterProvider, Registry), OTelSdkError> {
    let registry = Registry::new();
    // Scope labels would repeat our own name on every line.
    let exporter =
        opentelemetry_prometheus::exporter().with_registry(registry.clone()).scope_info_enabled(false).build()?;
    Ok((SdkMeterProvider::builder().with_resource(resource).with_reader(exporter).build(), registry))
}

/// From here on, what is counted is counted there. The first provider stays.
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
            requests: seconds("boxoffice.request.duration", "Time from a request's arrival to the end of its answer"),
            transactions: seconds("boxoffice.transaction.duration", "Time in a database transaction or read"),
            pool_waits: seconds("boxoffice.pool.wait", "Time waited for a database connection"),
            batches: meter
                .u64_histogram("boxoffice.ledger.batch")
                .with_description("Commands for seats that were decided together")
                .with_boundaries(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0])
                .build(),
            seatings_read: count("boxoffice.ledger.read", "Showtimes whose seats a writer read from the database"),
            seatings_forgotten: count("boxoffice.ledger.forgotten", "Showtimes whose seats it forgot for lack of room"),
            cache_calls: seconds("boxoffice.cache.duration", "Time spent on one call to the movie cache"),
            provider_calls: seconds("boxoffice.provider.duration", "Time of one attempt at the movie provider"),
            streams: level("boxoffice.request.active", "Requests under way"),
            connections: level("boxoffice.connection.active", "Connections open"),
            connections_refused: count("boxoffice.connection.refused", "Connections closed at once: too many"),
            lines_dropped: count("boxoffice.console.dropped", "Console lines dropped: nobody read them in time"),
            cache_lookups: count("boxoffice.cache.lookups", "Movie look-ups by result"),
            feed_messages: count("boxoffice.feed.messages", "Messages between instances about seat maps by outcome"),
            breaker: meter
                .u64_gauge("boxoffice.breaker.state")
                .with_description("0 closed, 1 half open, 2 open")
                .build(),
        }
    }
}

/// The durations of one method's requests. Looking up a labelled histogram costs 0.4 µs each time, a bound one 0.04 µs;
/// so each label set is bound once, when it first occurs.
#[derive(Debug)]
pub struct RequestSeries {
    service: String,
    method: String,
    bound: [[OnceLock<BoundHistogram<f64>>; Outcome::LABELS.len()]; Protocol::COUNT],
}

impl RequestSeries {
    /// Of this method; nothing is recorded yet.
    #[must_use]
    pub fn new(service: &str, method: &str) -> Self {
        Self { service: service.to_owned(), method: method.to_owned(), bound: Default::default() }
    }

    /// A request has ended like this.
    pub fn ended(&self, outcome: Outcome, protocol: Protocol, elapsed: Duration) {
        let Some(instruments) = INSTRUMENTS.get() else { return };
        let bound = self.bound[protocol as usize][outcome.index()].get_or_init(|| {
            instruments.requests.bind(&[
                KeyValue::new("service", self.service.clone()),
                KeyValue::new("method", self.method.clone()),
                KeyValue::new("status", outcome.label()),
                KeyValue::new("protocol", protocol.label()),
            ])
        });
        bound.record(elapsed.as_secs_f64());
    }
}

fn record(instruments: impl FnOnce(&Instruments)) {
    if let Some(all) = INSTRUMENTS.get() {
        instruments(all);
    }
}

/// A request began (1) or ended (-1).
pub fn active(change: i64) {
    record(|all| all.streams.add(change, &[]));
}

/// A connection was opened (1) or closed (-1).
pub fn connections(change: i64) {
    record(|all| all.connections.add(change, &[]));
}

/// A connection was closed at once, because there are too many.
pub fn connection_refused() {
    record(|all| all.connections_refused.add(1, &[]));
}

/// So many console lines were lost.
pub fn lines_dropped(count: u64) {
    record(|all| all.lines_dropped.add(count, &[]));
}

/// A named transaction or read ended: `done`, `busy`, `unknown`, `failed`.
pub fn transaction(name: &'static str, outcome: &'static str, elapsed: Duration) {
    let labels = [KeyValue::new("name", name), KeyValue::new("outcome", outcome)];
    record(|all| all.transactions.record(elapsed.as_secs_f64(), &labels));
}

/// So many commands for seats are decided together.
pub fn batch(commands: usize) {
    record(|all| all.batches.record(commands as u64, &[]));
}

/// The seats of so many showtimes were read from the database.
pub fn seatings_read(showtimes: usize) {
    record(|all| all.seatings_read.add(showtimes as u64, &[]));
}

/// The seats of so many showtimes were forgotten, since there was no more room for them.
pub fn seatings_forgotten(showtimes: usize) {
    record(|all| all.seatings_forgotten.add(showtimes as u64, &[]));
}

/// Somebody waited for a connection of this pool: `read` or `write`.
pub fn pool_wait(pool: &'static str, elapsed: Duration) {
    record(|all| all.pool_waits.record(elapsed.as_secs_f64(), &[KeyValue::new("pool", pool)]));
}

/// A movie look-up was answered from: `fresh`, `stale`, `absent` (a cached not-found), `live`, `none`.
pub fn cache_lookup(kind: &'static str) {
    record(|all| all.cache_lookups.add(1, &[KeyValue::new("kind", kind)]));
}

/// A message about seat maps, to other instances or from them: `sent`, `heard`, `failed`, `lost` (it was not sent).
pub fn feed_message(outcome: &'static str) {
    record(|all| all.feed_messages.add(1, &[KeyValue::new("outcome", outcome)]));
}

/// A call to the cache ended: backend `redis` or `memory`, call `get` or `put`, outcome `hit`, `miss`, `stored`, `failed`,
/// `timed_out`, `left_alone`.
pub fn cache_call(backend: &'static str, call: &'static str, outcome: &'static str, elapsed: Duration) {
    let labels = [KeyValue::new("backend", backend), KeyValue::new("call", call), KeyValue::new("outcome", outcome)];
    record(|all| all.cache_calls.record(elapsed.as_secs_f64(), &labels));
}

/// One attempt at the provider ended: `ok`, `not_found`, `failed`, `failed_in_band`, `timed_out`.
pub fn provider_call(method: &'static str, outcome: &'static str, elapsed: Duration) {
    let labels = [KeyValue::new("method", method), KeyValue::new("outcome", outcome)];
    record(|all| all.provider_calls.record(elapsed.as_secs_f64(), &labels));
}

/// A circuit breaker has this state now: 0 closed, 1 half open, 2 open.
pub fn breaker(name: &'static str, state: u64) {
    record(|all| all.breaker.record(state, &[KeyValue::new("breaker", name)]));
}

/// A registry that sees what this test process counts.
#[cfg(test)]
pub(crate) fn for_tests() -> &'static Registry {
    static TESTS: OnceLock<(SdkMeterProvider, Registry)> = OnceLock::new();
    let (meters, registry) = TESTS.get_or_init(|| provider(Resource::builder_empty().build()).unwrap());
    install(meters);
    registry
}
