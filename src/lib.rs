//! Boxoffice sells cinema seats and never sells one twice.

pub mod clock;
pub mod config;
pub mod domain;
pub mod pb;
pub mod telemetry;
