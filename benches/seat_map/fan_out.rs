//! Many watchers of one seat map: how many changes they receive, how late, and at what cost to the server.
//!
//! The watchers share the machine with the server, so they read only as much as shows that no revision was missed. A delta that
//! does not follow on the last message ends the bench.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    changes::{self, Change, now},
    watcher::{Counts, Receipt, Totals, Watcher},
};
use crate::wire::{
    self,
    client::{Client, error_status, prefixed_copy},
    load::WARM_UP,
    usage::{self, MachineTime},
};

/// Changes per second of the steady sources.
pub(crate) const STEADY_RATE: f64 = 10.0;
/// Connections of all watchers.
const CONNECTIONS: usize = 100;
/// Flow-control window of a stream in bytes: the default of HTTP/2.
const STREAM_WINDOW: u32 = 65_535;
/// Flow-control window of a connection, in bytes.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Time for all watchers to reach a revision.
const CATCH_UP_TIMEOUT: Duration = Duration::from_mins(1);
const CHECK_PERIOD: Duration = Duration::from_millis(5);
/// At the maximum rate, one watcher of this many records when it received what.
const RECORDS_ONE_OF: usize = 20;

/// Watchers of one server.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) address: String,
    /// The path of the method.
    pub(crate) path: String,
    /// The encoded request.
    pub(crate) message: Vec<u8>,
    pub(crate) watchers: usize,
    /// Process id of the server.
    pub(crate) server: u32,
    pub(crate) source: Source,
    /// Length of the measurement, after a warm-up.
    pub(crate) seconds: f64,
}

/// Where the changes come from.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Source {
    /// From the service, whose map is changed by this plan.
    Changes(changes::Plan),
    /// From the bare server, at the steady rate.
    FloorSteady,
    /// From the bare server, at its maximum rate.
    FloorMaximum,
}

/// The result of a plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FanOut {
    /// Changes per second.
    pub(crate) changes: f64,
    /// Changes delivered to watchers, per second. A delta over three revisions counts three.
    pub(crate) delivered: f64,
    /// Messages per second.
    pub(crate) messages: f64,
    /// Bytes of a message, on average.
    pub(crate) bytes: u64,
    /// Snapshots after the first messages. Each counts as one delivered change.
    pub(crate) snapshots: u64,
    /// Latency of a delivery from when the change was requested, or from when the bare server sent it.
    pub(crate) since_sent: Option<Latency>,
    /// Latency of a delivery from when the change was answered.
    pub(crate) since_answered: Option<Latency>,
    /// Memory of the server for one watcher, in KiB.
    pub(crate) kib: f64,
    /// Processor time of the server for one delivered change, in microseconds.
    pub(crate) cost: f64,
    /// Processors that the server kept busy.
    pub(crate) processors: f64,
    /// The part of the machine's processor time that was used by any process.
    pub(crate) busy: f64,
}

/// Percentiles of a latency, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// All watchers of a plan, and their sums.
struct Watchers {
    all: Vec<Arc<Watcher>>,
    totals: Arc<Totals>,
}

/// What is read at the start and at the end of a measurement.
struct Reading {
    at: Instant,
    /// Microseconds since 1970.
    time: u64,
    counts: Counts,
    /// Processor time of the server, in seconds.
    server: f64,
    machine: MachineTime,
}

impl Plan {
    /// Runs the plan in a process of its own.
    pub(crate) fn run(&self) -> FanOut {
        wire::run_role("fan-out", self)
    }

    fn read(&self, watchers: &Watchers) -> Reading {
        let (server, machine) = (usage::cpu_seconds(self.server), usage::machine_time());
        Reading { at: Instant::now(), time: now(), counts: watchers.totals.counts(), server, machine }
    }

    /// Opens all streams and waits until each has its first message.
    async fn connect(&self) -> Watchers {
        let totals = Arc::new(Totals::default());
        let (checks_order, one_of) = match self.source {
            Source::Changes(changes::Plan { rate: None, .. }) => (true, RECORDS_ONE_OF),
            Source::Changes(_) | Source::FloorSteady => (true, 1),
            Source::FloorMaximum => (false, usize::MAX),
        };
        let watcher = |at: usize| Arc::new(Watcher::new(checks_order, at % one_of == one_of - 1));
        let all: Vec<_> = (0..self.watchers).map(watcher).collect();
        let message = prefixed_copy(&self.message);
        let connections = all.chunks(self.watchers.div_ceil(CONNECTIONS)).map(|watchers| {
            let (plan, watchers, totals) = (self.clone(), watchers.to_vec(), Arc::clone(&totals));
            tokio::spawn(plan.open_streams(message.clone(), watchers, totals))
        });
        let connections: Vec<JoinHandle<()>> = connections.collect();
        for connection in connections {
            connection.await.expect("a connection with its streams");
        }
        let watchers = Watchers { all, totals };
        watchers.wait_until("have a first message", |watcher| watcher.revision.load(Ordering::Relaxed) >= 0).await;
        watchers
    }

