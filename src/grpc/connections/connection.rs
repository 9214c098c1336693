//! One connection: what is kept for it, and whether its client takes bytes.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Extensions;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{account::Account, pauses::Refusals, shared::Shared, waiting::WaitingMessage};

/// When half of the budget is used, a connection holds at most this part of it and as much as it has taken before.
/// One that holds more is responsible for refusals with OVERLOADED.
const UNPROVEN_SHARE: usize = 32;
/// A call that its client resets within this time costs as much as one that is refused, and is counted as one.
const RESET_AT_ONCE: Duration = Duration::from_millis(50);
/// A connection gets further streams without a permit while it holds at most this part of the budget.
const STREAMS_SHARE: usize = 8;
/// Approximate memory of a call besides its message, its headers and its answer.
pub(in crate::grpc) const CALL_BYTES: usize = 6 << 10;
/// What is charged for a connection that takes no bytes: what is buffered beneath the HTTP library, and in it.
pub(super) const BLOCKED_BYTES: usize = 128 << 10;
/// An answer of up to this size is given even if its connection holds too much meanwhile.
pub(super) const SMALL_ANSWER_BYTES: usize = 4 << 10;

/// One connection: what is kept for it, and whether its client takes bytes.
///
/// Every request carries the connection that it came by in its extensions.
#[derive(Debug)]
pub struct Connection {
    shared: Arc<Shared>,
    pub(super) account: Arc<Account>,
    /// The bytes of an answer for which there was no room, until there is.
    refused_answer: AtomicUsize,
    refusals: Refusals,
    unblocked: Notify,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, account: Arc<Account>) -> Self {
        let refusals = Refusals::new(shared.ration.clone());
        Self { shared, account, refused_answer: AtomicUsize::new(0), refusals, unblocked: Notify::new() }
    }

    /// The connection that the request with these extensions came by.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Arc<Self>> {
        extensions.get()
    }

    /// The address of the client.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.account.peer
    }

    /// Admits a request that `began` then, unless too many are in flight or the connection has too many of them.
    pub(in crate::grpc) fn admit(self: &Arc<Self>, confirms: bool, began: Instant) -> Option<Permit> {
        let permit = Permit(Some(Arc::clone(self)), began);
        let admitted = self.shared.admitted.fetch_add(1, Relaxed) + 1;
        let held = self.account.counters.admitted.fetch_add(1, Relaxed) + 1;
        if self.shared.limits.may_admit(confirms, admitted, held) {
            return Some(permit);
        }
        permit.release();
        None
    }

    /// Notes that a request of this connection was refused.
    pub fn note_refusal(&self) {
        self.refusals.note();
    }

    /// Notes that a request of this connection was refused because too much is in flight, or held. That is not the fault of a
    /// connection that has taken answers and holds little: it is not paused for what others do.
    pub(in crate::grpc) fn note_overload(&self) {
        let holds_much = self.account.held() > self.shared.limits.max_bytes / UNPROVEN_SHARE;
        if holds_much || self.account.has_taken_nothing() {
            self.note_refusal();
        }
    }

    /// The requests of this connection that were refused.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Begins to wait for a message.
    pub(in crate::grpc) fn begin_to_wait(self: &Arc<Self>) -> WaitingMessage {
        self.shared.waiting.begin(&self.account.waiting)
    }

    /// Cancelled when all streams are to end.
    pub(in crate::grpc) fn streams_end(&self) -> &CancellationToken {
        &self.shared.limits.streams_end
    }

    /// Charges the connection with the `bytes` of a stream that needs no permit, unless it holds more than a few of them.
    pub(in crate::grpc) fn reserve_stream(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        let holds_little = self.account.held() <= self.shared.limits.max_bytes / STREAMS_SHARE;
        holds_little.then(|| self.charge(bytes))
    }

    /// Charges the connection with `bytes`, however much it holds.
    pub(in crate::grpc) fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        Charge::new(Arc::clone(self), bytes)
    }

    /// Whether the connection holds at most as much as is left. If not, one is closed that holds more, if there is one.
    pub(in crate::grpc) fn has_room(&self) -> bool {
        self.has_room_with(0)
    }

    /// The same for a request that reads: if an answer was refused after its work, there must be room for another one like it.
    pub(in crate::grpc) fn has_room_for_read(&self) -> bool {
        let refused = self.refused_answer.load(Relaxed);
        let has_room = self.has_room_with(refused);
        if refused > 0 && has_room {
            self.refused_answer.store(0, Relaxed);
        }
        has_room
    }

    fn has_room_with(&self, more: usize) -> bool {
        let holds = self.account.counters.bytes.load(Relaxed) + more;
        let left = self.shared.left();
        let max = self.shared.limits.max_bytes;
        // When much is used, connections that take answers go before those that have taken none.
        if left < max / 2 && holds > max / UNPROVEN_SHARE + self.account.counters.taken.load(Relaxed) {
            return false;
        }
        holds <= left || self.shared.make_room_for(self.account.id, holds)
    }

    /// Charges an answer to the connection until the transport has written it or its call has ended. `None` if the
    /// connection holds too much for an answer of this size, and it need not be `kept`.
    pub(in crate::grpc) fn answer(self: Arc<Self>, data: Bytes, kept: bool) -> Option<Undelivered> {
        let charge = Charge::new(self, CALL_BYTES + data.len());
        if kept || data.len() <= SMALL_ANSWER_BYTES || charge.connection.has_room() {
            Some(Undelivered::new(data, charge))
        } else {
            charge.connection.refused_answer.store(charge.bytes, Relaxed);
            charge.connection.note_overload();
            None
        }
    }

    /// The same for a part of an answer that has begun, which is given however much the connection holds.
    pub(in crate::grpc) fn rest_of_answer(self: &Arc<Self>, data: Bytes) -> Bytes {
        let charge = self.charge(CALL_BYTES + data.len());
        Undelivered::new(data, charge).hand_out()
    }

    /// Counts an answer in a stream until the guard is dropped.
    pub(in crate::grpc) fn stream(self: Arc<Self>) -> OpenStream {
        self.account.streams.fetch_add(1, Relaxed);
        OpenStream(self)
    }

    /// Notes that the client takes no bytes. If the budget does not allow what is buffered for it, the connection is
    /// closed that holds the most.
    pub fn block(self: &Arc<Self>) -> Charge {
        self.account.block(self.shared.ticks.load(Relaxed));
        let charge = self.charge(BLOCKED_BYTES);
        if self.shared.left() == 0 {
            self.shared.make_room_for(self.account.id, 1);
        }
        charge
    }

    /// Notes that the client takes bytes again.
    pub fn unblock(&self) {
        self.account.unblock();
        self.unblocked.notify_waiters();
    }

    /// Waits until the client takes bytes.
    pub(in crate::grpc) async fn writable(self: Arc<Self>) {
        loop {
            let unblocked = self.unblocked.notified();
            if !self.is_blocked() {
                return;
            }
            unblocked.await;
        }
    }

    pub(in crate::grpc) fn is_blocked(&self) -> bool {
        self.account.is_blocked()
    }

    /// Whether the connection is to be closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.account.is_closed()
    }

    /// Whether the connection is to be closed. If it is not, the task is woken when it is.
    pub fn poll_closed(&self, context: &Context<'_>) -> Poll<()> {
        self.account.poll_closed(context)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.lock().remove(&self.account.id);
    }
}

