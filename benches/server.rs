//! How fast reads are, against a bare tonic echo that answers with as many bytes, in the same run on the same machine.
//!
//! A real server process, a real Postgres, a real load process: all share the machine, so only the ratios mean anything
//! elsewhere. Contestants take turns, round after round, and the table shows medians.
//!
//! `cargo bench --bench server`, with `-- --rounds 7 --seconds 3` for more patience. Figures also go to
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

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use boxoffice::pb::boxoffice::v1::{
    GetShowtimeRequest, ListShowtimesRequest, auditoriums_client::AuditoriumsClient, showtimes_client::ShowtimesClient,
};
use harness::{Store, create_auditorium, in_hours, new_showtime, world::Ground};
use prost::Message as _;
use serde_json::json;
use tests::harness;
use wire::{
    Role, echo,
    load::{self, Outcome, Plan},
    service::Service,
};

/// Showtimes in the database.
const SHOWTIMES: i64 = 500;
/// Showtimes on a page of the list.
const PAGE: i32 = 50;
const IN_FLIGHT: [usize; 3] = [1, 64, 256];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match arguments.first().map(String::as_str) {
        Some("echo") => runtime.block_on(echo::serve(arguments[1].parse().expect("a size"))),
        Some("load") => runtime.block_on(load::run(&arguments[1])),
        _ => runtime.block_on(Box::pin(compare(&arguments))),
    }
}

/// What a start takes, with the samples of the embedded default, until health says that it is serving.
struct Start {
    first: Duration,
    warm: Duration,
    idle_mib: f64,
}

/// One of those compared.
struct Contestant {
    name: &'static str,
    address: String,
    path: &'static str,
    messages: Vec<Vec<u8>>,
}

async fn compare(arguments: &[String]) {
    let number = |name: &str, default: f64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.map_or(default, |at| arguments[at + 1].parse().expect("a number"))
    };
    let (rounds, seconds) = (number("--rounds", 5.0), number("--seconds", 2.0));

    let grounds =
        [Ground::new(Store::Postgres).await, Ground::new(Store::Postgres).await, Ground::new(Store::Sqlite).await];
    let postgres = serve(&grounds[0], "10000").await;
    let uncached = serve(&grounds[1], "0").await;
    let idle_sqlite = Service::start(grounds[2].setup().with("--sample", "on")).await;
    let first_start = idle_sqlite.started;
    drop(idle_sqlite);
    let idle_sqlite = Service::start(grounds[2].setup().with("--sample", "on")).await;
    let start = Start { first: first_start, warm: idle_sqlite.started, idle_mib: idle_sqlite.memory_mib() };
    drop(idle_sqlite);
    let sqlite = serve(&grounds[2], "10000").await;
    let mut contestants = Vec::new();
    let mut sizes = [0; 2];
    for (server, get, list) in [
        (&postgres, "get, postgres", "list, postgres"),
        (&uncached, "get, postgres, no cache", "list, postgres, no cache"),
        (&sqlite, "get, sqlite", "list, sqlite"),
    ] {
        let messages = seed(server).await;
        contestants.push(contestant(get, server, "GetShowtime", messages));
        let page = ListShowtimesRequest { page_size: PAGE, ..Default::default() };
        contestants.push(contestant(list, server, "ListShowtimes", vec![page.encode_to_vec()]));
    }
    for (size, contestant) in sizes.iter_mut().zip(&contestants) {
        *size = contestant.plan(1, 0.2).run().bytes;
    }
    let echoes = sizes.map(|size| Role::start(&["echo".to_owned(), size.to_string()]));
    for ((_, address), name) in echoes.iter().zip(["echo, as get", "echo, as list"]) {
        let address = address.clone();
        contestants.push(Contestant { name, address, path: echo::PATH, messages: vec![Vec::new()] });
    }

    let mut seen: BTreeMap<(usize, &str), Vec<Outcome>> = BTreeMap::new();
    let mut round = 0.0;
    while round < rounds {
        round += 1.0;
        eprintln!("round {round} of {rounds}");
        for in_flight in IN_FLIGHT {
            for contestant in &contestants {
                let outcome = contestant.plan(in_flight, seconds).run();
                assert_eq!(outcome.failed, 0, "{} at {in_flight}: {outcome:?}", contestant.name);
                seen.entry((in_flight, contestant.name)).or_default().push(outcome);
            }
        }
    }
    let medians = seen.into_iter().map(|(key, outcomes)| (key, median(&outcomes))).collect();
    report(&medians, sizes, &start);
}

