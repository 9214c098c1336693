//! Boxoffice sells cinema seats and never sells one twice.

pub mod clock;
pub mod domain;
pub mod grpc;
pub mod pb;
pub mod server;
pub mod telemetry;
