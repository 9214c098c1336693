//! Thousands of purchases that wait for the gateway, each in a call of its own, and `ReserveSeats` of others beside them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    deployment::Deployment,
    gateway::{Answers, Gateway},
};
use crate::wire::{
    table::{Ratio, median},
    tally::Outcome,
    usage,
};

/// Purchases that wait.
pub(crate) const WAITING: usize = 10_000;
/// Callers that begin them. Each waits for 3 seconds, and is then told that its purchase is RUNNING.
const BEGINNERS: usize = 2_000;
/// Seconds of a warm-up, which reaches every showtime.
const WARM_UP: f64 = 3.0;
/// Memory and threads are counted when nothing was asked of the service for this long.
const REST: Duration = Duration::from_secs(2);
/// How long purchases may take to end after the gateway has answered.
const END_TIMEOUT: Duration = Duration::from_mins(1);
/// How often open transactions are counted. A task of the service may have one for a moment; a purchase must have none.
const COUNTS: usize = 20;
const OPEN_TRANSACTIONS: &str = "SELECT 1 FROM pg_stat_activity \
    WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()";
const RUNNING: &str = "SELECT 1 FROM purchases WHERE state <> 'completed'";

/// What was measured in a round.
pub(crate) struct Waiting {
    /// `ReserveSeats` before there were any, beside them, and after they have ended.
    pub(crate) before: Outcome,
    pub(crate) beside: Outcome,
    pub(crate) after: Outcome,
    /// Resident memory of the service for each of them, in KiB.
    kib: f64,
    /// Threads of the service before them and with them.
    threads: [f64; 2],
    /// Transactions that are open all the time.
    transactions: u64,
}

/// Takes a turn on a service that nothing else was asked of.
pub(crate) async fn measure(deployment: &mut Deployment, gateway: &Gateway, in_flight: usize, seconds: f64) -> Waiting {
    deployment.reserve(in_flight, WARM_UP);
    let before = reserve(deployment, in_flight, seconds).await;
    tokio::time::sleep(REST).await;
    let service = deployment.service.id();
    let (memory, threads) = (usage::memory(service).resident, usage::threads(service));
    gateway.answer(Answers::Later);
    let took = deployment.begin(WAITING, BEGINNERS).await;
    tokio::time::sleep(REST).await;
    assert_eq!(gateway.waiting(), WAITING, "purchases that wait, begun within {took:.0} s");
    let kib = (usage::memory(service).resident - memory) / WAITING as f64;
    let threads = [threads, usage::threads(service)];
    let transactions = open_transactions(deployment).await;
    let beside = reserve(deployment, in_flight, seconds).await;
    assert_eq!(gateway.waiting(), WAITING, "purchases that still wait");
    gateway.answer(Answers::After(Duration::ZERO));
    until_completed(deployment).await;
    let after = reserve(deployment, in_flight, seconds).await;
    Waiting { before, beside, after, kib, threads, transactions }
}

async fn reserve(deployment: &mut Deployment, in_flight: usize, seconds: f64) -> Outcome {
    deployment.storage.sql("CHECKPOINT").await.expect("a checkpoint");
    let outcome = deployment.reserve(in_flight, seconds);
    assert_eq!(outcome.failed, 0, "{outcome:?}");
    outcome
}

/// The fewest open transactions of several counts.
async fn open_transactions(deployment: &Deployment) -> u64 {
    let mut fewest = u64::MAX;
    for _ in 0..COUNTS {
        let open = deployment.storage.sql(OPEN_TRANSACTIONS).await.expect("the sessions of the database");
        fewest = fewest.min(open.rows_affected());
    }
    fewest
}

async fn until_completed(deployment: &Deployment) {
    let start = Instant::now();
    while deployment.storage.sql(RUNNING).await.expect("the purchases").rows_affected() > 0 {
        assert!(start.elapsed() < END_TIMEOUT, "the purchases have not ended after {END_TIMEOUT:?}");
        tokio::time::sleep(REST / 10).await;
    }
}

/// The rate beside waiting purchases, with the rate without them: the average of before and after, since the rate falls as the
/// tables grow.
pub(crate) fn ratios(rounds: &[Waiting]) -> Vec<Ratio> {
    let of = |field: fn(&Waiting) -> f64| median(rounds.iter().map(field).collect());
    let beside = of(|round| 2.0 * round.beside.rate / (round.before.rate + round.after.rate));
    vec![
        Ratio::at_least("reserve_beside_waiting", beside, 0.9, 0.97),
        Ratio::at_most("waiting_purchase_kib", of(|round| round.kib), 16.0, 8.0),
        Ratio::at_most("waiting_threads", of(|round| round.threads[1] - round.threads[0]), 0.0, 0.0),
        Ratio::at_most("waiting_transactions", of(|round| round.transactions as f64), 0.0, 0.0),
    ]
}

/// The rounds as JSON.
pub(crate) fn results(rounds: &[Waiting]) -> Value {
    let round = |Waiting { before, beside, after, kib, threads, transactions }: &Waiting| {
        json!({
            "before": before.rate, "beside": beside.rate, "after": after.rate, "kib": kib, "threads": threads,
            "transactions": transactions,
        })
    };
    rounds.iter().map(round).collect()
}
