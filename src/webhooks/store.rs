//! The state of the deliveries, in an SQLite file or in Postgres: how far each endpoint has read, and what is waiting or has failed.
//!
//! One process works on a database at a time. On SQLite a lock on a file beside it sees to that. On Postgres the process
//! lets a beat grow, another one takes over when it has seen the same beat for a while, and every write names the fence with which
//! the process has begun. A process that was taken for dead changes nothing any more.

mod connect;
mod deliveries;
mod endpoints;
mod entities;
mod error;
mod migrations;
mod open;
mod process;
mod report;

pub use connect::Database;
pub(super) use deliveries::{NewDelivery, Outcome};
pub(super) use error::Error;
pub(super) use open::Store;
