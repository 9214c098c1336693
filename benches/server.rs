//! How fast showtimes are read, against a bare echo that answers with as many bytes in the same run.
//!
//! Services, Postgres and the load are processes of their own and share the machine, so only the ratios mean anything
//! elsewhere. Contestants take turns, round after round; the table shows medians, and a ratio is the median of the ratios of
//! each round.
//!
//! `cargo bench --bench server`; `docs/benchmarks.md` explains the options and the figures, which also go to
//! `target/bench/server.json`.

#![expect(clippy::expect_used, clippy::cast_precision_loss, reason = "a bench says what it expected by panicking")]

#[path = "../tests"]
mod tests {
    #[macro_use]
    #[expect(dead_code, unused_imports, unused_macros, reason = "the tests use all of it")]
    pub(crate) mod harness;
}
#[expect(dead_code, reason = "another bench uses the rest")]
mod wire;
mod server {
    //! The showtimes that are read, and the query that Postgres alone is measured with.

    pub(crate) mod bare_postgres;
    pub(crate) mod requests;
}

use std::time::Duration;

use harness::{Store, world::Storage};
use serde_json::{Map, Value, json};
use server::{
    bare_postgres::{self, CONNECTIONS},
    requests::{PAGE, PAGES, Requests},
};
use tests::harness;
use wire::{
    RoleProcess, comparison, echo, load,
    options::Options,
    service::{Program, Service},
    table::{self, Key, Ratio, Table},
    tally::Outcome,
    usage,
};

/// What a service is asked for.
#[derive(Clone, Copy, PartialEq)]
enum Question {
    /// `GetShowtime`, each call for another showtime.
    Get,
    /// `ListShowtimes`, all calls for one page.
    OnePage,
    /// `ListShowtimes`, each call for another of 200 pages.
    Pages,
}

/// The deployment of a service.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Postgres,
    /// On Postgres, with `--showtime-cache 0`.
    Uncached,
    Sqlite,
}

/// What a contestant does.
#[derive(Clone, Copy)]
enum Contestant {
    Service(Question, Place),
    /// The bare echo, with answers as long as those to the question.
    Echo(Question),
    /// Bare Postgres, with the query behind a page.
    BarePostgres,
}

const GET: &str = "/boxoffice.v1.Showtimes/GetShowtime";
const LIST: &str = "/boxoffice.v1.Showtimes/ListShowtimes";
const IN_FLIGHT: [usize; 3] = [1, 64, 256];
const ECHO_GET: &str = "echo, as get";
const ECHO_LIST: &str = "echo, as list";
/// Measured once, before the rounds.
const START: Key = ("start with the sample", 1);
const BARE_POSTGRES: &str = "list query, bare postgres";
/// In the order of their turns, at each number of calls in flight. Contestants that are compared are near each other.
const CONTESTANTS: [(&str, Contestant); 10] = [
    ("get, postgres", Contestant::Service(Question::Get, Place::Postgres)),
    (ECHO_GET, Contestant::Echo(Question::Get)),
    ("get, postgres, no cache", Contestant::Service(Question::Get, Place::Uncached)),
    ("get, sqlite", Contestant::Service(Question::Get, Place::Sqlite)),
    ("list, postgres", Contestant::Service(Question::OnePage, Place::Postgres)),
    ("list pages, postgres", Contestant::Service(Question::Pages, Place::Postgres)),
    (ECHO_LIST, Contestant::Echo(Question::OnePage)),
    ("list, sqlite", Contestant::Service(Question::OnePage, Place::Sqlite)),
    ("list pages, sqlite", Contestant::Service(Question::Pages, Place::Sqlite)),
    ("list, postgres, no cache", Contestant::Service(Question::OnePage, Place::Uncached)),
];
/// How much the average of the different pages may differ in size from the one page, since one echo stands for both.
const SIZE_TOLERANCE: f64 = 0.1;
/// Time after its start until the memory of an idle service is read.
const IDLE_AFTER: Duration = Duration::from_secs(2);

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match arguments.first().map(String::as_str) {
        Some("echo") => runtime.block_on(echo::serve(arguments[1].parse().expect("a size"))),
        Some("load") => runtime.block_on(load::run(&arguments[1])),
        Some("bare-postgres") => runtime.block_on(bare_postgres::run(&arguments[1])),
        _ => runtime.block_on(Box::pin(compare(&Options::parse(&arguments)))),
    }
}

