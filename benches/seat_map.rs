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
    pub(crate) mod fan;
    pub(crate) mod floor;
    pub(crate) mod frames;
    pub(crate) mod house;
    pub(crate) mod report;
    pub(crate) mod watcher;
}

use contention::cinema::seed;
use harness::Redis;
use seat_map::{
    change,
    fan::{self, PACE, Source, Told},
    floor::{self, Pace},
    house::House,
    report::{self, ECHO_CPU, FLOOR, FLOOR_ALL, Fans, SHOW_CPU, TWO, WATCH, WATCH_ALL},
};
use serde_json::json;
use tests::harness;
use wire::{
    Role, account, echo,
    load::{self, Outcome},
    options::Options,
    service::Service,
    table::{self, Key, Table},
};

const GET: &str = "/boxoffice.v1.Showtimes/GetSeatMap";
const FOLLOW: &str = "/boxoffice.v1.Showtimes/WatchSeatMap";
/// Changes a second of the map that is shown meanwhile: 2,000 reservations, and as many cancellations, which make room again.
const WRITES: f64 = 4_000.0;
/// Those who make them. Each has its turn every 32 ms, and is seldom late.
const WRITERS: usize = 128;
/// Those who make changes for many to watch, a few a second,
const FEW: usize = 4;
/// or as many as it goes.
const MANY: usize = 64;
/// A few changes a second are watched for longer: there is little to be seen of each.
const PATIENCE: f64 = 2.0;

/// What a contestant does.
#[derive(Clone, Copy)]
enum What {
    /// The bare echo, asked and answering in the sizes of `GetSeatMap`.
    Echo,
    /// The service, asked for the map,
    Show,
    /// and while the map changes.
    ShowUnderWrites,
    /// The service, watched by many at a few changes a second,
    Watch,
    /// and at as many as it goes.
    WatchAll,
    /// The bare server of streams, the same.
    Floor,
    FloorAll,
    /// One instance changes what is watched at another.
    TwoInstances,
}

/// In the order of their turns: those who are compared are neighbours.
const CONTESTANTS: [(Key, What); 19] = [
    (("seat map", 64), What::Show),
    (("echo", 64), What::Echo),
    (("seat map under writes", 64), What::ShowUnderWrites),
    (("seat map", 256), What::Show),
    (("echo", 256), What::Echo),
    (("seat map under writes", 256), What::ShowUnderWrites),
    ((WATCH, 1_000), What::Watch),
    ((FLOOR, 1_000), What::Floor),
    ((WATCH_ALL, 1_000), What::WatchAll),
    ((FLOOR_ALL, 1_000), What::FloorAll),
    ((WATCH, 5_000), What::Watch),
    ((FLOOR, 5_000), What::Floor),
    ((WATCH_ALL, 5_000), What::WatchAll),
    ((FLOOR_ALL, 5_000), What::FloorAll),
    ((WATCH, 10_000), What::Watch),
    ((FLOOR, 10_000), What::Floor),
    ((WATCH_ALL, 10_000), What::WatchAll),
    ((FLOOR_ALL, 10_000), What::FloorAll),
    ((TWO, 1_000), What::TwoInstances),
];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match arguments.first().map(String::as_str) {
        Some("echo") => runtime.block_on(echo::serve(arguments[1].parse().expect("a size"))),
        Some("load") => runtime.block_on(load::run(&arguments[1])),
        Some("floor") => runtime.block_on(floor::run(&arguments[1])),
        Some("fan") => runtime.block_on(fan::run(&arguments[1])),
        Some("change") => runtime.block_on(change::run(&arguments[1])),
        _ => runtime.block_on(Box::pin(compare(&Options::parse(&arguments)))),
    }
}

async fn compare(options: &Options) {
    let (rounds, seconds) = (options.rounds, options.seconds);
    let mut grounds = Grounds::new(seconds).await;
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for (key, what) in CONTESTANTS.iter().filter(|(key, _)| options.selects(key)) {
            Box::pin(grounds.turn(*key, *what)).await;
        }
        grounds.house = House::open().await;
    }
    let Grounds { calls, fans, bytes, message_bytes, .. } = &grounds;
    let circumstances =
        json!({ "rounds": rounds, "seconds": seconds, "answer_bytes": bytes, "message_bytes": message_bytes });
    let (results, watched) = (calls.print(), fans.print());
    let each = report::each(calls, fans);
    let ratios = table::judge("ratios", &report::ratios(calls, fans));
    let bounds = table::judge("bounds", &report::bounds(fans));
    if options.is_complete() {
        let figures = json!({
            "ratios": ratios, "each": each, "watcher_kib": bounds.get("watcher_kib"),
            "cross_instance_p99_ms": bounds.get("cross_instance_p99_ms"), "results": results, "watched": watched,
            "circumstances": circumstances,
        });
        table::write("seat_map", &figures);
    }
}

/// Everything that the contestants stand on, and what came of their turns.
struct Grounds {
    seconds: f64,
    house: House,
    redis: Option<Redis>,
    echo: Option<(Role, String)>,
    /// Of an answer to `GetSeatMap`,
    bytes: usize,
    /// and of a change as a watcher is told of it.
    message_bytes: usize,
    calls: Table,
    fans: Fans,
}

impl Grounds {
    async fn new(seconds: f64) -> Self {
        let (house, calls, fans) = (House::open().await, Table::default(), Fans::default());
        Self { seconds, house, redis: None, echo: None, bytes: 0, message_bytes: 0, calls, fans }
    }

