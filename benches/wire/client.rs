//! A gRPC client with little overhead: gRPC directly over h2, without the queues and layers of a tonic channel.
//!
//! The load shares the machine with the service, so what the client spends is missing on the other end. The bytes on the
//! wire are those of any gRPC client.

use boxoffice::server::coalesce::CoalescingStream;
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::{RecvStream, client::SendRequest};
use http::{HeaderMap, HeaderValue, Request, Uri, header};
use tokio::net::TcpStream;
use tonic::Status;

/// Bytes before each message: whether it is compressed, and its length.
pub(crate) const PREFIX: usize = 5;
/// Flow-control window, in bytes. It is larger than what is ever in flight, so that no answer waits for a window update.
const WINDOW: u32 = 4 << 20;

/// A connection to a server. Clones share it.
#[derive(Clone)]
pub(crate) struct Client {
    send: SendRequest<Bytes>,
    address: String,
}

/// The address of a method at the server of a [`Client`].
#[derive(Clone)]
pub(crate) struct Method(Uri);

impl Client {
    /// Opens a connection with windows that never fill.
    pub(crate) async fn connect(address: &str) -> Self {
        Self::with_windows(address, WINDOW, WINDOW).await
    }

    /// Opens a connection with flow-control windows of this many bytes for each stream and for the connection.
    pub(crate) async fn with_windows(address: &str, stream_window: u32, connection_window: u32) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("an open socket");
        let mut client = h2::client::Builder::new();
        client.initial_window_size(stream_window).initial_connection_window_size(connection_window);
        let (send, connection) =
            client.handshake(CoalescingStream::new(stream)).await.expect("a server that speaks HTTP/2");
        // The task ends with the server, or with the last clone of the client.
        tokio::spawn(connection);
        Self { send, address: address.to_owned() }
    }

    pub(crate) fn method(&self, path: &str) -> Method {
        Method(Uri::try_from(format!("http://{}{path}", self.address)).expect("a path"))
    }

    /// Makes a unary call. `message` has its prefix, see [`prefixed`].
    pub(crate) async fn unary(&mut self, method: &Method, message: Bytes) -> Result<Bytes, Status> {
        let (head, mut body) = self.open(method, message).await;
        if let Some(status) = error_status(&head) {
            return Err(status);
        }
        let mut answer = next_data(&mut body).await.expect("a message");
        while let Some(more) = next_data(&mut body).await {
            answer = [answer, more].concat().into();
        }
        let trailers = body.trailers().await.expect("trailers").expect("a status");
        error_status(&trailers).map_or_else(|| Ok(answer.slice(PREFIX..)), Err)
    }

    /// Starts a call and returns the headers and the body of its answer.
    pub(crate) async fn open(&mut self, method: &Method, message: Bytes) -> (HeaderMap, RecvStream) {
        let mut request = Request::post(method.0.clone()).body(()).expect("a request");
        add_grpc_headers(request.headers_mut());
        std::future::poll_fn(|context| self.send.poll_ready(context)).await.expect("an open connection");
        let (answer, mut stream) = self.send.send_request(request, false).expect("the headers are sent");
        stream.send_data(message, true).expect("the message is sent");
        let (head, body) = answer.await.expect("an answer").into_parts();
        (head.headers, body)
    }
}

/// Adds the headers that make a request a gRPC request.
pub(crate) fn add_grpc_headers(headers: &mut HeaderMap) {
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
}

/// The next bytes of a body, or `None` at its end.
pub(crate) async fn next_data(body: &mut RecvStream) -> Option<Bytes> {
    let bytes = body.data().await?.expect("more of the answer");
    body.flow_control().release_capacity(bytes.len()).expect("as much as was received");
    Some(bytes)
}

/// The status in these headers or trailers, if there is one and it is not OK.
pub(crate) fn error_status(headers: &HeaderMap) -> Option<Status> {
    let code = headers.get(Status::GRPC_STATUS)?;
    if code == "0" { None } else { Status::from_header_map(headers) }
}

/// An empty message buffer that begins with room for the prefix.
pub(crate) fn message_buffer(capacity: usize) -> BytesMut {
    let mut message = BytesMut::with_capacity(PREFIX + capacity);
    message.put_bytes(0, PREFIX);
    message
}

/// Fills in the prefix of a message that was written into a [`message_buffer`].
pub(crate) fn prefixed(mut message: BytesMut) -> Bytes {
    let length = (message.len() - PREFIX) as u32;
    message[1..PREFIX].copy_from_slice(&length.to_be_bytes());
    message.freeze()
}

/// An encoded message with its prefix.
pub(crate) fn prefixed_copy(content: &[u8]) -> Bytes {
    let mut message = message_buffer(content.len());
    message.put_slice(content);
    prefixed(message)
}
