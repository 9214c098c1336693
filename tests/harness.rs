//! Everything that tests share: the real binary, private servers of Postgres, Redis and the brokers, clients, and checks of their
//! answers.
//!
//! Every process that a test starts listens on loopback on a free port, has its files in one temporary folder, and is stopped
//! when the test process ends, however that ends (see [`supervisor`]). Nothing here is a mock.

#[macro_use]
pub(crate) mod shop;
#[macro_use]
pub(crate) mod world;

pub(crate) mod attacker;
#[macro_use]
pub(crate) mod brokers;
pub(crate) mod certificates;
pub(crate) mod clients;
pub(crate) mod contract;
pub(crate) mod convergence;
pub(crate) mod door;
pub(crate) mod events;
pub(crate) mod fleet;
pub(crate) mod gateway;
pub(crate) mod grpc_web;
pub(crate) mod history;
pub(crate) mod http;
pub(crate) mod http2;
pub(crate) mod kafka;
pub(crate) mod load;
pub(crate) mod metrics;
pub(crate) mod model;
pub(crate) mod moments;
pub(crate) mod money;
pub(crate) mod nats;
pub(crate) mod nats_proxy;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod provider;
pub(crate) mod proxy;
pub(crate) mod purchase_events;
pub(crate) mod purchases;
pub(crate) mod rabbitmq;
pub(crate) mod raw;
pub(crate) mod redis;
pub(crate) mod redis_stream;
pub(crate) mod refusals;
pub(crate) mod reporting;
pub(crate) mod requests;
pub(crate) mod sales;
pub(crate) mod seats;
pub(crate) mod server;
pub(crate) mod shoppers;
pub(crate) mod staff;
pub(crate) mod supervisor;
pub(crate) mod watching;
pub(crate) mod webhooks;
pub(crate) mod wrong_gateway;

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

/// The longest time that a test waits for anything, even on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Polls every 25 ms until the result is `Some`, and fails after [`DEADLINE`].
pub(crate) async fn eventually<T>(what: &str, poll: impl AsyncFnMut() -> Option<T>) -> T {
    within(DEADLINE, what, poll).await
}

/// Polls every 25 ms until the result is `Some`, and fails after `limit`.
pub(crate) async fn within<T>(limit: Duration, what: &str, mut poll: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(result) = poll().await {
            return result;
        }
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        sleep(Duration::from_millis(25)).await;
    }
}
