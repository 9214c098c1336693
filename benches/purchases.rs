//! How many purchases are made per second, against the same steps made by a database client with a transaction for each, and what
//! purchases cost that wait for a slow gateway.
//!
//! The service, Postgres and the load are processes of their own and share the machine, so only the ratios mean anything elsewhere.
//! Both sides call the same gateway, which this process serves. Contestants take turns, round after round on new databases; the
//! table shows medians, and a ratio is the median of the ratios of each round. Before each turn Postgres writes a checkpoint.
//!
//! `cargo bench --bench purchases`; `docs/benchmarks.md` explains the options and the figures, which also go to
//! `target/bench/purchases.json`.

#![expect(clippy::expect_used, clippy::cast_precision_loss, reason = "a bench says what it expected by panicking")]

#[path = "../tests"]
mod tests {
    #[macro_use]
    #[expect(dead_code, unused_imports, unused_macros, reason = "the tests use all of it")]
    pub(crate) mod harness;
}
#[expect(dead_code, reason = "another bench uses the rest")]
mod contention;
#[expect(dead_code, reason = "another bench uses the rest")]
mod wire;
mod purchases {
    //! Both ways to sell, the gateway that both call, and purchases that wait for it.

    pub(crate) mod buyers;
    pub(crate) mod deployment;
    pub(crate) mod gateway;
    pub(crate) mod usual;
    pub(crate) mod waiting;
}

use std::time::Duration;

use contention::{
    deployment::{SHOWTIMES, seed},
    load,
    usual::{self as statements, Way},
};
use harness::Database;
use purchases::{
    buyers,
    deployment::Deployment,
    gateway::{Answers, Gateway},
    usual,
    waiting::{self, Waiting},
};
use sea_orm::sqlx::{self, PgConnection};
use serde_json::json;
use tests::harness;
use wire::{
    comparison,
    options::Options,
    service::Program,
    table::{self, Key, Ratio, Table},
    tally::Outcome,
};

/// Seconds of a warm-up of a new service. It reaches every showtime.
const WARM_UP: f64 = 2.0;
/// Connections of the usual way. More of them do not make it faster.
const CONNECTIONS: usize = 64;

/// What a contestant does.
#[derive(Clone, Copy)]
enum Contestant {
    /// One statement in place of a transaction, without a gateway: what a commit costs on this machine.
    Statement,
    /// A database client makes the steps.
    Usual { gateway_ms: u64 },
    /// The service makes them.
    Service { gateway_ms: u64 },
    /// The service reserves seats before, beside and after purchases that wait.
    Waiting,
}

const PURCHASE: &str = "purchase, 0 ms";
const USUAL: &str = "usual way, 0 ms";
const SLOW_PURCHASE: &str = "purchase, 50 ms";
const SLOW_USUAL: &str = "usual way, 50 ms";
/// Its number is that of the callers of `ReserveSeats`.
const BESIDE: Key = ("reserve, 10,000 wait", 256);
const BEFORE: Key = ("reserve, before", 256);
const AFTER: Key = ("reserve, after", 256);

/// In the order of their turns. Contestants that are compared are neighbours.
const CONTESTANTS: [(Key, Contestant); 11] = [
    (("one statement", 1), Contestant::Statement),
    (("one statement", 64), Contestant::Statement),
    ((USUAL, 64), Contestant::Usual { gateway_ms: 0 }),
    ((PURCHASE, 64), Contestant::Service { gateway_ms: 0 }),
    ((PURCHASE, 256), Contestant::Service { gateway_ms: 0 }),
    ((USUAL, 256), Contestant::Usual { gateway_ms: 0 }),
    ((SLOW_USUAL, 64), Contestant::Usual { gateway_ms: 50 }),
    ((SLOW_PURCHASE, 64), Contestant::Service { gateway_ms: 50 }),
    ((SLOW_PURCHASE, 256), Contestant::Service { gateway_ms: 50 }),
    ((SLOW_USUAL, 256), Contestant::Usual { gateway_ms: 50 }),
    (BESIDE, Contestant::Waiting),
];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match arguments.first().map(String::as_str) {
        Some("buy") => runtime.block_on(buyers::run(&arguments[1])),
        Some("contend") => runtime.block_on(load::run(&arguments[1])),
        Some("usual") => runtime.block_on(statements::run(&arguments[1])),
        Some("usual-purchases") => runtime.block_on(usual::run(&arguments[1])),
        _ => runtime.block_on(Box::pin(compare(&Options::parse(&arguments)))),
    }
}

async fn compare(options: &Options) {
    let programs = options.programs();
    let mut runner = Runner::new(options).await;
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        let selected = CONTESTANTS.iter().filter(|(key, _)| options.selects(key));
        for (at, (key, contestant)) in selected.enumerate() {
            match *contestant {
                Contestant::Statement | Contestant::Usual { .. } => {
                    let outcome = Box::pin(runner.baseline(*key, *contestant)).await;
                    runner.results.iter_mut().for_each(|results| results.table.add(*key, outcome));
                }
                Contestant::Service { gateway_ms } => {
                    for program in options.order(round + at) {
                        Box::pin(runner.buy(program, *key, gateway_ms)).await;
                    }
                }
                Contestant::Waiting => {
                    for program in options.order(round + at) {
                        Box::pin(runner.wait(program)).await;
                    }
                }
            }
        }
        runner.renew().await;
    }
    let [built, others @ ..] = &runner.results[..] else { return };
    if let ([_, other], [other_results]) = (&programs[..], others) {
        let figures = comparison::figures([&built.table, &other_results.table]);
        comparison::print(other, &figures, [built, other_results].map(Results::ratios));
        return;
    }
    let results = built.table.print();
    let ratios = table::print_ratios("ratios", &built.ratios());
    if options.is_complete() {
        let circumstances = json!({ "rounds": options.rounds, "seconds": options.seconds, "showtimes": SHOWTIMES });
        let waiting = waiting::results(&built.waiting);
        let figures =
            json!({ "ratios": ratios, "results": results, "waiting": waiting, "circumstances": circumstances });
        table::write("purchases", &figures);
    }
}

