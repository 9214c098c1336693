//! From text to a checked configuration: every value typed, and the rules that span several options.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use url::Url;

use super::{
    Command, Config, Database, DatabaseConfig, DemoConfig, Identity, LedgerConfig, Limits, Observability, Problem,
    ProviderConfig, RedisConfig, RemoteProvider, SecretUrl, Trust,
    cli::{Call, Subcommand},
    sources::{Environment, Settings},
    values::{Listener, Orphans, Wish},
};
use crate::domain::seating::Rules;

/// What was asked for, or all that is wrong.
pub(super) fn command(call: &Call, environment: &Environment) -> Result<Command, Vec<Problem>> {
    let mut settings = Settings::gather(call.subcommand.rows(), &call.flags, environment);
    let command = match call.subcommand {
        Subcommand::Serve => config(&mut settings).map(Command::Serve),
        Subcommand::Migrate => config(&mut settings).map(Command::Migrate),
        Subcommand::CheckConfig => config(&mut settings).map(Command::CheckConfig),
        Subcommand::DemoProvider => demo(&mut settings).map(Command::DemoProvider),
        Subcommand::Healthcheck => healthcheck(&mut settings),
        Subcommand::Descriptors => Some(Command::Descriptors { out: settings.may("out") }),
    };
    settings.conclude(command)
}

fn config(from: &mut Settings) -> Option<Config> {
    let (listen, admin_listen) = (from.may("listen"), from.must::<Listener>("admin-listen").0);
    guard(from, &[("listen", listen), ("admin-listen", admin_listen)]);
    let same = listen.is_some_and(|address| address.port() != 0 && Some(address) == admin_listen);
    from.demand(&["admin-listen", "listen"], !same, "is the address of --listen, too");
    let data_dir: PathBuf = from.must("data-dir");
    from.demand(&["data-dir"], !data_dir.is_file(), "is a file, not a folder");
    let sample = match from.must("sample") {
        Wish::Auto => !from.is_given("database-url") && !from.is_given("provider-url"),
        Wish::On => true,
        Wish::Off => false,
    };
    Some(Config {
        cors: from.must("cors-origin"),
        database: DatabaseConfig {
            database: database(from, &data_dir),
            migrate: from.must("migrate"),
            connections: from.must("database-connections"),
            timeout: from.must("database-timeout"),
        },
        data_dir,
        redis: redis(from),
        showtime_cache: from.must("showtime-cache"),
        provider: provider(from),
        hold_duration: from.must("hold-duration"),
        turnaround: from.must("turnaround"),
        seating: seating(from),
        ledger: ledger(from),
        sample,
        limits: limits(from),
        observability: observability(from),
        description: from.describe(),
        admin_listen,
        listen: listen?,
    })
}

