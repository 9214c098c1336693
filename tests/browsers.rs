//! Pages in a real browser: headless Chromium with connect-web over gRPC-Web, on pages of another origin.

use std::{collections::BTreeMap, fs, process::Command};

use boxoffice::pb;
use rustix::process::Signal;
use serde::Deserialize;

use crate::harness::{Store, World, clients::installed, eventually, process::Process, seats::showtime, watching};

/// The origin of the pages, for the browser.
const ORIGIN: &str = "http://cinema.example";

/// The name of each seat's state in the contract, by the name of the seat.
type States = BTreeMap<String, String>;

/// The output of `browser.js`.
#[derive(Debug, Deserialize)]
struct Visit {
    /// The seat maps of the page that watches and of the page that reserves.
    before: [Map; 2],
    received: Vec<Event>,
    reserved: Reserved,
    /// The seat map of the page that watches.
    after: Map,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Map {
    revision: i64,
    epoch: String,
    states: States,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Event {
    Snapshot(Map),
    Delta { base: i64, revision: i64, states: States },
}

#[derive(Debug, Deserialize)]
struct Reserved {
    seats: Vec<String>,
    revision: i64,
}

#[tokio::test]
async fn a_page_sees_what_another_reserves() {
    let world = World::with(Store::Sqlite, |setup| setup.with("--cors-origin", ORIGIN)).await;
    let showtime_id = showtime(&world).await.showtime_id;
    let shown = |map: &pb::boxoffice::v1::SeatMap| {
        let states = watching::states(map).into_iter().map(|(seat, state)| (seat, state.as_str_name().to_owned()));
        Map { revision: map.revision, epoch: map.epoch.clone(), states: states.collect() }
    };
    let free = shown(&watching::map(&mut world.showtimes(), &showtime_id, 0).await);
    assert_eq!(free.states.get("B3").map(String::as_str), Some("SEAT_STATE_FREE"));

    let Visit { before, received, reserved, after } = visit(&world, &showtime_id, &["B", "3", "4"]).await;

    assert_eq!(before, [free.clone(), free.clone()]);
    assert_eq!(reserved.seats, ["B3", "B4"]);
    assert_eq!(reserved.revision, free.revision + 1);
    let held = States::from(["B3", "B4"].map(|seat| (seat.to_owned(), "SEAT_STATE_HELD".to_owned())));
    let delta = Event::Delta { base: free.revision, revision: reserved.revision, states: held.clone() };
    assert_eq!(received, [Event::Snapshot(free.clone()), delta]);
    let states = free.states.into_iter().chain(held).collect();
    assert_eq!(after, Map { revision: reserved.revision, epoch: free.epoch, states });
    assert_eq!(after, shown(&watching::map(&mut world.showtimes(), &showtime_id, reserved.revision).await));

    // A watch is counted when it ends, and it ends with its page.
    for (method, calls) in [("GetSeatMap", 3.0), ("WatchSeatMap", 1.0), ("ReserveSeats", 1.0)] {
        let labels = [format!("method=\"{method}\""), "protocol=\"grpc-web\"".to_owned()];
        let labels = labels.each_ref().map(String::as_str);
        eventually(&format!("{calls} of {method} over grpc-web"), async || {
            let counted = world.metrics().await.sum("boxoffice_request_duration_seconds_count", &labels);
            (counted == Some(calls)).then_some(())
        })
        .await;
    }
}

/// Opens two pages on the showtime. One of them reserves seats: `seats` is a row and the numbers in it.
async fn visit(world: &World, showtime_id: &str, seats: &[&str]) -> Visit {
    let chromium = chromium();
    let clients = installed();
    let folder = world.storage.folder();
    let descriptors = folder.join("descriptors.bin");
    fs::write(&descriptors, pb::DESCRIPTORS).expect("a file");
    clients.beside_packages("page.js");
    let mut program = Command::new("node");
    program.arg(clients.beside_packages("browser.js")).args([&chromium, ORIGIN]);
    program.arg(format!("http://{}", world.address())).arg(descriptors).arg(showtime_id).args(seats);
    // The browser's files are deleted with the folder of the test.
    program.envs(["HOME", "TMPDIR"].map(|name| (name, folder)));
    program.env_remove("XDG_CONFIG_HOME").env_remove("XDG_CACHE_HOME");
    let browser = Process::spawn("browser.js", program, Signal::TERM);
    // Starting a browser takes longer than the steps after it.
    browser.console().line(&["the pages are open"]).await;
    let printed = browser.console().find("the result", |line| line.starts_with('{').then(|| line.to_owned())).await;
    assert!(browser.exit().await.success(), "{}", browser.console());
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error} in {printed}"))
}

/// The path of Chromium.
pub(crate) fn chromium() -> String {
    let found = Command::new("sh").args(["-c", "command -v chromium"]).output().expect("a shell");
    assert!(found.status.success(), "chromium is not installed: `apt-get install chromium` (Debian)");
    String::from_utf8(found.stdout).expect("a readable path").trim().to_owned()
}