    async fn turn(&mut self, key: Key, what: What) {
        match what {
            What::Echo => {
                let (server, address) = self.echo().await;
                self.called_at((ECHO_CPU, server), key, &address, echo::PATH);
            }
            What::Show => {
                let server = self.house.serve().await;
                self.called_at((SHOW_CPU, server.id()), key, &server.address, GET);
            }
            What::ShowUnderWrites => {
                let (outcome, changes) = self.show_under_writes(key.1).await;
                self.called(("changes meanwhile", key.1), changes);
                self.called(key, outcome);
            }
            What::Watch => self.watch(key, FEW, Some(PACE)).await,
            What::WatchAll => self.watch(key, MANY, None).await,
            What::Floor => self.floor(key, Pace::Steady).await,
            What::FloorAll => self.floor(key, Pace::AllItCan).await,
            What::TwoInstances => self.two_instances(key).await,
        }
    }

    fn called(&mut self, key: Key, outcome: Outcome) {
        assert_eq!(outcome.failed, 0, "{key:?}: {outcome:?}");
        eprintln!("  {key:?}: {:.0}/s", outcome.rate);
        self.calls.add(key, outcome);
    }

    fn call(&self, address: &str, path: &str, in_flight: usize, seconds: f64) -> Outcome {
        let (address, path) = (address.to_owned(), path.to_owned());
        load::Plan { address, path, messages: vec![self.house.ask()], in_flight, seconds }.run()
    }

    /// Also notes what a second of the server's processor time is good for.
    fn called_at(&mut self, (name, server): (&'static str, u32), key: Key, address: &str, path: &str) {
        let before = account::processor(server);
        let outcome = self.call(address, path, key.1, self.seconds);
        let answers = outcome.rate * self.seconds * (1.0 + load::WARM_UP);
        let rate = answers / (account::processor(server) - before);
        self.calls.add((name, key.1), Outcome { rate, p50: f64::NAN, p99: f64::NAN, ..outcome });
        self.called(key, outcome);
    }

    /// The rate at which the map is shown, and that of the changes. If fewer were made than were to be, it does not count.
    async fn show_under_writes(&self, in_flight: usize) -> (Outcome, Outcome) {
        for _ in 0..4 {
            let server = self.house.serve().await;
            let writing = self.changes(&server, WRITERS, Some(WRITES)).begin();
            let outcome = self.call(&server.address, GET, in_flight, self.seconds);
            let changes: Outcome = writing.finish();
            if changes.rate >= WRITES * 0.97 {
                return (outcome, changes);
            }
            eprintln!("  once more: there were {:.0} changes a second", changes.rate);
        }
        panic!("{WRITES} changes a second are too many for this machine");
    }

    /// An echo whose answers are as long as those of the service: its process, and where it listens.
    async fn echo(&mut self) -> (u32, String) {
        if self.echo.is_none() {
            let server = self.house.serve().await;
            self.bytes = self.call(&server.address, GET, 1, 0.2).bytes;
            self.echo = Some(Role::start(&["echo".to_owned(), self.bytes.to_string()]));
        }
        self.echo.as_ref().map(|(echo, address)| (echo.id(), address.clone())).expect("an echo")
    }

    fn changes(&self, server: &Service, callers: usize, pace: Option<f64>) -> change::Plan {
        let (address, showtime) = (server.address.clone(), self.house.showtime.clone());
        change::Plan { address, showtime, callers, pace, seed: seed() }
    }

    async fn watch(&mut self, key: Key, callers: usize, pace: Option<f64>) {
        let server = self.house.serve().await;
        let changes = self.changes(&server, callers, pace);
        let seconds = if pace.is_some() { self.seconds * PATIENCE } else { self.seconds };
        self.told(key, self.fan(&server, key.1, changes, seconds).run());
    }

    /// Those who watch at this service.
    fn fan(&self, at: &Service, watchers: usize, changes: change::Plan, seconds: f64) -> fan::Plan {
        let (address, path, message) = (at.address.clone(), FOLLOW.to_owned(), self.house.watch());
        fan::Plan { address, path, message, watchers, server: at.id(), source: Source::Changes(changes), seconds }
    }

    /// The floor says as much at once as the service says of one change.
    async fn floor(&mut self, key: Key, pace: Pace) {
        if self.message_bytes == 0 {
            let server = self.house.serve().await;
            let changes = self.changes(&server, FEW, Some(PACE));
            self.message_bytes = self.fan(&server, 10, changes, 2.0).run().bytes as usize;
        }
        let source = match pace {
            Pace::Steady => Source::Steady,
            Pace::AllItCan => Source::AllItCan,
        };
        let (floor, address) = floor::Plan { bytes: self.message_bytes, pace, streams: key.1 }.begin();
        let seconds = if pace == Pace::Steady { self.seconds * PATIENCE } else { self.seconds };
        let (path, message) = (floor::PATH.to_owned(), self.house.watch());
        let (watchers, server) = (key.1, floor.id());
        self.told(key, fan::Plan { address, path, message, watchers, server, source, seconds }.run());
    }

    async fn two_instances(&mut self, key: Key) {
        if self.redis.is_none() {
            self.redis = Some(Redis::start().await);
        }
        let redis = self.redis.as_ref().expect("it was just started");
        let [one, other] = self.house.serve_twice(redis).await;
        let changes = self.changes(&one, FEW, Some(PACE));
        self.told(key, self.fan(&other, key.1, changes, self.seconds * PATIENCE).run());
    }

    fn told(&mut self, key: Key, told: Told) {
        let Told { changes, delivered, everything, .. } = &told;
        eprintln!("  {key:?}: {changes:.0} changes/s, {delivered:.0}/s delivered, {everything} times everything");
        self.fans.add(key, told);
    }
}
