//! A transport that joins the small writes of an HTTP/2 connection into few large ones.
//!
//! h2 writes and flushes whenever it is woken, and after each message of more than 1 KiB. With many small answers on one
//! connection, each of them costs a system call. [`CoalescingStream`] answers a flush before the bytes are written, wakes
//! the connection once more, and writes when nothing was added since. Everything that is ready to run in between adds its
//! answer to the same write.
//!
//! It relies on what h2 does and nothing promises: when h2 is woken, it reads, writes what it has, and flushes, even if it
//! wrote nothing. Bytes that were held back leave in that flush. `tests.rs` records the calls of a real connection and fails
//! when they change. Other protocols are written when they flush. `docs/adr/0009-coalescing-of-writes.md` has the reasons
//! and the way to switch it off.

#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most bytes that are held back, 64 KiB.
const MAX_BUFFERED: usize = 1 << 16;
/// How many times a connection that always has more to write is woken before its bytes are written all the same.
const MAX_WAKES: u8 = 4;
/// The most empty buffers that a thread keeps for its connections. A connection with nothing to write has none.
const MAX_SPARE_BUFFERS: usize = 16;

thread_local! {
    static SPARE_BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Joins writes of an HTTP/2 connection that come at about the same time.
#[derive(Debug)]
pub struct CoalescingStream<S> {
    inner: S,
    mode: Mode,
    /// The bytes to be written, of which the first `written` are written already.
    buffer: Vec<u8>,
    written: usize,
    /// Whether a flush was answered although the buffer was not written.
    deferred: bool,
    /// Whether the connection was woken because of that and has not read since.
    wake_pending: bool,
    /// The length of the buffer at the last wake-up after a deferred flush.
    length_at_wake: Option<usize>,
    /// The number of wake-ups since the buffer was last empty.
    wakes: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Nothing was read yet, so that the protocol is not known. A flush writes the buffer.
    Undetected,
    /// HTTP/2: a flush may be deferred.
    Http2,
    /// Another protocol: a flush writes the buffer.
    Other,
    /// Switched off: there is no buffer.
    Off,
}

impl<S> CoalescingStream<S> {
    /// Joins the writes to `inner`, once an HTTP/2 preface was read from it.
    pub fn new(inner: S) -> Self {
        Self::with_mode(inner, Mode::Undetected)
    }

    /// Passes each call on to `inner`.
    pub fn off(inner: S) -> Self {
        Self::with_mode(inner, Mode::Off)
    }

    fn with_mode(inner: S, mode: Mode) -> Self {
        Self {
            inner,
            mode,
            buffer: Vec::new(),
            written: 0,
            deferred: false,
            wake_pending: false,
            length_at_wake: None,
            wakes: 0,
        }
    }

    /// The transport beneath.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S: AsyncWrite + Unpin> CoalescingStream<S> {
    fn poll_write_buffer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.buffer.len() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(context, &self.buffer[self.written..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        (self.written, self.deferred, self.length_at_wake, self.wakes) = (0, false, None, 0);
        let mut empty = mem::take(&mut self.buffer);
        if empty.capacity() > 0 {
            empty.clear();
            SPARE_BUFFERS.with_borrow_mut(|spare| {
                if spare.len() < MAX_SPARE_BUFFERS {
                    spare.push(empty);
                }
            });
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for CoalescingStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.wake_pending = false;
        if self.deferred {
            self.length_at_wake = Some(self.buffer.len());
            self.wakes += 1;
            if self.wakes > MAX_WAKES
                && let Poll::Ready(Err(error)) = self.poll_write_buffer(context)
            {
                return Poll::Ready(Err(error));
            }
        }
        let before = into.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, into);
        if self.mode == Mode::Undetected && into.filled().len() > before {
            let is_http2 = into.filled()[before..].starts_with(b"PRI");
            self.mode = if is_http2 { Mode::Http2 } else { Mode::Other };
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CoalescingStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.mode == Mode::Off {
            return Pin::new(&mut self.inner).poll_write(context, bytes);
        }
        if self.buffer.len() + bytes.len() > MAX_BUFFERED {
            ready!(self.poll_write_buffer(context))?;
        }
        if self.buffer.capacity() == 0 {
            self.buffer = SPARE_BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        let accepted = bytes.len().min(MAX_BUFFERED);
        self.buffer.extend_from_slice(&bytes[..accepted]);
        Poll::Ready(Ok(accepted))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.mode == Mode::Off {
            return Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        }
        let first = slices.iter().find(|slice| !slice.is_empty());
        self.poll_write(context, first.map_or(&[], |slice| &**slice))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let grew = self.length_at_wake != Some(self.buffer.len());
        if self.mode == Mode::Http2 && !self.buffer.is_empty() && grew {
            self.deferred = true;
            if !mem::replace(&mut self.wake_pending, true) {
                context.waker().wake_by_ref();
            }
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_write_buffer(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_buffer(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.mode == Mode::Off && self.inner.is_write_vectored()
    }
}
