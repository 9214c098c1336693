//! How fast the seat map of 616 seats is answered, and its changes are delivered to thousands of watchers, against stock tonic
//! servers that send as many bytes in the same run.
//!
//! Services, Postgres and the load are processes of their own and share the machine, so only the ratios mean anything
//! elsewhere. Contestants take turns, round after round on new databases, each service in a new process; the tables show
//! medians, and a ratio is the median of the ratios of each round.
//!
//! `cargo bench --bench seat_map`; `docs/benchmarks.md` explains the options and the figures, which also go to
//! `target/bench/seat_map.json`.

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
mod seat_map {
    //! Callers and watchers of a seat map, the showtime that it is of, and the report.

    pub(crate) mod changes;
    pub(crate) mod deployment;
    pub(crate) mod fan_out;
    pub(crate) mod floor;
    pub(crate) mod frames;
    pub(crate) mod report;
    pub(crate) mod watcher;
}

use contention::deployment::seed;
use harness::Redis;
use seat_map::{
    changes,
    deployment::Deployment,
    fan_out::{self, FanOut, STEADY_RATE, Source},
    floor,
    report::{
        self, ECHO, ECHO_CPU, FLOOR, FLOOR_MAXIMUM, FanOuts, SHOW, SHOW_CPU, SHOW_UNDER_WRITES, TWO_INSTANCES, WATCH,
        WATCH_MAXIMUM,
    },
};
use serde_json::json;
use tests::harness;
use wire::{
    RoleProcess, comparison, echo,
    load::{self, WARM_UP},
    options::Options,
    service::Service,
    table::{self, Key, Table},
    tally::Outcome,
    usage,
};

const GET: &str = "/boxoffice.v1.Showtimes/GetSeatMap";
const WATCH_PATH: &str = "/boxoffice.v1.Showtimes/WatchSeatMap";
/// Changes per second of the map that is read meanwhile: 2,000 reservations, and as many cancellations, which free the seats
/// again.
const WRITES: f64 = 4_000.0;
/// The part of `WRITES` that must have been made for a turn to count.
const ENOUGH_WRITES: f64 = 0.97;
/// How often a turn is taken again if it does not count.
const ATTEMPTS: usize = 4;
/// Callers that make `WRITES` changes. Each makes one every 32 ms, and is seldom late.
const WRITERS: usize = 128;
/// Callers that make the changes for watchers at the steady rate.
const STEADY_WRITERS: usize = 4;
/// Callers that make the changes for watchers at the maximum rate.
const MAXIMUM_WRITERS: usize = 64;
/// Turns at the steady rate are longer by this factor, since a watcher receives few changes in them.
const STEADY_TURN: f64 = 2.0;

/// What a contestant does.
#[derive(Clone, Copy)]
enum Contestant {
    /// The bare echo, with requests and answers as long as those of `GetSeatMap`.
    Echo,
    /// The service answers `GetSeatMap`.
    Show,
    /// The service answers `GetSeatMap` while the map is changed.
    ShowUnderWrites,
    /// The service serves watchers, at the steady rate of changes.
    Watch,
    /// The service serves watchers, at the maximum rate of changes.
    WatchMaximum,
    /// The bare server of streams.
    Floor(floor::Rate),
    /// The map is changed at one instance and watched at another.
    TwoInstances,
}

impl Contestant {
    fn is_baseline(self) -> bool {
        matches!(self, Self::Echo | Self::Floor(_))
    }
}

