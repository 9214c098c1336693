//! A way for bytes, made for HTTP/2 with many small answers.

use std::{
    cell::RefCell,
    io, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that wait to be written, at most.
const FULL: usize = 1 << 16;
/// How often those who have more to say are given another turn before all is written.
const TURNS: u8 = 4;
/// Buffers that a thread keeps for its connections. Those with nothing to say have none.
const SPARE: usize = 16;

thread_local! {
    static SPARES: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Writes together what is said at about the same time.
///
/// h2 would pass each answer on and flush it by itself, small ones several at a time. Here h2 hears that all is flushed, and what
/// it said goes out by one call to the system: when everybody who is ready to run had a turn, and added nothing. For
/// small answers that is worth a factor of 1.5. It depends on h2's habit to read and to flush whenever it is woken, so all other
/// protocols are written and flushed as they ask for it.
#[derive(Debug)]
pub struct Together<S> {
    inner: S,
    /// What is to be written, from here on.
    waiting: Vec<u8>,
    written: usize,
    /// Whether h2 was told that it is written.
    late: bool,
    /// How much there was when h2 was woken, so often.
    seen: Option<usize>,
    turns: u8,
    /// Whether h2 will be woken again.
    woken: bool,
    /// Whether this is HTTP/2, once something was read.
    is_http2: Option<bool>,
}

impl<S> Together<S> {
    /// Over this one.
    pub fn new(inner: S) -> Self {
        let (waiting, seen, is_http2) = (Vec::new(), None, None);
        Self { inner, waiting, written: 0, late: false, seen, turns: 0, woken: false, is_http2 }
    }

    /// What is beneath.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S: AsyncWrite + Unpin> Together<S> {
    /// Writes what waits.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.waiting.len() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(context, &self.waiting[self.written..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        (self.written, self.late, self.seen, self.turns) = (0, false, None, 0);
        let mut empty = mem::take(&mut self.waiting);
        if empty.capacity() > 0 {
            empty.clear();
            SPARES.with_borrow_mut(|spares| {
                if spares.len() < SPARE {
                    spares.push(empty);
                }
            });
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Together<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.woken = false;
        if self.late {
            self.seen = Some(self.waiting.len());
            self.turns += 1;
            if self.turns > TURNS
                && let Poll::Ready(Err(error)) = self.poll_drain(context)
            {
                return Poll::Ready(Err(error));
            }
        }
        let before = into.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, into);
        if self.is_http2.is_none() && into.filled().len() > before {
            self.is_http2 = Some(into.filled()[before..].starts_with(b"PRI"));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Together<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.waiting.len() + bytes.len() > FULL {
            ready!(self.poll_drain(context))?;
        }
        if self.waiting.capacity() == 0 {
            self.waiting = SPARES.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        let taken = bytes.len().min(FULL);
        self.waiting.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let more = self.seen != Some(self.waiting.len());
        if self.is_http2 == Some(true) && !self.waiting.is_empty() && more {
            self.late = true;
            if !mem::replace(&mut self.woken, true) {
                context.waker().wake_by_ref();
            }
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    /// What comes when it is polled with a waker that does nothing.
    fn poll<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        poll(&mut Context::from_waker(Waker::noop()))
    }

    /// One end, which was spoken to in this language, and the other.
    async fn spoken_to(greeting: &[u8], room: usize) -> (Together<DuplexStream>, DuplexStream) {
        let (near, mut far) = tokio::io::duplex(room);
        let mut together = Together::new(near);
        far.write_all(greeting).await.unwrap();
        together.read_exact(&mut vec![0; greeting.len()]).await.unwrap();
        (together, far)
    }

    fn say(together: &mut Together<DuplexStream>, word: &[u8]) {
        let written = poll(|context| Pin::new(&mut *together).poll_write(context, word));
        assert!(matches!(written, Poll::Ready(Ok(written)) if written == word.len()));
        assert!(flush(together).is_ready());
    }

    fn flush(together: &mut Together<DuplexStream>) -> Poll<io::Result<()>> {
        poll(|context| Pin::new(&mut *together).poll_flush(context))
    }

    /// As h2 does it whenever it is woken.
    fn look(together: &mut Together<DuplexStream>) {
        let mut room = [0; 1];
        assert!(poll(|context| Pin::new(&mut *together).poll_read(context, &mut ReadBuf::new(&mut room))).is_pending());
    }

    fn arrived(far: &mut DuplexStream) -> usize {
        let mut room = [0; 1 << 10];
        let mut room = ReadBuf::new(&mut room);
        let _nothing = poll(|context| Pin::new(far).poll_read(context, &mut room));
        room.filled().len()
    }

    #[tokio::test]
    async fn all_is_written_when_nobody_adds_to_it() {
        let (mut together, mut far) = spoken_to(b"PRI * HTTP/2.0", FULL).await;
        for round in 0..3 {
            say(&mut together, b"one");
            say(&mut together, b"two");
            look(&mut together);
            say(&mut together, b"three");
            look(&mut together);
            assert_eq!(arrived(&mut far), 0, "round {round}");
            assert!(flush(&mut together).is_ready());
            assert_eq!(arrived(&mut far), 11, "round {round}");
        }
        assert!(!together.is_write_vectored());
    }

    #[tokio::test]
    async fn who_always_has_more_to_say_waits_for_some_turns_only() {
        let (mut together, mut far) = spoken_to(b"PRI * HTTP/2.0", FULL).await;
        for _ in 0..=TURNS {
            assert_eq!(arrived(&mut far), 0);
            say(&mut together, b"more");
            look(&mut together);
        }
        assert_eq!(arrived(&mut far), 4 * (usize::from(TURNS) + 1));
    }

    #[tokio::test]
    async fn an_end_takes_along_what_waits() {
        let (mut together, mut far) = spoken_to(b"PRI * HTTP/2.0", FULL).await;
        say(&mut together, b"last");
        together.shutdown().await.unwrap();
        assert_eq!(arrived(&mut far), 4);
    }

    #[tokio::test]
    async fn who_reads_slowly_has_no_more_waiting_than_fits_and_misses_nothing() {
        let (mut together, mut far) = spoken_to(b"PRI * HTTP/2.0", 1_000).await;
        let word = [7; 3_000];
        let mut said = 0;
        while let Poll::Ready(written) = poll(|context| Pin::new(&mut together).poll_write(context, &word)) {
            said += written.unwrap();
            assert!(flush(&mut together).is_ready());
            assert!(together.waiting.len() <= FULL);
        }
        look(&mut together);
        assert!(flush(&mut together).is_pending());
        let rest = tokio::spawn(async move { together.shutdown().await });
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        rest.await.unwrap().unwrap();
        assert_eq!((read.len(), read.iter().all(|byte| *byte == 7)), (said, true));
    }

    #[tokio::test]
    async fn http_1_is_flushed_when_it_says_so() {
        let (mut together, mut far) = spoken_to(b"POST / HTTP/1.1", FULL).await;
        say(&mut together, b"one");
        assert_eq!(arrived(&mut far), 3);
    }
}
