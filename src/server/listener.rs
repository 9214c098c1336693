//! Accepts connections, as many as allowed, until it is told to stop; from then on the port is closed.

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
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::together::Together;
use crate::telemetry::metrics;

/// How long to wait when the system has no descriptor or memory left: trying at once would only burn time.
const BACK_OFF: Duration = Duration::from_millis(50);
/// How long a new connection has to say which protocol it speaks.
const GREETING: Duration = Duration::from_secs(10);
/// HTTP/2 opens with these many bytes; the shortest HTTP/1.1 request has fewer, but its headers are timed elsewhere.
const PREFACE: usize = 24;

/// A stream of connections; ends when cancelled.
#[derive(Debug)]
pub struct Listener {
    socket: Option<TcpListener>,
    address: SocketAddr,
    places: Arc<Semaphore>,
    greeting: Duration,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Listener {
    /// Opens the port; connections wait in it until the stream is polled.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn bind(address: SocketAddr, max_connections: usize, stop: CancellationToken) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        Ok(Self {
            address: socket.local_addr()?,
            socket: Some(socket),
            places: Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS))),
            greeting: GREETING,
            stop: Box::pin(stop.cancelled_owned()),
            pause: None,
        })
    }

    /// Where it listens: the real port, also when any was asked for.
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
            if let Some(pause) = &mut this.pause {
                ready!(pause.as_mut().poll(context));
                this.pause = None;
            }
            match ready!(socket.poll_accept(context)) {
                Ok((stream, peer)) => {
                    if let Some(socket) = Socket::admit(stream, peer, &this.places, this.greeting) {
                        return Poll::Ready(Some(Ok(socket)));
                    }
                }
                // The caller gave up in the queue.
                Err(error) if of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted for a moment");
                    this.pause = Some(Box::pin(sleep(BACK_OFF)));
                }
            }
        }
    }
}

fn of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Whoever does not even acknowledge what it was sent is gone.
#[cfg(target_os = "linux")]
const UNHEARD: Duration = Duration::from_secs(40);

/// One connection, and the place it holds.
#[derive(Debug)]
pub struct Socket {
    stream: Together<TcpStream>,
    peer: SocketAddr,
    /// Until the protocol is known; nobody else limits that time.
    greeting: Option<Pin<Box<Sleep>>>,
    read: usize,
    _place: OwnedSemaphorePermit,
}

impl Socket {
    fn admit(stream: TcpStream, peer: SocketAddr, places: &Arc<Semaphore>, greeting: Duration) -> Option<Self> {
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            metrics::connection_refused();
            return None;
        };
        // Without it a small answer waits 40 ms for the acknowledgement of the one before. It fails on a dead socket only.
        stream.set_nodelay(true).ok()?;
        // HTTP/2 asks who is silent; over HTTP/1.1 nobody would notice for a quarter of an hour that a watcher has vanished.
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNHEARD)).ok()?;
        metrics::connections(1);
        let stream = Together::new(stream);
        Some(Self { stream, peer, greeting: Some(Box::pin(sleep(greeting))), read: 0, _place: place })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        metrics::connections(-1);
    }
}

impl Connected for Socket {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo { local_addr: self.stream.get_ref().local_addr().ok(), remote_addr: Some(self.peer) }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, into);
        if let Some(greeting) = self.greeting.as_mut() {
            let late = greeting.as_mut().poll(context).is_ready();
            self.read += into.filled().len() - before;
            if self.read >= PREFACE {
                self.greeting = None;
            } else if late && polled.is_pending() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
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

    use super::*;

    async fn listener(places: usize) -> (Listener, CancellationToken) {
        let stop = CancellationToken::new();
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), places, stop.clone()).await.unwrap();
        (listener, stop)
    }

    #[tokio::test]
    async fn cancelled_it_ends_and_the_port_is_closed() {
        let (mut listener, stop) = listener(8).await;
        let address = listener.local_addr();
        let _caller = TcpStream::connect(address).await.unwrap();
        let accepted = listener.next().await.unwrap().unwrap();
        assert!(accepted.stream.get_ref().nodelay().unwrap() && !accepted.is_write_vectored());
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
    async fn over_the_limit_a_connection_is_closed_and_a_place_comes_back() {
        let (mut listener, _stop) = listener(1).await;
        let address = listener.local_addr();
        let _first = TcpStream::connect(address).await.unwrap();
        let held = listener.next().await.unwrap().unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        let accepting = tokio::spawn(async move { listener.next().await });
        // Closed by us, without a word.
        assert_eq!(second.read(&mut [0; 1]).await.unwrap_or(0), 0);
        drop(held);
        let third = TcpStream::connect(address).await.unwrap();
        let accepted = accepting.await.unwrap().unwrap().unwrap();
        assert_eq!(accepted.peer, third.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_caller_who_says_nothing_is_let_go() {
        let (mut listener, _stop) = listener(1).await;
        listener.greeting = Duration::from_millis(1);
        let _silent = TcpStream::connect(listener.local_addr()).await.unwrap();
        let mut socket = listener.next().await.unwrap().unwrap();
        assert_eq!(socket.read(&mut [0; 1]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
