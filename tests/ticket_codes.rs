//! Others read the codes of tickets: scanners read their QR codes, and doors without a network check their signatures.

use std::{fs, path::Path, process::Command};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use boxoffice::{
    domain::ticket::{CodeKind, TicketCode},
    pb::boxoffice::v1::{CodeFormat, GetTicketCodeRequest, ListSigningKeysRequest, Purchase, PurchaseState, Ticket},
    tickets::SigningKey,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::{
        Server, Store,
        clients::{installed, source},
        purchases::{buy, of_seats, until_state},
        request_id,
        shop::Shop,
        supervisor,
    },
    tickets::{client, open_doors, tickets},
};

/// A shop with tickets that were just sold, and the last purchase.
async fn sold() -> (Shop, Vec<Ticket>, Purchase) {
    let shop = Shop::open(Store::Sqlite).await;
    let showtime = open_doors(&shop.server).await;
    let (mut made, mut last) = (Vec::new(), Purchase::default());
    for (customer, seats) in
        [("ada", "A1 A2 A3 A4 A5 A6 A7 A8"), ("bob", "B1 B2 B3 B4 B5 B6 B7 B8"), ("cid", "C1 C2 C3 C4 C5 C6 C7 C8")]
    {
        let begun = buy(&shop.server, of_seats(&showtime, customer, seats, "tok_ok")).await.expect("they are free");
        let purchase = until_state(&shop.server, &begun, PurchaseState::Completed).await;
        made.extend(tickets(&shop.server, &purchase.purchase_id).await);
        last = purchase;
    }
    (shop, made, last)
}

async fn png(server: &Server, ticket: &Ticket) -> Vec<u8> {
    let (ticket_id, format) = (ticket.ticket_id.clone(), CodeFormat::Png.into());
    let request = GetTicketCodeRequest { ticket_id, format, customer_id: String::new() };
    client(server).get_ticket_code(request).await.expect("it is drawn").into_inner().data
}

#[tokio::test]
async fn scanners_read_every_code_also_with_a_stain_on_it() {
    let (shop, made, _) = sold().await;
    let folder = supervisor::folder("codes-");
    let mut reader = Command::new(&installed().python);
    reader.arg(source("python/codes.py")).args(["--blots", "10", "--missed", "1"]);
    for (at, ticket) in made.iter().enumerate() {
        let image = folder.path().join(format!("{at}.png"));
        fs::write(&image, png(&shop.server, ticket).await).expect("a file");
        fs::write(image.with_extension("txt"), &ticket.code).expect("a file");
        reader.arg(image);
    }
    let output = reader.output().expect("Python runs");
    let printed = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&printed));
}

/// A code with one bit of this byte changed, as text.
fn with_another_bit(code: &str, byte: usize) -> String {
    const ALPHABET: &[u8; 45] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";
    let value = |byte: u8| ALPHABET.iter().position(|one| *one == byte).expect("it is base45");
    let mut bytes: Vec<u8> = Vec::new();
    for group in code.as_bytes().chunks(3) {
        let number = group.iter().rev().fold(0, |number, byte| number * 45 + value(*byte));
        bytes.extend(if group.len() == 3 {
            vec![(number / 256) as u8, (number % 256) as u8]
        } else {
            vec![number as u8]
        });
    }
    bytes[byte] ^= 1;
    let digits = |group: &[u8]| {
        let number = group.iter().fold(0, |number, byte| number * 256 + usize::from(*byte));
        let digits = [number % 45, number / 45 % 45, number / 2_025];
        digits.into_iter().take(group.len() + 1).map(|digit| char::from(ALPHABET[digit])).collect::<String>()
    };
    bytes.chunks(2).map(digits).collect()
}

