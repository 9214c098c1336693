//! How fast seats are reserved, against what a database client would do by itself, and against a bare echo.
//!
//! Services, Postgres and the load are processes of their own and share the machine, so only the ratios mean anything
//! elsewhere. Reservations of the service include gRPC; those of the database clients do not. Contestants take turns, round
//! after round on new databases; the table shows medians, and a ratio is the median of the ratios of each round. Before each
//! turn Postgres writes a checkpoint, so that no contestant pays for the writes of another.
//!
//! `cargo bench --bench seat_contention`; `docs/benchmarks.md` explains the options and the figures, which also go to
//! `target/bench/seat_contention.json`.

#![expect(clippy::expect_used, clippy::cast_precision_loss, reason = "a bench says what it expected by panicking")]

#[path = "../tests"]
mod tests {
    #[macro_use]
    #[expect(dead_code, unused_imports, unused_macros, reason = "the tests use all of it")]
    pub(crate) mod harness;
}
mod contention;
#[expect(dead_code, reason = "another bench uses the rest")]
mod wire;

use contention::{
    deployment::{self, Deployment, Prices, SHOWTIMES},
    load::{self, Workload},
    messages, past,
    usual::{self, Way},
    usual_sqlite,
};
use harness::{Database, Store, supervisor};
use sea_orm::sqlx::{self, PgConnection};
use serde_json::json;
use tests::harness;
use wire::{
    RoleProcess, comparison, echo,
    options::Options,
    service::Program,
    table::{self, Key, Ratio, Table},
    tally::Outcome,
};

/// Seconds of a warm-up. At 256 calls in flight it reaches every showtime, and nearly every page of an index over a million
/// rows.
const WARM_UP: f64 = 3.0;

/// What a contestant does.
#[derive(Clone, Copy)]
enum Contestant {
    /// The bare echo, with requests and answers as long as those of `ReserveSeats`.
    Echo,
    /// The bare echo, with answers as long as the refusals of `ReserveSeats`.
    EchoRefusals,
    /// A database client on Postgres, with as many connections as there are calls in flight.
    Usual(Way),
    UsualSqlite,
    /// The service.
    Service(Place, Workload),
}

/// The deployment of a service.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Postgres,
    /// Three processes on one database.
    ThreeProcesses,
    /// With showtimes apart from those of other turns.
    OnePrice,
    /// With price lists of three ticket types.
    PriceLists,
    /// With ten past reservations in the database.
    TenPast,
    /// With a million past reservations in the database.
    MillionPast,
    Sqlite,
}