/// In the order of their turns. Contestants that are compared are neighbours.
const CONTESTANTS: [(Key, Contestant); 19] = [
    ((SHOW, 64), Contestant::Show),
    ((ECHO, 64), Contestant::Echo),
    ((SHOW_UNDER_WRITES, 64), Contestant::ShowUnderWrites),
    ((SHOW, 256), Contestant::Show),
    ((ECHO, 256), Contestant::Echo),
    ((SHOW_UNDER_WRITES, 256), Contestant::ShowUnderWrites),
    ((WATCH, 1_000), Contestant::Watch),
    ((FLOOR, 1_000), Contestant::Floor(floor::Rate::Steady)),
    ((WATCH_MAXIMUM, 1_000), Contestant::WatchMaximum),
    ((FLOOR_MAXIMUM, 1_000), Contestant::Floor(floor::Rate::Maximum)),
    ((WATCH, 5_000), Contestant::Watch),
    ((FLOOR, 5_000), Contestant::Floor(floor::Rate::Steady)),
    ((WATCH_MAXIMUM, 5_000), Contestant::WatchMaximum),
    ((FLOOR_MAXIMUM, 5_000), Contestant::Floor(floor::Rate::Maximum)),
    ((WATCH, 10_000), Contestant::Watch),
    ((FLOOR, 10_000), Contestant::Floor(floor::Rate::Steady)),
    ((WATCH_MAXIMUM, 10_000), Contestant::WatchMaximum),
    ((FLOOR_MAXIMUM, 10_000), Contestant::Floor(floor::Rate::Maximum)),
    ((TWO_INSTANCES, 1_000), Contestant::TwoInstances),
];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match arguments.first().map(String::as_str) {
        Some("echo") => runtime.block_on(echo::serve(arguments[1].parse().expect("a size"))),
        Some("load") => runtime.block_on(load::run(&arguments[1])),
        Some("floor") => runtime.block_on(floor::run(&arguments[1])),
        Some("fan-out") => runtime.block_on(fan_out::run(&arguments[1])),
        Some("change") => runtime.block_on(changes::run(&arguments[1])),
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
            if contestant.is_baseline() {
                let turn = Box::pin(runner.turn(0, *key, *contestant)).await;
                for results in &mut runner.results {
                    results.add(turn.clone());
                }
            } else {
                for program in options.order(round + at) {
                    let turn = Box::pin(runner.turn(program, *key, *contestant)).await;
                    runner.results[program].add(turn);
                }
            }
        }
        runner.renew(options).await;
    }
    if let ([_, other], [built_results, other_results]) = (&programs[..], &runner.results[..]) {
        let mut figures = comparison::figures([&built_results.calls, &other_results.calls]);
        figures.extend(report::figures([&built_results.watches, &other_results.watches]));
        let ratios = [built_results, other_results].map(|results| report::ratios(&results.calls, &results.watches));
        comparison::print(other, &figures, ratios);
        return;
    }
    let Results { calls, watches } = &runner.results[0];
    let (results, watched) = (calls.print(), watches.print());
    let each = report::each(calls, watches);
    let ratios = table::print_ratios("ratios", &report::ratios(calls, watches));
    let bounds = table::print_ratios("bounds", &report::bounds(watches));
    if options.is_complete() {
        let circumstances = json!({
            "rounds": options.rounds, "seconds": options.seconds, "answer_bytes": runner.answer_bytes,
            "message_bytes": runner.message_bytes,
        });
        let figures = json!({
            "ratios": ratios, "each": each, "watcher_kib": bounds.get("watcher_kib"),
            "cross_instance_p99_ms": bounds.get("cross_instance_p99_ms"), "results": results, "watched": watched,
            "circumstances": circumstances,
        });
        table::write("seat_map", &figures);
    }
}

/// The results of one program and of the baselines.
#[derive(Default)]
struct Results {
    calls: Table,
    watches: FanOuts,
}

/// The results of a turn: outcomes of calls, or of a watch.
#[derive(Clone)]
enum Turn {
    Calls(Vec<(Key, Outcome)>),
    Watch(Key, FanOut),
}

impl Results {
    fn add(&mut self, turn: Turn) {
        match turn {
            Turn::Calls(outcomes) => outcomes.into_iter().for_each(|(key, outcome)| self.calls.add(key, outcome)),
            Turn::Watch(key, result) => self.watches.add(key, result),
        }
    }
}

