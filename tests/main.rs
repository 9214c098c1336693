//! The tests of the guarantees, one file for each kind. The name of a test says what it proves.

#![expect(clippy::expect_used, reason = "a test reports a failed expectation by panicking")]

#[macro_use]
mod harness;

mod annotations;
mod attacks;
mod auditoriums;
mod between_instances;
mod browsers;
mod cancelled_showtimes;
mod checker;
mod clients;
mod command;
mod companions;
mod connection_errors;
mod consumers;
mod contention;
mod crashes;
mod descriptors;
mod event_consumer;
mod event_order;
mod event_retention;
mod events;
mod fuzz;
mod holds;
mod hosts;
mod idempotency;
mod lifecycle;
mod limits;
mod listing;
mod many_watchers;
mod memory_limit;
mod model;
mod movies;
mod observability;
mod open_files;
mod outages;
mod overlap;
mod properties;
mod provider;
mod provider_access;
mod query_plans;
mod queues;
mod redis;
mod redis_history;
mod redis_sink;
mod replication;
mod reservation_lists;
mod reservation_retries;
mod reservations;
mod retries;
mod rolling;
mod rules;
mod schema;
mod seat_maps;
mod seat_refusals;
mod sequences;
mod showtimes;
mod standby;
mod tidy;
mod traces;
mod watching;
mod webhooks;
mod wire;
