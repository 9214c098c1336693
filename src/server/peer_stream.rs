//! The TCP connection beneath a transport: it notices that its client takes no bytes, and ends when the service closes it.
//!
//! - While nothing can be written, nothing is read either. Otherwise a client that reads no answers could send request after
//!   request, and the HTTP library would keep all their answers.
//! - After some requests the others that are ready have their turn, so that a client that sends as fast as it can does not
//!   keep a processor from the requests that were read before.
//! - Nothing is read for a while after requests that were refused, and what arrives meanwhile does not wake the runtime.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::coop::has_budget_remaining,
};

use super::socket::Socket;
use crate::grpc::connections::{Charge, Connection, Pause};

/// A turn ends with the read that brings it to this many bytes, which are those of about forty requests.
const TURN_BYTES: usize = 4 << 10;
/// The most bytes of a buffer that is filled by one read. Of a larger one, which HTTP/1.1 may have, only a turn's part is.
const MOST_BYTES: usize = 16 << 10;
/// The bytes that are read in a turn after requests were refused.
const SHORT_TURN_BYTES: usize = 1 << 10;

/// A TCP connection and what the service keeps for it.
#[derive(Debug)]
pub(super) struct PeerStream {
    socket: Socket,
    connection: Arc<Connection>,
    /// Set while the client takes no bytes.
    blocked: Option<Charge>,
    /// Whether the task wanted to read meanwhile.
    read_skipped: bool,
    /// Set while nothing is read because requests were refused.
    pause: Option<Pause>,
    /// Set after a pause, until none of the requests that are read then is refused.
    distrusted: bool,
    /// Whether the pause is for requests of which it is not known yet whether they are refused.
    on_probation: bool,
    /// The bytes that were read in this turn.
    turn: usize,
}

impl PeerStream {
    pub(super) fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        Self {
            socket: Socket::new(stream),
            connection,
            blocked: None,
            read_skipped: false,
            pause: None,
            distrusted: false,
            on_probation: false,
            turn: 0,
        }
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    #[cfg(test)]
    pub(super) fn stream(&self) -> &TcpStream {
        self.socket.registered().unwrap()
    }

    /// Notes from the outcome of a write whether the client takes bytes.
    fn note(&mut self, written: Poll<io::Result<usize>>, context: &Context<'_>) -> Poll<io::Result<usize>> {
        // A task that has used up its turn must wait, too.
        if written.is_pending() && self.blocked.is_none() && has_budget_remaining() {
            self.blocked = Some(self.connection.block());
        } else if written.is_ready() && self.blocked.take().is_some() {
            self.connection.unblock();
            if std::mem::take(&mut self.read_skipped) {
                context.waker().wake_by_ref();
            }
        }
        written
    }

