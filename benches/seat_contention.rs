//! How fast seats are reserved, against what a database client would do by itself, and against a bare tonic echo.
//!
//! Servers, Postgres and whoever puts load on them are processes of their own, and share the machine: only ratios mean
//! anything elsewhere. Reservations of the service go over gRPC; those that it is held against do not. Contestants take
//! turns, round after round on new databases; the table shows medians, and a ratio is that of neighbours in a round. Before
//! each turn Postgres writes a checkpoint, so that nobody pays for those before; those with a past are warmed up after it.
//!
//! `cargo bench --bench seat_contention`, with `-- --rounds 7 --seconds 3` for more patience; figures also go to
//! `target/bench/seat_contention.json`. With `-- --only 'sqlite,echo 64'` only those take part that have one of these
//! in their names and numbers of callers, and nothing is written.

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
    asked,
    cinema::{self, Cinema, SHOWTIMES},
    load::{self, Shape},
    past,
    usual::{self, Way},
    usual_sqlite,
};
use harness::{Database, Store, supervisor};
use sea_orm::sqlx::{self, PgConnection};
use serde_json::json;
use tests::harness;
use wire::{
    Role, echo,
    load::Outcome,
    options::Options,
    table::{self, Key, Ratio, Table},
};

/// Seconds in which a load at 256 comes to every showtime, and to nearly every page of an index over a million rows.
const WARM_UP: f64 = 3.0;

/// What a contestant does.
#[derive(Clone, Copy)]
enum What {
    /// The bare echo, asked and answering in the sizes of `ReserveSeats`,
    Echo,
    /// or in those of its refusals.
    EchoRefusals,
    /// A database client, on so many connections.
    Usual(Way),
    UsualSqlite,
    /// The service.
    Ours(Place, Shape),
}

/// Where the service is.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Postgres,
    /// Three processes on one database.
    Three,
    /// With ten reservations of the past,
    TenPast,
    /// or a million.
    MillionPast,
    Sqlite,
}

/// In the order of their turns: those who are compared are neighbours.
const CONTESTANTS: [(Key, What); 32] = [
    (("usual way", 1), What::Usual(Way::Transaction)),
    // Alone, everybody depends on how the machine feels just then.
    (("one statement", 1), What::Usual(Way::Statement)),
    (("echo", 1), What::Echo),
    (("reserve", 1), What::Ours(Place::Postgres, Shape::Reserve)),
    (("reserve", 1), What::Ours(Place::Postgres, Shape::Reserve)),
    (("echo", 1), What::Echo),
    (("one statement", 1), What::Usual(Way::Statement)),
    (("one statement", 1), What::Usual(Way::Statement)),
    (("echo", 1), What::Echo),
    (("reserve", 1), What::Ours(Place::Postgres, Shape::Reserve)),
    (("usual way", 64), What::Usual(Way::Transaction)),
    (("reserve", 64), What::Ours(Place::Postgres, Shape::Reserve)),
    (("one statement", 64), What::Usual(Way::Statement)),
    (("reserve", 256), What::Ours(Place::Postgres, Shape::Reserve)),
    (("reserve, no request id", 256), What::Ours(Place::Postgres, Shape::ReserveUnnamed)),
    (("reserve", 1_024), What::Ours(Place::Postgres, Shape::Reserve)),
    (("reserve and confirm", 256), What::Ours(Place::Postgres, Shape::Sell)),
    (("echo", 64), What::Echo),
    (("echo", 256), What::Echo),
    (("echo", 1_024), What::Echo),
    (("one hot showtime", 256), What::Ours(Place::Postgres, Shape::Hot)),
    (("crowd", 500), What::Ours(Place::Postgres, Shape::Crowd)),
    (("echo, as refusals", 500), What::EchoRefusals),
    (("reserve, three processes", 256), What::Ours(Place::Three, Shape::Reserve)),
    // These differ by less than a turn from the next: they take more of them, and either goes first.
    (("reserve, 10 past", 256), What::Ours(Place::TenPast, Shape::Reserve)),
    (("reserve, 1,000,000 past", 256), What::Ours(Place::MillionPast, Shape::Reserve)),
    (("reserve, 1,000,000 past", 256), What::Ours(Place::MillionPast, Shape::Reserve)),
    (("reserve, 10 past", 256), What::Ours(Place::TenPast, Shape::Reserve)),
    (("reserve, 10 past", 256), What::Ours(Place::TenPast, Shape::Reserve)),
    (("reserve, 1,000,000 past", 256), What::Ours(Place::MillionPast, Shape::Reserve)),
    (("usual way, SQLite", 1), What::UsualSqlite),
    (("reserve, SQLite", 256), What::Ours(Place::Sqlite, Shape::Reserve)),
];

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
    let (rounds, seconds) = (options.rounds, options.seconds);
    let mut grounds = Grounds::new(seconds).await;
    let mut table = Table::default();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for (key, what) in CONTESTANTS.iter().filter(|(key, _)| options.selects(key)) {
            let outcome = Box::pin(grounds.turn(key.1, *what)).await;
            assert_eq!(outcome.failed, 0, "{key:?}: {outcome:?}");
            eprintln!("  {key:?}: {:.0}/s", outcome.rate);
            table.add(*key, outcome);
        }
        grounds.renew().await;
    }
    let circumstances = json!({
        "rounds": rounds, "seconds": seconds, "showtimes": SHOWTIMES, "seats_of_a_showtime": asked::SEATS,
        "reserve_answer_bytes": grounds.sizes[0], "refusal_bytes": grounds.sizes[1],
    });
    let results = table.print();
    let ratios = table::judge("ratios", &ratios(&table));
    if options.is_complete() {
        let figures = json!({ "ratios": ratios, "results": results, "circumstances": circumstances });
        table::write("seat_contention", &figures);
    }
}

