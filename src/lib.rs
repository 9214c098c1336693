//! Boxoffice sells cinema seats and never sells one twice.
//!
//! Auditoriums have seats, showtimes never overlap in them and play movies from a provider that fails a lot, and seats are
//! held for a while and sold when that is confirmed in time: over gRPC and gRPC-Web, on SQLite or Postgres, by as many
//! processes as one likes. Payments, tickets and the delivery of events are not built yet.
//!
//! # The map
//!
//! One package; each room is one kind of knowledge, and the same noun names its file in every room, so a feature reads
//! as a column: `domain/reservation.rs`, `store/reservations.rs`, `app/reservations.rs`, `grpc/reservations.rs`.
//!
//! | room | knows | does not know |
//! |---|---|---|
//! | [`domain`] | what is true: types and rules, pure and total | time, chance, anything outside |
//! | [`store`] | what is durable: SQL, transactions, migrations | gRPC, the provider |
//! | [`ledger`] | who has which seat: decides, writes in batches, remembers | gRPC, the provider |
//! | [`upstream`] | what others know: the movie provider, its cache, a demo of it | the database, showtimes |
//! | [`app`] | what one may ask: the use cases | the wire, SQL, Redis |
//! | [`grpc`] | how it is spoken: services, conversions, statuses, layers | the database, the provider |
//! | [`server`] | how it is put together, started and stopped | rules of the trade |
//!
//! Leaves that nearly any room may name: [`telemetry`] (how it is seen), [`clock`] (the only reader of time and
//! randomness) and [`background`] (the only way to run something now and then). [`config`] alone reads the environment, [`pb`] alone includes generated code. Who may name whom is a
//! test: `tests/tidy/law.rs`.
//!
//! # What it promises
//!
//! - A seat of a showtime is held or sold at most once at any time, over any number of instances.
//! - A hold ends at its `expire_time`, by the database's clock, whether or not any timer ran; until then nobody else can
//!   have its seats, and from then on it cannot be confirmed.
//! - A reservation is all of its seats or none, and its seats are neighbours.
//! - A showtime's revision counts its changes without gaps, and every answer and refusal about its seats carries it.
//! - Two scheduled showtimes of one auditorium never overlap, turnaround included, over any number of instances.
//! - What was acknowledged is durable, and a change is whole or not there.
//! - A mutation that is repeated with its request id has one effect and one answer.
//! - Watchers of a seat map see every revision, alone or joined with its neighbours, without a gap and without a repeat.
//! - A read of a showtime is as of a moment after it was asked for; it is never served from before.
//! - A bad request is refused with every violation named by its field; nothing that is sent makes the server panic.
//! - The provider and Redis may fail: answers say how old they are, and what can be answered is.
//! - Everything has a limit: messages, headers, streams, connections, requests in flight, queues, pages, deadlines.
//! - Internal text and secrets never reach a caller, a log line or a trace.
//!
//! # What always holds, by the place that holds it
//!
//! - A value of `domain` was checked by its constructor. A row that makes no such value is an error, never a guess.
//! - An auditorium never changes. Of a showtime only its `Standing` and its seats do, under its row's lock.
//! - Seats change hands in `ledger` only, by the pure rules of `domain::seating`, which are given the time as it was read
//!   after the lock. A unique key stands behind them.
//! - What is remembered of seats is used only after the lock has confirmed its revision.
//! - What others are to be told is written in the transaction of the change.
//! - A slot is free or taken by the check under the auditorium's lock, and again by a constraint of the schema.
//! - A stored answer commits in the transaction whose effect it tells of, and only with it.
//! - A change runs in a task of its own or is the ledger's: deadlines and lost connections end the wait for it, never the
//!   change.
//! - No read is answered from a row in memory that can change: in memory are facts that cannot, and movies with the time of
//!   their fetching. Seat maps are: they say of which revision they are, and nobody shows one that was not compared with the
//!   database of late.
//! - An error has one code and one reason, given in `grpc/status.rs` and the files below it.
//!
//! `docs/ARCHITECTURE.md` follows a request through all of this, and says what is deliberately absent.

pub mod app;
pub mod background;
pub mod clock;
pub mod config;
pub mod domain;
pub mod grpc;
pub mod ledger;
pub mod pb;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod upstream;