/// There is no authentication yet, so an address that other machines can reach must be asked for twice.
fn guard(from: &mut Settings, listeners: &[(&'static str, Option<SocketAddr>)]) {
    let trusted: bool = from.must("trusted-network");
    for (name, address) in listeners {
        let Some(address) = address else { continue };
        from.demand(
            &[name, "trusted-network"],
            trusted || address.ip().to_canonical().is_loopback(),
            format!(
                "{address} can be reached from other machines, and callers are not authenticated: listen on 127.0.0.1, or \
                 give --trusted-network if only those can reach it who may do everything"
            ),
        );
    }
}

fn database(from: &mut Settings, data_dir: &Path) -> Database {
    let embedded = Database::Sqlite { path: data_dir.join("boxoffice.db") };
    let Some(url) = from.may::<SecretUrl>("database-url") else { return embedded };
    let whole = url.expose();
    if let Some(path) = whole.strip_prefix("sqlite:") {
        let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
        let plain = !whole.contains(['?', '#']) && path.file_name().is_some() && !whole.ends_with(":memory:");
        from.demand(&["database-url"], plain, "must name a file, as in sqlite:///var/lib/boxoffice/boxoffice.db");
        from.demand(&["database-url"], !path.is_dir(), "names a folder, not a file");
        return Database::Sqlite { path };
    }
    let known = ["postgres", "postgresql"].contains(&scheme(whole));
    from.demand(&["database-url"], known, "must begin with postgres:// or sqlite://");
    Database::Postgres { url }
}

fn redis(from: &mut Settings) -> Option<RedisConfig> {
    let (timeout, rest) = (from.must("redis-timeout"), from.must("redis-rest"));
    let url = from.may::<SecretUrl>("redis-url")?;
    let known = ["redis", "rediss"].contains(&scheme(url.expose()));
    from.demand(&["redis-url"], known, "must begin with redis:// or rediss://");
    // Opens no connection: it reads the URL, and finds what this build cannot do.
    let usable = redis::Client::open(url.expose()).is_ok();
    from.demand(&["redis-url"], usable, "must be as in rediss://user:password@host:6379/0");
    Some(RedisConfig { url, timeout, rest })
}

fn provider(from: &mut Settings) -> ProviderConfig {
    let config = ProviderConfig {
        remote: remote(from),
        timeout: from.must("provider-timeout"),
        attempts: from.must("provider-attempts"),
        fresh: from.must("provider-fresh"),
        stale: from.must("provider-stale"),
        absent: from.must("provider-absent"),
    };
    from.demand(
        &["provider-fresh", "provider-stale"],
        config.fresh <= config.stale,
        "is longer than --provider-stale: a movie cannot be fresh when it is too old to be stale",
    );
    config
}

fn remote(from: &mut Settings) -> Option<RemoteProvider> {
    let url: Option<SecretUrl> = from.may("provider-url");
    if let Some(url) = &url {
        endpoint(from, "provider-url", url);
    }
    let (api_key, file) = (from.may("provider-api-key"), from.may::<PathBuf>("provider-ca-file"));
    let insecure: bool = from.must("provider-insecure");
    let encrypted = url.as_ref().is_some_and(|url| scheme(url.expose()) == "https");
    let why = "has a meaning only with a --provider-url that begins with https://";
    from.demand(&["provider-insecure", "provider-url"], encrypted || !insecure, why);
    from.demand(&["provider-ca-file", "provider-url"], encrypted || file.is_none(), why);
    let both = "contradicts --provider-insecure: the certificate is verified or it is not";
    from.demand(&["provider-ca-file", "provider-insecure"], !insecure || file.is_none(), both);
    from.demand(
        &["provider-api-key", "provider-url"],
        url.is_some() || api_key.is_none(),
        "has a meaning only with a --provider-url",
    );
    if let Some(file) = &file {
        pem(from, "provider-ca-file", file, Pem::Authorities);
    }
    let trust = match (encrypted, insecure, file) {
        (false, ..) => Trust::Plaintext,
        (true, true, _) => Trust::Anybody,
        (true, false, Some(file)) => Trust::Authority(file),
        (true, false, None) => Trust::Web,
    };
    url.map(|url| RemoteProvider { url: url.expose().to_owned(), api_key, trust })
}

fn scheme(url: &str) -> &str {
    url.split(':').next().unwrap_or_default()
}

/// A gRPC server is a scheme, a host and a port, and nothing else.
fn endpoint(from: &mut Settings, name: &'static str, url: &SecretUrl) {
    let parsed = Url::parse(url.expose()).ok();
    let plain = parsed.is_some_and(|url| {
        ["http", "https"].contains(&url.scheme())
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
    });
    from.demand(&[name], plain, "must be http:// or https:// with a host and a port, and nothing after them");
}

/// What a PEM file is to hold.
#[derive(Clone, Copy)]
enum Pem {
    /// Certificates, at least one of which can vouch for others.
    Authorities,
    /// Certificates.
    Certificates,
    PrivateKey,
}

impl Pem {
    /// Whether it is there and can be read by those who will need it.
    fn stands_in(self, content: &[u8]) -> bool {
        let certificates =
            || CertificateDer::pem_slice_iter(content).collect::<Result<Vec<_>, _>>().unwrap_or_default();
        match self {
            Self::Authorities => RootCertStore::empty().add_parsable_certificates(certificates()).0 > 0,
            Self::Certificates => !certificates().is_empty(),
            Self::PrivateKey => PrivateKeyDer::from_pem_slice(content).is_ok(),
        }
    }
}

fn pem(from: &mut Settings, name: &'static str, file: &Path, kind: Pem) {
    let what = match kind {
        Pem::Authorities | Pem::Certificates => "CERTIFICATE",
        Pem::PrivateKey => "PRIVATE KEY",
    };
    match fs::read(file) {
        Ok(content) if kind.stands_in(&content) => {}
        Ok(_) => from.demand(&[name], false, format!("{} holds no {what} in PEM form", file.display())),
        Err(reason) => from.demand(&[name], false, format!("{} cannot be read: {reason}", file.display())),
    }
}

fn seating(from: &mut Settings) -> Rules {
    Rules {
        max_seats: from.must("max-seats"),
        max_customer_seats: from.must("max-customer-seats"),
        closing: from.must("sales-closing"),
        extension: from.must("hold-extension"),
        orphan_rule: from.must::<Orphans>("orphan-seats").0,
    }
}

fn ledger(from: &mut Settings) -> LedgerConfig {
    let (sweeps, interval) = (from.must("sweep"), from.must("sweep-interval"));
    LedgerConfig {
        writers: from.must("ledger-writers"),
        memory_mib: from.must("ledger-memory"),
        sweep: if sweeps { Some(interval) } else { None },
        max_watchers: from.must("max-watchers"),
        max_caller_watchers: from.must("max-caller-watchers"),
        watch_heartbeat: from.must("watch-heartbeat"),
    }
}

fn limits(from: &mut Settings) -> Limits {
    let limits = Limits {
        request_timeout: from.must("request-timeout"),
        max_request_timeout: from.must("max-request-timeout"),
        max_message_bytes: from.must("max-message-bytes"),
        max_concurrent_streams: from.must("max-concurrent-streams"),
        max_connections: from.must("max-connections"),
        max_requests: from.must("max-requests"),
        max_header_bytes: from.must("max-header-bytes"),
        keepalive_interval: from.must("keepalive-interval"),
        keepalive_timeout: from.must("keepalive-timeout"),
        drain_timeout: from.must("drain-timeout"),
    };
    from.demand(
        &["request-timeout", "max-request-timeout"],
        limits.request_timeout <= limits.max_request_timeout,
        "is longer than --max-request-timeout",
    );
    limits
}

fn observability(from: &mut Settings) -> Observability {
    let log_level: String = from.must("log-level");
    if let Some(wrong) = log_level.split(',').find(|directive| !is_directive(directive.trim())) {
        from.refuse(
            "log-level",
            format!("\"{wrong}\" is neither a level (off, error, warn, info, debug, trace) nor a target=level"),
        );
    }
    let otlp_endpoint: Option<SecretUrl> = from.may("otlp-endpoint");
    if let Some(url) = &otlp_endpoint {
        endpoint(from, "otlp-endpoint", url);
    }
    Observability { log_format: from.must("log-format"), log_level, otlp_endpoint }
}

/// Stricter than the filter itself, which takes a mistyped level for the name of a target.
fn is_directive(text: &str) -> bool {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    let (target, level) = text.rsplit_once('=').unwrap_or(("all", text));
    let named = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    !target.is_empty() && target.chars().all(named) && levels.contains(&level.to_ascii_lowercase().as_str())
}

fn demo(from: &mut Settings) -> Option<DemoConfig> {
    let listen = from.may("listen");
    guard(from, &[("listen", listen)]);
    let (certificate, key): (Option<PathBuf>, Option<PathBuf>) = (from.may("tls-cert"), from.may("tls-key"));
    let paired = certificate.is_some() == key.is_some();
    let lonely = if certificate.is_some() { ["tls-cert", "tls-key"] } else { ["tls-key", "tls-cert"] };
    from.demand(&lonely, paired, format!("needs --{} beside it", lonely[1]));
    for (name, file, content) in [("tls-cert", &certificate, Pem::Certificates), ("tls-key", &key, Pem::PrivateKey)] {
        if let Some(file) = file {
            pem(from, name, file, content);
        }
    }
    Some(DemoConfig {
        api_key: from.may("api-key"),
        tls: certificate.zip(key).map(|(certificate, key)| Identity { certificate, key }),
        latency: from.must("latency"),
        jitter: from.must("jitter"),
        failure_percent: from.must("failure-percent"),
        in_band_percent: from.must("in-band-percent"),
        outage: from.must("outage"),
        black_hole: from.must("black-hole"),
        observability: observability(from),
        listen: listen?,
    })
}

fn healthcheck(from: &mut Settings) -> Option<Command> {
    let listen: Option<SocketAddr> = from.may("listen");
    let mut address = from.may("address").or(listen)?;
    // "Every address" is where one listens, not where one calls.
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    from.demand(&["address"], address.port() != 0, "must be given where --listen leaves the port open");
    Some(Command::Healthcheck { address, service: from.must("service") })
}