    /// Opens the streams of these watchers on one connection.
    async fn open_streams(self, message: Bytes, watchers: Vec<Arc<Watcher>>, totals: Arc<Totals>) {
        let mut client = Client::with_windows(&self.address, STREAM_WINDOW, CONNECTION_WINDOW).await;
        let method = client.method(&self.path);
        for watcher in watchers {
            let (head, body) = client.open(&method, message.clone()).await;
            if let Some(status) = error_status(&head) {
                panic!("{status:?}");
            }
            tokio::spawn(watcher.watch(body, Arc::clone(&totals)));
        }
    }
}

impl Watchers {
    async fn wait_until(&self, what: &str, condition: impl Fn(&Watcher) -> bool) {
        let start = Instant::now();
        loop {
            let missing = self.all.iter().filter(|watcher| !condition(watcher)).count();
            if missing == 0 {
                return;
            }
            let watchers = self.all.len();
            assert!(start.elapsed() < CATCH_UP_TIMEOUT, "{missing} of {watchers} watchers do not {what}");
            sleep(CHECK_PERIOD).await;
        }
    }
}

/// Runs the plan in this file, prints its result, and ends this process.
pub(crate) async fn run(file: &str) {
    exit_on_panic();
    let plan: Plan = wire::read_plan(file);
    let before = usage::memory(plan.server).resident;
    let watchers = plan.connect().await;
    let stop = CancellationToken::new();
    let changing = if let Source::Changes(changes) = &plan.source {
        let (changes, stop) = (changes.clone(), stop.clone());
        Some(tokio::spawn(async move { changes.run(&stop).await }))
    } else {
        None
    };
    let length = Duration::from_secs_f64(plan.seconds);
    sleep(length.mul_f64(WARM_UP)).await;
    let from = plan.read(&watchers);
    sleep(length).await;
    let to = plan.read(&watchers);
    let kib = (usage::memory(plan.server).resident - before) / plan.watchers as f64;
    stop.cancel();
    let changes = match changing {
        Some(changing) => Some(changing.await.expect("the changes are made")),
        None => None,
    };
    match &changes {
        Some(changes) => {
            let last = changes.last().map_or(0, |change| change.revision);
            let reached = |watcher: &Watcher| watcher.revision.load(Ordering::Relaxed) >= last;
            watchers.wait_until("reach the last revision", reached).await;
        }
        None if matches!(plan.source, Source::FloorSteady) => {
            let reached = |watcher: &Watcher| watcher.time.load(Ordering::Relaxed) > to.time;
            watchers.wait_until("reach the end of the measurement", reached).await;
        }
        None => {}
    }
    wire::print_result(&result(&from, &to, &watchers, changes.as_deref(), kib));
    // The watchers' tasks would run on.
    std::process::exit(0);
}

fn result(from: &Reading, to: &Reading, watchers: &Watchers, changes: Option<&[Change]>, kib: f64) -> FanOut {
    let seconds = (to.at - from.at).as_secs_f64();
    let difference = |count: fn(&Counts) -> u64| (count(&to.counts) - count(&from.counts)) as f64;
    let (delivered, messages) = (difference(|counts| counts.delivered), difference(|counts| counts.messages));
    let server = to.server - from.server;
    let is_measured = |time: &u64| (from.time..to.time).contains(time);
    let receipts = watchers.all.iter().flat_map(|watcher| watcher.receipts());
    let (mut since_sent, mut since_answered) = (Latencies::new(), Latencies::new());
    let made = if let Some(changes) = changes {
        for Receipt { from, to, received, .. } in receipts {
            // Each revision of a delta over several has a latency of its own.
            let first = changes.partition_point(|change| change.revision <= from);
            let covered = changes[first..].iter().take_while(|change| change.revision <= to);
            for change in covered.filter(|change| is_measured(&change.sent)) {
                since_sent.add(change.sent, received);
                since_answered.add(change.answered, received);
            }
        }
        changes.iter().filter(|change| is_measured(&change.answered)).count() as f64
    } else {
        let measured = receipts.filter(|receipt| is_measured(&receipt.time));
        measured.for_each(|receipt| since_sent.add(receipt.time, receipt.received));
        delivered / watchers.all.len() as f64
    };
    FanOut {
        changes: made / seconds,
        delivered: delivered / seconds,
        messages: messages / seconds,
        bytes: (to.counts.bytes - from.counts.bytes) / (to.counts.messages - from.counts.messages).max(1),
        snapshots: to.counts.snapshots - from.counts.snapshots,
        since_sent: since_sent.percentiles(),
        since_answered: since_answered.percentiles(),
        kib,
        cost: server * 1e6 / delivered,
        processors: server / seconds,
        busy: (to.machine.busy - from.machine.busy) / (to.machine.total - from.machine.total),
    }
}

struct Latencies(Histogram<u64>);

impl Latencies {
    fn new() -> Self {
        Self(Histogram::new(3).expect("a histogram"))
    }

    /// Adds a delivery. A change that is delivered before its answer counts as 0.
    fn add(&mut self, since: u64, received: u64) {
        self.0.record(received.saturating_sub(since)).expect("a latency within bounds");
    }

    fn percentiles(&self) -> Option<Latency> {
        let quantile = |at| self.0.value_at_quantile(at) as f64 / 1e3;
        (!self.0.is_empty()).then(|| Latency { p50: quantile(0.5), p99: quantile(0.99) })
    }
}

/// Lets a panic in any task end the process.
fn exit_on_panic() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        default(panic);
        std::process::exit(101);
    }));
}
