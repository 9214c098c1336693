//! What the tests stand on: the real binary, private Postgres and Redis servers, and the words to speak with them.
//!
//! Everything that is started listens on loopback on a free port, keeps its files in one temporary folder, and ends with
//! the test process, however that ends (see [`supervisor`]). Nothing here is a mock.

#[macro_use]
pub(crate) mod world;

pub(crate) mod clients;
pub(crate) mod contract;
pub(crate) mod convergence;
pub(crate) mod fleet;
pub(crate) mod grpc_web;
pub(crate) mod history;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod metrics;
pub(crate) mod model;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod provider;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod redis;
pub(crate) mod refusals;
pub(crate) mod requests;
pub(crate) mod seats;
pub(crate) mod server;
pub(crate) mod supervisor;
pub(crate) mod watching;

use std::time::Duration;

use tokio::time::{Instant, sleep};

pub(crate) use self::{
    postgres::{Database, Postgres},
    provider::{Provider, no_faults},
    redis::Redis,
    refusals::{assert_not_found, assert_refused, assert_violates},
    requests::{
        create_auditorium, euros, in_hours, layout, new_auditorium, new_showtime, request_id, tampered, timestamp,
    },
    server::Server,
    world::{Store, World},
};

/// Nothing that a test waits for takes longer than this, even on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Asks again until the answer is `Some`.
pub(crate) async fn eventually<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(DEADLINE, what, ask).await
}

/// The same for what takes its time: the one place that waits by asking, for what sends no event.
pub(crate) async fn within<T>(limit: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        sleep(Duration::from_millis(25)).await;
    }
}
