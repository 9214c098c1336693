//! What an endpoint may answer, where it may be, and what becomes of deliveries when something is down, full or stopped.

use std::{fs, sync::Arc};

use boxoffice::clock::Clock;
use chrono::{DateTime, Utc};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::Signal;
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use sea_orm::ConnectionTrait as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::harness::{
    Store, World, eventually,
    proxy::Proxy,
    seats::{best, extend, reserve, showtime},
    webhooks::{Receiver, SECRET, Webhooks},
    world::{Storage, connect},
};

async fn world_with_a_showtime() -> (World, Webhooks) {
    let world = World::start(Store::Sqlite).await;
    showtime(&world).await;
    let webhooks = Webhooks::of(&world, Store::Sqlite).await;
    (world, webhooks)
}

/// Makes the next attempt due, as if the time had passed.
async fn make_due(webhooks: &Webhooks) {
    let state = connect(format!("sqlite://{}", webhooks.file("webhooks.db").display())).await;
    let past = "UPDATE webhook_deliveries SET next_time = '2020-01-01T00:00:00+00:00'";
    state.execute_unprepared(past).await.expect("the time is changed");
    state.close().await.expect("a connection closes");
}

/// What came of the last attempt of the one delivery that was given up.
fn last_answer(webhooks: &Webhooks) -> String {
    let failed = webhooks.list().pop().expect("a delivery that was given up");
    failed["last_answer"].as_str().unwrap_or_else(|| panic!("nothing was given up: {failed}")).to_owned()
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let (_world, webhooks) = world_with_a_showtime().await;
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let place = other.url();
    for status in [301, 302, 303, 307, 308] {
        let place = place.clone();
        receiver.answer(move |_| (status, Some(("location", place.clone()))));
        webhooks.local(&format!("to-{status}"), &receiver, "");
    }
    webhooks.once(&["--retry-schedule=0s"]).await;
    let failed = webhooks.list().into_iter().filter(|line| line["last_answer"].is_string());
    let answers: Vec<_> = failed.map(|line| line["last_answer"].to_string()).collect();
    assert_eq!(answers.len(), 5);
    assert!(answers.iter().all(|answer| answer.contains("redirects are not followed")), "{answers:?}");
    assert_eq!((receiver.requests().len(), other.requests().len()), (10, 0));
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_not_connected_to_unless_that_is_allowed() {
    let (_world, webhooks) = world_with_a_showtime().await;
    let receiver = Receiver::start().await;
    let port = receiver.address.rsplit(':').next().expect("a port");
    webhooks.endpoint("by-name", &format!("https://localhost:{port}/hooks"), "");
    webhooks.once(&["--retry-schedule=0s"]).await;
    let why = last_answer(&webhooks);
    assert!(why.ends_with("is not public"), "{why}");
    webhooks.endpoint("allowed", &format!("http://localhost:{port}/hooks"), "allow_private = true");
    webhooks.once(&[]).await;
    assert_eq!((webhooks.counts("allowed"), receiver.requests().len()), ([1, 0, 0], 1));
}

#[tokio::test]
async fn a_wrong_file_of_endpoints_is_refused_by_name_and_no_secret_is_printed() {
    let (_world, webhooks) = world_with_a_showtime().await;
    webhooks.endpoint("inside", "https://169.254.169.254/latest", "");
    webhooks.endpoint("plain", "http://example.org/", "colour = 'red'");
    webhooks.endpoint("short", "https://example.org/", "secrets = ['whsec_c2VjcmV0']");
    let output = webhooks.run(&["--once"]);
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{printed}");
    for problem in [
        "4 values are wrong",
        "endpoint \"inside\" has a url with an address that is not public",
        "endpoint \"plain\" has the unknown key colour",
        "endpoint \"plain\" has a url without TLS",
        "endpoint \"short\" has a secret",
    ] {
        assert!(printed.contains(problem), "{problem}: {printed}");
    }
    assert!(!printed.contains("c2VjcmV0") && !printed.contains(SECRET), "{printed}");
    assert!(!webhooks.file("webhooks.db").exists());
}

#[tokio::test]
async fn an_endpoint_that_is_busy_is_asked_again_when_it_has_said_and_not_before() {
    let (world, webhooks) = world_with_a_showtime().await;
    let receiver = Receiver::start().await;
    webhooks.local("crm", &receiver, "");
    receiver.answer(|_| (429, Some(("retry-after", "3600".to_owned()))));
    let before = Clock::System.now();
    webhooks.once(&["--retry-schedule=1ms,1ms"]).await;
    assert_eq!((receiver.requests().len(), webhooks.counts("crm")), (1, [0, 1, 0]));
    let next = webhooks.list()[0]["next_time"].as_str().expect("a time").parse::<DateTime<Utc>>().expect("a time");
    let wait = (next - before).num_seconds();
    assert!((3_600..3_700).contains(&wait), "{wait} s");
    // A 503 that asks for nothing counts as an attempt, and the delivery is given up after three.
    make_due(&webhooks).await;
    receiver.answer(|_| (503, Some(("retry-after", "0".to_owned()))));
    let process = webhooks.spawn(&["--retry-schedule=1ms,1ms"]);
    eventually("it is given up", async || (webhooks.counts("crm") == [0, 0, 1]).then_some(())).await;
    assert_eq!(receiver.requests().len(), 3);
    receiver.answer(|_| (200, None));
    let showtime = showtime(&world).await;
    eventually("it goes on", async || (webhooks.counts("crm") == [1, 0, 1]).then_some(())).await;
    assert!(receiver.requests()[3].is_of(&showtime.showtime_id));
    process.signal(Signal::TERM);
    assert_eq!(process.exit().await.code(), Some(0));
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_or_does_not_listen_delays_no_other_one() {
    let (_world, webhooks) = world_with_a_showtime().await;
    let (silent, good) = (Receiver::start().await, Receiver::start().await);
    silent.open(false);
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    webhooks.local("silent", &silent, "");
    webhooks.endpoint("closed", &format!("http://{closed}/"), "allow_private = true");
    webhooks.local("good", &good, "");
    webhooks.once(&["--retry-schedule=0s", "--attempt-timeout=200ms"]).await;
    let answers: Vec<_> =
        webhooks.list().iter().filter_map(|line| line["last_answer"].as_str()).map(str::to_owned).collect();
    assert!(answers.contains(&"no answer within 200ms".to_owned()), "{answers:?}");
    assert!(answers.contains(&format!("{closed}: connection refused")), "{answers:?}");
    assert_eq!(webhooks.counts("good"), [1, 0, 0]);
}

#[tokio::test]
async fn when_too_many_wait_for_an_endpoint_the_service_keeps_its_events() {
    let (world, webhooks) = world_with_a_showtime().await;
    let (full, good) = (Receiver::start().await, Receiver::start().await);
    full.answer(|_| (500, None));
    webhooks.local("full", &full, "");
    webhooks.local("good", &good, "");
    for _ in 0..5 {
        showtime(&world).await;
    }
    webhooks.once(&["--max-waiting=2", "--retry-schedule=1h"]).await;
    assert_eq!((webhooks.counts("full"), webhooks.counts("good")), ([0, 2, 0], [6, 0, 0]));
    // It works again, and has every event, whatever the limit is.
    full.answer(|_| (204, None));
    make_due(&webhooks).await;
    webhooks.once(&["--max-waiting=2"]).await;
    assert_eq!(webhooks.counts("full"), [6, 0, 0]);
    let sorted = |mut ids: Vec<String>| {
        ids.sort_unstable();
        ids
    };
    assert_eq!(sorted(full.event_ids()), sorted(good.event_ids()));
}

#[tokio::test]
async fn what_is_under_way_is_finished_before_the_process_stops() {
    let (_world, webhooks) = world_with_a_showtime().await;
    let receiver = Receiver::start().await;
    receiver.open(false);
    webhooks.local("crm", &receiver, "");
    let process = webhooks.spawn(&[]);
    receiver.received(1).await;
    process.signal(Signal::TERM);
    process.console().line(&["finishing the deliveries"]).await;
    receiver.open(true);
    assert_eq!(process.exit().await.code(), Some(0), "{}", process.console());
    process.console().line(&["webhooks so far", "crm", "delivered=1"]).await;
    webhooks.once(&[]).await;
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn events_go_on_when_the_service_was_killed_and_started_again() {
    let storage = Storage::new(Store::Postgres).await;
    let mut server = storage.setup().start().await;
    let proxy = Proxy::to(server.address()).await;
    let receiver = Receiver::start().await;
    let webhooks = Webhooks::of(&server, Store::Sqlite).await.from(proxy.url());
    webhooks.local("crm", &receiver, "");
    let process = webhooks.spawn(&[]);
    for round in 1..=3 {
        let showtime = showtime(&server).await;
        let held = reserve(&server, best(&showtime, "ada", 1)).await.expect("there are seats");
        extend(&server, &held).await.expect("the seats are held");
        // In the second round something is left to be read when the service is killed.
        receiver.received(if round == 2 { 4 } else { 3 * round }).await;
        server.kill();
        server = storage.setup().start().await;
        proxy.move_to(&format!("x@{}/x", server.address()));
    }
    receiver.received(9).await;
    process.signal(Signal::TERM);
    assert_eq!(process.exit().await.code(), Some(0), "{}", process.console());
    assert_eq!((receiver.requests().len(), webhooks.counts("crm")), (9, [9, 0, 0]));
}

#[tokio::test]
async fn a_second_process_is_refused_on_an_sqlite_file_and_waits_on_postgres() {
    let (world, webhooks) = world_with_a_showtime().await;
    let receiver = Receiver::start().await;
    webhooks.local("crm", &receiver, "");
    let first = webhooks.spawn(&[]);
    receiver.received(1).await;
    let second = webhooks.run(&[]);
    let why = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && why.contains("is used by another process"), "{why}");
    drop(first);

    let webhooks = Webhooks::of(&world, Store::Postgres).await;
    webhooks.local("crm", &receiver, "");
    let first = webhooks.spawn(&[]);
    eventually("the first one delivers", async || (receiver.requests().len() == 2).then_some(())).await;
    let second = webhooks.spawn(&[]);
    second.console().line(&["another process delivers webhooks from this database"]).await;
    // The first one stops in order: the second one begins at once, and nothing comes again.
    first.signal(Signal::TERM);
    assert_eq!(first.exit().await.code(), Some(0), "{}", first.console());
    showtime(&world).await;
    // What it has not noted when it is stopped would come again.
    eventually("the second one delivers", async || (webhooks.counts("crm") == [2, 0, 0]).then_some(())).await;
    // A third one takes over from the second one, which is taken for dead and wakes up.
    second.signal(Signal::STOP);
    let third = webhooks.spawn(&[]);
    third.console().line(&["delivering webhooks", "crm"]).await;
    second.signal(Signal::CONT);
    assert_eq!(second.exit().await.code(), Some(1), "{}", second.console());
    second.console().line(&["another process delivers webhooks from this database now"]).await;
    showtime(&world).await;
    eventually("the third one delivers", async || (webhooks.counts("crm") == [3, 0, 0]).then_some(())).await;
    assert_eq!(receiver.requests().len(), 4);
    third.signal(Signal::TERM);
    assert_eq!(third.exit().await.code(), Some(0), "{}", third.console());
}

/// A listener with TLS.
struct Secure(TcpListener, TlsAcceptor);

impl axum::serve::Listener for Secure {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.0.accept().await.expect("a connection");
            // One whose certificate is refused does not arrive.
            if let Ok(stream) = self.1.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

#[tokio::test]
async fn a_certificate_is_verified_with_the_authority_of_the_endpoint() {
    let (_world, webhooks) = world_with_a_showtime().await;
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let certificate = certificate.signed_by(&key, &authority).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).expect("a pair");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let receiver = Receiver::serve(Secure(listener, TlsAcceptor::from(Arc::new(config))), String::new());
    let file = webhooks.file("authority.pem");
    fs::write(&file, authority.pem()).expect("a file");
    let trusting = format!("allow_private = true\nca_file = '{}'", file.display());
    webhooks.endpoint("trusting", &format!("https://localhost:{port}/hooks"), &trusting);
    webhooks.endpoint("other-name", &format!("https://127.0.0.1:{port}/hooks"), &trusting);
    webhooks.endpoint("verifying", &format!("https://localhost:{port}/hooks"), "allow_private = true");
    webhooks.once(&["--retry-schedule=0s"]).await;
    let counts = ["trusting", "other-name", "verifying"].map(|name| webhooks.counts(name));
    assert_eq!((counts, receiver.requests().len()), ([[1, 0, 0], [0, 0, 1], [0, 0, 1]], 1));
    let answers: Vec<_> = webhooks.list().into_iter().filter(|line| line["last_answer"].is_string()).collect();
    assert!(answers.iter().all(|line| line["last_answer"].to_string().contains("certificate")), "{answers:?}");
}
