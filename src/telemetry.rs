//! How the service is seen: metrics, the console, traces. A leaf: any room but `domain` may record here.

pub mod metrics;
