//! Clients in other languages and tools: each schedules a showtime, lists it, and reads why a second one is refused.

use std::{collections::HashMap, fs, process::Command};

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD as STANDARD_NO_PAD};
use boxoffice::pb;
use chrono::SecondsFormat;
use prost::Message as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tonic_types::pb::ErrorInfo;

use crate::harness::{
    Store, World,
    clients::{installed, source},
    create_auditorium, in_hours,
    requests::INCEPTION,
};

/// What a client prints.
#[derive(Debug, Deserialize)]
struct Session {
    created: String,
    title: String,
    listed: Vec<String>,
    refused: Refusal,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    code: u32,
    reason: String,
    domain: String,
    metadata: HashMap<String, String>,
}

impl Session {
    fn check(&self) {
        assert_eq!(self.title, "Inception");
        assert_eq!(self.listed, [&*self.created]);
        let Refusal { code, reason, domain, metadata } = &self.refused;
        assert_eq!((*code, &**reason, &**domain), (9, "SHOWTIME_OVERLAPS", "boxoffice"));
        assert_eq!(metadata.get("showtime_id"), Some(&self.created), "{metadata:?}");
    }
}

#[tokio::test]
async fn python_by_reflection_alone() {
    let clients = installed();
    let (world, auditorium) = world_with_auditorium().await;
    let mut client = Command::new(&clients.python);
    client.arg(source("python/client.py")).args([world.address(), INCEPTION, &auditorium, &start()]);
    session(&mut client).check();
}

#[tokio::test]
async fn connect_web_from_node() {
    let clients = installed();
    let (world, auditorium) = world_with_auditorium().await;
    let descriptors = world.storage.folder().join("descriptors.bin");
    fs::write(&descriptors, pb::DESCRIPTORS).expect("a file");
    let mut client = Command::new("node");
    client.arg(clients.beside_packages("client.js")).arg(format!("http://{}", world.address())).arg(descriptors);
    client.args([INCEPTION, &auditorium, &start()]);
    session(&mut client).check();
}

#[tokio::test]
async fn buf_over_grpc_by_reflection() {
    buf(&["--protocol", "grpc", "--http2-prior-knowledge"]).await;
}

#[tokio::test]
async fn buf_over_grpc_web_by_schema() {
    buf(&["--protocol", "grpcweb", "--schema", "proto"]).await;
}

async fn buf(flags: &[&str]) {
    let clients = installed();
    let (world, auditorium) = world_with_auditorium().await;
    let call = |method: &str, request: &Value| {
        let mut buf = Command::new(clients.buf());
        buf.current_dir(env!("CARGO_MANIFEST_DIR")).arg("curl").args(flags).args(["--data", &request.to_string()]);
        buf.arg(format!("http://{}/boxoffice.v1.Showtimes/{method}", world.address()));
        let output = buf.output().expect("buf runs");
        (output.status.success(), output.stdout, output.stderr)
    };
    let request = json!({
        "movieId": INCEPTION,
        "auditoriumId": auditorium,
        "startTime": start(),
        "duration": "7200s",
        "price": {"currencyCode": "EUR", "units": "9", "nanos": 500_000_000},
    });
    let answer = |(succeeded, stdout, stderr): (bool, Vec<u8>, Vec<u8>)| {
        assert!(succeeded, "{}", String::from_utf8_lossy(&stderr));
        serde_json::from_slice::<Value>(&stdout).expect("JSON")
    };
    let created = answer(call("CreateShowtime", &request));
    let id = &created["showtime"]["showtimeId"];
    assert_eq!(created["showtime"]["movie"]["title"], "Inception");
    let listed = answer(call("ListShowtimes", &json!({"auditoriumId": auditorium})));
    assert_eq!(listed["showtimes"].as_array().map(Vec::len), Some(1));
    assert_eq!(&listed["showtimes"][0]["showtimeId"], id);
    let (succeeded, _, stderr) = call("CreateShowtime", &request);
    assert!(!succeeded);
    let error: Value = serde_json::from_slice(&stderr).expect("JSON");
    assert_eq!(error["code"], "failed_precondition");
    let info = &error["details"][0];
    assert_eq!(info["type"], "google.rpc.ErrorInfo", "{error}");
    // buf does not look up the schema of details by reflection, and prints their bytes in base64.
    let bytes = info["value"].as_str().and_then(|value| STANDARD_NO_PAD.decode(value).ok());
    let bytes = bytes.unwrap_or_else(|| panic!("no base64: {error}"));
    let info = ErrorInfo::decode(&*bytes).expect("the detail has the type that it names");
    assert_eq!((&*info.reason, &*info.domain), ("SHOWTIME_OVERLAPS", "boxoffice"));
    assert_eq!(info.metadata.get("showtime_id").map(String::as_str), id.as_str(), "{info:?}");
}

/// The calls that the server prints when it is ready work when they are pasted into a shell, and more than once.
#[tokio::test]
async fn the_calls_in_the_banner_can_be_pasted() {
    const NPX: &str = "npx --yes @bufbuild/buf ";
    let buf = format!("'{}' ", installed().buf().display());
    let world = World::with(Store::Sqlite, |setup| setup.with("--sample", "on")).await;
    world.console().line(&["Stop with Ctrl-C"]).await;
    let paste = |line: &str| {
        let output = Command::new("sh").args(["-c", &line.trim().replacen(NPX, &buf, 1)]).output().expect("a shell");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|error| panic!("{line}: {error}"))
    };
    let lines: Vec<_> = world.console().lines().into_iter().filter(|line| line.trim().starts_with(NPX)).collect();
    let line = |method: &str| {
        let found = lines.iter().find(|line| line.ends_with(method));
        found.unwrap_or_else(|| panic!("{method} is missing:\n{}", world.console()))
    };
    assert!(paste(line("/boxoffice.v1.Showtimes/ListShowtimes"))["showtimes"].is_array());
    assert_eq!(paste(line("/boxoffice.v1.Movies/GetMovie"))["movie"]["title"], "Inception");
    let create = line("/boxoffice.v1.Showtimes/CreateShowtime");
    let (once, again) = (paste(create), paste(create));
    assert!(once["showtime"]["showtimeId"].is_string(), "{once}");
    assert_eq!(once["showtime"]["showtimeId"], again["showtime"]["showtimeId"]);
    let reserve = line("/boxoffice.v1.Reservations/ReserveSeats");
    let (once, again) = (paste(reserve), paste(reserve));
    assert_eq!(once["reservation"]["seatCount"], 2, "{once}");
    assert_eq!(once["reservation"]["reservationId"], again["reservation"]["reservationId"]);
    assert_eq!(lines.len(), 4, "this test must try every line that is printed: {lines:?}");
}

async fn world_with_auditorium() -> (World, String) {
    let world = World::start(Store::Sqlite).await;
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    (world, auditorium)
}

fn start() -> String {
    in_hours(0).to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn session(client: &mut Command) -> Session {
    let output = client.output().unwrap_or_else(|error| panic!("{client:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{client:?}: {}\n{stdout}\n{stderr}", output.status);
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error} in {stdout}"))
}