/// Takes the turns of the contestants. What a contestant needs is made when it is first needed.
struct Runner {
    seconds: f64,
    /// One for each program of the service.
    deployments: Vec<Deployment>,
    /// One for each program of the service.
    results: Vec<Results>,
    redis: Option<Redis>,
    echo: Option<(RoleProcess, String)>,
    /// Bytes of an answer to `GetSeatMap`.
    answer_bytes: usize,
    /// Bytes of a delta with one change.
    message_bytes: usize,
}

impl Runner {
    async fn new(options: &Options) -> Self {
        let results = options.programs().iter().map(|_| Results::default()).collect();
        let (redis, echo, answer_bytes, message_bytes) = (None, None, 0, 0);
        let seconds = options.seconds;
        let mut runner = Self { seconds, deployments: Vec::new(), results, redis, echo, answer_bytes, message_bytes };
        runner.renew(options).await;
        runner
    }

    /// Makes new databases for the next round.
    async fn renew(&mut self, options: &Options) {
        self.deployments.clear();
        for program in options.programs() {
            self.deployments.push(Deployment::new(&program).await);
        }
    }

    async fn turn(&mut self, program: usize, key: Key, contestant: Contestant) -> Turn {
        let turn = match contestant {
            Contestant::Echo => {
                let (server, address) = self.echo().await;
                self.call_and_account(0, (ECHO_CPU, server), key, &address, echo::PATH)
            }
            Contestant::Show => {
                let service = self.deployments[program].start_service().await;
                self.call_and_account(program, (SHOW_CPU, service.id()), key, &service.address, GET)
            }
            Contestant::ShowUnderWrites => {
                let (outcome, changes) = self.show_under_writes(program, key.1).await;
                Turn::Calls(vec![(("changes meanwhile", key.1), changes), (key, outcome)])
            }
            Contestant::Watch => Turn::Watch(key, self.watch(program, key.1, STEADY_WRITERS, Some(STEADY_RATE)).await),
            Contestant::WatchMaximum => Turn::Watch(key, self.watch(program, key.1, MAXIMUM_WRITERS, None).await),
            Contestant::Floor(rate) => Turn::Watch(key, self.floor(key.1, rate).await),
            Contestant::TwoInstances => Turn::Watch(key, self.two_instances(program, key.1).await),
        };
        let whose =
            if self.results.len() > 1 && !contestant.is_baseline() { ["this: ", "other: "][program] } else { "" };
        match &turn {
            Turn::Calls(outcomes) => {
                for (key, outcome) in outcomes {
                    assert_eq!(outcome.failed, 0, "{key:?}: {outcome:?}");
                    eprintln!("  {whose}{key:?}: {:.0}/s", outcome.rate);
                }
            }
            Turn::Watch(key, FanOut { changes, delivered, snapshots, .. }) => eprintln!(
                "  {whose}{key:?}: {changes:.0} changes/s, {delivered:.0}/s delivered, {snapshots} snapshots instead of deltas"
            ),
        }
        turn
    }

    fn call(&self, program: usize, (address, path): (&str, &str), in_flight: usize, seconds: f64) -> Outcome {
        let (address, path) = (address.to_owned(), path.to_owned());
        let messages = vec![self.deployments[program].get_request()];
        load::Plan { address, path, messages, in_flight, seconds }.run()
    }

