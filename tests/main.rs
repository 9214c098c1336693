//! The promises, as tests: one file per kind of promise, each test named after what it holds.

#![expect(clippy::expect_used, reason = "a test says what it expected by panicking")]

#[macro_use]
mod harness;

mod annotations;
mod auditoriums;
mod between_instances;
mod browsers;
mod cancelled_showtimes;
mod checker;
mod clients;
mod command;
mod companions;
mod contention;
mod crashes;
mod descriptors;
mod fuzz;
mod holds;
mod idempotency;
mod lifecycle;
mod limits;
mod listing;
mod little_memory;
mod many_watchers;
mod model;
mod movies;
mod outages;
mod overlap;
mod plans;
mod properties;
mod provider;
mod provider_access;
mod redis;
mod reservation_lists;
mod reservation_retries;
mod reservations;
mod retries;
mod rolling;
mod rules;
mod schema;
mod seat_maps;
mod seat_refusals;
mod seen;
mod sequences;
mod showtimes;
mod tidy;
mod traces;
mod watching;
mod wire;
