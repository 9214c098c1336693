//! A server of tonic, with the stream's transport replaced by one that records the calls.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{Router, routing::post};
use futures_util::{future::join_all, stream};
use http::{HeaderMap, Request};
use tokio::{sync::Semaphore, task::yield_now};
use tonic::transport::server::Connected;

use super::*;
use crate::server::limits::{self, Limits};

/// Requests on one connection at once.
const CALLS: usize = 30;

/// A call that the connection made to its transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// A read, and whether there was something to read.
    Read(bool),
    Write,
    Flush,
}

/// A transport that records the calls.
struct Recorder {
    transport: DuplexStream,
    record: Arc<Record>,
}

#[derive(Default)]
struct Record {
    calls: Mutex<Vec<Call>>,
    /// Whether the next flush wakes the connection, as a deferred flush does.
    wake_at_next_flush: AtomicBool,
}

impl Record {
    fn add(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }

    fn take(&self) -> Vec<Call> {
        mem::take(&mut self.calls.lock().unwrap())
    }
}

impl AsyncRead for Recorder {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.transport).poll_read(context, into);
        self.record.add(Call::Read(read.is_ready()));
        read
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.record.add(Call::Write);
        Pin::new(&mut self.transport).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.record.add(Call::Write);
        Pin::new(&mut self.transport).poll_write_vectored(context, slices)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.record.add(Call::Flush);
        if self.record.wake_at_next_flush.swap(false, Ordering::SeqCst) {
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

impl<S> Connected for CoalescingStream<S> {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

/// A connection to a server whose answers, of so many bytes, each wait for a permit, and give one
/// to another when they are ready.
struct Connection {
    client: h2::client::SendRequest<bytes::Bytes>,
    record: Arc<Record>,
    waiting: Arc<Semaphore>,
    permits: Arc<Semaphore>,
}

impl Connection {
    async fn open(wrap: fn(Recorder) -> CoalescingStream<Recorder>, answer_bytes: usize) -> Self {
        let (near, far) = tokio::io::duplex(1 << 20);
        let record = Arc::new(Record::default());
        let server = wrap(Recorder { transport: near, record: Arc::clone(&record) });
        let (waiting, permits) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let answer = {
            let (waiting, permits) = (Arc::clone(&waiting), Arc::clone(&permits));
            async move || {
                waiting.add_permits(1);
                permits.acquire().await.unwrap().forget();
                // A task of its own runs after this answer has woken the connection.
                let permits = Arc::clone(&permits);
                tokio::spawn(async move { permits.add_permits(1) });
                vec![b'x'; answer_bytes]
            }
        };
        let incoming = stream::once(async { Ok::<_, Infallible>(server) });
        let router = Router::new().route("/", post(answer));
        tokio::spawn(limits::server(Limits::default()).serve_with_incoming(router, incoming));
        let (client, connection) = h2::client::handshake(far).await.unwrap();
        tokio::spawn(connection);
        Self { client, record, waiting, permits }
    }

    /// Calls so many times at once. The calls wait on the server when this returns.
    async fn call(&self, count: usize) -> Vec<tokio::task::JoinHandle<usize>> {
        let calls = (0..count).map(|_| tokio::spawn(call(self.client.clone()))).collect();
        self.waiting.acquire_many(count as u32).await.unwrap().forget();
        calls
    }
}

/// Calls once, and answers the length of the body.
async fn call(client: h2::client::SendRequest<bytes::Bytes>) -> usize {
    let request = Request::post("http://server/").body(()).unwrap();
    let (response, _body) = client.ready().await.unwrap().send_request(request, true).unwrap();
    let mut body = response.await.unwrap().into_body();
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        length += data.len();
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    assert_eq!(body.trailers().await.unwrap(), None::<HeaderMap>);
    length
}

/// Lets the tasks of this thread run until none has anything left to do.
async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

/// This is what `CoalescingStream` relies on. If it fails after an update of h2, bytes that are held back may never leave.
/// Read `docs/adr/0009-coalescing-of-writes.md` before changing what is expected here.
#[tokio::test]
async fn h2_reads_then_writes_then_flushes_whenever_it_is_woken() {
    let (read, write, flush) = (Call::Read(false), Call::Write, Call::Flush);
    for (answer_bytes, written) in [(100, vec![write, flush]), (2_000, vec![write, flush, flush])] {
        let connection = Connection::open(CoalescingStream::off, answer_bytes).await;
        let calls = connection.call(1).await;
        settle().await;
        connection.record.take();
        connection.record.wake_at_next_flush.store(true, Ordering::SeqCst);
        connection.permits.add_permits(1);
        join_all(calls).await;
        settle().await;
        // The flush of the answer wakes the connection, which has nothing to read or to write then, and flushes.
        let expected = [vec![read], written, vec![read, flush]].concat();
        assert_eq!(connection.record.take(), expected, "an answer of {answer_bytes} bytes");
    }
}

#[tokio::test]
async fn answers_that_become_ready_one_after_the_other_leave_in_fewer_writes() {
    for answer_bytes in [100, 2_000] {
        let writes = async |wrap| count_writes(wrap, answer_bytes, 1).await;
        assert_eq!(writes(CoalescingStream::off).await, CALLS);
        assert!(writes(CoalescingStream::new).await <= CALLS / 2);
    }
}

/// Small answers that are ready at once are joined by h2 itself.
#[tokio::test]
async fn large_answers_that_are_ready_at_once_leave_in_fewer_writes() {
    let writes = async |wrap| count_writes(wrap, 2_000, CALLS).await;
    assert!(writes(CoalescingStream::off).await >= CALLS);
    assert_eq!(writes(CoalescingStream::new).await, (CALLS * 2_000).div_ceil(MAX_BUFFERED));
}

/// How many writes the answers take. At first so many answers are ready; each makes another one ready.
async fn count_writes(wrap: fn(Recorder) -> CoalescingStream<Recorder>, answer_bytes: usize, ready: usize) -> usize {
    let connection = Connection::open(wrap, answer_bytes).await;
    let calls = connection.call(CALLS).await;
    settle().await;
    connection.record.take();
    connection.permits.add_permits(ready);
    assert_eq!(join_all(calls).await.into_iter().map(Result::unwrap).sum::<usize>(), CALLS * answer_bytes);
    settle().await;
    connection.record.take().into_iter().filter(|call| *call == Call::Write).count()
}
