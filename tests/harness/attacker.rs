//! HTTP/2 connections that do what an honest client does not: they take no answers, or do not finish what they send.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{
    SendStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use http::Request;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::JoinHandle,
};

/// A connection. Its calls stay open until it is dropped.
pub(crate) struct Attacker {
    authority: String,
    client: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
    reads: Arc<AtomicBool>,
    calls: Vec<(ResponseFuture, SendStream<Bytes>)>,
}

impl Attacker {
    /// Connects. The server may send `window` bytes of each answer.
    pub(crate) async fn connect(address: &str, window: u32) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server listens");
        let reads = Arc::new(AtomicBool::new(true));
        let stream = Tap { stream, reads: Arc::clone(&reads) };
        let mut builder = Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(1 << 30);
        let (client, connection) = builder.handshake(stream).await.expect("the server speaks HTTP/2");
        let connection = tokio::spawn(connection);
        Self { authority: address.to_owned(), client, connection, reads, calls: Vec::new() }
    }

    /// From now on nothing is read from the connection.
    pub(crate) fn stop_reading(&self) {
        self.reads.store(false, SeqCst);
    }

    /// Begins a call of this method and sends these bytes of its body. Returns whether the connection is open.
    pub(crate) async fn begin(&mut self, path: &str, timeout: &str, body: Bytes, ends: bool) -> bool {
        let Ok(mut client) = self.client.clone().ready().await else { return false };
        let request = Request::post(format!("http://{}{path}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", timeout)
            .body(())
            .expect("a request");
        let Ok((answer, mut send)) = client.send_request(request, false) else { return false };
        // Frames without data are a flood of their own, for which the HTTP/2 library closes the connection.
        if ends || !body.is_empty() {
            // A call that was refused meanwhile takes no bytes.
            let _refused = send.send_data(body, ends);
        }
        self.calls.push((answer, send));
        true
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// A TCP connection that can stop reading.
struct Tap {
    stream: TcpStream,
    reads: Arc<AtomicBool>,
}

impl AsyncRead for Tap {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.reads.load(SeqCst) { Pin::new(&mut self.stream).poll_read(context, into) } else { Poll::Pending }
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