/// In the order of their turns. Contestants that are compared are neighbours.
const CONTESTANTS: [(Key, Contestant); 38] = [
    (("usual way", 1), Contestant::Usual(Way::Transaction)),
    // With one call in flight the figures vary most from turn to turn, so these take three turns in a round.
    (("one statement", 1), Contestant::Usual(Way::Statement)),
    (("echo", 1), Contestant::Echo),
    (("reserve", 1), Contestant::Service(Place::Postgres, Workload::Reserve)),
    (("reserve", 1), Contestant::Service(Place::Postgres, Workload::Reserve)),
    (("echo", 1), Contestant::Echo),
    (("one statement", 1), Contestant::Usual(Way::Statement)),
    (("one statement", 1), Contestant::Usual(Way::Statement)),
    (("echo", 1), Contestant::Echo),
    (("reserve", 1), Contestant::Service(Place::Postgres, Workload::Reserve)),
    (("usual way", 64), Contestant::Usual(Way::Transaction)),
    (("reserve", 64), Contestant::Service(Place::Postgres, Workload::Reserve)),
    (("one statement", 64), Contestant::Usual(Way::Statement)),
    (("reserve", 256), Contestant::Service(Place::Postgres, Workload::Reserve)),
    (("reserve, no request id", 256), Contestant::Service(Place::Postgres, Workload::ReserveWithoutId)),
    (("reserve", 1_024), Contestant::Service(Place::Postgres, Workload::Reserve)),
    (("reserve and confirm", 256), Contestant::Service(Place::Postgres, Workload::ReserveAndConfirm)),
    (("echo", 64), Contestant::Echo),
    (("echo", 256), Contestant::Echo),
    (("echo", 1_024), Contestant::Echo),
    (("one showtime", 256), Contestant::Service(Place::Postgres, Workload::OneShowtime)),
    ((SAME_SEATS, 500), Contestant::Service(Place::Postgres, Workload::SameSeats)),
    ((ECHO_REFUSALS, 500), Contestant::EchoRefusals),
    (("reserve, three processes", 256), Contestant::Service(Place::ThreeProcesses, Workload::Reserve)),
    // The two differ by less than one turn from the next. Each takes three turns in a round, and each goes first in turn.
    ((TEN_PAST, 256), Contestant::Service(Place::TenPast, Workload::Reserve)),
    ((MILLION_PAST, 256), Contestant::Service(Place::MillionPast, Workload::Reserve)),
    ((MILLION_PAST, 256), Contestant::Service(Place::MillionPast, Workload::Reserve)),
    ((TEN_PAST, 256), Contestant::Service(Place::TenPast, Workload::Reserve)),
    ((TEN_PAST, 256), Contestant::Service(Place::TenPast, Workload::Reserve)),
    ((MILLION_PAST, 256), Contestant::Service(Place::MillionPast, Workload::Reserve)),
    // In the same way.
    ((ONE_PRICE, 256), Contestant::Service(Place::OnePrice, Workload::Reserve)),
    ((THREE_TYPES, 256), Contestant::Service(Place::PriceLists, Workload::ReserveTypes)),
    ((THREE_TYPES, 256), Contestant::Service(Place::PriceLists, Workload::ReserveTypes)),
    ((ONE_PRICE, 256), Contestant::Service(Place::OnePrice, Workload::Reserve)),
    ((ONE_PRICE, 256), Contestant::Service(Place::OnePrice, Workload::Reserve)),
    ((THREE_TYPES, 256), Contestant::Service(Place::PriceLists, Workload::ReserveTypes)),
    ((USUAL_SQLITE, 1), Contestant::UsualSqlite),
    ((RESERVE_SQLITE, 256), Contestant::Service(Place::Sqlite, Workload::Reserve)),
];
const SAME_SEATS: &str = "same seats";
const ECHO_REFUSALS: &str = "echo, as refusals";
const TEN_PAST: &str = "reserve, 10 past";
const MILLION_PAST: &str = "reserve, 1,000,000 past";
const ONE_PRICE: &str = "reserve, one price";
const THREE_TYPES: &str = "reserve, three ticket types";
const USUAL_SQLITE: &str = "usual way, SQLite";
const RESERVE_SQLITE: &str = "reserve, SQLite";

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match arguments.first().map(String::as_str) {
        Some("echo") => runtime.block_on(echo::serve(arguments[1].parse().expect("a size"))),
        Some("contend") => runtime.block_on(load::run(&arguments[1])),
        Some("usual") => runtime.block_on(usual::run(&arguments[1])),
        Some("usual-sqlite") => runtime.block_on(usual_sqlite::run(&arguments[1])),
        _ => runtime.block_on(Box::pin(compare(&Options::parse(&arguments)))),
    }
}

