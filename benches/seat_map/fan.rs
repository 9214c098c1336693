//! A crowd that watches one map: how much it hears, how late, and at what cost to whoever tells it.
//!
//! It shares the machine with the server, so it only looks at what it must to know that nothing was missed. Whoever hears a
//! step that does not follow on the last ends the bench.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::{BufMut as _, Bytes};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    change::{self, Change, now},
    watcher::{self, Watcher},
};
use crate::wire::{
    self, account,
    line::{self, Line},
};

/// Changes a second, where it is not as many as it goes.
pub(crate) const PACE: f64 = 10.0;
/// Over which all watchers come.
const CONNECTIONS: usize = 100;
/// What may be under way to one watcher, as HTTP/2 has it,
const WINDOW: u32 = 65_535;
/// and over one connection.
const WINDOW_OF_ALL: u32 = 1 << 20;
/// Until everybody has heard of what was.
const PATIENCE: Duration = Duration::from_mins(1);
/// Where all is told as fast as it goes, one in so many notes when it heard what.
const SAMPLE: usize = 20;

/// What to do.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Where to watch,
    pub(crate) address: String,
    /// by which method,
    pub(crate) path: String,
    /// with which message.
    pub(crate) message: Vec<u8>,
    pub(crate) watchers: usize,
    /// The process that tells them.
    pub(crate) server: u32,
    pub(crate) source: Source,
    /// For so long, after a warm-up of a fifth of it.
    pub(crate) seconds: f64,
}

/// Where what is told comes from.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Source {
    /// The service, whose map is changed like this.
    Changes(change::Plan),
    /// The floor, which says something now and then,
    Steady,
    /// or all the time.
    AllItCan,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    /// Changes a second,
    pub(crate) changes: f64,
    /// and how many of them came to somebody's ears: a step over three counts three.
    pub(crate) delivered: f64,
    /// Messages a second,
    pub(crate) messages: f64,
    /// and their size.
    pub(crate) bytes: u64,
    /// Times that somebody was told everything instead, each counted as one change.
    pub(crate) everything: u64,
    /// From when a change was asked for, or from when the floor had its message.
    pub(crate) sent: Option<Latency>,
    /// From when it was answered.
    pub(crate) answered: Option<Latency>,
    /// Memory of the server for one watcher, in KiB.
    pub(crate) kib: f64,
    /// Microseconds of the server's processors for one delivered change.
    pub(crate) cost: f64,
    /// Processors that the server kept busy,
    pub(crate) processors: f64,
    /// and what part of the machine was busy.
    pub(crate) busy: f64,
}

/// In milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Everybody, and what they have heard altogether.
struct Crowd {
    watchers: Vec<Arc<Watcher>>,
    heard: Arc<watcher::Heard>,
}

/// How things stand at a moment.
struct Mark {
    at: Instant,
    time: u64,
    counts: watcher::Counts,
    processor: f64,
    machine: (f64, f64),
}

impl Plan {
    /// Has it done by a process of its own.
    pub(crate) fn run(&self) -> Told {
        wire::instruct("fan", self)
    }

    fn mark(&self, crowd: &Crowd) -> Mark {
        let (processor, machine) = (account::processor(self.server), account::machine());
        Mark { at: Instant::now(), time: now(), counts: crowd.heard.counts(), processor, machine }
    }

    /// Has everybody come and hear a first word.
    async fn gather(&self) -> Crowd {
        let heard = Arc::new(watcher::Heard::default());
        let (chained, sample) = match self.source {
            Source::Changes(change::Plan { pace: None, .. }) => (true, SAMPLE),
            Source::Changes(_) | Source::Steady => (true, 1),
            Source::AllItCan => (false, usize::MAX),
        };
        let watcher = |at: usize| Arc::new(Watcher::new(chained, at % sample == sample - 1));
        let watchers: Vec<_> = (0..self.watchers).map(watcher).collect();
        let mut message = line::begin(self.message.len());
        message.put_slice(&self.message);
        let message = line::prefixed(message);
        let share = self.watchers.div_ceil(CONNECTIONS);
        let connections = watchers.chunks(share).map(|watchers| {
            let (plan, watchers, heard) = (self.clone(), watchers.to_vec(), Arc::clone(&heard));
            tokio::spawn(plan.connect(message.clone(), watchers, heard))
        });
        let connections: Vec<JoinHandle<()>> = connections.collect();
        for connection in connections {
            connection.await.expect("a connection with its watchers");
        }
        let crowd = Crowd { watchers, heard };
        crowd.all("everybody hears a first word", |watcher| watcher.revision.load(Ordering::Relaxed) >= 0).await;
        crowd
    }

