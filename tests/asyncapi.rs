//! The `AsyncAPI` document is that of the contracts, and a valid one.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::harness::{clients::installed, server::binary};

fn written() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/asyncapi.json")
}

#[test]
fn the_document_is_made_from_the_contracts() {
    let output = binary().args(["descriptors", "--asyncapi"]).output().expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made = String::from_utf8(output.stdout).expect("UTF-8");
    let written = std::fs::read_to_string(written()).expect("the document is there");
    assert!(made == written, "docs/asyncapi.json is old: cargo run -- descriptors --asyncapi --out docs/asyncapi.json");
    let document: Value = serde_json::from_str(&made).expect("JSON");
    let confirmed = &document["components"]["messages"]["ReservationConfirmed"];
    assert_eq!(confirmed["name"], "boxoffice.v1.ReservationConfirmed");
    assert_eq!(confirmed["summary"], "Held seats were sold.");
    let schema = &document["components"]["schemas"]["boxoffice.events.v1.ReservationConfirmed"];
    assert_eq!(schema["properties"]["customerId"]["type"], "string");
    assert_eq!(schema["properties"]["customerId"]["description"], "The customer's id, as the caller gave it.");
}

#[test]
fn the_official_parser_accepts_the_document() {
    let mut parser = Command::new("node");
    parser.arg(installed().beside_packages("asyncapi.js")).arg(written());
    let output = parser.output().expect("Node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "6 25 6\n");
}