async fn compare(options: &Options) {
    let programs = options.programs();
    let mut runner = Runner::new(options.seconds, programs.clone()).await;
    let mut tables: Vec<Table> = programs.iter().map(|_| Table::default()).collect();
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        let selected = CONTESTANTS.iter().filter(|(key, _)| options.selects(key));
        for (at, (key, contestant)) in selected.enumerate() {
            if matches!(contestant, Contestant::Service(..)) {
                for program in options.order(round + at) {
                    tables[program].add(*key, Box::pin(runner.turn(program, *key, *contestant)).await);
                }
            } else {
                let outcome = Box::pin(runner.turn(0, *key, *contestant)).await;
                for table in &mut tables {
                    table.add(*key, outcome);
                }
            }
        }
        runner.renew().await;
    }
    if let ([_, other], [built_table, other_table]) = (&programs[..], &tables[..]) {
        let figures = comparison::figures([built_table, other_table]);
        comparison::print(other, &figures, [ratios(built_table), ratios(other_table)]);
        return;
    }
    let results = tables[0].print();
    let ratios = table::print_ratios("ratios", &ratios(&tables[0]));
    if options.is_complete() {
        let circumstances = json!({
            "rounds": options.rounds, "seconds": options.seconds, "showtimes": SHOWTIMES,
            "seats_of_a_showtime": messages::SEATS, "reserve_answer_bytes": runner.sizes[0],
            "refusal_bytes": runner.sizes[1],
        });
        let figures = json!({ "ratios": ratios, "results": results, "circumstances": circumstances });
        table::write("seat_contention", &figures);
    }
}

fn ratios(table: &Table) -> Vec<Ratio> {
    let reserve = ("reserve", 256);
    let (usual, statement) = (("usual way", 64), ("one statement", 64));
    let at_least = |name, key, with, must, aim| Ratio::at_least(name, table.ratio(key, with), must, aim);
    vec![
        at_least("reserve_vs_usual", reserve, usual, 3.0, 5.0),
        at_least("reserve64_vs_usual", ("reserve", 64), usual, 2.5, 4.0),
        at_least("reserve_vs_statement", reserve, statement, 1.4, 2.5),
        at_least("refusals_vs_echo", (SAME_SEATS, 500), (ECHO_REFUSALS, 500), 0.5, 0.8),
        at_least("million_vs_empty", (MILLION_PAST, 256), (TEN_PAST, 256), 0.9, 0.97),
        at_least("types_vs_price", (THREE_TYPES, 256), (ONE_PRICE, 256), 0.95, 1.0),
        at_least("sqlite_reserve_vs_usual", (RESERVE_SQLITE, 256), (USUAL_SQLITE, 1), 4.0, 8.0),
        Ratio::at_most("single_vs_statement_plus_echo", single(table), 2.0, 1.5),
    ]
}

/// The median latency of one reservation with nothing else in flight, over that of one statement and one echo together.
fn single(table: &Table) -> f64 {
    let reservations = table.of(("reserve", 1)).iter();
    let baselines = table.of(("one statement", 1)).iter().zip(table.of(("echo", 1)));
    let ratios =
        reservations.zip(baselines).map(|(reserve, (statement, echo))| reserve.p50 / (statement.p50 + echo.p50));
    table::median(ratios.collect())
}

/// Takes the turns of the contestants. What a contestant needs is made when it is first needed.
struct Runner {
    seconds: f64,
    programs: Vec<Program>,
    usual: Database,
    postgres: PgConnection,
    /// Each with its program, as an index of `programs`.
    deployments: Vec<(usize, Place, Deployment)>,
    echoes: [Option<(RoleProcess, String)>; 2],
    /// Bytes of an answer to `ReserveSeats`, and of a refusal.
    sizes: [usize; 2],
}

impl Runner {
    async fn new(seconds: f64, programs: Vec<Program>) -> Self {
        let usual = Database::create().await;
        usual::prepare(&usual.url()).await;
        let postgres = usual::connect(&usual.url()).await;
        Self { seconds, programs, usual, postgres, deployments: Vec::new(), echoes: [None, None], sizes: [0, 0] }
    }

    /// Removes the deployments, so that the next round begins on new databases.
    async fn renew(&mut self) {
        self.deployments.clear();
        usual::prepare(&self.usual.url()).await;
    }

