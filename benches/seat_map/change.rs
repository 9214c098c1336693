//! Those who change the map: each has two seats to itself, reserves them, gives them up, and so on.

use std::{
    io::Read as _,
    time::{Duration, Instant},
};

use boxoffice::clock::Clock;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::house;
use crate::{
    contention::{
        asked::{self, Dice},
        load::{CANCEL, RESERVE},
    },
    wire::{
        self, Role,
        line::{Line, Method},
        load::{Outcome, connect},
    },
};

/// Nobody goes on for longer, whatever happens to the bench.
const MOST: Duration = Duration::from_mins(3);

/// What to do.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Of this service
    pub(crate) address: String,
    /// and showtime.
    pub(crate) showtime: String,
    /// Those who do it.
    pub(crate) callers: usize,
    /// Changes a second of all together: reservations, and as many cancellations. None: as many as it goes.
    pub(crate) pace: Option<f64>,
    /// Where chance begins.
    pub(crate) seed: u64,
}

/// A change that was made. Times are in microseconds, and a clock's that everybody on the machine has.
#[derive(Clone, Copy)]
pub(crate) struct Change {
    pub(crate) revision: i64,
    /// When it should have been sent,
    pub(crate) due: u64,
    /// when it was,
    pub(crate) sent: u64,
    /// and when it was answered
    pub(crate) answered: u64,
    /// with so many bytes.
    pub(crate) bytes: usize,
}

/// The time, in microseconds.
pub(crate) fn now() -> u64 {
    Clock::System.now().timestamp_micros().cast_unsigned()
}

impl Plan {
    /// Has it done by a process of its own, until that is told to finish; then it has an [`Outcome`].
    pub(crate) fn begin(&self) -> Role {
        wire::begin("change", self).0
    }

    /// Does it until it is told to stop: all changes that were made, in their order.
    pub(crate) async fn run(&self, stop: &CancellationToken) -> Vec<Change> {
        let lines = connect(std::slice::from_ref(&self.address), self.callers).await;
        let start = (Instant::now(), now());
        let callers = lines.into_iter().enumerate().map(|(at, line)| {
            let (reserve, cancel) = (line.method(RESERVE), line.method(CANCEL));
            let dice = Dice::new(self.seed, at);
            let caller = Caller { reserve, cancel, line, at, dice, held: None, plan: self.clone() };
            tokio::spawn(caller.run(start, stop.clone()))
        });
        let callers: Vec<_> = callers.collect();
        let mut changes = Vec::new();
        for caller in callers {
            changes.extend(caller.await.expect("a caller to end"));
        }
        changes.sort_unstable_by_key(|change| change.revision);
        let apart = changes.windows(2).all(|two| two[0].revision < two[1].revision);
        assert!(apart, "two changes were answered with the same revision");
        changes
    }
}

/// Does what the plan in this file says until its input is closed. Latencies are from when a change was due.
pub(crate) async fn run(file: &str) {
    let plan: Plan = wire::instructions(file);
    let stop = CancellationToken::new();
    let told = stop.clone();
    std::thread::spawn(move || {
        let _closed = std::io::stdin().read(&mut [0]);
        told.cancel();
    });
    println!("begun");
    let begun = now();
    let ending = stop.clone();
    let ended = tokio::spawn(async move {
        ending.cancelled().await;
        now()
    });
    let mut changes = plan.run(&stop).await;
    let ended = ended.await.expect("an end");
    // What is given up at the end is not part of it.
    changes.retain(|change| change.sent < ended);
    let mut latencies = Histogram::<u64>::new(3).expect("a histogram");
    for change in &changes {
        latencies.record(change.answered.saturating_sub(change.due)).expect("a latency within bounds");
    }
    let quantile = |at| latencies.value_at_quantile(at) as f64 / 1e3;
    let bytes = changes.iter().map(|change| change.bytes).sum::<usize>() / changes.len().max(1);
    let rate = changes.len() as f64 * 1e6 / (ended - begun) as f64;
    let outcome = Outcome { rate, p50: quantile(0.5), p99: quantile(0.99), bytes, failed: 0 };
    println!("{}", serde_json::to_string(&outcome).expect("an outcome as text"));
}

/// One of them.
struct Caller {
    line: Line,
    reserve: Method,
    cancel: Method,
    at: usize,
    dice: Dice,
    held: Option<String>,
    plan: Plan,
}

impl Caller {
    async fn run(mut self, (start, epoch): (Instant, u64), stop: CancellationToken) -> Vec<Change> {
        let mut changes = Vec::new();
        for turn in 0.. {
            let mut due = Duration::ZERO;
            if let Some(pace) = self.plan.pace {
                due = Duration::from_secs_f64((turn * self.plan.callers + self.at) as f64 / pace);
                tokio::select! {
                    () = sleep_until((start + due).into()) => {}
                    () = stop.cancelled() => {}
                }
            }
            if stop.is_cancelled() || start.elapsed() > MOST {
                break;
            }
            let sent = now();
            let due = if due.is_zero() { sent } else { (epoch + due.as_micros() as u64).min(sent) };
            let (revision, bytes) = self.change().await;
            changes.push(Change { revision, due, sent, answered: now(), bytes });
        }
        if self.held.is_some() {
            let sent = now();
            let (revision, bytes) = self.change().await;
            changes.push(Change { revision, due: sent, sent, answered: now(), bytes });
        }
        changes
    }

    /// The revision that came of it, and the size of the answer.
    async fn change(&mut self) -> (i64, usize) {
        let (method, message) = if let Some(held) = &self.held {
            // It only makes room for the next.
            (&self.cancel, asked::settle(held, None))
        } else {
            let customer = asked::customer(&mut self.dice);
            let seats = house::pair(self.at).into_iter();
            let request_id = Some(self.dice.uuid());
            (&self.reserve, asked::reserve(&self.plan.showtime, seats, &customer, request_id))
        };
        let answer = self.line.unary(method, message).await.unwrap_or_else(|status| panic!("{status:?}"));
        let bytes = answer.len();
        let (reservation, revision) = asked::changed(answer);
        self.held = if self.held.is_some() { None } else { Some(reservation) };
        (revision, bytes)
    }
}
