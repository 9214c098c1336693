//! The command line of the binary: wrong options, starts that fail, and the subcommands.

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use prost::Message as _;
use prost_types::FileDescriptorSet;
use rustix::process::geteuid;
use tempfile::TempDir;

use crate::harness::{
    Server, Store, World, create_auditorium, in_hours, new_showtime,
    postgres::Database,
    requests::seconds,
    server::{Setup, binary},
    supervisor,
};

/// Each of these values is wrong by itself. The error must name the option, and no port may be opened.
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
        ("--payment-gateway-url", "not a url"),
        ("--payment-gateway-timeout", "2m"),
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

/// These values are wrong only for one part of the service, and are given with the options that this part needs.
#[tokio::test]
async fn a_value_that_one_part_cannot_use_is_refused_before_any_port_is_opened() {
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

/// Asserts that a start refuses the value before it does anything else, and that `check-config` refuses it too.
async fn assert_refused_by_name(folder: &TempDir, setup: Setup, flag: &str, value: &str) {
    // A port in use: if the binary tried to open it, the error would name it.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let setup = setup.with("--listen", &address).with("--admin-listen", "off").with(flag, value);
    let (code, printed) = setup.clone().failed_start().await;
    assert_ne!(code, Some(0), "{flag} {value}: {printed}");
    assert!(printed.contains(flag), "{flag} {value}: {printed}");
    assert!(!printed.contains("ready") && !printed.contains(&address), "{flag} {value}: {printed}");
    assert!(!folder.path().join("data").exists(), "{flag} {value} has made a folder");
    let check = setup.command("check-config").output().expect("the binary runs");
    let printed = String::from_utf8_lossy(&check.stderr);
    assert!(!check.status.success() && printed.contains(flag), "check-config accepts {flag} {value}: {check:?}");
}

#[tokio::test]
async fn an_address_that_other_machines_can_reach_is_refused() {
    let folder = supervisor::folder("command-");
    let (code, printed) = Setup::new(folder.path()).with("--listen", "0.0.0.0:0").failed_start().await;
    assert_ne!(code, Some(0), "{printed}");
    assert!(printed.contains("trusted-network"), "{printed}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let world = World::start(Store::Sqlite).await;
    let folder = supervisor::folder("command-");
    let mut start = Setup::new(folder.path()).with("--listen", world.address()).command("");
    assert_eq!(failure(&mut start), format!("boxoffice: --listen {}: address already in use\n", world.address()));
}

/// Returns what a command prints on standard error. The command must fail.
fn failure(command: &mut Command) -> String {
    let output = command.output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

#[tokio::test]
async fn an_unreachable_postgres_is_named_at_once_with_the_cause() {
    let folder = supervisor::folder("command-");
    let address = format!("127.0.0.1:{}", closed_port());
    let url = format!("postgres://boxoffice:hunter2@{address}/boxoffice");
    // Waiting for a connection of the pool would take 40 % of this time.
    let setup = Setup::new(folder.path()).with("--database-url", url).with("--database-timeout", "10m");
    for subcommand in ["", "migrate"] {
        let began = Instant::now();
        let printed = failure(&mut setup.command(subcommand));
        assert_eq!(printed, format!("boxoffice: Postgres at {address} cannot be used: connection refused\n"));
        assert!(began.elapsed() < Duration::from_secs(30), "the start waits for Postgres");
    }
}

#[tokio::test]
async fn a_silent_postgres_is_named_with_the_limit() {
    let folder = supervisor::folder("command-");
    // The kernel accepts connections, and nothing answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let url = format!("postgres://boxoffice@{address}/boxoffice");
    let setup = Setup::new(folder.path()).with("--database-url", url).with("--database-timeout", "500ms");
    let printed = failure(&mut setup.command(""));
    assert_eq!(printed, format!("boxoffice: Postgres at {address} cannot be used: no answer within 200 ms\n"));
}

#[tokio::test]
async fn the_error_of_postgres_is_printed() {
    let folder = supervisor::folder("command-");
    let database = Database::create().await;
    let (server, _) =
        database.url().rsplit_once('/').map(|(server, name)| (server.to_owned(), name.to_owned())).expect("a name");
    let address = server.rsplit('@').next().expect("an address").to_owned();
    let setup = Setup::new(folder.path()).with("--database-url", format!("{server}/nowhere"));
    let printed = failure(&mut setup.command(""));
    let reason = "database \"nowhere\" does not exist";
    assert_eq!(printed, format!("boxoffice: Postgres at {address} cannot be used: {reason}\n"));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named() {
    let folder = supervisor::folder("command-");
    let file = folder.path().join("letter.db");
    fs::write(&file, "Dear customer, ".repeat(100)).expect("a file");
    let setup = Setup::new(folder.path()).with("--database-url", format!("sqlite://{}", file.display()));
    let printed = failure(&mut setup.command(""));
    let reason = "it is not an SQLite database; name another file, or move this one away";
    assert_eq!(printed, format!("boxoffice: {} cannot be used: {reason}\n", file.display()));
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_used_is_named_with_the_cause() {
    let folder = supervisor::folder("command-");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    let below_a_file = file.join("data");
    let setup = Setup::new(folder.path()).with("--data-dir", below_a_file.to_str().expect("a readable path"));
    let printed = failure(&mut setup.command(""));
    assert_eq!(printed, format!("boxoffice: {} cannot be used: not a directory\n", below_a_file.display()));

    let unreadable = folder.path().join("unreadable");
    fs::create_dir(&unreadable).expect("a folder");
    fs::set_permissions(&unreadable, Permissions::from_mode(0o000)).expect("the folder belongs to the test");
    let setup = Setup::new(folder.path()).with("--data-dir", unreadable.to_str().expect("a readable path"));
    let printed = failure(&mut bound_by_permissions(&setup.command("")));
    fs::set_permissions(&unreadable, Permissions::from_mode(0o700)).expect("the folder belongs to the test");
    let lock = unreadable.join("boxoffice.db.lock");
    assert_eq!(printed, format!("boxoffice: {} cannot be used: permission denied\n", lock.display()));
}

/// Returns the same command. If the tests run as root, it has no capability to ignore permissions.
fn bound_by_permissions(command: &Command) -> Command {
    let mut bound = if geteuid().is_root() {
        let mut without = Command::new("setpriv");
        without.arg("--bounding-set=-dac_override,-dac_read_search").arg(command.get_program());
        without
    } else {
        Command::new(command.get_program())
    };
    bound.args(command.get_args()).current_dir(command.get_current_dir().unwrap_or(Path::new(".")));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(name, value),
            None => bound.env_remove(name),
        };
    }
    bound
}

#[tokio::test]
async fn a_flag_overrides_the_environment_and_the_environment_overrides_the_file() {
    let folder = supervisor::folder("command-");
    let file = folder.path().join("boxoffice.toml");
    fs::write(&file, "hold_duration = \"21s\"\nturnaround = \"0s\"\n").expect("a file");
    let by_file = Setup::new(folder.path()).with("--config", file.to_str().expect("a readable path"));
    let by_environment = by_file.clone().with_environment("BOXOFFICE_HOLD_DURATION", "22s");
    let by_flag = by_environment.clone().with("--hold-duration", "23s");
    for (setup, hold) in [(by_file, 21), (by_environment, 22), (by_flag, 23)] {
        let server = setup.start().await;
        assert_eq!(hold_of_two_showtimes_without_a_turnaround(&server).await, hold);
        server.stop().await;
    }
}

async fn hold_of_two_showtimes_without_a_turnaround(server: &Server) -> i64 {
    let auditorium = create_auditorium(server.auditoriums()).await.auditorium_id;
    server.showtimes().create_showtime(new_showtime(&auditorium, in_hours(0))).await.expect("the slot is free");
    let answer = server
        .showtimes()
        .create_showtime(new_showtime(&auditorium, in_hours(2)))
        .await
        .expect("there is no turnaround");
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
    let (code, printed) = setup.failed_start().await;
    assert_ne!(code, Some(0), "{printed}");
    assert!(printed.contains("hold_duraton"), "{printed}");
}

#[tokio::test]
async fn check_config_accepts_valid_options_and_prints_no_secrets() {
    let folder = supervisor::folder("command-");
    let secret = "hunter2-and-more";
    let setup = Setup::new(folder.path())
        .with("--provider-url", "http://127.0.0.1:1")
        .with("--provider-api-key", secret)
        .with("--payment-gateway-url", "http://127.0.0.1:1")
        .with("--payment-gateway-key", secret)
        .with("--database-url", format!("postgres://boxoffice:{secret}@localhost/boxoffice"))
        .with("--redis-url", format!("redis://:{secret}@localhost"));
    let check = setup.command("check-config").output().expect("the binary runs");
    assert!(check.status.success(), "{check:?}");
    assert!(!format!("{check:?}").contains(secret), "{check:?}");
}

#[tokio::test]
async fn a_start_that_fails_prints_no_secrets() {
    let folder = supervisor::folder("command-");
    let secret = "hunter2-and-more";
    let url = format!("postgres://boxoffice:{secret}@127.0.0.1:1/boxoffice");
    let (code, printed) = Setup::new(folder.path()).with("--database-url", url).failed_start().await;
    assert_ne!(code, Some(0), "{printed}");
    assert!(!printed.contains(secret), "{printed}");
}

fn healthcheck(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = binary();
    command.arg("healthcheck").args(arguments);
    command
}

#[tokio::test]
async fn healthcheck_succeeds_only_for_a_service_that_serves() {
    let world = World::start(Store::Sqlite).await;
    let address = world.address().to_owned();
    for service in ["", "boxoffice.v1.Showtimes"] {
        let check = healthcheck(["--address", &address, "--service", service]).output().expect("the binary runs");
        assert!(check.status.success() && check.stderr.is_empty(), "{check:?}");
    }
    let printed = failure(&mut healthcheck(["--address", &address, "--service", "no.such.Service"]));
    assert_eq!(printed, format!("boxoffice: {address} has no service no.such.Service\n"));
    world.stop().await;
    let printed = failure(&mut healthcheck(["--address", &address]));
    assert_eq!(printed, format!("boxoffice: {address}: connection refused\n"));
}

#[tokio::test]
async fn healthcheck_names_a_server_that_does_not_answer() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    let printed = failure(&mut healthcheck(["--address", &address]));
    assert_eq!(printed, format!("boxoffice: {address}: no answer within 3 s\n"));
}

#[tokio::test]
async fn events_says_what_it_cannot_do() {
    for (arguments, why) in [
        (&["events", "lags"][..], "events lags: is none of lag, dead-letters list"),
        (
            &["events", "dead-letters", "drop"],
            "events dead-letters drop: needs either --id, for one dead letter, or --sink",
        ),
        (&["events", "dead-letters", "drop", "--id", "nats:1-0", "--sink", "nats"], "needs either --id"),
    ] {
        let output = binary().args(arguments).output().expect("the binary runs");
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && printed.contains(why), "{printed}");
    }
    let address = format!("127.0.0.1:{}", crate::harness::process::free_port());
    let printed = failure(binary().args(["events", "lag", "--address", &address]));
    assert_eq!(printed, format!("boxoffice: {address} does not answer as a gRPC server\n"));
    let world = World::start(Store::Sqlite).await;
    let lag = binary().args(["events", "lag", "--address", world.address()]).output().expect("the binary runs");
    assert_eq!(String::from_utf8_lossy(&lag.stdout), "the service has no sinks\n");
}

#[tokio::test]
async fn descriptors_are_written_out_for_client_generation() {
    let folder = supervisor::folder("command-");
    let mut command = binary();
    let printed = command.arg("descriptors").output().expect("the binary runs");
    assert!(printed.status.success(), "{printed:?}");
    assert_eq!(printed.stdout, boxoffice::pb::DESCRIPTORS);
    let set = FileDescriptorSet::decode(&*printed.stdout).expect("a descriptor set");
    let file = |name: &str| set.file.iter().find(|file| file.name() == name);
    let services = &file("boxoffice/v1/showtimes.proto").expect("the contract is included").service;
    assert_eq!(services[0].name(), "Showtimes");
    assert!(file("buf/validate/validate.proto").is_some(), "imports are included");
    let out = folder.path().join("descriptors.bin");
    let mut command = binary();
    assert!(command.args(["descriptors", "--out"]).arg(&out).status().expect("the binary runs").success());
    assert_eq!(fs::read(out).expect("a file"), boxoffice::pb::DESCRIPTORS);
}

#[tokio::test]
async fn help_names_every_subcommand_and_option() {
    let help = binary().arg("--help").output().expect("the binary runs");
    assert!(help.status.success());
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for word in [
        "serve",
        "migrate",
        "demo-provider",
        "demo-gateway",
        "check-config",
        "healthcheck",
        "events",
        "purchases",
        "refunds",
        "audit",
        "descriptors",
        "--listen",
        "--admin-listen",
        "--data-dir",
        "--database-url",
        "--redis-url",
        "--provider-url",
        "--payment-gateway-url",
        "--hold-duration",
        "BOXOFFICE_LISTEN",
    ] {
        assert!(help.contains(word), "{word} is missing:\n{help}");
    }
}
