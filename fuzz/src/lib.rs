//! What the fuzz targets share: the service in this process, requests made of bytes, and what every answer must be.
//!
//! [`service::with`] gives a target the service. It is replaced by a fresh one from time to time, and then no memory may be
//! left that the one before did not leave.

pub mod answer;
pub mod body;
pub mod memory;
pub mod mutate;
pub mod names;
pub mod random;
pub mod request;
pub mod service;
pub mod setup;

/// All allocations of the Rust code are counted and limited.
#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;
