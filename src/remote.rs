//! What the clients of other gRPC servers share, and what the demo servers share that stand in for them.
//!
//! The service calls a movie provider and a payment gateway. Both are reached over a [`channel`] with the same rules about
//! certificates, with a key in the metadata and the trace context beside it. Their demos serve under the same limits
//! ([`demo`]). Deliberately absent: retries and deadlines, which differ between the two.

pub mod channel;
pub mod demo;
mod request;
mod secret;

pub use request::{add_trace, header};
pub use secret::Secret;
