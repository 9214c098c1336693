//! The real binary as a server on free ports, with its data in the test's folder.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use boxoffice::pb::boxoffice::v1::{
    auditoriums_client::AuditoriumsClient, events_client::EventsClient, movies_client::MoviesClient,
    operations_client::OperationsClient, reports_client::ReportsClient, reservations_client::ReservationsClient,
    showtimes_client::ShowtimesClient,
};
use rustix::process::{Resource, Signal};
use serde_json::Value;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::health_client::HealthClient;

use super::{
    eventually,
    http::{self, Reply},
    metrics::Metrics,
    process::{Console, Process},
    provider::Faults,
};

/// The binary under test.
const BINARY: &str = env!("CARGO_BIN_EXE_boxoffice");
/// The same binary with a planted bug.
const BINARY_WITH_BUG: &str = env!("CARGO_BIN_EXE_boxoffice-planted");

/// A command of the binary under test, without environment variables that would configure it by accident.
pub(crate) fn binary() -> Command {
    program(BINARY)
}

/// The exit code of a program that has ended, and all that it printed.
pub(crate) fn printed(output: &Output) -> (Option<i32>, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

fn program(path: &str) -> Command {
    let mut command = Command::new(path);
    for (name, _) in env::vars_os() {
        let configures = ["BOXOFFICE_", "OTEL_", "RUST_LOG", "NO_COLOR"];
        if configures.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command
}

/// The options of a server by flag, and its environment.
#[derive(Clone)]
pub(crate) struct Setup {
    program: String,
    folder: PathBuf,
    options: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    /// The soft and the hard limit on open files, if they are not the test's own.
    open_files: Option<(u64, u64)>,
}

impl Setup {
    /// Makes a setup with free ports, the data in this folder, and no sample data.
    pub(crate) fn new(folder: &Path) -> Self {
        let (options, environment) = (BTreeMap::new(), BTreeMap::new());
        let (program, folder, open_files) = (BINARY.to_owned(), folder.to_owned(), None);
        let setup = Self { program, folder: folder.clone(), options, environment, open_files };
        setup
            .with("--listen", "127.0.0.1:0")
            .with("--admin-listen", "127.0.0.1:0")
            .with("--sample", "off")
            .with("--data-dir", folder.join("data").to_str().expect("a readable path"))
    }

    /// Sets an option, or replaces its value. The value of a flag without one is `""`.
    pub(crate) fn with(mut self, flag: &str, value: impl Into<String>) -> Self {
        self.options.insert(flag.to_owned(), value.into());
        self
    }

    /// Uses this binary instead of the one under test.
    pub(crate) fn with_program(self, program: &str) -> Self {
        Self { program: program.to_owned(), ..self }
    }

    /// Uses the binary with this planted bug.
    pub(crate) fn with_bug(self, name: &str) -> Self {
        self.with_program(BINARY_WITH_BUG).with_environment("PLANTED_BUG", name)
    }

    /// Runs the program that is interrupted once, as in `kill capture answered`: see `store::interruptions`.
    pub(crate) fn with_interruption(self, text: &str) -> Self {
        self.with_program(BINARY_WITH_BUG).with_environment("PLANTED_INTERRUPTION", text)
    }

    /// Sets an environment variable.
    pub(crate) fn with_environment(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets the soft and the hard limit on open files of the process.
    pub(crate) fn with_open_files(self, soft: u64, hard: u64) -> Self {
        Self { open_files: Some((soft, hard)), ..self }
    }

    /// Returns the command of a subcommand with these options. The subcommand `""` is the default one.
    pub(crate) fn command(&self, subcommand: &str) -> Command {
        let mut command = match self.open_files {
            None => program(&self.program),
            Some((soft, hard)) => {
                let mut limited = program("sh");
                limited.args(["-c", &format!("ulimit -S -n {soft} && ulimit -H -n {hard} && exec \"$0\" \"$@\"")]);
                limited.arg(&self.program);
                limited
            }
        };
        command.current_dir(&self.folder).envs(&self.environment);
        command.args((!subcommand.is_empty()).then_some(subcommand));
        for (flag, value) in &self.options {
            // Flag and value are one argument, because a value may start with a hyphen.
            command.arg(if value.is_empty() { flag.clone() } else { format!("{flag}={value}") });
        }
        command
    }

    /// Starts the process without waiting until it is ready.
    pub(crate) fn spawn(&self) -> Process {
        Process::spawn("boxoffice", self.command(""), Signal::KILL)
    }

    /// Starts the server and waits until it prints that it is ready.
    pub(crate) async fn start(self) -> Server {
        let process = self.spawn();
        let console = process.console();
        let address =
            console.find("that it is ready", |line| printed_address(line, "gRPC and grpc-web on ", "grpc")).await;
        let admin = match self.options.get("--admin-listen").map(String::as_str) {
            Some("off") => None,
            _ => Some(
                console.find("its admin port", |line| printed_address(line, "health and metrics on ", "admin")).await,
            ),
        };
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let channel = endpoint.connect().await.unwrap_or_else(|error| panic!("{address}: {error:?}\n{console}"));
        Server { setup: self, process, address, admin, channel }
    }

    /// Starts a server that must end by itself. Returns its exit code and its output.
    pub(crate) async fn failed_start(self) -> (Option<i32>, String) {
        let process = self.spawn();
        let status = process.exit().await;
        process.console().search(|_| None::<()>).await.expect_err("no line is searched for");
        (status.code(), process.console().to_string())
    }
}

/// Finds an address in a line of the server: after these words, as in `gRPC and grpc-web on http://127.0.0.1:50051`, or, in
/// JSON, in this field of the event that the server is ready.
fn printed_address(line: &str, words: &str, field: &str) -> Option<String> {
    if let Ok(event) = serde_json::from_str::<Value>(line) {
        return (event["message"] == "Boxoffice is ready").then(|| event[field].as_str().map(str::to_owned))?;
    }
    let rest = line.split(words).nth(1)?.strip_prefix("http://")?;
    Some(rest.split(|c: char| !c.is_ascii_alphanumeric() && !".:[]-".contains(c)).next()?.to_owned())
}

/// A server that has printed that it is ready.
pub(crate) struct Server {
    setup: Setup,
    process: Process,
    address: String,
    admin: Option<String>,
    channel: Channel,
}

impl Server {
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn setup(&self) -> &Setup {
        &self.setup
    }

    pub(crate) fn console(&self) -> &Console {
        self.process.console()
    }

    /// Runs a subcommand of operators against this server. Returns its exit code and what it printed.
    pub(crate) fn operate(&self, subcommand: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = binary();
        command.arg(subcommand).args(arguments).args(["--address", self.address()]);
        printed(&command.output().expect("the binary runs"))
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn auditoriums(&self) -> AuditoriumsClient<Channel> {
        AuditoriumsClient::new(self.channel())
    }

    pub(crate) fn movies(&self) -> MoviesClient<Channel> {
        MoviesClient::new(self.channel())
    }

    pub(crate) fn reports(&self) -> ReportsClient<Channel> {
        ReportsClient::new(self.channel())
    }

    pub(crate) fn reservations(&self) -> ReservationsClient<Channel> {
        ReservationsClient::new(self.channel())
    }

    pub(crate) fn events(&self) -> EventsClient<Channel> {
        EventsClient::new(self.channel())
    }

    pub(crate) fn operations(&self) -> OperationsClient<Channel> {
        OperationsClient::new(self.channel())
    }

    pub(crate) fn showtimes(&self) -> ShowtimesClient<Channel> {
        ShowtimesClient::new(self.channel())
    }

    pub(crate) fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel())
    }

    /// Returns a client that sets the faults of the server's own demo provider.
    pub(crate) async fn embedded_provider(&self) -> Faults {
        let address = |line: &str| printed_address(line, "demo provider on ", "demo");
        Faults::at(&self.console().find("the address of its demo provider", address).await)
    }

    /// Opens another connection, if the server accepts it.
    pub(crate) async fn connect(&self) -> Result<Channel, tonic::transport::Error> {
        Endpoint::from_shared(format!("http://{}", self.address)).expect("an address").connect().await
    }

    /// Opens a connection from another address of this machine.
    pub(crate) async fn connect_from(&self, address: [u8; 4]) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).expect("an address");
        endpoint.local_address(Some(address.into())).connect().await.expect("the address belongs to this machine")
    }

    /// Reads a page of the admin port.
    pub(crate) async fn admin(&self, path: &str) -> Reply {
        http::get(self.admin.as_deref().expect("the admin port is on"), path).await
    }

    pub(crate) async fn metrics(&self) -> Metrics {
        let page = self.admin("/metrics").await;
        assert_eq!(page.status, 200, "{page:?}");
        Metrics::read(&page.text())
    }

    /// Whether the server answers a health check.
    pub(crate) async fn is_alive(&self) -> bool {
        self.health().check(tonic_health::pb::HealthCheckRequest::default()).await.is_ok()
    }

    /// Returns the peak of the resident memory in MiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.process.peak_memory()
    }

    /// Returns the resident memory in MiB.
    pub(crate) fn memory(&self) -> u64 {
        self.process.memory()
    }

    /// Returns the soft limit on the process's open files.
    pub(crate) fn open_files_limit(&self) -> String {
        self.process.open_files_limit()
    }

    /// Sets a soft limit of the running process. Returns the one before.
    #[cfg(target_os = "linux")]
    pub(crate) fn limit(&self, resource: Resource, soft: u64) -> u64 {
        self.process.limit(resource, soft)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Pauses the process as SIGSTOP does, and waits until it stands still. SIGCONT wakes it up.
    pub(crate) async fn pause(&self) {
        self.signal(Signal::STOP);
        eventually("the server stands still", async || self.process.is_stopped().then_some(())).await;
    }

    /// Waits until the server has ended. Returns its exit code, or `None` if it was killed.
    pub(crate) async fn exit(&self) -> Option<i32> {
        self.process.exit().await.code()
    }

    /// Stops the server as an operator would. It must end with exit code 0.
    pub(crate) async fn stop(&self) {
        self.signal(Signal::TERM);
        assert_eq!(self.exit().await, Some(0), "{}", self.console());
    }

    /// Whether the server stands still.
    pub(crate) fn is_stopped(&self) -> bool {
        self.process.is_stopped()
    }

    /// Kills the server as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops the server and starts it again with the same data.
    pub(crate) async fn restart(self) -> Self {
        self.stop().await;
        self.setup.clone().start().await
    }
}
