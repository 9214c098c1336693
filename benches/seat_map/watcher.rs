//! One who watches, and makes sure that nothing is missed.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use h2::RecvStream;

use super::{
    change::now,
    frames::{Frames, Word},
};
use crate::wire::line;

/// One of the crowd.
pub(crate) struct Watcher {
    /// The last revision that was heard of; negative before the first word.
    pub(crate) revision: AtomicI64,
    /// When the last word was said.
    pub(crate) at: AtomicU64,
    /// Whether each step must follow on the last.
    chained: bool,
    /// Whether it takes notes,
    takes_notes: bool,
    /// and what they are.
    notes: Mutex<Vec<Note>>,
}

/// What was heard when. Times are in microseconds.
#[derive(Clone, Copy)]
pub(crate) struct Note {
    /// What was known before,
    pub(crate) from: i64,
    /// and since.
    pub(crate) to: i64,
    /// When it was said,
    pub(crate) at: u64,
    /// and when it was heard.
    pub(crate) heard: u64,
}

/// What all of them heard so far.
#[derive(Default)]
pub(crate) struct Heard {
    delivered: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
    everything: AtomicU64,
}

/// The same, at a moment or in a moment.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) delivered: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) everything: u64,
}

impl Heard {
    pub(crate) fn counts(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            delivered: of(&self.delivered),
            messages: of(&self.messages),
            bytes: of(&self.bytes),
            everything: of(&self.everything),
        }
    }

    fn add(&self, counts: &Counts) {
        self.delivered.fetch_add(counts.delivered, Ordering::Relaxed);
        self.messages.fetch_add(counts.messages, Ordering::Relaxed);
        self.bytes.fetch_add(counts.bytes, Ordering::Relaxed);
        if counts.everything > 0 {
            self.everything.fetch_add(counts.everything, Ordering::Relaxed);
        }
    }
}

impl Watcher {
    pub(crate) fn new(chained: bool, takes_notes: bool) -> Self {
        let (revision, at) = (AtomicI64::new(-1), AtomicU64::new(0));
        Self { revision, at, chained, takes_notes, notes: Mutex::default() }
    }

    /// What it noted.
    pub(crate) fn noted(&self) -> Vec<Note> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Listens for ever.
    pub(crate) async fn listen(self: Arc<Self>, mut body: RecvStream, all: Arc<Heard>) {
        let mut frames = Frames::default();
        while let Some(came) = line::data(&mut body).await {
            let heard = if self.takes_notes { now() } else { 0 };
            let mut counts = Counts::default();
            frames.read(&came, |message| self.hear(message, heard, &mut counts));
            all.add(&counts);
        }
        panic!("somebody is told no more: {:?}", body.trailers().await);
    }

    fn hear(&self, message: &[u8], heard: u64, counts: &mut Counts) {
        counts.messages += 1;
        counts.bytes += message.len() as u64;
        let known = self.revision.load(Ordering::Relaxed);
        let (from, to, at) = match Word::read(message) {
            Word::Quiet => return,
            Word::Everything(revision) => {
                assert!(revision >= known, "everything at {revision} after {known}");
                counts.everything += u64::from(known >= 0);
                counts.delivered += u64::from(known >= 0 && revision > known);
                (if known < 0 { revision } else { known }, revision, 0)
            }
            Word::Changed { from, to, at } => {
                let follows = !self.chained || known < 0 || from == known;
                assert!(follows && to >= from, "a step from {from} to {to} after {known}");
                counts.delivered += (to - from).cast_unsigned();
                (from, to, at)
            }
            Word::Other => panic!("a strange word: {message:?}"),
        };
        self.revision.store(to, Ordering::Relaxed);
        self.at.store(at, Ordering::Relaxed);
        if self.takes_notes {
            self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(Note { from, to, at, heard });
        }
    }
}
