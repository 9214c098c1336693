//! How fast showtimes are read, against a bare tonic echo that answers with as many bytes, in the same run.
//!
//! Services, Postgres and the load are processes of their own and share the machine, so only the ratios mean anything
//! elsewhere. Contestants take turns, round after round; the table shows medians, and a ratio is the median of the ratios
//! of each round.
//!
//! `cargo bench --bench server`, with `-- --rounds 7 --seconds 3` for more rounds and longer turns. The figures also go to
//! `target/bench/server.json`. With `-- --only 'list 256'` only the contestants whose name and number match take part, and
//! nothing is written.

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
    //! What services are asked for, and what Postgres alone does with it.

    pub(crate) mod bare_postgres;
    pub(crate) mod requests;
}

use std::time::Duration;

use harness::{Store, world::Ground};
use serde_json::{Map, Value, json};
use server::{
    bare_postgres::{self, CONNECTIONS},
    requests::{PAGE, PAGES, Requests},
};
use tests::harness;
use wire::{
    Role, echo,
    load::{self, Outcome},
    options::Options,
    service::Service,
    table::{self, Key, Ratio, Table},
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

/// Where the service is.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Postgres,
    /// On Postgres, with `--showtime-cache 0`.
    Uncached,
    Sqlite,
}

/// What a contestant does.
#[derive(Clone, Copy)]
enum What {
    Service(Question, Place),
    /// The bare echo, with answers as long as those to the question.
    Echo(Question),
    /// Postgres alone, with the query behind a page.
    BarePostgres,
}

const GET: &str = "/boxoffice.v1.Showtimes/GetShowtime";
const LIST: &str = "/boxoffice.v1.Showtimes/ListShowtimes";
const IN_FLIGHT: [usize; 3] = [1, 64, 256];
const ECHO_GET: &str = "echo, as get";
const ECHO_LIST: &str = "echo, as list";
const BARE: &str = "list query, bare postgres";
/// In the order of their turns, at each number of calls in flight. Those who are compared are near each other.
const CONTESTANTS: [(&str, What); 10] = [
    ("get, postgres", What::Service(Question::Get, Place::Postgres)),
    (ECHO_GET, What::Echo(Question::Get)),
    ("get, postgres, no cache", What::Service(Question::Get, Place::Uncached)),
    ("get, sqlite", What::Service(Question::Get, Place::Sqlite)),
    ("list, postgres", What::Service(Question::OnePage, Place::Postgres)),
    ("list pages, postgres", What::Service(Question::Pages, Place::Postgres)),
    (ECHO_LIST, What::Echo(Question::OnePage)),
    ("list, sqlite", What::Service(Question::OnePage, Place::Sqlite)),
    ("list pages, sqlite", What::Service(Question::Pages, Place::Sqlite)),
    ("list, postgres, no cache", What::Service(Question::OnePage, Place::Uncached)),
];
/// How much the average of the different pages may differ in size from the one page: one echo stands for both.
const SIZES_DIFFER: f64 = 0.1;
/// After this time a service that nobody calls is idle.
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
    let starts = if options.is_complete() { starts().await } else { Map::new() };
    let in_flight = IN_FLIGHT.iter().flat_map(|number| CONTESTANTS.map(|(name, what)| ((name, *number), what)));
    let contestants: Vec<(Key, What)> = in_flight.chain([((BARE, CONNECTIONS), What::BarePostgres)]).collect();
    let mut grounds = Grounds { seconds: options.seconds, services: Vec::new(), echoes: Vec::new() };
    let mut table = Table::default();
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        for (key, what) in contestants.iter().filter(|(key, _)| options.selects(key)) {
            let outcome = Box::pin(grounds.turn(key.1, *what)).await;
            assert_eq!(outcome.failed, 0, "{key:?}: {outcome:?}");
            eprintln!("  {key:?}: {:.0}/s", outcome.rate);
            table.add(*key, outcome);
        }
    }
    let results = table.print();
    let each = each(&table);
    let ratios = table::judge("ratios", &ratios(&table));
    if options.is_complete() {
        let figures = json!({
            "ratios": ratios, "each": each, "results": results, "starts": starts,
            "circumstances": {
                "rounds": options.rounds, "seconds": options.seconds, "page_size": PAGE, "different_pages": PAGES,
            },
        });
        table::write("server", &figures);
    }
}

/// The echo that a contestant is held against.
fn echo_of(name: &str) -> &'static str {
    if name.starts_with("list") { ECHO_LIST } else { ECHO_GET }
}

