//! The stream by itself, then under a real server connection: the calls that it relies on, and how many writes it saves.

mod wire;

use std::task::Waker;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;

/// Polls with a waker that does nothing.
fn poll<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    poll(&mut Context::from_waker(Waker::noop()))
}

/// A stream that has read `preface`, and the other end of its transport, which holds `capacity` bytes each way.
async fn after_reading(preface: &[u8], capacity: usize) -> (CoalescingStream<DuplexStream>, DuplexStream) {
    let (near, mut far) = tokio::io::duplex(capacity);
    let mut stream = CoalescingStream::new(near);
    far.write_all(preface).await.unwrap();
    stream.read_exact(&mut vec![0; preface.len()]).await.unwrap();
    (stream, far)
}

async fn http2(capacity: usize) -> (CoalescingStream<DuplexStream>, DuplexStream) {
    after_reading(b"PRI * HTTP/2.0", capacity).await
}

fn write_and_flush(stream: &mut CoalescingStream<DuplexStream>, bytes: &[u8]) {
    let written = poll(|context| Pin::new(&mut *stream).poll_write(context, bytes));
    assert!(matches!(written, Poll::Ready(Ok(written)) if written == bytes.len()));
    assert!(flush(stream).is_ready());
}

fn flush(stream: &mut CoalescingStream<DuplexStream>) -> Poll<io::Result<()>> {
    poll(|context| Pin::new(&mut *stream).poll_flush(context))
}

/// Reads, as h2 does first when it is woken; there is nothing to read.
fn read_nothing(stream: &mut CoalescingStream<DuplexStream>) {
    let mut room = [0; 1];
    assert!(poll(|context| Pin::new(&mut *stream).poll_read(context, &mut ReadBuf::new(&mut room))).is_pending());
}

fn received(far: &mut DuplexStream) -> usize {
    let mut room = [0; 1 << 10];
    let mut room = ReadBuf::new(&mut room);
    let _nothing = poll(|context| Pin::new(far).poll_read(context, &mut room));
    room.filled().len()
}

#[tokio::test]
async fn the_buffer_is_written_when_nothing_was_added_since_the_wake_up() {
    let (mut stream, mut far) = http2(MAX_BUFFERED).await;
    for round in 0..3 {
        write_and_flush(&mut stream, b"one");
        write_and_flush(&mut stream, b"two");
        read_nothing(&mut stream);
        write_and_flush(&mut stream, b"three");
        read_nothing(&mut stream);
        assert_eq!(received(&mut far), 0, "round {round}");
        assert!(flush(&mut stream).is_ready());
        assert_eq!(received(&mut far), 11, "round {round}");
    }
    assert!(!stream.is_write_vectored());
}

#[tokio::test]
async fn the_buffer_is_written_after_some_wake_ups_though_something_is_always_added() {
    let (mut stream, mut far) = http2(MAX_BUFFERED).await;
    for _ in 0..=MAX_WAKES {
        assert_eq!(received(&mut far), 0);
        write_and_flush(&mut stream, b"more");
        read_nothing(&mut stream);
    }
    assert_eq!(received(&mut far), 4 * (usize::from(MAX_WAKES) + 1));
}

#[tokio::test]
async fn a_shutdown_writes_the_buffer() {
    let (mut stream, mut far) = http2(MAX_BUFFERED).await;
    write_and_flush(&mut stream, b"last");
    stream.shutdown().await.unwrap();
    assert_eq!(received(&mut far), 4);
}

#[tokio::test]
async fn a_slow_reader_fills_one_buffer_and_gets_every_byte() {
    let (mut stream, mut far) = http2(1_000).await;
    let bytes = [7; 3_000];
    let mut accepted = 0;
    while let Poll::Ready(written) = poll(|context| Pin::new(&mut stream).poll_write(context, &bytes)) {
        accepted += written.unwrap();
        assert!(flush(&mut stream).is_ready());
        assert!(stream.buffer.len() <= MAX_BUFFERED);
    }
    read_nothing(&mut stream);
    assert!(flush(&mut stream).is_pending());
    let rest = tokio::spawn(async move { stream.shutdown().await });
    let mut read = Vec::new();
    far.read_to_end(&mut read).await.unwrap();
    rest.await.unwrap().unwrap();
    assert_eq!((read.len(), read.iter().all(|byte| *byte == 7)), (accepted, true));
}

#[tokio::test]
async fn another_protocol_is_written_when_it_flushes() {
    let (mut stream, mut far) = after_reading(b"POST / HTTP/1.1", MAX_BUFFERED).await;
    write_and_flush(&mut stream, b"one");
    assert_eq!(received(&mut far), 3);
}

#[tokio::test]
async fn switched_off_nothing_is_held_back() {
    let (near, mut far) = tokio::io::duplex(MAX_BUFFERED);
    let mut stream = CoalescingStream::off(near);
    far.write_all(b"PRI * HTTP/2.0").await.unwrap();
    stream.read_exact(&mut [0; 14]).await.unwrap();
    assert!(poll(|context| Pin::new(&mut stream).poll_write(context, b"one")).is_ready());
    assert_eq!(received(&mut far), 3);
    let slices = [IoSlice::new(b"two"), IoSlice::new(b"three")];
    assert!(poll(|context| Pin::new(&mut stream).poll_write_vectored(context, &slices)).is_ready());
    assert_eq!(received(&mut far), 8);
    assert!(stream.is_write_vectored() && stream.buffer.is_empty());
}
