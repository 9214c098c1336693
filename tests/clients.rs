//! Clients that nobody here wrote: each schedules a showtime, lists it, and reads why the second one is refused.

use std::{
    collections::HashMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD as STANDARD_NO_PAD};
use boxoffice::pb;
use chrono::SecondsFormat;
use prost::Message as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tonic_types::pb::ErrorInfo;

use crate::harness::{Store, World, create_auditorium, in_hours, requests::INCEPTION};

/// What a client saw.
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
    let (world, auditorium) = room().await;
    let mut client = Command::new(clients.join("python/bin/python"));
    client.arg(source("python/client.py")).args([world.address(), INCEPTION, &auditorium, &start()]);
    session(&mut client).check();
}

#[tokio::test]
async fn connect_web_from_node() {
    let clients = installed();
    let (world, auditorium) = room().await;
    let descriptors = world.ground.folder().join("descriptors.bin");
    fs::write(&descriptors, pb::DESCRIPTORS).expect("a file");
    // Node looks for packages beside the program.
    let program = clients.join("node/client.js");
    fs::copy(source("node/client.js"), &program).expect("a copy");
    let mut client = Command::new("node");
    client.args([&program, &PathBuf::from(format!("http://{}", world.address())), &descriptors]);
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
    let (world, auditorium) = room().await;
    let call = |method: &str, request: &Value| {
        let mut buf = Command::new(clients.join("node/node_modules/.bin/buf"));
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
    // buf has no schema for the details by reflection: it hands them on as they came.
    let bytes = info["value"].as_str().and_then(|value| STANDARD_NO_PAD.decode(value).ok());
    let bytes = bytes.unwrap_or_else(|| panic!("no base64: {error}"));
    let info = ErrorInfo::decode(&*bytes).expect("the detail is what its type says");
    assert_eq!((&*info.reason, &*info.domain), ("SHOWTIME_OVERLAPS", "boxoffice"));
    assert_eq!(info.metadata.get("showtime_id").map(String::as_str), id.as_str(), "{info:?}");
}

async fn room() -> (World, String) {
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

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(path)
}

/// Where the clients are, installed first if need be, by one test at a time.
fn installed() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let clients = root.join("target/clients");
    fs::create_dir_all(&clients).expect("a folder");
    let lock = File::create(clients.join("lock")).expect("a file");
    lock.lock().expect("a lock");
    if !clients.join("python/bin/python").exists() || !clients.join("node/node_modules").exists() {
        for (tool, package) in [("python3", "python3-venv"), ("npm", "npm"), ("node", "nodejs")] {
            let found = Command::new(tool).arg("--version").output();
            assert!(found.is_ok(), "{tool} is not installed: `apt-get install {package}` (Debian)");
        }
        let output = Command::new(root.join("scripts/clients")).current_dir(root).output();
        let output = output.expect("scripts/clients runs");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "scripts/clients: {}", String::from_utf8_lossy(&said));
    }
    clients
}