/// Every contestant's ratio to its echo, by name and number of calls in flight.
fn each(table: &Table) -> Map<String, Value> {
    println!("\n{:<32} {:>8} {:>8} {:>8}", "of the echo, in flight", IN_FLIGHT[0], IN_FLIGHT[1], IN_FLIGHT[2]);
    let mut each = Map::new();
    for (name, _) in CONTESTANTS.iter().filter(|(_, what)| matches!(what, What::Service(..))) {
        let ratios = IN_FLIGHT.map(|number| table.ratio((name, number), (echo_of(name), number)));
        if ratios.iter().any(|ratio| !ratio.is_nan()) {
            let [alone, some, many] = ratios.map(table::shown);
            println!("{name:<32} {alone:>8} {some:>8} {many:>8}");
            each.insert((*name).to_owned(), json!(ratios));
        }
    }
    each
}

/// At 256 calls in flight.
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

/// How long the service takes to start with its sample, and its memory when it is idle, on both stores.
async fn starts() -> Map<String, Value> {
    let mut starts = Map::new();
    println!("{:<32} {:>8} {:>8} {:>10}", "start with the sample", "first ms", "warm ms", "idle MiB");
    for (name, store) in [("sqlite", Store::Sqlite), ("postgres", Store::Postgres)] {
        let ground = Ground::new(store).await;
        let first = Service::start(ground.setup().with("--sample", "on")).await.started;
        let service = Service::start(ground.setup().with("--sample", "on")).await;
        tokio::time::sleep(IDLE_AFTER).await;
        let milliseconds = [first, service.started].map(|time| time.as_secs_f64() * 1e3);
        let mib = service.memory_mib();
        println!("{name:<32} {:>8.0} {:>8.0} {mib:>10.1}", milliseconds[0], milliseconds[1]);
        let figures = json!({ "first_ms": milliseconds[0], "warm_ms": milliseconds[1], "idle_resident_mib": mib });
        starts.insert(name.to_owned(), figures);
    }
    starts
}

/// A running service with its showtimes.
struct Served {
    place: Place,
    // The service ends before its ground is removed.
    service: Service,
    ground: Ground,
    requests: Requests,
}

impl Served {
    /// With its access lines, as it is run.
    async fn start(place: Place) -> Self {
        let (store, cache) = match place {
            Place::Postgres => (Store::Postgres, "10000"),
            Place::Uncached => (Store::Postgres, "0"),
            Place::Sqlite => (Store::Sqlite, "10000"),
        };
        let ground = Ground::new(store).await;
        let service = Service::start(ground.setup().with("--showtime-cache", cache)).await;
        let requests = Requests::prepare(&service).await;
        if ground.is_postgres() {
            // Autovacuum would have done this by the time that there are so many showtimes.
            ground.sql("VACUUM (ANALYZE)").await.expect("statistics of the showtimes");
        }
        Self { place, service, ground, requests }
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

/// Everything that the contestants need, made when it is first needed.
struct Grounds {
    seconds: f64,
    services: Vec<Served>,
    echoes: Vec<(Question, Role, String)>,
}

impl Grounds {
    async fn turn(&mut self, in_flight: usize, what: What) -> Outcome {
        let seconds = self.seconds;
        match what {
            What::Service(question, place) => self.service(place).await.call(question, in_flight, seconds),
            What::Echo(question) => {
                let (path, messages) = (echo::PATH.to_owned(), vec![Vec::new()]);
                load::Plan { address: self.echo(question).await, path, messages, in_flight, seconds }.run()
            }
            What::BarePostgres => {
                let url = self.service(Place::Postgres).await.ground.database().url();
                bare_postgres::Plan { url, connections: in_flight, seconds }.run()
            }
        }
    }

    async fn service(&mut self, place: Place) -> &Served {
        let found = self.services.iter().position(|served| served.place == place);
        let at = match found {
            Some(at) => at,
            None => {
                self.services.push(Served::start(place).await);
                self.services.len() - 1
            }
        };
        &self.services[at]
    }

    /// The address of an echo whose answers are as long as those of the service to this question.
    async fn echo(&mut self, question: Question) -> String {
        if let Some((_, _, address)) = self.echoes.iter().find(|(of, ..)| *of == question) {
            return address.clone();
        }
        let service = self.service(Place::Postgres).await;
        let bytes = service.call(question, 1, 0.2).bytes;
        if question == Question::OnePage {
            let others = service.call(Question::Pages, 64, 0.5).bytes;
            let differ = (others as f64 / bytes as f64 - 1.0).abs();
            assert!(
                differ < SIZES_DIFFER,
                "the one page has {bytes} bytes, the different pages have {others} on average"
            );
        }
        let (role, address) = Role::start(&["echo".to_owned(), bytes.to_string()]);
        self.echoes.push((question, role, address.clone()));
        address
    }
}
