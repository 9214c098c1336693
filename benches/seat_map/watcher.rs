//! A watcher of the seat map, which checks that it misses no revision.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use h2::RecvStream;

use super::{
    changes::now,
    frames::{Frames, Message},
};
use crate::wire::client::next_data;

/// A watcher.
pub(crate) struct Watcher {
    /// The last received revision. It is negative before the first message.
    pub(crate) revision: AtomicI64,
    /// The time in the last received delta, in microseconds.
    pub(crate) time: AtomicU64,
    /// Whether each delta must begin at the revision of the last message.
    checks_order: bool,
    /// Whether it records when it received what.
    records: bool,
    receipts: Mutex<Vec<Receipt>>,
}

/// When a watcher received a revision. Times are in microseconds.
#[derive(Clone, Copy)]
pub(crate) struct Receipt {
    /// The revision before.
    pub(crate) from: i64,
    /// The revision since.
    pub(crate) to: i64,
    /// The time in the message.
    pub(crate) time: u64,
    pub(crate) received: u64,
}

/// Sums of all watchers so far.
#[derive(Default)]
pub(crate) struct Totals {
    delivered: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
    snapshots: AtomicU64,
}

/// The sums at a moment, or the part of one piece of received bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Delivered changes. A delta over three revisions counts three.
    pub(crate) delivered: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Snapshots after the first message. Each counts as one delivered change.
    pub(crate) snapshots: u64,
}

impl Totals {
    pub(crate) fn counts(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            delivered: of(&self.delivered),
            messages: of(&self.messages),
            bytes: of(&self.bytes),
            snapshots: of(&self.snapshots),
        }
    }

    fn add(&self, counts: &Counts) {
        self.delivered.fetch_add(counts.delivered, Ordering::Relaxed);
        self.messages.fetch_add(counts.messages, Ordering::Relaxed);
        self.bytes.fetch_add(counts.bytes, Ordering::Relaxed);
        if counts.snapshots > 0 {
            self.snapshots.fetch_add(counts.snapshots, Ordering::Relaxed);
        }
    }
}

impl Watcher {
    pub(crate) fn new(checks_order: bool, records: bool) -> Self {
        let (revision, time) = (AtomicI64::new(-1), AtomicU64::new(0));
        Self { revision, time, checks_order, records, receipts: Mutex::default() }
    }

    pub(crate) fn receipts(&self) -> Vec<Receipt> {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the stream until this process ends. The end of the stream is an error.
    pub(crate) async fn watch(self: Arc<Self>, mut body: RecvStream, totals: Arc<Totals>) {
        let mut frames = Frames::default();
        while let Some(data) = next_data(&mut body).await {
            let received = if self.records { now() } else { 0 };
            let mut counts = Counts::default();
            frames.read(&data, |message| self.receive(message, received, &mut counts));
            totals.add(&counts);
        }
        panic!("the stream of a watcher has ended: {:?}", body.trailers().await);
    }

    fn receive(&self, message: &[u8], received: u64, counts: &mut Counts) {
        counts.messages += 1;
        counts.bytes += message.len() as u64;
        let last = self.revision.load(Ordering::Relaxed);
        let (from, to, time) = match Message::read(message) {
            Message::Heartbeat => return,
            Message::Snapshot { revision } => {
                assert!(revision >= last, "a snapshot at revision {revision} after {last}");
                counts.snapshots += u64::from(last >= 0);
                counts.delivered += u64::from(last >= 0 && revision > last);
                (if last < 0 { revision } else { last }, revision, 0)
            }
            Message::Delta { from, to, time } => {
                let follows = !self.checks_order || last < 0 || from == last;
                assert!(follows && to >= from, "a delta from revision {from} to {to} after {last}");
                counts.delivered += (to - from).cast_unsigned();
                (from, to, time)
            }
            Message::Other => panic!("an unexpected message: {message:?}"),
        };
        self.revision.store(to, Ordering::Relaxed);
        self.time.store(time, Ordering::Relaxed);
        if self.records {
            let receipt = Receipt { from, to, time, received };
            self.receipts.lock().unwrap_or_else(PoisonError::into_inner).push(receipt);
        }
    }
}
