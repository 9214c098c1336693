//! Callers that change the seat map: each has two seats of its own, which it reserves and cancels, again and again.

use std::{
    io::Read as _,
    time::{Duration, Instant},
};

use boxoffice::clock::Clock;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::deployment;
use crate::{
    contention::{
        load::{CANCEL, RESERVE},
        messages::{self, Random},
    },
    wire::{
        self, RoleProcess,
        client::{Client, Method},
        load::connect,
        tally::Outcome,
    },
};

/// The callers end after this time, even if the bench does not end them.
const TIME_LIMIT: Duration = Duration::from_mins(3);

/// Changes of one showtime.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) address: String,
    pub(crate) showtime: String,
    pub(crate) callers: usize,
    /// Changes per second of all callers together, half of them reservations and half cancellations. `None`: each caller
    /// makes its next change when it has the answer to the last.
    pub(crate) rate: Option<f64>,
    /// Seed of the random numbers.
    pub(crate) seed: u64,
}

/// A change that was answered. Times are in microseconds since 1970, by the clock that all processes of the machine share.
#[derive(Clone, Copy)]
pub(crate) struct Change {
    /// The showtime's revision by this change.
    pub(crate) revision: i64,
    /// When the plan's rate demanded it.
    pub(crate) due: u64,
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    /// Size of the answer.
    pub(crate) bytes: usize,
}

/// The time in microseconds.
pub(crate) fn now() -> u64 {
    Clock::System.now().timestamp_micros().cast_unsigned()
}

impl Plan {
    /// Starts making the changes in a process of its own. When that is asked to finish, its result is an [`Outcome`].
    pub(crate) fn start(&self) -> RoleProcess {
        wire::start_role("change", self).0
    }

    /// Makes the changes until `stop` is cancelled, and returns them by revision.
    pub(crate) async fn run(&self, stop: &CancellationToken) -> Vec<Change> {
        let clients = connect(std::slice::from_ref(&self.address), self.callers).await;
        let start = (Instant::now(), now());
        let callers = clients.into_iter().enumerate().map(|(number, client)| {
            let (reserve, cancel) = (client.method(RESERVE), client.method(CANCEL));
            let random = Random::new(self.seed, number);
            let caller = Caller { reserve, cancel, client, number, random, held: None, plan: self.clone() };
            tokio::spawn(caller.run(start, stop.clone()))
        });
        let callers: Vec<_> = callers.collect();
        let mut changes = Vec::new();
        for caller in callers {
            changes.extend(caller.await.expect("a caller ends"));
        }
        changes.sort_unstable_by_key(|change| change.revision);
        let distinct = changes.windows(2).all(|two| two[0].revision < two[1].revision);
        assert!(distinct, "two changes were answered with the same revision");
        changes
    }
}

/// Runs the plan in this file until the input is closed, and prints the outcome. Latencies count from when a change was due.
pub(crate) async fn run(file: &str) {
    let plan: Plan = wire::read_plan(file);
    let stop = CancellationToken::new();
    let input_closed = stop.clone();
    std::thread::spawn(move || {
        let _end_of_input = std::io::stdin().read(&mut [0]);
        input_closed.cancel();
    });
    println!("started");
    let start = now();
    let stopped = stop.clone();
    let end = tokio::spawn(async move {
        stopped.cancelled().await;
        now()
    });
    let mut changes = plan.run(&stop).await;
    let end = end.await.expect("the time of the end");
    // The cancellations that clean up afterwards do not count.
    changes.retain(|change| change.sent < end);
    let mut latencies = Histogram::<u64>::new(3).expect("a histogram");
    for change in &changes {
        latencies.record(change.answered.saturating_sub(change.due)).expect("a latency within bounds");
    }
    let quantile = |at| latencies.value_at_quantile(at) as f64 / 1e3;
    let bytes = changes.iter().map(|change| change.bytes).sum::<usize>() / changes.len().max(1);
    let rate = changes.len() as f64 * 1e6 / (end - start) as f64;
    wire::print_result(&Outcome { rate, p50: quantile(0.5), p99: quantile(0.99), bytes, failed: 0 });
}

struct Caller {
    client: Client,
    reserve: Method,
    cancel: Method,
    number: usize,
    random: Random,
    /// The reservation that it has at present.
    held: Option<String>,
    plan: Plan,
}

impl Caller {
    async fn run(mut self, (start, start_time): (Instant, u64), stop: CancellationToken) -> Vec<Change> {
        let mut changes = Vec::new();
        for turn in 0.. {
            let mut due = Duration::ZERO;
            if let Some(rate) = self.plan.rate {
                due = Duration::from_secs_f64((turn * self.plan.callers + self.number) as f64 / rate);
                tokio::select! {
                    () = sleep_until((start + due).into()) => {}
                    () = stop.cancelled() => {}
                }
            }
            if stop.is_cancelled() || start.elapsed() > TIME_LIMIT {
                break;
            }
            let sent = now();
            let due = if due.is_zero() { sent } else { (start_time + due.as_micros() as u64).min(sent) };
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

    /// Reserves, or cancels what it has reserved. Returns the new revision and the size of the answer.
    async fn change(&mut self) -> (i64, usize) {
        let (method, message) = if let Some(held) = &self.held {
            // Only reservations have request ids: the cancellation is there to free the seats again.
            (&self.cancel, messages::confirm_or_cancel(held, None))
        } else {
            let customer = messages::customer(&mut self.random);
            let seats = deployment::seats_of(self.number).into_iter();
            let request_id = Some(self.random.uuid());
            (&self.reserve, messages::reserve(&self.plan.showtime, seats, &customer, request_id, &[]))
        };
        let answer = self.client.unary(method, message).await.unwrap_or_else(|status| panic!("{status:?}"));
        let bytes = answer.len();
        let (reservation, revision) = messages::changed(answer);
        self.held = if self.held.is_some() { None } else { Some(reservation) };
        (revision, bytes)
    }
}
