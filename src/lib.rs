//! Boxoffice sells cinema seats and never sells one twice.
//!
//! Auditoriums have seats. Showtimes play movies in them and never overlap. Seats are held for some minutes, and sold if
//! the hold is confirmed in time. Clients call over gRPC and gRPC-Web. The data is in SQLite, or in Postgres, where any
//! number of instances share it. Movies come from a provider that fails often. Events are streamed to subscribers. Payments and
//! tickets do not exist yet.
//!
//! # The map
//!
//! The crate is one package. Each room (a folder of `src/`) holds one kind of knowledge, and the same noun names the file in
//! every room, so that a feature is a column: `domain/reservation.rs`, `store/reservations.rs`, `app/reservations.rs`,
//! `grpc/reservations.rs`.
//!
//! | room | knows | does not know |
//! |---|---|---|
//! | [`domain`] | the rules and their types, pure and synchronous | time, randomness, I/O |
//! | [`store`] | the database: entities, queries, transactions, migrations | gRPC, the movie provider |
//! | [`ledger`] | the only module that changes seats: it decides commands, commits them in batches, and serves seat maps | gRPC, the movie provider |
//! | [`feed`] | the order in which events are delivered, and their subscribers | gRPC, the movie provider |
//! | [`upstream`] | the movie provider, the cache of movies, and a demo provider | the database, showtimes |
//! | [`payments`] | the client of the payment gateway, and a demo gateway | the database, seats, purchases |
//! | [`app`] | the use cases | gRPC, SQL, Redis |
//! | [`grpc`] | the services, conversions, statuses and layers of the contract | the database, the movie provider |
//! | [`consumer`] | the stream of events from outside, as our own subcommands read it | the database, the rooms of the service |
//! | [`reports`] | the reporting database: its tables, the projector that fills them, and what is read from them | gRPC, the service's database |
//! | [`webhooks`] | the delivery of events to HTTP endpoints, as a program of its own | the database of the service, its rooms |
//! | [`server`] | how the parts are made, started and stopped | business rules |
//!
//! Five more modules serve the rooms. [`remote`] has what the clients of other gRPC servers share, [`clock`] is the only reader of time and randomness, [`telemetry`] has the log, the
//! metrics and the traces, [`background`] runs periodic tasks, and [`pb`] includes the generated code. [`config`] is the only
//! reader of the environment. `tests/tidy/rooms.rs` is the table of which room may import which.
//!
//! # What the service promises
//!
//! - A seat of a showtime is held or sold at most once at any time, over any number of instances.
//! - A hold lapses at its `expire_time`, by the database's clock, whether or not a timer has run. Before that no other
//!   reservation can take its seats; from then on it cannot be confirmed.
//! - A reservation has all of its seats or none, and its seats are neighbours.
//! - The revision of a showtime counts its changes without gaps. Every answer and refusal about its seats carries it.
//! - Two scheduled showtimes of one auditorium never overlap, turnaround included, over any number of instances.
//! - What was acknowledged is durable. A change is complete or absent.
//! - A change that is repeated with its request id has one effect and one answer.
//! - A watcher of a seat map gets every revision once and in order, alone or joined with its neighbours. Seats of a lapsed hold
//!   may come again.
//! - A subscriber gets every event once and in order, from any place in the feed on, at any instance. An event that it has
//!   received without noting its token may come again.
//! - A read of a showtime is as of a moment after the request arrived, never of one before.
//! - A bad request is refused with every violation named by its field. No input makes the server panic.
//! - The movie provider and Redis may fail. What can be answered without them is answered, and says how old it is.
//! - Everything has a limit: messages, headers, streams, connections, requests in flight, queues, pages, deadlines.
//! - Internal text and secrets do not reach a caller, a log line or a trace.
//!
//! # What always holds, and where that is ensured
//!
//! - The constructor of a `domain` value checks it. A row that makes no valid value is an error, never a guess.
//! - An auditorium never changes. Of a showtime only the standing and the seats change, under the lock of its row in
//!   `standings`.
//! - `ledger` alone changes seats, by the pure rules of [`domain::seating`], which get the time that was read after
//!   the lock was taken. A unique key of the schema stands behind them.
//! - Seats in memory are used for a decision only after the lock has confirmed their revision.
//! - Events are written in the transaction of the change that they report.
//! - The check under the auditorium's lock decides whether a time slot is free. A constraint of the schema stands behind it.
//! - A stored answer commits in the transaction of its effect, and only with it.
//! - A change runs in a task of its own or in the ledger. A deadline or a lost connection ends the wait for it, not the change.
//! - No read is answered from a row in memory that can change. In memory are facts that cannot change, movies with the time
//!   when they were fetched, and seat maps. A seat map carries its revision, and is compared with the database before it is
//!   shown if the last comparison is too long ago.
//! - An error has one code and one reason, set in `grpc/status.rs` and the files below it.
//! - The loops beside the requests (periodic tasks, the ledger's writers, the readers of showtimes, the delta channel) run
//!   through [`background`]: each goes on after a failure or a panic, and logs either.
//!
//! `docs/ARCHITECTURE.md` follows a request through all of this, has the glossary, and says what is deliberately absent.

pub mod app;
pub mod asyncapi;
pub mod background;
pub mod clock;
pub mod config;
pub mod consumer;
pub mod domain;
pub mod feed;
pub mod grpc;
pub mod ledger;
pub mod payments;
pub mod pb;
pub mod remote;
pub mod reports;
pub mod server;
pub mod sinks;
pub mod store;
pub mod telemetry;
pub mod tickets;
pub mod upstream;
pub mod webhooks;
