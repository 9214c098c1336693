//! The limits of one connection, which hold before a request reaches any layer.

use std::time::Duration;

use tonic::transport::Server;

/// The most streams that a client may reset before they were looked at. More is an attack ("rapid reset").
const MAX_PENDING_RESETS: usize = 64;
/// The most streams that are reset because of the client's protocol errors before the connection is closed.
const MAX_ERROR_RESETS: usize = 256;
/// Takes the largest message (256 KiB by default) and its prefix without a window update on the way.
const STREAM_WINDOW_BYTES: u32 = 512 << 10;
/// Bounds what a connection may have sent that no request has read yet.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// The limits that can be configured.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests in flight on one connection.
    pub max_concurrent_streams: u32,
    /// The size of a request's headers.
    pub max_header_bytes: u32,
    /// After this time without traffic a connection gets a ping.
    pub keepalive_interval: Duration,
    /// A connection that does not answer a ping within this time is closed.
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

/// A server with these limits.
///
/// Deliberately not set: tonic's timeout and concurrency limit, which are layers here, and `max_connection_age_grace`, which
/// would cut off requests in flight when the server drains.
#[must_use]
pub fn server(limits: Limits) -> Server {
    Server::builder()
        .accept_http1(true)
        .max_concurrent_streams(limits.max_concurrent_streams)
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .http2_max_local_error_reset_streams(Some(MAX_ERROR_RESETS))
        .http2_max_header_list_size(limits.max_header_bytes)
        .http2_keepalive_interval(Some(limits.keepalive_interval))
        .http2_keepalive_timeout(Some(limits.keepalive_timeout))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
}
