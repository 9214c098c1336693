//! What is counted and timed, each with one function, so that names and labels stand in one place.
//!
//! Instruments come from the global meter: nothing is recorded before `telemetry::init` has set it, and tests that never
//! call it record into the void.

use std::{sync::LazyLock, time::Duration};

use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Gauge, Histogram, UpDownCounter},
};

struct Instruments {
    requests: Histogram<f64>,
    streams: UpDownCounter<i64>,
    transactions: Histogram<f64>,
    pool_waits: Histogram<f64>,
    cache_lookups: Counter<u64>,
    cache_calls: Histogram<f64>,
    provider_calls: Histogram<f64>,
    breaker: Gauge<u64>,
}

/// In seconds: from what a cached read takes to the longest deadline.
const BOUNDS: [f64; 16] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = global::meter("boxoffice");
    let seconds = |name: &'static str, what: &'static str| {
        meter.f64_histogram(name).with_description(what).with_unit("s").with_boundaries(BOUNDS.to_vec()).build()
    };
    Instruments {
        requests: seconds("boxoffice.request.duration", "Time from a request's arrival to the end of its answer"),
        transactions: seconds("boxoffice.transaction.duration", "Time in a database transaction or read"),
        pool_waits: seconds("boxoffice.pool.wait", "Time waited for a database connection"),
        cache_calls: seconds("boxoffice.cache.duration", "Time spent on one call to the movie cache"),
        provider_calls: seconds("boxoffice.provider.duration", "Time of one attempt at the movie provider"),
        streams: meter.i64_up_down_counter("boxoffice.request.active").with_description("Requests under way").build(),
        cache_lookups: meter
            .u64_counter("boxoffice.cache.lookups")
            .with_description("Movie look-ups by result")
            .build(),
        breaker: meter.u64_gauge("boxoffice.breaker.state").with_description("0 closed, 1 half open, 2 open").build(),
    }
});

/// A request has ended with this status.
pub fn request(service: &str, method: &str, status: &'static str, protocol: &'static str, elapsed: Duration) {
    let labels = [
        KeyValue::new("service", service.to_owned()),
        KeyValue::new("method", method.to_owned()),
        KeyValue::new("status", status),
        KeyValue::new("protocol", protocol),
    ];
    INSTRUMENTS.requests.record(elapsed.as_secs_f64(), &labels);
}

/// A request began (1) or ended (-1).
pub fn active(change: i64) {
    INSTRUMENTS.streams.add(change, &[]);
}

/// A named transaction or read ended: `committed`, `refused`, `failed`, `unknown`.
pub fn transaction(name: &'static str, outcome: &'static str, elapsed: Duration) {
    let labels = [KeyValue::new("name", name), KeyValue::new("outcome", outcome)];
    INSTRUMENTS.transactions.record(elapsed.as_secs_f64(), &labels);
}

/// Somebody waited for a connection of this pool: `read` or `write`.
pub fn pool_wait(pool: &'static str, elapsed: Duration) {
    INSTRUMENTS.pool_waits.record(elapsed.as_secs_f64(), &[KeyValue::new("pool", pool)]);
}

/// A movie look-up was answered from: `fresh`, `stale`, `absent` (a cached not-found), `live`, `none`.
pub fn cache_lookup(kind: &'static str) {
    INSTRUMENTS.cache_lookups.add(1, &[KeyValue::new("kind", kind)]);
}

/// A call to the cache ended: backend `redis` or `memory`, call `get` or `put`, outcome `hit`, `miss`, `stored`, `failed`,
/// `timed_out`, `left_alone`.
pub fn cache_call(backend: &'static str, call: &'static str, outcome: &'static str, elapsed: Duration) {
    let labels = [KeyValue::new("backend", backend), KeyValue::new("call", call), KeyValue::new("outcome", outcome)];
    INSTRUMENTS.cache_calls.record(elapsed.as_secs_f64(), &labels);
}

/// One attempt at the provider ended: `ok`, `not_found`, `failed`, `failed_in_band`, `timed_out`.
pub fn provider_call(method: &'static str, outcome: &'static str, elapsed: Duration) {
    let labels = [KeyValue::new("method", method), KeyValue::new("outcome", outcome)];
    INSTRUMENTS.provider_calls.record(elapsed.as_secs_f64(), &labels);
}

/// A circuit breaker has this state now: 0 closed, 1 half open, 2 open.
pub fn breaker(name: &'static str, state: u64) {
    INSTRUMENTS.breaker.record(state, &[KeyValue::new("breaker", name)]);
}
