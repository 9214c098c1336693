//! A client that costs little, for a load shares the machine with what it measures: gRPC over h2 as it is, without the queues
//! and layers of a channel. What travels is the same.

use boxoffice::server::coalesce::CoalescingStream;
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::{RecvStream, client::SendRequest};
use http::{HeaderMap, HeaderValue, Request, Uri, header};
use tokio::net::TcpStream;
use tonic::Status;

/// What comes before a message: that it is not compressed, and its length.
pub(crate) const PREFIX: usize = 5;
/// More than is ever under way, so that nobody waits for leave to send.
const WINDOW: u32 = 4 << 20;

/// A connection, or a share of one.
#[derive(Clone)]
pub(crate) struct Line {
    send: SendRequest<Bytes>,
    address: String,
}

/// A method, as one connection says it.
#[derive(Clone)]
pub(crate) struct Method(Uri);

impl Line {
    pub(crate) async fn connect(address: &str) -> Self {
        Self::with_windows(address, WINDOW, WINDOW).await
    }

    /// A connection on which so many bytes may be under way, of one stream and of all together.
    pub(crate) async fn with_windows(address: &str, stream_window: u32, window: u32) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("a living socket");
        let mut client = h2::client::Builder::new();
        client.initial_window_size(stream_window).initial_connection_window_size(window);
        let (send, connection) = client.handshake(CoalescingStream::new(stream)).await.expect("a server of HTTP/2");
        // It ends with the server, or with the last share.
        tokio::spawn(connection);
        Self { send, address: address.to_owned() }
    }

    pub(crate) fn method(&self, path: &str) -> Method {
        Method(Uri::try_from(format!("http://{}{path}", self.address)).expect("a path"))
    }

    /// One call. `message` is as [`prefixed`] makes it.
    pub(crate) async fn unary(&mut self, method: &Method, message: Bytes) -> Result<Bytes, Status> {
        let (head, mut body) = self.open(method, message).await;
        if let Some(status) = refusal(&head) {
            return Err(status);
        }
        let mut answer = data(&mut body).await.expect("a message");
        while let Some(more) = data(&mut body).await {
            answer = [answer, more].concat().into();
        }
        let trailers = body.trailers().await.expect("trailers").expect("a status");
        refusal(&trailers).map_or_else(|| Ok(answer.slice(PREFIX..)), Err)
    }

    /// A call whose answers are read by the caller.
    pub(crate) async fn open(&mut self, method: &Method, message: Bytes) -> (HeaderMap, RecvStream) {
        let mut request = Request::post(method.0.clone()).body(()).expect("a request");
        headers(request.headers_mut());
        std::future::poll_fn(|context| self.send.poll_ready(context)).await.expect("a connection that lives");
        let (answer, mut stream) = self.send.send_request(request, false).expect("to ask");
        stream.send_data(message, true).expect("to say what");
        let (head, body) = answer.await.expect("an answer").into_parts();
        (head.headers, body)
    }
}

/// What makes a request one of gRPC.
pub(crate) fn headers(headers: &mut HeaderMap) {
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
}

/// The next bytes of a body.
pub(crate) async fn data(body: &mut RecvStream) -> Option<Bytes> {
    let bytes = body.data().await?.expect("more of the answer");
    body.flow_control().release_capacity(bytes.len()).expect("no more than came");
    Some(bytes)
}

/// What the headers say that is not OK.
pub(crate) fn refusal(headers: &HeaderMap) -> Option<Status> {
    let code = headers.get(Status::GRPC_STATUS)?;
    if code == "0" { None } else { Status::from_header_map(headers) }
}

/// A message with room for its prefix.
pub(crate) fn begin(capacity: usize) -> BytesMut {
    let mut message = BytesMut::with_capacity(PREFIX + capacity);
    message.put_bytes(0, PREFIX);
    message
}

/// The message with its prefix.
pub(crate) fn prefixed(mut message: BytesMut) -> Bytes {
    let length = (message.len() - PREFIX) as u32;
    message[1..PREFIX].copy_from_slice(&length.to_be_bytes());
    message.freeze()
}
