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

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::pending};

    use futures_util::{StreamExt as _, stream};
    use http::{Request, Response};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        time::Instant,
    };
    use tonic::body::Body;

    use super::*;

    const SETTINGS: u8 = 4;
    const RST_STREAM: u8 = 3;
    const GOAWAY: u8 = 7;
    const WINDOW_UPDATE: u8 = 8;

    /// A connection to a server that answers no request.
    fn connection() -> DuplexStream {
        let (client, connection) = duplex(1 << 20);
        let service = tower::service_fn(|_: Request<Body>| pending::<Result<Response<Body>, Infallible>>());
        let accepted = stream::iter([Ok::<_, Infallible>(connection)]).chain(stream::pending());
        tokio::spawn(server(Limits::default()).serve_with_incoming(service, accepted));
        client
    }

    /// The same, over HTTP/2: the preface and an empty SETTINGS frame are sent.
    async fn http2() -> DuplexStream {
        let mut client = connection();
        let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
        client.write_all(&preface).await.unwrap();
        client
    }

    /// The payload of the next frame of this type.
    async fn next(client: &mut DuplexStream, expected: u8) -> Vec<u8> {
        loop {
            let mut head = [0; 9];
            client.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
            client.read_exact(&mut payload).await.unwrap();
            if head[3] == expected {
                return payload;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn windows_are_announced() {
        let mut client = http2().await;
        let settings = next(&mut client, SETTINGS).await;
        let window = [&4_u16.to_be_bytes()[..], &(512_u32 << 10).to_be_bytes()].concat();
        assert!(settings.chunks_exact(6).any(|setting| setting == window), "{settings:?}");
        // Every connection begins with a window of 65,535 bytes.
        assert_eq!(next(&mut client, WINDOW_UPDATE).await, ((1_u32 << 20) - 65_535).to_be_bytes());
    }

    /// A request without a message that announces five bytes of one: `POST /` to the authority `x`, by HPACK's static table.
    #[tokio::test(start_paused = true)]
    async fn after_256_streams_with_errors_a_connection_is_closed() {
        const HEADERS: [u8; 10] = [0x83, 0x86, 0x84, 0x41, 1, b'x', 0x0f, 13, 1, b'5'];
        let mut client = http2().await;
        for request in 0..=256_u32 {
            // The length, the type, END_STREAM and END_HEADERS.
            let head = [&[0, 0, 10, 1, 5][..], &(2 * request + 1).to_be_bytes()].concat();
            client.write_all(&[&head[..], &HEADERS].concat()).await.unwrap();
            if request < 256 {
                assert_eq!(next(&mut client, RST_STREAM).await, 1_u32.to_be_bytes(), "PROTOCOL_ERROR");
            }
        }
        assert_eq!(next(&mut client, GOAWAY).await[4..8], 11_u32.to_be_bytes(), "ENHANCE_YOUR_CALM");
    }

    #[tokio::test(start_paused = true)]
    async fn the_headers_of_http_1_must_be_complete_within_30_seconds() {
        let begin = Instant::now();
        let mut client = connection();
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        client.read_to_end(&mut Vec::new()).await.unwrap();
        let seconds = begin.elapsed().as_secs();
        assert_eq!(seconds, 30);
    }
}