/// Permission for one request in flight. It is given back when this is dropped.
#[derive(Debug)]
pub(in crate::grpc) struct Permit(Option<Arc<Connection>>, Instant);

impl Permit {
    /// Gives the permit back, and returns its connection.
    pub(in crate::grpc) fn release(mut self) -> Option<Arc<Connection>> {
        self.give_back()
    }

    fn give_back(&mut self) -> Option<Arc<Connection>> {
        let connection = self.0.take()?;
        connection.account.counters.admitted.fetch_sub(1, Relaxed);
        connection.shared.admitted.fetch_sub(1, Relaxed);
        Some(connection)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(connection) = self.give_back() else { return };
        if self.1.elapsed() < RESET_AT_ONCE {
            connection.note_refusal();
        }
    }
}

/// Bytes that are charged to a connection until this is dropped.
#[derive(Debug)]
pub struct Charge {
    connection: Arc<Connection>,
    bytes: usize,
}

impl Charge {
    fn new(connection: Arc<Connection>, bytes: usize) -> Self {
        connection.account.counters.bytes.fetch_add(bytes, Relaxed);
        connection.shared.bytes.fetch_add(bytes, Relaxed);
        Self { connection, bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.connection.account.counters.bytes.fetch_sub(self.bytes, Relaxed);
        self.connection.shared.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

/// An answer in a stream.
#[derive(Debug)]
pub(in crate::grpc) struct OpenStream(Arc<Connection>);

impl OpenStream {
    pub(in crate::grpc) fn connection(&self) -> &Arc<Connection> {
        &self.0
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.account.streams.fetch_sub(1, Relaxed);
    }
}

/// The data of an answer that is not delivered.
pub(in crate::grpc) struct Undelivered {
    data: Bytes,
    charge: Charge,
    tick: u32,
    handed_out: bool,
}

impl Undelivered {
    fn new(data: Bytes, charge: Charge) -> Self {
        let tick = charge.connection.shared.ticks.load(Relaxed);
        charge.connection.account.counters.of_tick(tick).fetch_add(1, Relaxed);
        Self { data, charge, tick, handed_out: false }
    }

    pub(in crate::grpc) fn len(&self) -> usize {
        self.data.len()
    }

    /// Hands the data to the HTTP library, which drops it when it is written, or when the call has ended.
    pub(in crate::grpc) fn hand_out(mut self) -> Bytes {
        self.handed_out = true;
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Undelivered {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Undelivered {
    fn drop(&mut self) {
        let Charge { connection, bytes } = &self.charge;
        connection.account.counters.of_tick(self.tick).fetch_sub(1, Relaxed);
        if !self.handed_out {
            // The client has reset its call. The work was for nothing.
            connection.note_refusal();
            return;
        }
        let taken = &connection.account.counters.taken;
        if taken.load(Relaxed) < connection.shared.limits.max_bytes {
            taken.fetch_add(*bytes, Relaxed);
        }
    }
}
