//! How many tickets a second are checked and used at doors: `ValidateTicket` against a bare echo, `UseTicket` against an UPDATE
//! that a database client prepares, and how many codes are drawn.
//!
//! The service, Postgres and the load are processes of their own and share the machine, so only the ratios mean anything elsewhere.
//! Contestants take turns, round after round on new databases; the table shows medians, and a ratio is the median of the ratios of each
//! round. Each use has a ticket of its own, which is written before the turn. Before each turn Postgres writes a checkpoint.
//!
//! `cargo bench --bench tickets`; `docs/benchmarks.md` explains the options and the figures, which also go to
//! `target/bench/tickets.json`.

#![expect(clippy::expect_used, clippy::cast_precision_loss, reason = "a bench says what it expected by panicking")]

#[path = "../tests"]
mod tests {
    #[macro_use]
    #[expect(dead_code, unused_imports, unused_macros, reason = "the tests use all of it")]
    pub(crate) mod harness;
}
#[expect(dead_code, reason = "another bench uses the rest")]
mod wire;
mod tickets {
    //! Doors, the UPDATE that they are compared with, the drawing of codes, and the deployments with their tickets.

    pub(crate) mod deployment;
    pub(crate) mod doors;
    pub(crate) mod drawing;
    pub(crate) mod update;
    pub(crate) mod usable;
}

use serde_json::json;
use tests::harness;
use tickets::{
    deployment::{Deployment, SHOWTIMES},
    doors, drawing, update,
};
use wire::{
    RoleProcess, comparison, echo, load,
    options::Options,
    service::Program,
    table::{self, Key, Ratio, Table, median},
    tally::Outcome,
};

use crate::harness::Store;

/// What a contestant does.
#[derive(Clone, Copy, PartialEq)]
enum Contestant {
    /// The bare echo, with answers as long as those of `ValidateTicket`.
    Echo,
    /// `ValidateTicket`, by code.
    Validate(Store),
    /// A database client uses tickets, by one prepared UPDATE each.
    Update,
    /// `UseTicket`, by code.
    Use(Store),
    /// `GetDoorList` of a large auditorium that is sold out.
    List(Store),
    /// Codes are drawn as SVG, on one thread and without a service.
    Draw,
}

const ECHO: Key = ("echo", 64);
const VALIDATE: Key = ("validate", 64);
const UPDATE: Key = ("one update", 64);
const USE: Key = ("use", 64);
const DRAW: Key = ("svg code", 1);

/// In the order of their turns. Contestants that are compared are neighbours.
const CONTESTANTS: [(Key, Contestant); 12] = [
    (ECHO, Contestant::Echo),
    (VALIDATE, Contestant::Validate(Store::Postgres)),
    (("one update", 1), Contestant::Update),
    (("use", 1), Contestant::Use(Store::Postgres)),
    (UPDATE, Contestant::Update),
    (USE, Contestant::Use(Store::Postgres)),
    (("use", 256), Contestant::Use(Store::Postgres)),
    (("door list", 64), Contestant::List(Store::Postgres)),
    (("validate, sqlite", 64), Contestant::Validate(Store::Sqlite)),
    (("use, sqlite", 64), Contestant::Use(Store::Sqlite)),
    (("door list, sqlite", 64), Contestant::List(Store::Sqlite)),
    (DRAW, Contestant::Draw),
];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match arguments.first().map(String::as_str) {
        Some("echo") => runtime.block_on(echo::serve(arguments[1].parse().expect("a size"))),
        Some("load") => runtime.block_on(load::run(&arguments[1])),
        Some("doors") => runtime.block_on(doors::run(&arguments[1])),
        Some("update") => runtime.block_on(update::run(&arguments[1])),
        _ => runtime.block_on(Box::pin(compare(&Options::parse(&arguments)))),
    }
}

