//! What a connection may ask of us before a request reaches any layer.

use std::time::Duration;

use tonic::transport::Server;

/// More than this many resets of streams that we had not looked at yet is an attack: it is how "rapid reset" works.
const PENDING_RESETS: usize = 64;
/// Nor may a connection make us reset more than this many streams for its own mistakes.
const ERROR_RESETS: usize = 256;
/// Windows that take a whole message at once, so that no caller waits for a window update in the middle of one.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// The limits that can be configured.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests at once on one connection.
    pub max_concurrent_streams: u32,
    /// Headers of one request.
    pub max_header_bytes: u32,
    /// How often a silent connection is asked whether it lives.
    pub keepalive_interval: Duration,
    /// How long it has to say so.
    pub keepalive_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 1024,
            max_header_bytes: 16 << 10,
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
        }
    }
}

/// A server that keeps them. Deliberately not set: tonic's timeout and concurrency limit (the layers do that), and
/// `max_connection_age_grace`, which would turn a graceful goodbye into a hard one.
#[must_use]
pub fn server(limits: Limits) -> Server {
    Server::builder()
        .accept_http1(true)
        .max_concurrent_streams(limits.max_concurrent_streams)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS))
        .http2_max_local_error_reset_streams(Some(ERROR_RESETS))
        .http2_max_header_list_size(limits.max_header_bytes)
        .http2_keepalive_interval(Some(limits.keepalive_interval))
        .http2_keepalive_timeout(Some(limits.keepalive_timeout))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
}