impl Contestant {
    fn plan(&self, in_flight: usize, seconds: f64) -> Plan {
        let (address, path, messages) = (self.address.clone(), self.path.to_owned(), self.messages.clone());
        Plan { address, path, messages, in_flight, seconds }
    }
}

fn contestant(name: &'static str, server: &Service, method: &str, messages: Vec<Vec<u8>>) -> Contestant {
    let path = match method {
        "GetShowtime" => "/boxoffice.v1.Showtimes/GetShowtime",
        _ => "/boxoffice.v1.Showtimes/ListShowtimes",
    };
    Contestant { name, address: server.address.clone(), path, messages }
}

/// A server as it is run: access lines and all.
async fn serve(ground: &Ground, cache: &str) -> Service {
    Service::start(ground.setup().with("--showtime-cache", cache)).await
}

/// Schedules showtimes, and answers the requests that read them.
async fn seed(server: &Service) -> Vec<Vec<u8>> {
    let auditorium = create_auditorium(AuditoriumsClient::new(server.channel.clone())).await;
    let mut showtimes = ShowtimesClient::new(server.channel.clone());
    let mut requests = Vec::new();
    for hour in 0..SHOWTIMES {
        let new = new_showtime(&auditorium.auditorium_id, in_hours(24 + hour * 4));
        let made = showtimes.create_showtime(new).await.expect("a showtime").into_inner();
        let showtime_id = made.showtime.expect("the showtime").showtime_id;
        requests.push(GetShowtimeRequest { showtime_id, at_least_revision: 0 }.encode_to_vec());
    }
    requests
}

fn median(outcomes: &[Outcome]) -> Outcome {
    let of = |field: fn(&Outcome) -> f64| {
        let mut values: Vec<_> = outcomes.iter().map(field).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Outcome { rate: of(|o| o.rate), p50: of(|o| o.p50), p99: of(|o| o.p99), ..outcomes[0] }
}

fn report(medians: &BTreeMap<(usize, &str), Outcome>, sizes: [usize; 2], start: &Start) {
    println!("{:<26} {:>9} {:>12} {:>9} {:>9} {:>8}", "", "in flight", "answers/s", "p50 ms", "p99 ms", "of echo");
    let rate = |in_flight, name: &str| medians.get(&(in_flight, name)).map_or(f64::NAN, |outcome| outcome.rate);
    let echo = |name: &str| if name.contains("list") { "echo, as list" } else { "echo, as get" };
    let mut rows = Vec::new();
    for ((in_flight, name), Outcome { rate: answers, p50, p99, .. }) in medians {
        let ratio = answers / rate(*in_flight, echo(name));
        println!("{name:<26} {in_flight:>9} {answers:>12.0} {p50:>9.3} {p99:>9.3} {ratio:>8.2}");
        rows.push(json!({ "name": name, "in_flight": in_flight, "rate": answers, "p50_ms": p50, "p99_ms": p99, "of_echo": ratio }));
    }
    let ratio = |name: &str| rate(256, name) / rate(256, echo(name));
    let figures = json!({
        "ratios": {
            "get_showtime_vs_echo": ratio("get, postgres"),
            "list_showtimes_vs_echo": ratio("list, postgres"),
            "get_showtime_uncached_vs_echo": ratio("get, postgres, no cache"),
            "list_showtimes_uncached_vs_echo": ratio("list, postgres, no cache"),
            "get_showtime_sqlite_vs_echo": ratio("get, sqlite"),
            "list_showtimes_sqlite_vs_echo": ratio("list, sqlite"),
        },
        "results": rows,
        "answer_bytes": { "get_showtime": sizes[0], "list_showtimes": sizes[1] },
        "page_size": PAGE,
        "first_start_sqlite_ms": start.first.as_secs_f64() * 1e3,
        "warm_start_sqlite_ms": start.warm.as_secs_f64() * 1e3,
        "idle_resident_mib_sqlite": start.idle_mib,
    });
    println!("{}", serde_json::to_string_pretty(&figures["ratios"]).expect("ratios as text"));
    println!("answers: {} and {} bytes", sizes[0], sizes[1]);
    println!(
        "on SQLite: first start {:.0?}, warm start {:.0?}, idle {:.0} MiB resident",
        start.first, start.warm, start.idle_mib
    );
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    fs::create_dir_all(&folder).expect("a folder for the figures");
    fs::write(folder.join("server.json"), figures.to_string()).expect("the figures to be written");
}
