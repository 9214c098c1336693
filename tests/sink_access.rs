//! Brokers that ask for a password, and encrypted ones. A broker that refuses the password, or whose certificate is not trusted,
//! pauses the sink.

use std::{fs, path::Path};

use boxoffice::pb::boxoffice::v1::EventSinkState;

use crate::harness::{
    Redis, Store,
    brokers::Broker,
    certificates::Certificates,
    events::{attempted, change, delivered, feed, in_state},
    nats::Nats,
    process::free_port,
    rabbitmq::RabbitMq,
    redis_stream,
    seats::showtime,
    server::Setup,
    world::Storage,
};

/// With characters that mean something in a URL or in a list.
const PASSWORD: &str = "s3:cr/e@t,%41?&";
const WRONG: &str = "wr0ng:/@,%41?&";

/// A server with one sink, a table of the file with these lines.
fn with_sink(storage: &Storage, lines: &[&str]) -> Setup {
    let file = storage.folder().join("boxoffice.toml");
    fs::write(&file, format!("[[sinks]]\n{}\n", lines.join("\n"))).expect("a file");
    storage.setup().with("--config", file.to_str().expect("a readable path"))
}

/// Starts a service with this sink, which does not come to work. Why not has these words, and nothing has a password.
async fn assert_paused(storage: &Storage, sink: &[&str], why: &str) {
    let server = with_sink(storage, sink).start().await;
    attempted(&server, 3.0).await;
    let paused = in_state(&server, EventSinkState::Paused).await;
    assert!(paused.problem.to_lowercase().contains(why), "{}", paused.problem);
    assert_eq!((paused.position, paused.dead_letters), (0, 0));
    let printed = server.console().line(&["events are not delivered"]).await;
    assert!(printed.to_lowercase().contains(why), "{printed}");
    server.stop().await;
    let all = format!("{} {}", server.console(), paused.problem);
    for secret in [PASSWORD, WRONG, "wr0ng", "s3:cr", "s3%3A"] {
        assert!(!all.contains(secret), "{secret} is printed: {all}");
    }
}

/// A storage with four events of a showtime.
async fn four_events() -> Storage {
    let storage = Storage::new(Store::Sqlite).await;
    let server = storage.setup().start().await;
    let showtime = showtime(&server).await;
    change(&server, &showtime, "ada").await;
    server.stop().await;
    storage
}

async fn assert_delivers(storage: &Storage, sink: &[&str], broker: &Broker) {
    let server = with_sink(storage, sink).start().await;
    delivered(&server).await;
    broker.has(&feed(&server, 4).await).await;
    server.stop().await;
    assert!(!server.console().to_string().contains("s3:cr"), "{}", server.console());
}

async fn assert_needs_its_password(broker: Broker, why: &str) {
    let storage = four_events().await;
    let url = format!("url = '{}'", broker.url());
    let password = |password: &str| format!("password = '{password}'");
    assert_paused(&storage, &[&url, "username = 'ada'", &password(WRONG)], why).await;
    assert_paused(&storage, &[&url], why).await;
    assert_delivers(&storage, &[&url, "username = 'ada'", &password(PASSWORD)], &broker).await;
}

#[tokio::test]
async fn a_nats_sink_without_its_password_is_paused_and_no_password_is_printed() {
    let nats = Nats::start(&format!("authorization {{ user: ada, password: \"{PASSWORD}\" }}")).await;
    let nats = nats.with_options(|options| options.user_and_password("ada".to_owned(), PASSWORD.to_owned()));
    assert_needs_its_password(Broker::Nats(nats), "authorization violation").await;
}

#[tokio::test]
async fn a_rabbitmq_sink_without_its_password_is_paused_and_no_password_is_printed() {
    let rabbitmq = RabbitMq::start(&format!("default_user = ada\ndefault_pass = {PASSWORD}")).await;
    let rabbitmq = rabbitmq.with_user("ada", "s3%3Acr%2Fe%40t%2C%2541%3F%26");
    rabbitmq.bind("boxoffice.#").await;
    assert_needs_its_password(Broker::RabbitMq(rabbitmq), "access_refused").await;
}