    /// Also counts the answers per second of the server's processor time.
    fn call_and_account(
        &self,
        program: usize,
        (name, server): (&'static str, u32),
        key: Key,
        address: &str,
        path: &str,
    ) -> Turn {
        let before = usage::cpu_seconds(server);
        let outcome = self.call(program, (address, path), key.1, self.seconds);
        let answers = outcome.rate * self.seconds * (1.0 + WARM_UP);
        let rate = answers / (usage::cpu_seconds(server) - before);
        let per_cpu_second = Outcome { rate, p50: f64::NAN, p99: f64::NAN, ..outcome };
        Turn::Calls(vec![((name, key.1), per_cpu_second), (key, outcome)])
    }

    /// Returns the outcomes of the reads and of the changes. A turn with too few changes does not count and is taken again.
    async fn show_under_writes(&self, program: usize, in_flight: usize) -> (Outcome, Outcome) {
        for _ in 0..ATTEMPTS {
            let service = self.deployments[program].start_service().await;
            let writers = self.changes(program, &service, WRITERS, Some(WRITES)).start();
            let outcome = self.call(program, (&service.address, GET), in_flight, self.seconds);
            let changes: Outcome = writers.finish();
            if changes.rate >= WRITES * ENOUGH_WRITES {
                return (outcome, changes);
            }
            eprintln!("  again: there were {:.0} changes per second instead of {WRITES}", changes.rate);
        }
        panic!("this machine does not manage {WRITES} changes per second beside the reads")
    }

    /// The process id and the address of an echo whose answers are as long as those of the service.
    async fn echo(&mut self) -> (u32, String) {
        if self.echo.is_none() {
            let service = self.deployments[0].start_service().await;
            self.answer_bytes = self.call(0, (&service.address, GET), 1, 0.2).bytes;
            self.echo = Some(RoleProcess::start(&["echo".to_owned(), self.answer_bytes.to_string()]));
        }
        self.echo.as_ref().map(|(echo, address)| (echo.id(), address.clone())).expect("an echo")
    }

    fn changes(&self, program: usize, service: &Service, callers: usize, rate: Option<f64>) -> changes::Plan {
        let (address, showtime) = (service.address.clone(), self.deployments[program].showtime.clone());
        changes::Plan { address, showtime, callers, rate, seed: seed() }
    }

    async fn watch(&self, program: usize, watchers: usize, callers: usize, rate: Option<f64>) -> FanOut {
        let service = self.deployments[program].start_service().await;
        let changes = self.changes(program, &service, callers, rate);
        let seconds = if rate.is_some() { self.seconds * STEADY_TURN } else { self.seconds };
        self.fan_out(program, &service, watchers, changes, seconds).run()
    }

    fn fan_out(
        &self,
        program: usize,
        service: &Service,
        watchers: usize,
        changes: changes::Plan,
        seconds: f64,
    ) -> fan_out::Plan {
        let (address, path) = (service.address.clone(), WATCH_PATH.to_owned());
        let (message, server) = (self.deployments[program].watch_request(), service.id());
        fan_out::Plan { address, path, message, watchers, server, source: Source::Changes(changes), seconds }
    }

    /// Its messages are as long as a delta of the service with one change.
    async fn floor(&mut self, watchers: usize, rate: floor::Rate) -> FanOut {
        if self.message_bytes == 0 {
            let service = self.deployments[0].start_service().await;
            let changes = self.changes(0, &service, STEADY_WRITERS, Some(STEADY_RATE));
            self.message_bytes = self.fan_out(0, &service, 10, changes, 2.0).run().bytes as usize;
        }
        let (source, seconds) = match rate {
            floor::Rate::Steady => (Source::FloorSteady, self.seconds * STEADY_TURN),
            floor::Rate::Maximum => (Source::FloorMaximum, self.seconds),
        };
        let (floor, address) = floor::Plan { bytes: self.message_bytes, rate, streams: watchers }.start();
        let (path, message) = (floor::PATH.to_owned(), self.deployments[0].watch_request());
        fan_out::Plan { address, path, message, watchers, server: floor.id(), source, seconds }.run()
    }

    async fn two_instances(&mut self, program: usize, watchers: usize) -> FanOut {
        if self.redis.is_none() {
            self.redis = Some(Redis::start().await);
        }
        let redis = self.redis.as_ref().expect("the Redis server was just started");
        let [reserving, watched] = self.deployments[program].start_two(redis).await;
        let changes = self.changes(program, &reserving, STEADY_WRITERS, Some(STEADY_RATE));
        self.fan_out(program, &watched, watchers, changes, self.seconds * STEADY_TURN).run()
    }
}