fn ratios(table: &Table) -> Vec<Ratio> {
    let reserve = ("reserve", 256);
    let (usual, statement) = (("usual way", 64), ("one statement", 64));
    let (crowd, refusals) = (("crowd", 500), ("echo, as refusals", 500));
    let (million, ten) = (("reserve, 1,000,000 past", 256), ("reserve, 10 past", 256));
    let (sqlite, usual_sqlite) = (("reserve, SQLite", 256), ("usual way, SQLite", 1));
    let at_least = |name, key, with, must, aim| Ratio::at_least(name, table.ratio(key, with), must, aim);
    vec![
        at_least("reserve_vs_usual", reserve, usual, 3.0, 5.0),
        at_least("reserve64_vs_usual", ("reserve", 64), usual, 2.5, 4.0),
        at_least("reserve_vs_statement", reserve, statement, 1.4, 2.5),
        at_least("refusals_vs_echo", crowd, refusals, 0.5, 0.8),
        at_least("million_vs_empty", million, ten, 0.9, 0.97),
        at_least("sqlite_reserve_vs_usual", sqlite, usual_sqlite, 4.0, 8.0),
        Ratio::at_most("single_vs_statement_plus_echo", single(table), 2.0, 1.5),
    ]
}

/// One reservation alone, over one statement alone and the echo of one call.
fn single(table: &Table) -> f64 {
    let ours = table.of(("reserve", 1)).iter();
    let theirs = table.of(("one statement", 1)).iter().zip(table.of(("echo", 1)));
    table::middle(ours.zip(theirs).map(|(ours, (statement, echo))| ours.p50 / (statement.p50 + echo.p50)).collect())
}

/// Everything that the contestants stand on, made when it is first needed.
struct Grounds {
    seconds: f64,
    usual: Database,
    postgres: PgConnection,
    cinemas: Vec<(Place, Cinema)>,
    echoes: [Option<(Role, String)>; 2],
    /// Bytes of an answer to `ReserveSeats`, and of a refusal.
    sizes: [usize; 2],
}

