//! Accepts connections up to a limit, until it is cancelled. From then on the port is closed.
//!
//! A connection beyond the limit is closed at once. One that does not send its first bytes in time, or does not acknowledge
//! what it is sent, is closed too. TLS is deliberately absent: a proxy in front terminates it.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::{coalesce::CoalescingStream, peer_stream::PeerStream, protocol_errors::ProtocolErrors};
use crate::{
    grpc::connections::{Connection, Connections},
    telemetry::{
        connection_errors::{self, Kind},
        metrics,
    },
};

/// The pause after a failed accept, when the system has no descriptor or memory left. Without it the loop would only spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// How long a new connection has to send its first bytes, which show its protocol.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// The length of the HTTP/2 preface. The shortest HTTP/1.1 request is shorter; hyper limits the time of its headers.
const PREFACE_BYTES: usize = 24;
/// After this time without an acknowledgement of what was sent, the system closes the connection.
#[cfg(target_os = "linux")]
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(40);

/// A stream of accepted connections. It ends when its token is cancelled.
#[derive(Debug)]
pub struct Listener {
    socket: Option<TcpListener>,
    address: SocketAddr,
    permits: Arc<Semaphore>,
    preface_timeout: Duration,
    coalesce_writes: bool,
    connections: Connections,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    retry: Option<Pin<Box<Sleep>>>,
}

impl Listener {
    /// Opens the port. Connections wait in its queue until the stream is polled. What is kept for them is charged to
    /// `connections`.
    ///
    /// # Errors
    /// The address is in use, is not one of this machine, or may not be used.
    pub async fn bind(
        address: SocketAddr,
        max_connections: usize,
        connections: Connections,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        Ok(Self {
            address: socket.local_addr()?,
            socket: Some(socket),
            permits: Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS))),
            preface_timeout: PREFACE_TIMEOUT,
            coalesce_writes: true,
            connections,
            stop: Box::pin(stop.cancelled_owned()),
            retry: None,
        })
    }

    /// Sets whether small writes of HTTP/2 connections are joined. Without this they are.
    #[must_use]
    pub fn coalesce_writes(self, coalesce_writes: bool) -> Self {
        Self { coalesce_writes, ..self }
    }

    /// The address with the port that was opened, also if port 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Stream for Listener {
    type Item = io::Result<Socket>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.socket.is_some() && this.stop.as_mut().poll(context).is_ready() {
            this.socket = None;
        }
        let Some(socket) = &this.socket else { return Poll::Ready(None) };
        loop {
            if let Some(retry) = &mut this.retry {
                ready!(retry.as_mut().poll(context));
                this.retry = None;
            }
            match ready!(socket.poll_accept(context)) {
                Ok((stream, peer)) => {
                    let Ok(permit) = Arc::clone(&this.permits).try_acquire_owned() else {
                        metrics::connection_refused();
                        connection_errors::note(Kind::Refused, peer.ip());
                        continue;
                    };
                    // A socket whose options cannot be set is dead already.
                    if set_options(&stream).is_err() {
                        continue;
                    }
                    let stream = PeerStream::new(stream, this.connections.open(Some(peer)));
                    let stream = if this.coalesce_writes {
                        CoalescingStream::new(stream)
                    } else {
                        CoalescingStream::off(stream)
                    };
                    return Poll::Ready(Some(Ok(Socket::new(stream, peer, this.preface_timeout, permit))));
                }
                // The client gave up while it waited in the queue.
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    connection_errors::not_accepted(&error);
                    this.retry = Some(Box::pin(sleep(ACCEPT_RETRY)));
                }
            }
        }
    }
}

fn set_options(stream: &TcpStream) -> io::Result<()> {
    // Otherwise a small answer waits up to 40 ms for the acknowledgement of the one before.
    stream.set_nodelay(true)?;
    // HTTP/2 pings a silent peer. Over HTTP/1.1 it would take 15 minutes to notice that a watcher has vanished.
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(ACKNOWLEDGE_TIMEOUT))?;
    Ok(())
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// An accepted connection. It counts against the limit until it is dropped.
#[derive(Debug)]
pub struct Socket {
    stream: CoalescingStream<PeerStream>,
    peer: SocketAddr,
    /// Set until the protocol is known. Nothing else limits that time.
    preface_deadline: Option<Pin<Box<Sleep>>>,
    read_bytes: usize,
    protocol_errors: ProtocolErrors,
    _permit: OwnedSemaphorePermit,
}

