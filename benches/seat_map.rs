//! How fast a seat map of 616 seats is shown, and told to thousands who watch it, against a bare tonic server that says as
//! many bytes in the same run.
//!
//! Servers, Postgres and whoever puts load on them are processes of their own, and share the machine: only ratios mean
//! anything elsewhere. Contestants take turns, round after round on new databases, each service in a new process; the table
//! shows medians, and a ratio is that of neighbours in a round.
//!
//! `cargo bench --bench seat_map`, with `-- --rounds 7 --seconds 3` for more patience; figures also go to
//! `target/bench/seat_map.json`. With `-- --only 'echo 64,floor'` only those take part that have one of these in their
//! names and numbers, and nothing is written.

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
    //! Those who look and those who watch, and what they look at.

    pub(crate) mod change;
    pub(crate) mod house;
}

use contention::{
    cinema::seed,
    table::{self, Key, Ratio, Table},
};
use seat_map::{change, house::House};
use serde_json::json;
use tests::harness;
use wire::{
    Role, echo,
    load::{self, Outcome},
};

const GET: &str = "/boxoffice.v1.Showtimes/GetSeatMap";
/// Changes a second of the map that is shown meanwhile: reservations and cancellations.
const WRITES: f64 = 2_000.0;
/// Those who make them. Each has its turn every 64 ms, and is seldom late.
const WRITERS: usize = 128;

/// What a contestant does.
#[derive(Clone, Copy)]
enum What {
    /// The bare echo, asked and answering in the sizes of `GetSeatMap`.
    Echo,
    /// The service, asked for the map,
    Show,
    /// and while the map changes.
    ShowUnderWrites,
}

/// In the order of their turns: those who are compared are neighbours.
const CONTESTANTS: [(Key, What); 6] = [
    (("seat map", 64), What::Show),
    (("echo", 64), What::Echo),
    (("seat map under writes", 64), What::ShowUnderWrites),
    (("seat map", 256), What::Show),
    (("echo", 256), What::Echo),
    (("seat map under writes", 256), What::ShowUnderWrites),
];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match arguments.first().map(String::as_str) {
        Some("echo") => runtime.block_on(echo::serve(arguments[1].parse().expect("a size"))),
        Some("load") => runtime.block_on(load::run(&arguments[1])),
        Some("change") => runtime.block_on(change::run(&arguments[1])),
        _ => runtime.block_on(Box::pin(compare(&arguments))),
    }
}

async fn compare(arguments: &[String]) {
    let option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name);
        at.map(|at| arguments.get(at + 1).unwrap_or_else(|| panic!("{name} takes a value")).as_str())
    };
    let number = |name, default: f64| option(name).map_or(default, |value| value.parse().expect("a number"));
    let (rounds, seconds) = (number("--rounds", 5.0), number("--seconds", 2.0));
    let only = option("--only").unwrap_or_default().to_lowercase();

    let mut grounds = Grounds { seconds, house: House::open().await, echo: None, bytes: 0 };
    let mut calls = Table::default();
    let mut round = 0.0;
    while round < rounds {
        round += 1.0;
        eprintln!("round {round} of {rounds}");
        for (key, what) in CONTESTANTS.iter().filter(|(key, _)| takes_part(key, &only)) {
            Box::pin(grounds.turn(*key, *what, &mut calls)).await;
        }
        grounds.house = House::open().await;
    }
    let circumstances = json!({ "rounds": rounds, "seconds": seconds, "answer_bytes": grounds.bytes });
    let results = calls.print();
    let ratios = table::judge("ratios", &ratios(&calls));
    if only.is_empty() {
        let figures = json!({ "ratios": ratios, "results": results, "circumstances": circumstances });
        table::write("seat_map", &figures);
    }
}

/// Whether one of the words, which commas part, is in a contestant's name and number.
fn takes_part(key: &Key, only: &str) -> bool {
    let name = format!("{} {}", key.0, key.1).to_lowercase();
    only.split(',').any(|word| name.contains(word))
}

/// Of several, the worst.
fn ratios(calls: &Table) -> Vec<Ratio> {
    let lower = |name| [64, 256].map(|at| calls.ratio((name, at), ("echo", at))).into_iter().fold(f64::NAN, f64::min);
    vec![
        Ratio::at_least("seat_map_vs_echo", lower("seat map"), 1.2, 1.5),
        Ratio::at_least("seat_map_under_writes_vs_echo", lower("seat map under writes"), 0.9, 1.2),
    ]
}

/// Everything that the contestants stand on.
struct Grounds {
    seconds: f64,
    house: House,
    echo: Option<(Role, String)>,
    /// Of an answer to `GetSeatMap`.
    bytes: usize,
}

impl Grounds {
    async fn turn(&mut self, key: Key, what: What, calls: &mut Table) {
        let outcome = match what {
            What::Echo => self.echo(key.1).await,
            What::Show => self.show(&self.house.serve().await.address, key.1, self.seconds),
            What::ShowUnderWrites => {
                let server = self.house.serve().await;
                let (address, showtime) = (server.address.clone(), self.house.showtime.clone());
                let plan = change::Plan { address, showtime, callers: WRITERS, pace: Some(WRITES), seed: seed() };
                let writing = plan.begin();
                let outcome = self.show(&server.address, key.1, self.seconds);
                let written: Outcome = writing.finish();
                eprintln!("  {:.0} changes/s meanwhile", written.rate);
                calls.add(("changes meanwhile", key.1), written);
                outcome
            }
        };
        assert_eq!(outcome.failed, 0, "{key:?}: {outcome:?}");
        eprintln!("  {key:?}: {:.0}/s", outcome.rate);
        calls.add(key, outcome);
    }

    fn show(&self, address: &str, in_flight: usize, seconds: f64) -> Outcome {
        self.call(address, GET, in_flight, seconds)
    }

    fn call(&self, address: &str, path: &str, in_flight: usize, seconds: f64) -> Outcome {
        let (address, path) = (address.to_owned(), path.to_owned());
        load::Plan { address, path, messages: vec![self.house.ask()], in_flight, seconds }.run()
    }

    /// An echo whose answers are as long as those of the service.
    async fn echo(&mut self, in_flight: usize) -> Outcome {
        if self.echo.is_none() {
            self.bytes = self.show(&self.house.serve().await.address, 1, 0.2).bytes;
            self.echo = Some(Role::start(&["echo".to_owned(), self.bytes.to_string()]));
        }
        let address = self.echo.as_ref().map(|(_, address)| address.clone()).expect("an echo");
        self.call(&address, echo::PATH, in_flight, self.seconds)
    }
}