/// The results of one program and of the baselines.
#[derive(Default)]
struct Results {
    table: Table,
    waiting: Vec<Waiting>,
}

impl Results {
    fn ratios(&self) -> Vec<Ratio> {
        let at_least = |name, purchase, usual, in_flight, must, aim| {
            Ratio::at_least(name, self.table.ratio((purchase, in_flight), (usual, in_flight)), must, aim)
        };
        let mut ratios = vec![
            at_least("purchase_vs_usual", PURCHASE, USUAL, 256, 2.0, 3.0),
            at_least("purchase64_vs_usual", PURCHASE, USUAL, 64, 1.5, 2.0),
            at_least("slow_purchase_vs_usual", SLOW_PURCHASE, SLOW_USUAL, 256, 0.9, 1.0),
            at_least("slow_purchase64_vs_usual", SLOW_PURCHASE, SLOW_USUAL, 64, 0.9, 1.0),
        ];
        ratios.extend(waiting::ratios(&self.waiting));
        ratios
    }
}

/// Takes the turns of the contestants. What a contestant needs is made when it is first needed.
struct Runner {
    seconds: f64,
    programs: Vec<Program>,
    /// One for each program.
    results: Vec<Results>,
    /// One for each program.
    deployments: Vec<Option<Deployment>>,
    /// The databases of the one statement and of the usual way.
    baselines: [Database; 2],
    postgres: PgConnection,
    gateway: Gateway,
}

impl Runner {
    async fn new(options: &Options) -> Self {
        let programs = options.programs();
        let baselines = [Database::create().await, Database::create().await];
        let postgres = statements::connect(&baselines[0].url()).await;
        let (results, deployments) = programs.iter().map(|_| (Results::default(), None)).unzip();
        let (seconds, gateway) = (options.seconds, Gateway::start());
        let mut runner = Self { seconds, programs, results, deployments, baselines, postgres, gateway };
        runner.renew().await;
        runner
    }

    /// Removes the deployments, so that the next round begins on new databases.
    async fn renew(&mut self) {
        self.deployments.iter_mut().for_each(|deployment| *deployment = None);
        statements::prepare(&self.baselines[0].url()).await;
        usual::prepare(&self.baselines[1].url()).await;
    }

    /// A turn of a database client.
    async fn baseline(&mut self, key: Key, contestant: Contestant) -> Outcome {
        self.checkpoint().await;
        let (seconds, in_flight) = (self.seconds, key.1);
        let [statements, usual] = self.baselines.each_ref().map(Database::url);
        let outcome = if let Contestant::Usual { gateway_ms } = contestant {
            self.answer_after(gateway_ms);
            let (url, gateway) = (usual, self.gateway.url());
            let (showtimes, connections, seed) = (SHOWTIMES, CONNECTIONS, seed());
            usual::Plan { url, gateway, showtimes, in_flight, connections, seconds, seed }.run()
        } else {
            let (way, url) = (Way::Statement, statements);
            statements::Plan { way, url, showtimes: SHOWTIMES, connections: in_flight, seconds, seed: seed() }.run()
        };
        self.note(0, key, outcome);
        outcome
    }

    /// A turn of a service that sells.
    async fn buy(&mut self, program: usize, key: Key, gateway_ms: u64) {
        if self.deployments[program].is_none() {
            self.answer_after(0);
            let mut deployment = Deployment::start(&self.programs[program], &self.gateway).await;
            deployment.buy(key.1, WARM_UP);
            self.deployments[program] = Some(deployment);
        }
        self.checkpoint().await;
        self.answer_after(gateway_ms);
        let deployment = self.deployments[program].as_mut().expect("a deployment");
        let outcome = deployment.buy(key.1, self.seconds);
        self.note(program, key, outcome);
        self.results[program].table.add(key, outcome);
    }

    /// A turn of a service whose purchases wait. It is a new one, since it is of interest how its memory grows.
    async fn wait(&mut self, program: usize) {
        self.deployments[program] = None;
        self.answer_after(0);
        let mut deployment = Deployment::start(&self.programs[program], &self.gateway).await;
        let measured = Box::pin(waiting::measure(&mut deployment, &self.gateway, BESIDE.1, self.seconds)).await;
        let Waiting { before, beside, after, .. } = &measured;
        for (key, outcome) in [(BEFORE, before), (BESIDE, beside), (AFTER, after)] {
            self.note(program, key, *outcome);
            self.results[program].table.add(key, *outcome);
        }
        self.results[program].waiting.push(measured);
    }

    fn note(&self, program: usize, key: Key, outcome: Outcome) {
        assert_eq!(outcome.failed, 0, "{key:?}: {outcome:?}");
        let whose = if self.programs.len() > 1 { ["this: ", "other: "][program] } else { "" };
        eprintln!("  {whose}{key:?}: {:.0}/s", outcome.rate);
    }

    fn answer_after(&self, milliseconds: u64) {
        self.gateway.answer(Answers::After(Duration::from_millis(milliseconds)));
    }

    /// Writes what other contestants have left to be written.
    async fn checkpoint(&mut self) {
        sqlx::raw_sql("CHECKPOINT").execute(&mut self.postgres).await.expect("a checkpoint");
    }
}
