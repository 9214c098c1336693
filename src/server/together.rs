//! A way for bytes, made for HTTP/2 with many small answers.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Writes together what is said at about the same time.
///
/// It says that it cannot write from several buffers at once, which it could: h2 then copies small frames together instead
/// of passing each to the system by itself. That is worth a factor of 1.5 for answers of some hundred bytes. And before it
/// writes, it lets those run who are ready to: what they answer goes out by the same call to the system.
#[derive(Debug)]
pub struct Together<S> {
    inner: S,
    /// Whether the others had their turn since all was written.
    yielded: bool,
}

impl<S> Together<S> {
    /// Over this one.
    pub fn new(inner: S) -> Self {
        Self { inner, yielded: false }
    }

    /// What is beneath.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Together<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Together<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.yielded {
            self.yielded = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.yielded = false;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// What comes when it is polled with a waker that does nothing.
    fn poll<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn others_have_their_turn_before_each_write_and_nothing_is_lost() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut together = Together::new(near);
        for round in 0..3 {
            assert!(poll(|context| Pin::new(&mut together).poll_write(context, b"one")).is_pending(), "round {round}");
            for word in [&b"one"[..], b"two"] {
                let written = poll(|context| Pin::new(&mut together).poll_write(context, word));
                assert!(matches!(written, Poll::Ready(Ok(3))), "round {round}");
            }
            assert!(poll(|context| Pin::new(&mut together).poll_flush(context)).is_ready());
            let mut read = [0; 6];
            far.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"onetwo");
        }
        assert!(!together.is_write_vectored());
    }
}