/// Checks codes with one of the verifiers, which is run for each, and with the keys of the service.
async fn accepts_what_is_genuine_and_nothing_else(verifier: impl Fn() -> Command) {
    let (shop, made, purchase) = sold().await;
    let keys =
        client(&shop.server).list_signing_keys(ListSigningKeysRequest {}).await.expect("a list").into_inner().keys;
    let keys =
        keys.iter().map(|key| json!({"keyId": key.key_id, "publicKey": BASE64_STANDARD.encode(&key.public_key)}));
    let folder = supervisor::folder("keys-");
    let file = folder.path().join("keys.json");
    fs::write(&file, json!({"keys": keys.collect::<Vec<_>>()}).to_string()).expect("a file");
    let showtime_id = made[0].showtime.as_ref().expect("a ticket has its showtime").showtime_id.clone();
    let check = |code: &str, showtime_id: &str| {
        let output = verifier().arg("--keys").arg(&file).args(["--showtime", showtime_id, code]).output();
        let output = output.expect("the verifier runs");
        let said: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!(said["valid"], output.status.success(), "{said}");
        said
    };
    let is_valid = |code: &str, showtime_id: &str| check(code, showtime_id)["valid"] == true;
    for ticket in &made[..3] {
        assert!(is_valid(&ticket.code, &showtime_id), "{ticket:#?}");
        assert!(!is_valid(&ticket.code, &request_id()), "it is for another showtime");
    }
    // The version, the key, the random bytes, the showtime, the seat, and the signature.
    for byte in [0, 2, 3, 10, 11, 26, 28, 29, 92] {
        assert!(!is_valid(&with_another_bit(&made[0].code, byte), &showtime_id), "byte {byte}");
        assert!(!is_valid(&with_another_bit(&purchase.code, byte), &showtime_id), "byte {byte} of a purchase");
    }
    assert!(!is_valid(&made[0].code[..139], &showtime_id));
    let said = check(&purchase.code, &showtime_id);
    assert_eq!((&said["valid"], &said["kind"]), (&json!(true), &json!("PURCHASE")), "{said}");
    assert_eq!(said["purchase_id"], purchase.purchase_id);
    // By it the tickets are found in the list of the showtime.
    let of_purchase = made.iter().filter(|ticket| said["purchase_id"] == ticket.purchase_id);
    assert_eq!(of_purchase.count(), 8);
    // A code that another key has signed for the same purchase, and the same bits as the code of a seat.
    let genuine = TicketCode::parse(&purchase.code).expect("it is a code");
    let id = genuine.purchase().expect("it is that of a purchase");
    let stranger = SigningKey::from_seed(1, &[7; 32]).expect("32 bytes");
    let forged = stranger.sign(CodeKind::Purchase, genuine.random(), id);
    let as_seat = TicketCode::unsigned(CodeKind::Seat(0), 1, genuine.random(), id).with_signature(*genuine.signature());
    for forged in [forged, as_seat] {
        assert!(!is_valid(&forged.to_text(), &showtime_id), "{forged:?}");
        assert!(!is_valid(&forged.to_text(), &purchase.purchase_id), "{forged:?}");
    }
}

#[tokio::test]
async fn the_verifier_in_python_accepts_what_is_genuine_and_nothing_else() {
    let verifier = || {
        let mut command = Command::new(&installed().python);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/verify/verify.py"));
        command
    };
    accepts_what_is_genuine_and_nothing_else(verifier).await;
}

#[tokio::test]
async fn the_verifier_in_typescript_accepts_what_is_genuine_and_nothing_else() {
    let folder = supervisor::folder("verifier-");
    let module = compiled(&folder);
    let verifier = || {
        let mut command = Command::new("node");
        command.arg(&module);
        command
    };
    accepts_what_is_genuine_and_nothing_else(verifier).await;
}

/// Compiles the verifier in TypeScript.
fn compiled(folder: &TempDir) -> std::path::PathBuf {
    let mut compiler = Command::new(installed().program("tsc"));
    compiler.arg("--project").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/verify"));
    let output = compiler.arg("--outDir").arg(folder.path()).output().expect("the compiler runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    fs::write(folder.path().join("package.json"), json!({"type": "module"}).to_string()).expect("a file");
    folder.path().join("verify.js")
}
