//! The binary's command line: what it refuses before it opens a port, and its small subcommands.

use std::{fs, net::TcpListener};

use prost::Message as _;
use prost_types::FileDescriptorSet;
use tempfile::TempDir;

use crate::harness::{
    Server, Store, World, create_auditorium, in_hours, new_showtime, requests::seconds, server::Setup, supervisor,
};

/// Each of these is wrong alone; the name of the option must be said, and no port may be opened.
#[tokio::test]
async fn a_wrong_value_names_its_option_before_any_port_is_opened() {
    for (flag, value) in [
        ("--listen", "nowhere"),
        ("--admin-listen", "127.0.0.1:99999"),
        ("--database-url", "mysql://localhost/boxoffice"),
        ("--database-url", "postgres://localhost/boxoffice?sslmode=bogus"),
        ("--redis-url", "http://localhost"),
        ("--provider-url", "not a url"),
        ("--provider-ca-file", "no-such-file.pem"),
        ("--provider-fresh", "banana"),
        ("--provider-attempts", "0"),
        ("--hold-duration", "-1s"),
        ("--turnaround", "10"),
        ("--migrate", "sometimes"),
        ("--max-seats", "0"),
        ("--orphan-seats", "sometimes"),
        ("--ledger-writers", "17"),
        ("--sweep", "sometimes"),
        ("--sample", "maybe"),
        ("--log-format", "xml"),
        ("--max-message-bytes", "lots"),
        ("--database-connections", "0"),
        ("--cors-origin", "not an origin"),
        ("--config", "no-such-file.toml"),
    ] {
        let folder = supervisor::folder("command-");
        assert_refused_by_name(&folder, Setup::new(folder.path()), flag, value).await;
    }
}

/// What only a part of the service would stumble over, each beside the options that it needs.
#[tokio::test]
async fn what_a_part_could_not_use_is_refused_as_early() {
    let folder = supervisor::folder("command-");
    let plain = Setup::new(folder.path()).with("--provider-url", "http://127.0.0.1:1");
    let secure = Setup::new(folder.path()).with("--provider-url", "https://127.0.0.1:1");
    for key in ["schl\u{fc}ssel", "two\nlines"] {
        assert_refused_by_name(&folder, plain.clone(), "--provider-api-key", key).await;
    }
    for url in ["redis://localhost/first", "rediss://localhost/0#anything", "redis://"] {
        assert_refused_by_name(&folder, Setup::new(folder.path()), "--redis-url", url).await;
    }
    let pem = |inside: &str| format!("-----BEGIN CERTIFICATE-----\n{inside}\n-----END CERTIFICATE-----\n");
    let file = folder.path().join("ca.pem");
    for content in [String::new(), pem("%%%"), pem("bm90IGEgY2VydGlmaWNhdGU="), pem("")[..30].to_owned()] {
        fs::write(&file, content).expect("a file");
        let file = file.to_str().expect("a readable path");
        assert_refused_by_name(&folder, secure.clone(), "--provider-ca-file", file).await;
    }
}

/// Before anything was done, and by `check-config`, too.
async fn assert_refused_by_name(folder: &TempDir, setup: Setup, flag: &str, value: &str) {
    // A port that is taken: whoever tried to open it would complain of that.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let setup = setup.with("--listen", &address).with("--admin-listen", "off").with(flag, value);
    let (code, printed) = setup.clone().refused().await;
    assert_ne!(code, Some(0), "{flag} {value}: {printed}");
    assert!(printed.contains(flag), "{flag} {value}: {printed}");
    assert!(!printed.contains("ready") && !printed.contains(&address), "{flag} {value}: {printed}");
    assert!(!folder.path().join("data").exists(), "{flag} {value} has made a folder");
    let check = setup.command("check-config").output().expect("the binary runs");
    let said = String::from_utf8_lossy(&check.stderr);
    assert!(!check.status.success() && said.contains(flag), "check-config lets {flag} {value} through: {check:?}");
}