impl Socket {
    fn new(
        stream: CoalescingStream<PeerStream>,
        peer: SocketAddr,
        preface_timeout: Duration,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        metrics::connections(1);
        Self {
            stream,
            peer,
            preface_deadline: Some(Box::pin(sleep(preface_timeout))),
            read_bytes: 0,
            protocol_errors: ProtocolErrors::new(peer.ip()),
            _permit: permit,
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        metrics::connections(-1);
    }
}

impl Connected for Socket {
    type ConnectInfo = Arc<Connection>;

    fn connect_info(&self) -> Arc<Connection> {
        Arc::clone(self.stream.get_ref().connection())
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, into);
        if polled.is_ready() {
            self.protocol_errors.received();
        }
        if let Some(deadline) = self.preface_deadline.as_mut() {
            let late = deadline.as_mut().poll(context).is_ready();
            self.read_bytes += into.filled().len() - before;
            if self.read_bytes >= PREFACE_BYTES {
                self.preface_deadline = None;
            } else if late && polled.is_pending() {
                connection_errors::note(Kind::Silent, self.peer.ip());
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.protocol_errors.sent(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        self.protocol_errors.sent_vectored(slices, written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tokio::io::AsyncReadExt as _;

    use crate::grpc::connections::Limits;

    use super::*;

    async fn listener(max_connections: usize) -> (Listener, CancellationToken) {
        let stop = CancellationToken::new();
        let listener = Listener::bind(
            ([127, 0, 0, 1], 0).into(),
            max_connections,
            Connections::new(Limits::default()),
            stop.clone(),
        )
        .await
        .unwrap();
        (listener, stop)
    }

    #[tokio::test]
    async fn a_cancelled_listener_ends_and_its_port_is_closed() {
        let (mut listener, stop) = listener(8).await;
        let address = listener.local_addr();
        let _client = TcpStream::connect(address).await.unwrap();
        let accepted = listener.next().await.unwrap().unwrap();
        assert!(accepted.stream.get_ref().stream().nodelay().unwrap());
        stop.cancel();
        assert!(listener.next().await.is_none());
        let refused = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(listener.next().await.is_none());
    }

    #[tokio::test]
    async fn cancelling_wakes_a_waiting_listener() {
        let (mut listener, stop) = listener(8).await;
        let waiting = tokio::spawn(async move { listener.next().await.is_none() });
        tokio::task::yield_now().await;
        stop.cancel();
        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn writes_are_coalesced_unless_that_is_switched_off() {
        for coalesce_writes in [true, false] {
            let (listener, _stop) = listener(8).await;
            let mut listener = listener.coalesce_writes(coalesce_writes);
            let _client = TcpStream::connect(listener.local_addr()).await.unwrap();
            let accepted = listener.next().await.unwrap().unwrap();
            // Only without a buffer of our own can the socket take several buffers at once.
            assert_eq!(accepted.is_write_vectored(), !coalesce_writes);
        }
    }

    #[tokio::test]
    async fn over_the_limit_a_connection_is_closed_and_a_closed_one_makes_room() {
        let (mut listener, _stop) = listener(1).await;
        let address = listener.local_addr();
        let _first = TcpStream::connect(address).await.unwrap();
        let held = listener.next().await.unwrap().unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        let accepting = tokio::spawn(async move { listener.next().await });
        // It is closed before anything is sent.
        assert_eq!(second.read(&mut [0; 1]).await.unwrap_or(0), 0);
        drop(held);
        let third = TcpStream::connect(address).await.unwrap();
        let accepted = accepting.await.unwrap().unwrap().unwrap();
        assert_eq!(accepted.connect_info().peer(), Some(third.local_addr().unwrap()));
    }

    #[tokio::test]
    async fn a_connection_that_sends_nothing_is_closed() {
        let (mut listener, _stop) = listener(1).await;
        listener.preface_timeout = Duration::from_millis(1);
        let _silent = TcpStream::connect(listener.local_addr()).await.unwrap();
        let mut socket = listener.next().await.unwrap().unwrap();
        assert_eq!(socket.read(&mut [0; 1]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