async fn compare(options: &Options) {
    let programs = options.programs();
    let mut starts = Map::new();
    for program in programs.iter().filter(|_| options.selects(&START)) {
        starts = measure_starts(program).await;
    }
    let mut runner =
        Runner { seconds: options.seconds, programs: programs.clone(), deployments: vec![], echoes: vec![] };
    let mut tables: Vec<Table> = programs.iter().map(|_| Table::default()).collect();
    let in_flight = IN_FLIGHT.iter().flat_map(|number| CONTESTANTS.map(|(name, what)| ((name, *number), what)));
    let all = in_flight.chain([((BARE_POSTGRES, CONNECTIONS), Contestant::BarePostgres)]);
    let selected: Vec<(Key, Contestant)> = all.filter(|(key, _)| options.selects(key)).collect();
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        for (at, (key, contestant)) in selected.iter().enumerate() {
            if matches!(contestant, Contestant::Service(..)) {
                for program in options.order(round + at) {
                    for (key, outcome) in Box::pin(runner.turn(program, *key, *contestant)).await {
                        tables[program].add(key, outcome);
                    }
                }
            } else {
                for (key, outcome) in Box::pin(runner.turn(0, *key, *contestant)).await {
                    for table in &mut tables {
                        table.add(key, outcome);
                    }
                }
            }
        }
    }
    if let ([_, other], [built_table, other_table]) = (&programs[..], &tables[..]) {
        let figures = comparison::figures([built_table, other_table]);
        comparison::print(other, &figures, [ratios(built_table), ratios(other_table)]);
        return;
    }
    let results = tables[0].print();
    let each = each(&tables[0]);
    let ratios = table::print_ratios("ratios", &ratios(&tables[0]));
    if options.is_complete() {
        let circumstances = json!({
            "rounds": options.rounds, "seconds": options.seconds, "page_size": PAGE, "different_pages": PAGES,
        });
        let figures = json!({
            "ratios": ratios, "each": each, "results": results, "starts": starts, "circumstances": circumstances,
        });
        table::write("server", &figures);
    }
}

/// The row of a service's answers per second of its processor time.
fn per_cpu_second(name: &str) -> Option<&'static str> {
    match name {
        "get, postgres" => Some("get, postgres, per CPU second"),
        "get, sqlite" => Some("get, sqlite, per CPU second"),
        _ => None,
    }
}

/// The echo that a contestant is compared with.
fn echo_of(name: &str) -> &'static str {
    if name.starts_with("list") { ECHO_LIST } else { ECHO_GET }
}

/// Prints and returns the ratio of each contestant to its echo, at each number of calls in flight.
fn each(table: &Table) -> Map<String, Value> {
    println!("\n{:<32} {:>8} {:>8} {:>8}", "ratio to the echo, in flight", IN_FLIGHT[0], IN_FLIGHT[1], IN_FLIGHT[2]);
    let mut each = Map::new();
    for (name, _) in CONTESTANTS.iter().filter(|(_, what)| matches!(what, Contestant::Service(..))) {
        let ratios = IN_FLIGHT.map(|number| table.ratio((name, number), (echo_of(name), number)));
        if ratios.iter().any(|ratio| !ratio.is_nan()) {
            let [alone, some, many] = ratios.map(table::shown);
            println!("{name:<32} {alone:>8} {some:>8} {many:>8}");
            each.insert((*name).to_owned(), json!(ratios));
        }
    }
    each
}

/// The ratios with bounds, at 256 calls in flight.
fn ratios(table: &Table) -> Vec<Ratio> {
    let ratio =
        |title, name, must, aim| Ratio::at_least(title, table.ratio((name, 256), (echo_of(name), 256)), must, aim);
    vec![
        ratio("get_showtime_vs_echo", "get, postgres", 0.5, 0.9),
        ratio("get_showtime_uncached_vs_echo", "get, postgres, no cache", 0.25, 0.7),
        ratio("get_showtime_sqlite_vs_echo", "get, sqlite", 0.5, 1.0),
        ratio("list_showtimes_vs_echo", "list, postgres", 0.5, 0.8),
        ratio("list_pages_vs_echo", "list pages, postgres", 0.13, 0.2),
        ratio("list_showtimes_sqlite_vs_echo", "list, sqlite", 0.5, 0.8),
        ratio("list_pages_sqlite_vs_echo", "list pages, sqlite", 0.13, 0.2),
    ]
}

/// Prints and returns how long the service takes to start with its sample, and its memory when it is idle, on each store.
async fn measure_starts(program: &Program) -> Map<String, Value> {
    let mut starts = Map::new();
    println!(
        "{:<32} {:>8} {:>8} {:>18} {:>18}",
        START.0, "first ms", "warm ms", "idle resident MiB", "thereof anonymous"
    );
    for (name, store) in [("sqlite", Store::Sqlite), ("postgres", Store::Postgres)] {
        let storage = Storage::new(store).await;
        let setup = || storage.setup().with("--sample", "on");
        let first = Service::start(program, setup()).await.start_time;
        let service = Service::start(program, setup()).await;
        tokio::time::sleep(IDLE_AFTER).await;
        let [first, warm] = [first, service.start_time].map(|time| time.as_secs_f64() * 1e3);
        let memory = service.memory();
        let [resident, anonymous] = [memory.resident, memory.anonymous].map(|kib| kib / 1_024.0);
        println!("{name:<32} {first:>8.0} {warm:>8.0} {resident:>18.1} {anonymous:>18.1}");
        let figures = json!({
            "first_ms": first, "warm_ms": warm, "idle_resident_mib": resident, "idle_anonymous_mib": anonymous,
        });
        starts.insert(name.to_owned(), figures);
    }
    starts
}

