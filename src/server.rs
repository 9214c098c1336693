//! The composition root: listeners, limits, the admin port.

pub mod admin;
pub mod limits;
pub mod listener;