async fn compare(options: &Options) {
    let programs = options.programs();
    let mut runner = Runner::new(options);
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        let selected = CONTESTANTS.iter().filter(|(key, _)| options.selects(key));
        for (at, (key, contestant)) in selected.enumerate() {
            if matches!(contestant, Contestant::Validate(_) | Contestant::Use(_) | Contestant::List(_)) {
                for program in options.order(round + at) {
                    let outcome = Box::pin(runner.turn(program, *key, *contestant)).await;
                    runner.tables[program].add(*key, outcome);
                }
            } else {
                let outcome = Box::pin(runner.turn(0, *key, *contestant)).await;
                runner.tables.iter_mut().for_each(|table| table.add(*key, outcome));
            }
        }
        runner.deployments.clear();
    }
    if let ([_, other], [built, other_table]) = (&programs[..], &runner.tables[..]) {
        let figures = comparison::figures([built, other_table]);
        comparison::print(other, &figures, [ratios(built), ratios(other_table)]);
        return;
    }
    let results = runner.tables[0].print();
    let ratios = table::print_ratios("ratios", &ratios(&runner.tables[0]));
    if options.is_complete() {
        let circumstances = json!({ "rounds": options.rounds, "seconds": options.seconds, "showtimes": SHOWTIMES });
        table::write("tickets", &json!({ "ratios": ratios, "results": results, "circumstances": circumstances }));
    }
}

fn ratios(table: &Table) -> Vec<Ratio> {
    let drawn = median(table.of(DRAW).iter().map(|outcome| outcome.rate / 1e3).collect());
    vec![
        Ratio::at_least("validate_vs_echo", table.ratio(VALIDATE, ECHO), 0.5, 0.7),
        Ratio::at_least("use_vs_update", table.ratio(USE, UPDATE), 1.0, 1.5),
        Ratio::at_least("svg_code_thousands", drawn, 5.0, 10.0),
    ]
}

/// Takes the turns of the contestants. What a contestant needs is made when it is first needed.
struct Runner {
    seconds: f64,
    programs: Vec<Program>,
    /// One for each program.
    tables: Vec<Table>,
    deployments: Vec<Deployment>,
    /// With its address.
    echo: Option<(RoleProcess, String)>,
}

impl Runner {
    fn new(options: &Options) -> Self {
        let (programs, seconds) = (options.programs(), options.seconds);
        let tables = programs.iter().map(|_| Table::default()).collect();
        Self { seconds, programs, tables, deployments: Vec::new(), echo: None }
    }

    async fn turn(&mut self, program: usize, key: Key, contestant: Contestant) -> Outcome {
        let (seconds, in_flight) = (self.seconds, key.1);
        let outcome = match contestant {
            Contestant::Echo => {
                let (path, messages) = (echo::PATH.to_owned(), vec![Vec::new()]);
                load::Plan { address: self.echo().await, path, messages, in_flight, seconds }.run()
            }
            Contestant::Validate(store) => self.deployment(program, store).await.validate(in_flight, seconds),
            Contestant::Update => self.deployment(program, Store::Postgres).await.update(in_flight, seconds).await,
            Contestant::Use(store) => self.deployment(program, store).await.use_tickets(in_flight, seconds).await,
            Contestant::List(store) => self.deployment(program, store).await.list(in_flight, seconds),
            Contestant::Draw => drawing::run(seconds).await,
        };
        assert_eq!(outcome.failed, 0, "{key:?}: {outcome:?}");
        let whose = if self.programs.len() > 1 { ["this: ", "other: "][program] } else { "" };
        eprintln!("  {whose}{key:?}: {:.0}/s", outcome.rate);
        outcome
    }

    async fn deployment(&mut self, program: usize, store: Store) -> &mut Deployment {
        let found = self.deployments.iter().position(|one| (one.program, one.store) == (program, store));
        let at = if let Some(at) = found {
            at
        } else {
            self.deployments.push(Deployment::start((program, &self.programs[program]), store).await);
            self.deployments.len() - 1
        };
        &mut self.deployments[at]
    }

    /// The address of an echo whose answers are as long as those of `ValidateTicket`.
    async fn echo(&mut self) -> String {
        if self.echo.is_none() {
            let bytes = self.deployment(0, Store::Postgres).await.validate(1, 0.2).bytes;
            self.echo = Some(RoleProcess::start(&["echo".to_owned(), bytes.to_string()]));
        }
        self.echo.as_ref().map(|(_, address)| address.clone()).expect("the echo runs")
    }
}