    async fn turn(&mut self, program: usize, key: Key, contestant: Contestant) -> Outcome {
        let (seconds, in_flight) = (self.seconds, key.1);
        let outcome = match contestant {
            Contestant::Echo => self.echo(0, Workload::Reserve, in_flight).await,
            Contestant::EchoRefusals => self.echo(1, Workload::SameSeats, in_flight).await,
            Contestant::Usual(way) => {
                self.checkpoint().await;
                let (url, seed) = (self.usual.url(), deployment::seed());
                usual::Plan { way, url, showtimes: SHOWTIMES, connections: in_flight, seconds, seed }.run()
            }
            Contestant::UsualSqlite => {
                self.checkpoint().await;
                let folder = supervisor::folder("usual-");
                let file = folder.path().join("usual.db").to_str().expect("a path in UTF-8").to_owned();
                usual_sqlite::Plan { file, showtimes: SHOWTIMES, seconds, seed: deployment::seed() }.run()
            }
            Contestant::Service(place, workload) => self.load(program, place, workload, in_flight).await,
        };
        assert_eq!(outcome.failed, 0, "{key:?}: {outcome:?}");
        let whose = if self.programs.len() > 1 { ["this: ", "other: "][program] } else { "" };
        eprintln!("  {whose}{key:?}: {:.0}/s", outcome.rate);
        outcome
    }

    async fn load(&mut self, program: usize, place: Place, workload: Workload, in_flight: usize) -> Outcome {
        let at = self.deployment(program, place).await;
        self.checkpoint().await;
        if matches!(place, Place::TenPast | Place::MillionPast) {
            // The first change of a page after a checkpoint writes the whole page to the log, and more rows are on more
            // pages. Checkpoints are minutes apart in production; here it would be most of a turn.
            self.deployments[at].2.load(workload, in_flight, WARM_UP);
        }
        self.deployments[at].2.load(workload, in_flight, self.seconds)
    }

    /// Writes what other contestants have left to be written.
    async fn checkpoint(&mut self) {
        sqlx::raw_sql("CHECKPOINT").execute(&mut self.postgres).await.expect("a checkpoint");
    }

    /// The index of a deployment, which is made if it does not exist.
    async fn deployment(&mut self, program: usize, place: Place) -> usize {
        if let Some(at) = self.deployments.iter().position(|(other, at, _)| (*other, *at) == (program, place)) {
            return at;
        }
        let (store, processes) = match place {
            Place::Postgres | Place::OnePrice | Place::PriceLists | Place::TenPast | Place::MillionPast => {
                (Store::Postgres, 1)
            }
            Place::ThreeProcesses => (Store::Postgres, 3),
            Place::Sqlite => (Store::Sqlite, 1),
        };
        let prices = if place == Place::PriceLists { Prices::List } else { Prices::One };
        let mut deployment = Deployment::start(&self.programs[program], store, processes, prices).await;
        match place {
            Place::TenPast => past::write(&deployment.storage, 10).await,
            Place::MillionPast => past::write(&deployment.storage, 1_000_000).await,
            Place::Postgres | Place::ThreeProcesses | Place::OnePrice | Place::PriceLists | Place::Sqlite => {}
        }
        // A service that has run for a while has seen every showtime.
        deployment.load(Workload::Reserve, 256, WARM_UP);
        self.deployments.push((program, place, deployment));
        self.deployments.len() - 1
    }

    /// A turn of an echo whose answers are as long as those of the service to this workload.
    async fn echo(&mut self, which: usize, workload: Workload, in_flight: usize) -> Outcome {
        if self.echoes[which].is_none() {
            let at = self.deployment(0, Place::Postgres).await;
            let bytes = self.deployments[at].2.load(workload, in_flight, 0.2).bytes;
            self.sizes[which] = bytes;
            self.echoes[which] = Some(RoleProcess::start(&["echo".to_owned(), bytes.to_string()]));
        }
        let address = self.echoes[which].as_ref().map(|(_, address)| address.clone()).expect("an echo");
        let showtimes = (0..SHOWTIMES).map(|_| harness::request_id()).collect();
        let (seconds, seed) = (self.seconds, deployment::seed());
        let (addresses, echo, first) = (vec![address], true, 0);
        load::Plan { workload, addresses, echo, showtimes, first, in_flight, seconds, seed }.run().outcome
    }
}