#[tokio::test]
async fn a_redis_sink_without_its_password_is_paused_and_no_password_is_printed() {
    let (storage, redis) = (four_events().await, Redis::start().await);
    redis.run(&["CONFIG", "SET", "requirepass", PASSWORD]);
    let url = format!("url = '{}'", redis.url());
    assert_paused(&storage, &[&url, &format!("password = '{WRONG}'")], "auth").await;
    assert_paused(&storage, &[&url], "auth").await;
    let server = with_sink(&storage, &[&url, &format!("password = '{PASSWORD}'")]).start().await;
    delivered(&server).await;
    redis.run(&["-a", PASSWORD, "CONFIG", "SET", "requirepass", ""]);
    redis_stream::has(&redis, &feed(&server, 4).await).await;
}

/// The lines of a sink at a port of this machine, which may trust an authority.
fn encrypted(scheme: &str, host: &str, port: u16, authority: Option<&Path>) -> String {
    let authority = authority.map_or_else(String::new, |file| format!("\nca_file = '{}'", file.display()));
    format!("url = '{scheme}://{host}:{port}'{authority}")
}

/// The server has a certificate for `localhost`.
async fn assert_refuses_others(storage: &Storage, scheme: &str, port: u16, certificates: &Certificates) {
    let (authority, another) = (certificates.authority(), certificates.another_authority());
    for (host, authority) in
        [("localhost", Some(another.as_path())), ("localhost", None), ("127.0.0.1", Some(authority.as_path()))]
    {
        let sink = encrypted(scheme, host, port, authority);
        assert_paused(storage, &[&sink], "certificate").await;
    }
}

async fn assert_verifies(broker: Broker, scheme: &str, port: u16, certificates: &Certificates) {
    let storage = four_events().await;
    assert_refuses_others(&storage, scheme, port, certificates).await;
    assert!(broker.messages().await.is_empty());
    let sink = encrypted(scheme, "localhost", port, Some(&certificates.authority()));
    assert_delivers(&storage, &[&sink], &broker).await;
}

#[tokio::test]
async fn a_nats_server_is_trusted_if_the_authority_of_the_sink_has_signed_its_certificate_for_its_name() {
    let certificates = Certificates::new();
    let (certificate, key) = (certificates.server(), certificates.key());
    let config = format!("tls {{ cert_file: '{}', key_file: '{}' }}", certificate.display(), key.display());
    let nats = Nats::start(&config).await;
    let nats = nats.with_options(|options| options.add_root_certificates(certificates.authority()).require_tls(true));
    let port = nats.port();
    assert_verifies(Broker::Nats(nats), "tls", port, &certificates).await;
}

#[tokio::test]
async fn a_rabbitmq_server_is_trusted_if_the_authority_of_the_sink_has_signed_its_certificate_for_its_name() {
    let (certificates, port) = (Certificates::new(), free_port());
    let (certificate, key) = (certificates.server(), certificates.key());
    let config = format!(
        "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.certfile = {}\nssl_options.keyfile = {}\n\
         ssl_options.verify = verify_none\nssl_options.fail_if_no_peer_cert = false",
        certificate.display(),
        key.display()
    );
    // The test itself connects without encryption, to the other port.
    let rabbitmq = RabbitMq::start(&config).await;
    rabbitmq.bind("boxoffice.#").await;
    assert_verifies(Broker::RabbitMq(rabbitmq), "amqps", port, &certificates).await;
}

#[tokio::test]
async fn a_redis_server_is_trusted_if_the_authority_of_the_sink_has_signed_its_certificate_for_its_name() {
    let (storage, redis, certificates, port) =
        (four_events().await, Redis::start().await, Certificates::new(), free_port());
    let (certificate, key) = (certificates.server(), certificates.key());
    let file = |path: &Path| path.to_str().expect("a readable path").to_owned();
    let (certificate, key, port_text) = (file(&certificate), file(&key), port.to_string());
    let settings = ["tls-cert-file", &certificate, "tls-key-file", &key, "tls-auth-clients", "no"];
    let done = redis.run(&[&["CONFIG", "SET"][..], &settings, &["tls-port", &port_text]].concat());
    assert_eq!(done.trim(), "OK");
    assert_refuses_others(&storage, "rediss", port, &certificates).await;
    assert!(redis_stream::entries(&redis).await.is_empty());
    let sink = encrypted("rediss", "localhost", port, Some(&certificates.authority()));
    let server = with_sink(&storage, &[&sink]).start().await;
    delivered(&server).await;
    redis_stream::has(&redis, &feed(&server, 4).await).await;
}
