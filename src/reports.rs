//! Reports: a database with plain tables for people with SQL, filled from the feed of events, and what is read from it.
//!
//! - The projector (`boxoffice project`) fills the tables. It knows nothing of the service but the public stream of events.
//! - Events and cursor are committed together, so every event has its effect once. Tables that were rebuilt from the first event
//!   equal those that grew.
//! - A showtime is in the tables with all of its events, or not at all.
//!
//! Deliberately absent: what events do not carry, and the service's own database, which the projector never touches.

mod batch;
mod database;
mod entities;
mod error;
mod migrations;
mod model;
mod projector;
mod reader;

pub use database::{Location, Options};
pub use error::Error;
pub use model::outcome as hold_outcome;
pub use projector::{Projection, project};
pub use reader::{
    HoldCount, Occupancy, OccupancyCursor, Reader, ReportDays, ReportFilter, ReportState, Sales, SalesCursor,
    SalesGroup, Seen,
};
