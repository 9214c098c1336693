//! Those who receive webhooks can tell that they are genuine: by the library of Standard Webhooks, and by our own examples.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use boxoffice::clock::Clock;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;

use crate::harness::{
    Store, World,
    clients::{installed, source},
    http::request,
    process::Process,
    seats::showtime,
    supervisor,
    webhooks::{Receiver, Request, SECRET, Webhooks},
};

/// The secret that replaces the other one.
const NEW_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// One that the sender does not have.
const FOREIGN_SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Asks the library of Standard Webhooks whether requests are right, each with a secret.
fn are_right(requests: &[(&str, &Request)]) -> Vec<bool> {
    let requests: Vec<Value> = requests
        .iter()
        .map(|(secret, request)| {
            let Request { id, timestamp, signature, body, .. } = request;
            let headers = json!({"webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signature});
            json!({"secret": secret, "headers": headers, "body": body})
        })
        .collect();
    let mut verifier = Command::new(&installed().python);
    verifier.arg(source("python/webhooks.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut verifier = verifier.spawn().expect("Python runs");
    let mut input = verifier.stdin.take().expect("its input is piped");
    input.write_all(json!(requests).to_string().as_bytes()).expect("it reads");
    drop(input);
    let output = verifier.wait_with_output().expect("Python runs");
    serde_json::from_slice(&output.stdout).expect("a list")
}

#[tokio::test]
async fn the_library_of_standard_webhooks_accepts_what_is_signed_and_nothing_else() {
    let world = World::start(Store::Sqlite).await;
    showtime(&world).await;
    let receiver = Receiver::start().await;
    let webhooks = Webhooks::of(&world, Store::Sqlite).await;
    webhooks.local("one", &receiver, "");
    // While a secret is replaced, both sign.
    webhooks.local("two", &receiver, &format!("secrets = ['{SECRET}', '{NEW_SECRET}']"));
    webhooks.once(&[]).await;
    let mut requests = receiver.requests();
    requests.sort_by_key(|request| request.signature.len());
    let [one, two] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!((one.signature.matches("v1,").count(), two.signature.matches("v1,").count()), (1, 2));
    // The event is the same, and so is its id.
    assert_eq!((&one.id, &one.body), (&two.id, &two.body));
    let with = |change: fn(&mut Request)| {
        let mut changed = one.clone();
        change(&mut changed);
        changed
    };
    let body = with(|request| request.body += " ");
    let id = with(|request| request.id += "0");
    let timestamp = with(|request| request.timestamp = (request.timestamp.parse::<i64>().unwrap() + 1).to_string());
    let checked = [
        (SECRET, one),
        (SECRET, two),
        (NEW_SECRET, two),
        (NEW_SECRET, one),
        (FOREIGN_SECRET, two),
        (SECRET, &body),
        (SECRET, &id),
        (SECRET, &timestamp),
    ];
    assert_eq!(are_right(&checked), [true, true, true, false, false, false, false, false]);
}

#[tokio::test]
async fn the_receiver_in_python_accepts_what_is_genuine_and_of_now_once() {
    let folder = supervisor::folder("receiver-");
    let mut receiver = Command::new(&installed().python);
    receiver.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/webhooks/receiver.py"));
    receiver.arg("0").arg(folder.path().join("seen.db"));
    accepts_what_is_genuine_and_of_now_once(receiver).await;
}

#[tokio::test]
async fn the_receiver_in_typescript_accepts_what_is_genuine_and_of_now_once() {
    let (clients, folder) = (installed(), supervisor::folder("receiver-"));
    let mut receiver = Command::new("node");
    receiver.arg(clients.beside_packages("webhooks.js")).arg(compiled(&folder));
    accepts_what_is_genuine_and_of_now_once(receiver).await;
}

/// Compiles the receiver in TypeScript.
fn compiled(folder: &TempDir) -> std::path::PathBuf {
    let mut compiler = Command::new(installed().program("tsc"));
    compiler.arg("--project").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/webhooks"));
    let output = compiler.arg("--outDir").arg(folder.path()).output().expect("the compiler runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let module = folder.path().join("receiver.mjs");
    std::fs::rename(folder.path().join("receiver.js"), &module).expect("a module");
    module
}

async fn accepts_what_is_genuine_and_of_now_once(mut receiver: Command) {
    let world = World::start(Store::Sqlite).await;
    let showtime = showtime(&world).await;
    // It has the new secret only; the sender has both.
    receiver.env("WEBHOOK_SECRETS", NEW_SECRET);
    let receiver = Process::spawn("receiver", receiver, Signal::KILL);
    let address = |line: &str| line.split("receiving on http://").nth(1).map(str::to_owned);
    let address = receiver.console().find("its address", address).await;
    let webhooks = Webhooks::of(&world, Store::Sqlite).await;
    let lines = format!("allow_private = true\nsecrets = ['{SECRET}', '{NEW_SECRET}']");
    webhooks.endpoint("receiver", &format!("http://{address}/"), &lines);
    webhooks.once(&[]).await;
    assert_eq!(webhooks.counts("receiver"), [1, 0, 0]);
    receiver.console().line(&["boxoffice.v1.ShowtimeCreated", &showtime.showtime_id]).await;

    let body = br#"{"type": "boxoffice.v1.SeatsReleased", "subject": "by-hand"}"#;
    let now = Clock::System.now().timestamp();
    for (secret, timestamp, expected) in [
        (NEW_SECRET, now, 204),
        // It comes again.
        (NEW_SECRET, now + 1, 204),
        // It was recorded long ago, or a clock is wrong.
        (NEW_SECRET, now - 600, 400),
        (NEW_SECRET, now + 600, 400),
        (FOREIGN_SECRET, now, 400),
    ] {
        let signature = signed(secret, "evt_by_hand", timestamp, body);
        let timestamp = timestamp.to_string();
        let headers = [
            ("webhook-id", "evt_by_hand"),
            ("webhook-timestamp", timestamp.as_str()),
            // A signature of another version, and one that is not base64.
            ("webhook-signature", &format!("v0,AAAA v1,% {signature}")),
        ];
        let answer = request(&address, "POST", "/", &headers, body).await;
        assert_eq!(answer.status, expected, "{secret} {timestamp}");
    }
    assert_eq!(request(&address, "POST", "/", &[], body).await.status, 400);
    let handled = receiver.console().lines().iter().filter(|line| line.contains("by-hand")).count();
    assert_eq!(handled, 1, "{}", receiver.console());
}

fn signed(secret: &str, id: &str, timestamp: i64, body: &[u8]) -> String {
    let key = BASE64_STANDARD.decode(secret.trim_start_matches("whsec_")).expect("base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}
