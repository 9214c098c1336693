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
/// Over HTTP/1.1 a connection without a whole request for 30 s is closed, which is the default of the HTTP library.
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

#[cfg(test)]
mod tests {
    use std::io;

    use axum::{Router, routing::get};
    use futures_util::{StreamExt as _, stream};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::Instant,
    };

    use super::*;

    /// Serves a connection on which a client sends these bytes and nothing more. Returns the answer, and the seconds until the
    /// connection is closed, by the test's clock.
    async fn until_closed(sent: &[u8]) -> (String, u64) {
        let (mut client, connection) = duplex(64 << 10);
        let connections = stream::iter([Ok::<_, io::Error>(connection)]).chain(stream::pending());
        let pages = Router::new().route("/", get(async || "here\n"));
        let serving = tokio::spawn(server(Limits::default()).serve_with_incoming(pages, connections));
        let (mut answer, start) = (String::new(), Instant::now());
        client.write_all(sent).await.unwrap();
        client.read_to_string(&mut answer).await.unwrap();
        serving.abort();
        (answer, start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn over_http_1_slow_headers_and_idle_connections_are_given_up() {
        let request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
        let unfinished = &request[..request.len() - 2];
        assert_eq!(until_closed(unfinished).await, (String::new(), 30));
        let (answer, idle) = until_closed(request).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("here\n"), "{answer}");
        assert_eq!(idle, 30);
        // The headers of a second request have as much time as those of the first.
        let (answer, slow) = until_closed(&[&request[..], unfinished].concat()).await;
        assert_eq!((answer.matches("HTTP/1.1 200 OK").count(), slow), (1, 30));
    }
}