#[tokio::test]
async fn the_world_is_not_let_in_by_accident() {
    let folder = supervisor::folder("command-");
    let (code, printed) = Setup::new(folder.path()).with("--listen", "0.0.0.0:0").refused().await;
    assert_ne!(code, Some(0), "{printed}");
    assert!(printed.contains("trusted-network"), "{printed}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let world = World::start(Store::Sqlite).await;
    let folder = supervisor::folder("command-");
    let (code, printed) = Setup::new(folder.path()).with("--listen", world.address()).refused().await;
    assert_ne!(code, Some(0), "{printed}");
    assert!(printed.contains(world.address()), "{printed}");
}

#[tokio::test]
async fn a_flag_beats_the_environment_and_that_beats_the_file() {
    let folder = supervisor::folder("command-");
    let file = folder.path().join("boxoffice.toml");
    fs::write(&file, "hold_duration = \"21s\"\nturnaround = \"0s\"\n").expect("a file");
    let by_file = Setup::new(folder.path()).with("--config", file.to_str().expect("a readable path"));
    let by_environment = by_file.clone().in_environment("BOXOFFICE_HOLD_DURATION", "22s");
    let by_flag = by_environment.clone().with("--hold-duration", "23s");
    for (setup, hold) in [(by_file, 21), (by_environment, 22), (by_flag, 23)] {
        let server = setup.start().await;
        assert_eq!(hold_of_two_shows_back_to_back(&server).await, hold);
        server.stop().await;
    }
}

async fn hold_of_two_shows_back_to_back(server: &Server) -> i64 {
    let auditorium = create_auditorium(server.auditoriums()).await.auditorium_id;
    server.showtimes().create_showtime(new_showtime(&auditorium, in_hours(0))).await.expect("scheduled");
    let answer =
        server.showtimes().create_showtime(new_showtime(&auditorium, in_hours(2))).await.expect("no turnaround");
    let hold = answer.into_inner().showtime.and_then(|showtime| showtime.hold_duration).expect("a hold");
    assert_eq!(hold, seconds(hold.seconds));
    hold.seconds
}

#[tokio::test]
async fn a_file_with_an_unknown_key_is_refused_by_name() {
    let folder = supervisor::folder("command-");
    let file = folder.path().join("boxoffice.toml");
    fs::write(&file, "hold_duraton = \"21s\"\n").expect("a file");
    let setup = Setup::new(folder.path()).with("--config", file.to_str().expect("a readable path"));
    let (code, printed) = setup.refused().await;
    assert_ne!(code, Some(0), "{printed}");
    assert!(printed.contains("hold_duraton"), "{printed}");
}

#[tokio::test]
async fn check_config_approves_and_keeps_secrets() {
    let folder = supervisor::folder("command-");
    let secret = "hunter2-and-more";
    let setup = Setup::new(folder.path())
        .with("--provider-url", "http://127.0.0.1:1")
        .with("--provider-api-key", secret)
        .with("--database-url", format!("postgres://boxoffice:{secret}@localhost/boxoffice"))
        .with("--redis-url", format!("redis://:{secret}@localhost"));
    let check = setup.command("check-config").output().expect("the binary runs");
    assert!(check.status.success(), "{check:?}");
    assert!(!format!("{check:?}").contains(secret), "{check:?}");
}

#[tokio::test]
async fn a_refused_configuration_keeps_secrets() {
    let folder = supervisor::folder("command-");
    let secret = "hunter2-and-more";
    let url = format!("postgres://boxoffice:{secret}@127.0.0.1:1/boxoffice");
    let (code, printed) = Setup::new(folder.path()).with("--database-url", url).refused().await;
    assert_ne!(code, Some(0), "{printed}");
    assert!(!printed.contains(secret), "{printed}");
}

#[tokio::test]
async fn healthcheck_speaks_by_its_exit_code() {
    let world = World::start(Store::Sqlite).await;
    let folder = supervisor::folder("command-");
    let check = |service: &str| {
        let mut command = crate::harness::server::binary();
        command.current_dir(folder.path()).args(["healthcheck", "--address", world.address(), "--service", service]);
        command.output().expect("the binary runs").status.success()
    };
    assert!(check(""));
    assert!(check("boxoffice.v1.Showtimes"));
    assert!(!check("no.such.Service"));
    world.stop().await;
    assert!(!check(""));
}

#[tokio::test]
async fn descriptors_are_written_out_for_client_generation() {
    let folder = supervisor::folder("command-");
    let mut command = crate::harness::server::binary();
    let printed = command.arg("descriptors").output().expect("the binary runs");
    assert!(printed.status.success(), "{printed:?}");
    assert_eq!(printed.stdout, boxoffice::pb::DESCRIPTORS);
    let set = FileDescriptorSet::decode(&*printed.stdout).expect("a descriptor set");
    let file = |name: &str| set.file.iter().find(|file| file.name() == name);
    let services = &file("boxoffice/v1/showtimes.proto").expect("our contract").service;
    assert_eq!(services[0].name(), "Showtimes");
    assert!(file("buf/validate/validate.proto").is_some(), "imports are included");
    let out = folder.path().join("descriptors.bin");
    let mut command = crate::harness::server::binary();
    assert!(command.args(["descriptors", "--out"]).arg(&out).status().expect("the binary runs").success());
    assert_eq!(fs::read(out).expect("a file"), boxoffice::pb::DESCRIPTORS);
}

#[tokio::test]
async fn help_names_every_subcommand_and_option() {
    let help = crate::harness::server::binary().arg("--help").output().expect("the binary runs");
    assert!(help.status.success());
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for word in [
        "serve",
        "migrate",
        "demo-provider",
        "check-config",
        "healthcheck",
        "descriptors",
        "--listen",
        "--admin-listen",
        "--data-dir",
        "--database-url",
        "--redis-url",
        "--provider-url",
        "--hold-duration",
        "BOXOFFICE_LISTEN",
    ] {
        assert!(help.contains(word), "{word} is missing:\n{help}");
    }
}
