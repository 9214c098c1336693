//! The TCP connection beneath a transport: it notices that its client takes no bytes, and ends when the service closes it.
//!
//! While nothing can be written, nothing is read either. Otherwise a client that reads no answers could send request after
//! request, and the HTTP library would keep all their answers.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::grpc::connections::{Charge, Connection};

/// A TCP connection and what the service keeps for it.
#[derive(Debug)]
pub(super) struct PeerStream {
    stream: TcpStream,
    connection: Arc<Connection>,
    /// Set while the client takes no bytes.
    blocked: Option<Charge>,
    /// Whether the task wanted to read meanwhile.
    read_skipped: bool,
}

impl PeerStream {
    pub(super) fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        Self { stream, connection, blocked: None, read_skipped: false }
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    #[cfg(test)]
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Notes from the outcome of a write whether the client takes bytes.
    fn note(&mut self, written: Poll<io::Result<usize>>, context: &Context<'_>) -> Poll<io::Result<usize>> {
        if written.is_pending() && self.blocked.is_none() {
            self.blocked = Some(self.connection.block());
        } else if written.is_ready() && self.blocked.take().is_some() {
            self.connection.unblock();
            if std::mem::take(&mut self.read_skipped) {
                context.waker().wake_by_ref();
            }
        }
        written
    }

    fn closed<T>(&self, context: &Context<'_>) -> Option<Poll<io::Result<T>>> {
        self.connection
            .poll_closed(context)
            .is_ready()
            .then(|| Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())))
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(closed) = self.closed(context) {
            return closed;
        }
        if self.blocked.is_some() {
            // The task is woken when it can write.
            self.read_skipped = true;
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(closed) = self.closed(context) {
            return closed;
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(closed) = self.closed(context) {
            return closed;
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note(written, context)
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

impl Drop for PeerStream {
    fn drop(&mut self) {
        // Answers in streams wait for it.
        self.connection.unblock();
    }
}
