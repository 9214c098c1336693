//! Boxoffice sells cinema seats and never sells one twice.

pub mod app;
pub mod clock;
pub mod config;
pub mod domain;
pub mod grpc;
pub mod pb;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod upstream;