    /// Some come over one connection, one after another.
    async fn connect(self, message: Bytes, watchers: Vec<Arc<Watcher>>, heard: Arc<watcher::Heard>) {
        let mut line = Line::with_windows(&self.address, WINDOW, WINDOW_OF_ALL).await;
        let method = line.method(&self.path);
        for watcher in watchers {
            let (answer, body) = line.open(&method, message.clone()).await;
            if let Some(status) = line::refusal(&answer) {
                panic!("{status:?}");
            }
            tokio::spawn(watcher.listen(body, Arc::clone(&heard)));
        }
    }
}

impl Crowd {
    /// Waits until it is so with all.
    async fn all(&self, what: &str, so: impl Fn(&Watcher) -> bool) {
        let start = Instant::now();
        loop {
            let missing = self.watchers.iter().filter(|watcher| !so(watcher)).count();
            if missing == 0 {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{what}: {missing} of {} did not", self.watchers.len());
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Does what the plan in this file says, prints what came of it, and ends this process.
pub(crate) async fn run(file: &str) {
    end_with_the_first_panic();
    let plan: Plan = wire::instructions(file);
    let before = account::resident_kib(plan.server);
    let crowd = plan.gather().await;
    let stop = CancellationToken::new();
    let changing = if let Source::Changes(changes) = &plan.source {
        let (changes, stop) = (changes.clone(), stop.clone());
        Some(tokio::spawn(async move { changes.run(&stop).await }))
    } else {
        None
    };
    let length = Duration::from_secs_f64(plan.seconds);
    sleep(length / 5).await;
    let from = plan.mark(&crowd);
    sleep(length).await;
    let to = plan.mark(&crowd);
    let kib = (account::resident_kib(plan.server) - before) / plan.watchers as f64;
    stop.cancel();
    let changes = match changing {
        Some(changing) => Some(changing.await.expect("the changes to be made")),
        None => None,
    };
    match &changes {
        Some(changes) => {
            let last = changes.last().map_or(0, |change| change.revision);
            crowd.all("everybody sees the last", |watcher| watcher.revision.load(Ordering::Relaxed) >= last).await;
        }
        None if matches!(plan.source, Source::Steady) => {
            crowd.all("everybody sees the last", |watcher| watcher.at.load(Ordering::Relaxed) > to.time).await;
        }
        None => {}
    }
    let told = told(&from, &to, &crowd, changes.as_deref(), kib);
    println!("{}", serde_json::to_string(&told).expect("what came of it, as text"));
    // Nobody is told that it is over.
    std::process::exit(0);
}

fn told(from: &Mark, to: &Mark, crowd: &Crowd, changes: Option<&[Change]>, kib: f64) -> Told {
    let seconds = (to.at - from.at).as_secs_f64();
    let more = |count: fn(&watcher::Counts) -> u64| (count(&to.counts) - count(&from.counts)) as f64;
    let (delivered, messages) = (more(|counts| counts.delivered), more(|counts| counts.messages));
    let processor = to.processor - from.processor;
    let within = |time: &u64| (from.time..to.time).contains(time);
    let notes = crowd.watchers.iter().flat_map(|watcher| watcher.noted());
    let (mut sent, mut answered) = (Late::new(), Late::new());
    let made = if let Some(changes) = changes {
        for note in notes {
            // Whoever hears of several at once hears late of the first.
            let first = changes.partition_point(|change| change.revision <= note.from);
            let steps = changes[first..].iter().take_while(|change| change.revision <= note.to);
            for change in steps.filter(|change| within(&change.sent)) {
                sent.add(change.sent, note.heard);
                answered.add(change.answered, note.heard);
            }
        }
        changes.iter().filter(|change| within(&change.answered)).count() as f64
    } else {
        notes.filter(|note| within(&note.at)).for_each(|note| sent.add(note.at, note.heard));
        delivered / crowd.watchers.len() as f64
    };
    Told {
        changes: made / seconds,
        delivered: delivered / seconds,
        messages: messages / seconds,
        bytes: (to.counts.bytes - from.counts.bytes) / (to.counts.messages - from.counts.messages).max(1),
        everything: to.counts.everything - from.counts.everything,
        sent: sent.latency(),
        answered: answered.latency(),
        kib,
        cost: processor * 1e6 / delivered,
        processors: processor / seconds,
        busy: (to.machine.0 - from.machine.0) / (to.machine.1 - from.machine.1),
    }
}

/// How late everything was heard.
struct Late(Histogram<u64>);

impl Late {
    fn new() -> Self {
        Self(Histogram::new(3).expect("a histogram"))
    }

    /// It may be heard before its answer: then it is not late at all.
    fn add(&mut self, since: u64, heard: u64) {
        self.0.record(heard.saturating_sub(since)).expect("a latency within bounds");
    }

    fn latency(&self) -> Option<Latency> {
        let quantile = |at| self.0.value_at_quantile(at) as f64 / 1e3;
        (!self.0.is_empty()).then(|| Latency { p50: quantile(0.5), p99: quantile(0.99) })
    }
}

/// Whatever task it is in: nobody goes on when something is wrong.
fn end_with_the_first_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        std::process::exit(101);
    }));
}