    /// Waits until the connection may be read.
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.blocked.is_some() {
            // The task is woken when it can write.
            self.read_skipped = true;
            return Poll::Pending;
        }
        if self.pause.is_none() {
            self.pause = self.connection.refusals().pause();
            self.on_probation = self.pause.is_none() && self.distrusted && self.turn > 0;
            if self.on_probation {
                self.pause = Some(self.connection.refusals().probation());
            }
        }
        if let Some(pause) = &mut self.pause {
            if Pin::new(pause).poll(context).is_pending() {
                self.socket.sleep();
                return Poll::Pending;
            }
            self.distrusted = !self.on_probation || !self.connection.refusals().is_empty();
            (self.pause, self.turn) = (None, 0);
        }
        if self.turn >= TURN_BYTES {
            self.turn = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn poll_read_turn(&mut self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = if self.distrusted || into.remaining() > MOST_BYTES {
            let most = if self.distrusted { SHORT_TURN_BYTES } else { TURN_BYTES };
            let mut part = ReadBuf::new(into.initialize_unfilled_to(most.min(into.remaining())));
            let polled = Pin::new(self.socket.awake()?).poll_read(context, &mut part);
            let read = part.filled().len();
            into.advance(read);
            polled
        } else {
            // Without a limit no bytes are set to 0 before they are read.
            Pin::new(self.socket.awake()?).poll_read(context, into)
        };
        self.turn += into.filled().len() - before;
        // The other tasks have their turn, as long as there is nothing to read.
        if polled.is_pending() && !self.distrusted {
            self.turn = 0;
        }
        polled
    }

    /// Ends a read or a write if the connection was closed. If it waits, the task is woken when the connection is closed.
    fn unless_closed<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(&mut Self, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let closed = || Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        if self.connection.is_closed() {
            return closed();
        }
        let polled = poll(self, context);
        if polled.is_pending() && self.connection.poll_closed(context).is_ready() { closed() } else { polled }
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.unless_closed(context, |this, context| {
            ready!(this.poll_readable(context));
            this.poll_read_turn(context, into)
        })
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.unless_closed(context, |this, context| {
            let written = Pin::new(this.socket.awake()?).poll_write(context, bytes);
            this.note(written, context)
        })
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unless_closed(context, |this, context| {
            let written = Pin::new(this.socket.awake()?).poll_write_vectored(context, slices);
            this.note(written, context)
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The kernel has what was written.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.socket.awake()?).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

impl Drop for PeerStream {
    fn drop(&mut self) {
        // Answers in streams wait for it.
        self.connection.unblock();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        time::{Duration, Instant},
    };

    use crate::grpc::connections::{Connections, Limits};

    use super::*;

    /// A connection, and its client, which has sent so many bytes.
    async fn connected(bytes: usize) -> (PeerStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        client.write_all(&vec![7; bytes]).await.unwrap();
        stream.readable().await.unwrap();
        (PeerStream::new(stream, Connections::new(Limits::default()).open(Some(peer))), client)
    }

    const BUFFER_BYTES: usize = 8 << 10;

    /// The bytes that one poll reads, or `None` if it must wait.
    fn poll(stream: &mut PeerStream) -> Option<usize> {
        let mut buffer = [0; BUFFER_BYTES];
        let mut into = ReadBuf::new(&mut buffer);
        let polled = Pin::new(stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut into);
        polled.is_ready().then(|| into.filled().len())
    }

    fn refuse(stream: &PeerStream, requests: usize) {
        for _ in 0..requests {
            stream.connection().note_refusal();
        }
    }

    #[tokio::test]
    async fn other_tasks_have_their_turn_after_some_requests() {
        let (mut stream, _client) = connected(3 * BUFFER_BYTES).await;
        assert_eq!(
            [poll(&mut stream), poll(&mut stream), poll(&mut stream)],
            [Some(BUFFER_BYTES), None, Some(BUFFER_BYTES)]
        );
    }

    #[tokio::test]
    async fn of_a_large_buffer_only_a_part_is_read_in_a_turn() {
        let (mut stream, _client) = connected(3 * TURN_BYTES).await;
        let mut buffer = vec![0; 64 << 10];
        assert_eq!(stream.read(&mut buffer).await.unwrap(), TURN_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn after_refusals_nothing_is_read_for_a_while_and_then_a_little_at_a_time() {
        let (mut stream, _client) = connected(2 * SHORT_TURN_BYTES + BUFFER_BYTES).await;
        refuse(&stream, 100);
        let begin = Instant::now();
        let mut buffer = [0; BUFFER_BYTES];
        assert_eq!(stream.read(&mut buffer).await.unwrap(), SHORT_TURN_BYTES);
        assert!(begin.elapsed() >= Duration::from_millis(1), "{:?}", begin.elapsed());
        // While it is not known whether these requests are refused, no more are read. They are, so the next turn is short, too.
        assert_eq!(poll(&mut stream), None);
        refuse(&stream, 100);
        assert_eq!(stream.read(&mut buffer).await.unwrap(), SHORT_TURN_BYTES);
        // None of these is refused.
        assert_eq!(stream.read(&mut buffer).await.unwrap(), BUFFER_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_pause_the_runtime_does_not_hear_of_the_socket_and_answers_are_written() {
        let (mut stream, mut client) = connected(1).await;
        refuse(&stream, 100);
        assert_eq!(poll(&mut stream), None);
        assert!(stream.socket.registered().is_none());
        stream.write_all(b"answer").await.unwrap();
        client.read_exact(&mut [0; 6]).await.unwrap();
        assert_eq!(poll(&mut stream), None);
        assert!(stream.socket.registered().is_none());
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 1);
        assert!(stream.socket.registered().is_some());
    }

    #[tokio::test]
    async fn while_nothing_can_be_written_nothing_is_read() {
        let (mut stream, _client) = connected(10).await;
        let context = &mut Context::from_waker(Waker::noop());
        while Pin::new(&mut stream).poll_write(context, &[7; 8 << 10]).is_ready() {
            tokio::task::yield_now().await;
        }
        assert_eq!(poll(&mut stream), None);
    }
}