impl Grounds {
    async fn new(seconds: f64) -> Self {
        let usual = Database::create().await;
        usual::prepare(&usual.url()).await;
        let postgres = usual::connect(&usual.url()).await;
        Self { seconds, usual, postgres, cinemas: Vec::new(), echoes: [None, None], sizes: [0, 0] }
    }

    /// Ends the round: the next one begins on new databases.
    async fn renew(&mut self) {
        self.cinemas.clear();
        usual::prepare(&self.usual.url()).await;
    }

    async fn turn(&mut self, in_flight: usize, what: What) -> Outcome {
        let seconds = self.seconds;
        match what {
            What::Echo => self.echo(0, Shape::Reserve, in_flight).await,
            What::EchoRefusals => self.echo(1, Shape::Crowd, in_flight).await,
            What::Usual(way) => {
                self.settle().await;
                let (url, seed) = (self.usual.url(), cinema::seed());
                usual::Plan { way, url, showtimes: SHOWTIMES, connections: in_flight, seconds, seed }.run()
            }
            What::UsualSqlite => {
                self.settle().await;
                let folder = supervisor::folder("usual-");
                let file = folder.path().join("usual.db").to_str().expect("a readable path").to_owned();
                usual_sqlite::Plan { file, showtimes: SHOWTIMES, seconds, seed: cinema::seed() }.run()
            }
            What::Ours(place, shape) => {
                let at = self.cinema(place).await;
                self.settle().await;
                if matches!(place, Place::TenPast | Place::MillionPast) {
                    // What comes first after a checkpoint writes whole pages, and more of them where there are more. In
                    // life that is spread over minutes; here it would be most of a turn.
                    self.cinemas[at].1.load(shape, in_flight, WARM_UP);
                }
                self.cinemas[at].1.load(shape, in_flight, seconds)
            }
        }
    }

    /// Nobody has to write what others left to be written.
    async fn settle(&mut self) {
        sqlx::raw_sql("CHECKPOINT").execute(&mut self.postgres).await.expect("a checkpoint");
    }

    /// Opens this cinema if it is not open, and answers where it is.
    async fn cinema(&mut self, place: Place) -> usize {
        if let Some(at) = self.cinemas.iter().position(|(open, _)| *open == place) {
            return at;
        }
        let (store, servers) = match place {
            Place::Postgres | Place::TenPast | Place::MillionPast => (Store::Postgres, 1),
            Place::Three => (Store::Postgres, 3),
            Place::Sqlite => (Store::Sqlite, 1),
        };
        let mut cinema = Cinema::open(store, servers).await;
        match place {
            Place::TenPast => past::write(&cinema.ground, 10).await,
            Place::MillionPast => past::write(&cinema.ground, 1_000_000).await,
            Place::Postgres | Place::Three | Place::Sqlite => {}
        }
        // A service that has been open for a while has seen every showtime.
        cinema.load(Shape::Reserve, 256, WARM_UP);
        self.cinemas.push((place, cinema));
        self.cinemas.len() - 1
    }

    /// An echo whose answers are as long as those of the service to this load.
    async fn echo(&mut self, which: usize, shape: Shape, in_flight: usize) -> Outcome {
        if self.echoes[which].is_none() {
            let at = self.cinema(Place::Postgres).await;
            let bytes = self.cinemas[at].1.load(shape, in_flight, 0.2).bytes;
            self.sizes[which] = bytes;
            self.echoes[which] = Some(Role::start(&["echo".to_owned(), bytes.to_string()]));
        }
        let address = self.echoes[which].as_ref().map(|(_, address)| address.clone()).expect("an echo");
        let showtimes = (0..SHOWTIMES).map(|_| harness::request_id()).collect();
        let (seconds, seed) = (self.seconds, cinema::seed());
        let plan =
            load::Plan { shape, addresses: vec![address], echo: true, showtimes, first: 0, in_flight, seconds, seed };
        plan.run().outcome
    }
}
