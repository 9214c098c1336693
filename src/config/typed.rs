//! The checked configuration, as the rest of the program sees it: whoever holds one of these values can rely on it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{Secret, SecretUrl};
use crate::domain::seating::Rules;

/// All that the service can be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where gRPC and grpc-web are served.
    pub listen: SocketAddr,
    /// Where health and metrics are served over HTTP, if at all.
    pub admin_listen: Option<SocketAddr>,
    /// Which web pages may call.
    pub cors: Cors,
    /// The folder for what the service keeps.
    pub data_dir: PathBuf,
    /// What is durable.
    pub database: DatabaseConfig,
    /// The cache outside the process, if there is one.
    pub redis: Option<RedisConfig>,
    /// Showtimes whose unchanging facts are kept in memory; 0: none.
    pub showtime_cache: u64,
    /// Where movies come from.
    pub provider: ProviderConfig,
    /// How long seats are held where a showtime says nothing else.
    pub hold_duration: Duration,
    /// How long an auditorium stays empty between two showtimes.
    pub turnaround: Duration,
    /// How seats are sold.
    pub seating: Rules,
    /// How that is carried out.
    pub ledger: LedgerConfig,
    /// Whether sample auditoriums and showtimes are wanted.
    pub sample: bool,
    /// What is refused.
    pub limits: Limits,
    /// How the service is seen.
    pub observability: Observability,
    pub(super) description: Vec<String>,
}

impl Config {
    /// The effective configuration, a line an option, in the form of the file, each with where its value came from.
    /// Secrets are masked.
    #[must_use]
    pub fn describe(&self) -> String {
        self.description.join("\n")
    }
}

/// The ledger of seats.
#[derive(Clone, Debug)]
pub struct LedgerConfig {
    /// Writers, each with showtimes of its own.
    pub writers: u32,
    /// MiB for showtimes in use.
    pub memory_mib: usize,
    /// The pause between two looks for holds that are over; none: nobody looks.
    pub sweep: Option<Duration>,
    /// Watchers of seat maps at once.
    pub max_watchers: usize,
    /// And those from one address.
    pub max_caller_watchers: usize,
    /// How long a watcher hears nothing, at most.
    pub watch_heartbeat: Duration,
}

/// The database, and how it is used.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// Which one.
    pub database: Database,
    /// When the schema is brought up to date.
    pub migrate: Migrate,
    /// Connections in the pool.
    pub connections: u32,
    /// Longest wait for a connection, and for a statement.
    pub timeout: Duration,
}

/// A database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file of ours.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
    /// A server.
    Postgres {
        /// Where it is, and the password.
        url: SecretUrl,
    },
}

/// When the schema is brought up to date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Migrate {
    /// At each start.
    #[default]
    Auto,
    /// By the subcommand only.
    Manual,
}

/// A Redis, and how much patience it gets.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// Where it is, and the password.
    pub url: SecretUrl,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// How long it is left alone after a failure.
    pub rest: Duration,
}

/// The movie provider, and how it is survived.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    /// Where it is; none: the demo provider in the process.
    pub remote: Option<RemoteProvider>,
    /// Longest wait for one attempt.
    pub timeout: Duration,
    /// Attempts for one movie, the first included.
    pub attempts: u32,
    /// Age up to which a cached movie is answered without a call.
    pub fresh: Duration,
    /// Age up to which a cached movie is answered when the call fails.
    pub stale: Duration,
    /// How long "no such movie" is remembered.
    pub absent: Duration,
}

/// A provider elsewhere.
#[derive(Clone, Debug)]
pub struct RemoteProvider {
    /// `http://…` or `https://…`, with neither user nor path.
    pub url: String,
    /// What it wants to see with each call.
    pub api_key: Option<Secret>,
    /// Whom to believe.
    pub trust: Trust,
}

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// None: the connection is not encrypted.
    Plaintext,
    /// Those of the authorities that the web trusts.
    Web,
    /// Those of the authority in this PEM file.
    Authority(PathBuf),
    /// Everybody's. For development.
    Anybody,
}

/// Which web pages may call, besides the same origin and localhost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// Those of these origins, each written as a browser writes it.
    Listed(Vec<String>),
    /// All.
    Any,
}

impl Default for Cors {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

/// What is refused, and how long is waited.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Deadline of a request whose caller states none.
    pub request_timeout: Duration,
    /// Latest deadline that a caller may state.
    pub max_request_timeout: Duration,
    /// Largest message taken.
    pub max_message_bytes: usize,
    /// Requests in flight on one connection.
    pub max_concurrent_streams: u32,
    /// Open connections.
    pub max_connections: usize,
    /// Requests in flight over all connections.
    pub max_requests: usize,
    /// Largest set of headers taken.
    pub max_header_bytes: u32,
    /// Silence after which a connection is probed.
    pub keepalive_interval: Duration,
    /// Wait for the answer to a probe.
    pub keepalive_timeout: Duration,
    /// Longest wait, when shutting down, for requests in flight.
    pub drain_timeout: Duration,
}

/// How the program is seen.
#[derive(Clone, Debug)]
pub struct Observability {
    /// How the console is written.
    pub log_format: LogFormat,
    /// What is logged: `info,boxoffice::store=debug`.
    pub log_level: String,
    /// Where traces are sent, if anywhere.
    pub otlp_endpoint: Option<SecretUrl>,
}

/// How the console is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// For machines: an object a line.
    Json,
}

/// All that the demo provider can be told.
#[derive(Clone, Debug)]
pub struct DemoConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The key that callers must send, if any.
    pub api_key: Option<Secret>,
    /// The certificate, if it speaks TLS.
    pub tls: Option<Identity>,
    /// Every answer is this late.
    pub latency: Duration,
    /// And up to this much later.
    pub jitter: Duration,
    /// Per cent of calls that fail with a gRPC error.
    pub failure_percent: u8,
    /// Per cent of calls that say in their answer that they failed.
    pub in_band_percent: u8,
    /// Every call fails at once.
    pub outage: bool,
    /// No call is answered.
    pub black_hole: bool,
    /// How it is seen.
    pub observability: Observability,
}

/// A certificate and its private key, both in PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The key's file.
    pub key: PathBuf,
}