/// A service with its showtimes.
struct Deployment {
    /// Index of its program.
    program: usize,
    place: Place,
    // The service ends before its storage is removed.
    service: Service,
    storage: Storage,
    requests: Requests,
}

impl Deployment {
    async fn start((number, program): (usize, &Program), place: Place) -> Self {
        let (store, cache) = match place {
            Place::Postgres => (Store::Postgres, "10000"),
            Place::Uncached => (Store::Postgres, "0"),
            Place::Sqlite => (Store::Sqlite, "10000"),
        };
        let storage = Storage::new(store).await;
        let service = Service::start(program, storage.setup().with("--showtime-cache", cache)).await;
        let requests = Requests::prepare(&service).await;
        if storage.is_postgres() {
            // Autovacuum would have run by the time that there are so many showtimes.
            storage.sql("VACUUM (ANALYZE)").await.expect("statistics of the showtimes");
        }
        Self { program: number, place, service, storage, requests }
    }

    fn call(&self, question: Question, in_flight: usize, seconds: f64) -> Outcome {
        let (path, messages) = match question {
            Question::Get => (GET, &self.requests.get),
            Question::OnePage => (LIST, &self.requests.one_page),
            Question::Pages => (LIST, &self.requests.pages),
        };
        let (address, path, messages) = (self.service.address.clone(), path.to_owned(), messages.clone());
        load::Plan { address, path, messages, in_flight, seconds }.run()
    }
}

/// Takes the turns of the contestants. What a contestant needs is made when it is first needed.
struct Runner {
    seconds: f64,
    programs: Vec<Program>,
    deployments: Vec<Deployment>,
    /// Each with its address.
    echoes: Vec<(Question, RoleProcess, String)>,
}

impl Runner {
    /// The outcome of the turn. For a service also that of [`per_cpu_second`].
    async fn turn(&mut self, program: usize, key: Key, contestant: Contestant) -> Vec<(Key, Outcome)> {
        let (seconds, in_flight) = (self.seconds, key.1);
        let mut outcomes = Vec::new();
        let outcome = match contestant {
            Contestant::Service(question, place) => {
                let deployment = self.deployment(program, place).await;
                let before = usage::cpu_seconds(deployment.service.id());
                let outcome = deployment.call(question, in_flight, seconds);
                let used = usage::cpu_seconds(deployment.service.id()) - before;
                if let Some(name) = per_cpu_second(key.0) {
                    let rate = outcome.rate * seconds * (1.0 + load::WARM_UP) / used;
                    outcomes.push(((name, in_flight), Outcome { rate, p50: f64::NAN, p99: f64::NAN, ..outcome }));
                }
                outcome
            }
            Contestant::Echo(question) => {
                let (path, messages) = (echo::PATH.to_owned(), vec![Vec::new()]);
                load::Plan { address: self.echo(question).await, path, messages, in_flight, seconds }.run()
            }
            Contestant::BarePostgres => {
                let url = self.deployment(program, Place::Postgres).await.storage.database().url();
                bare_postgres::Plan { url, connections: in_flight, seconds }.run()
            }
        };
        assert_eq!(outcome.failed, 0, "{key:?}: {outcome:?}");
        let whose = if self.programs.len() > 1 { ["this: ", "other: "][program] } else { "" };
        eprintln!("  {whose}{key:?}: {:.0}/s", outcome.rate);
        outcomes.push((key, outcome));
        outcomes
    }

    async fn deployment(&mut self, program: usize, place: Place) -> &Deployment {
        let found = self.deployments.iter().position(|other| (other.program, other.place) == (program, place));
        let at = if let Some(at) = found {
            at
        } else {
            self.deployments.push(Deployment::start((program, &self.programs[program]), place).await);
            self.deployments.len() - 1
        };
        &self.deployments[at]
    }

    /// The address of an echo whose answers are as long as those of the service to this question.
    async fn echo(&mut self, question: Question) -> String {
        if let Some((_, _, address)) = self.echoes.iter().find(|(of, ..)| *of == question) {
            return address.clone();
        }
        let deployment = self.deployment(0, Place::Postgres).await;
        let bytes = deployment.call(question, 1, 0.2).bytes;
        if question == Question::OnePage {
            let average = deployment.call(Question::Pages, 64, 0.5).bytes;
            let difference = (average as f64 / bytes as f64 - 1.0).abs();
            assert!(
                difference < SIZE_TOLERANCE,
                "the one page has {bytes} bytes, the different pages {average} on average"
            );
        }
        let (process, address) = RoleProcess::start(&["echo".to_owned(), bytes.to_string()]);
        self.echoes.push((question, process, address.clone()));
        address
    }
}
