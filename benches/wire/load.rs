//! The load: a number of callers for a number of seconds. A caller makes its next call when it has the answer to the last.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::{
    client::{Client, prefixed_copy},
    raw_client::{self, Period, PreparedCalls},
    tally::{Outcome, Tally},
};

/// The warm-up before a measurement, as a part of the measurement's time.
pub(crate) const WARM_UP: f64 = 0.2;
/// Callers that share a connection, as they do in a few busy clients.
const CALLERS_PER_CONNECTION: usize = 32;

/// Calls of one method with prepared messages.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) address: String,
    pub(crate) path: String,
    /// Encoded messages, sent in turn.
    pub(crate) messages: Vec<Vec<u8>>,
    /// Number of callers.
    pub(crate) in_flight: usize,
    /// Length of the measurement, after the warm-up.
    pub(crate) seconds: f64,
}

/// An answer to a caller.
#[derive(Clone, Copy, Default)]
pub(crate) struct Answer {
    pub(crate) bytes: usize,
    pub(crate) failed: bool,
}

/// A caller that decides by itself what to call.
pub(crate) trait Caller: Send + 'static {
    /// Makes a call. `None` means that there is nothing left to call.
    fn call(&mut self) -> impl Future<Output = Option<Answer>> + Send;

    /// Cleans up after the measurement.
    fn finish(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

impl Plan {
    /// Runs the plan in a process of its own.
    pub(crate) fn run(&self) -> Outcome {
        super::run_role("load", self)
    }
}

/// Runs the plan in this file and prints the outcome.
pub(crate) async fn run(file: &str) {
    let Plan { address, path, messages, in_flight, seconds } = super::read_plan(file);
    let messages: Vec<_> = messages.iter().map(|content| prefixed_copy(content)).collect();
    // The raw client does not read statuses. One call with a full client shows that the method answers OK.
    let mut client = Client::connect(&address).await;
    client.unary(&client.method(&path), messages[0].clone()).await.expect("an answer");
    let calls = Arc::new(PreparedCalls::new(&address, &path, messages).await);
    let connections = in_flight.div_ceil(CALLERS_PER_CONNECTION);
    let period = period(seconds);
    let tasks = (0..connections).map(|at| {
        let callers = in_flight / connections + usize::from(at < in_flight % connections);
        // Connections begin at different messages.
        let first = at * 31 % calls.messages();
        tokio::spawn(raw_client::drive_connection(address.clone(), Arc::clone(&calls), callers, first, period))
    });
    super::print_result(&outcome(period, tasks.collect()).await);
}

/// Opens connections to these servers and gives each caller a client, evenly.
pub(crate) async fn connect(addresses: &[String], callers: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for at in 0..callers.div_ceil(CALLERS_PER_CONNECTION).next_multiple_of(addresses.len()) {
        clients.push(Client::connect(&addresses[at % addresses.len()]).await);
    }
    (0..callers).map(|caller| clients[caller % clients.len()].clone()).collect()
}

/// Runs these callers for this many seconds, after a warm-up.
pub(crate) async fn drive<C: Caller>(seconds: f64, callers: Vec<C>) -> Outcome {
    let period = period(seconds);
    let tasks = callers.into_iter().map(|caller| tokio::spawn(drive_caller(caller, period)));
    outcome(period, tasks.collect()).await
}

fn period(seconds: f64) -> Period {
    let length = Duration::from_secs_f64(seconds);
    let start = Instant::now() + length.mul_f64(WARM_UP);
    Period { start, end: start + length }
}

async fn outcome(period: Period, tasks: Vec<JoinHandle<Tally>>) -> Outcome {
    let mut sum = Tally::new(period.start);
    for task in tasks {
        sum.add(&task.await.expect("a caller ends"));
    }
    sum.outcome(period.start)
}

async fn drive_caller<C: Caller>(mut caller: C, Period { start, end }: Period) -> Tally {
    let mut tally = Tally::new(end);
    loop {
        let sent = Instant::now();
        if sent >= end {
            break;
        }
        let Some(answer) = caller.call().await else {
            tally.until = sent;
            break;
        };
        if sent >= start {
            tally.answered(sent.elapsed(), answer.bytes);
        }
        tally.failed += u64::from(answer.failed);
    }
    caller.finish().await;
    tally
}
