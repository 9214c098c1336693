//! What the binary does: one function for each subcommand, and the runtime under them.

use std::{io::Write as _, net::SocketAddr, path::Path, process::ExitCode, time::Duration};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{
    audit_command::audit, event_commands, failure::Failure, key_commands, open_files::OpenFiles, options,
    purchase_commands, refund_commands, serve, signals,
};
use crate::{
    asyncapi,
    clock::Clock,
    config::{Command, Config, DemoConfig, DemoGatewayConfig, Observability, ProjectConfig, Webhooks},
    payments::demo as gateway,
    pb,
    remote::{Secret, demo::Tls},
    reports,
    store::Store,
    telemetry::{self, cause},
    upstream::demo,
    webhooks,
};

/// Longest wait for the answer to a health check.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// Runs a command, and returns the exit code.
#[must_use]
pub fn run(command: Command) -> ExitCode {
    if let Some(wrong) = wrong_url(&command) {
        eprintln!("boxoffice cannot start: 1 value is wrong\n  {wrong}");
        return ExitCode::from(2);
    }
    let endpoints = match &command {
        Command::Webhooks(config) => match endpoints(&config.webhooks) {
            Ok(endpoints) => endpoints,
            Err(problems) => return problems,
        },
        _ => Vec::new(),
    };
    let done = match command {
        Command::Serve(config) => {
            with_runtime(&config.observability.clone(), async |guard| serve(&config, guard).await)
        }
        Command::Migrate(config) => with_runtime(&config.observability.clone(), async |_| migrate(&config).await),
        Command::DemoProvider(config) => {
            with_runtime(&config.observability.clone(), async |_| demo_provider(config).await)
        }
        Command::DemoGateway(config) => {
            with_runtime(&config.observability.clone(), async |_| demo_gateway(config).await)
        }
        Command::Project(config) => with_runtime(&config.observability.clone(), async |_| project(config).await),
        Command::Webhooks(config) if config.webhooks.list => list_webhooks(&config.webhooks),
        Command::Webhooks(config) => {
            with_runtime(&config.observability, async |_| deliver_webhooks(endpoints, &config.webhooks).await)
        }
        Command::CheckConfig { config, report } => print(&checked(&config, report)),
        Command::Healthcheck { address, service } => healthcheck(address, service.unwrap_or_default()),
        Command::Events { address, action } => event_commands::run(address, action),
        Command::Purchases { address, action } => purchase_commands::run(address, action),
        Command::Refunds { address, action } => refund_commands::run(address, action),
        Command::Keys { address, action } => key_commands::run(address, action),
        Command::Audit(config) => with_runtime(&config.observability.clone(), async |_| audit(&config).await),
        Command::Descriptors { out, asyncapi: false } => write(out.as_deref(), pb::DESCRIPTORS),
        Command::Descriptors { out, asyncapi: true } => {
            asyncapi::document().map_err(Failure::from).and_then(|text| write(out.as_deref(), text.as_bytes()))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let mut text = failure.to_string();
            let mut source = failure.source();
            while let Some(error) = source {
                text += ": ";
                text += &error.to_string();
                source = error.source();
            }
            eprintln!("boxoffice: {text}");
            ExitCode::FAILURE
        }
    }
}

/// The URL of a database that its driver cannot parse, and why.
fn wrong_url(command: &Command) -> Option<String> {
    let (option, refused) = match command {
        Command::Serve(config) | Command::Migrate(config) | Command::CheckConfig { config, .. } => {
            let reports = options::reports(config).and_then(|reports| reports.check().err());
            match options::store(config).check() {
                Err(error) => ("database-url", error.to_string()),
                Ok(()) => ("reports-url", reports?.to_string()),
            }
        }
        Command::Audit(config) => ("database-url", options::audited(config).check().err()?.to_string()),
        Command::Project(config) => {
            let projection = options::projection(&config.projector).ok().flatten()?;
            ("database-url", projection.database.check().err()?.to_string())
        }
        Command::DemoProvider(_)
        | Command::DemoGateway(_)
        | Command::Healthcheck { .. }
        | Command::Events { .. }
        | Command::Purchases { .. }
        | Command::Refunds { .. }
        | Command::Keys { .. }
        | Command::Webhooks(_)
        | Command::Descriptors { .. } => return None,
    };
    Some(format!("--{option}: {refused}"))
}

/// Runs work on a runtime and with telemetry, which is flushed after the runtime has ended.
fn with_runtime(
    observability: &Observability,
    work: impl AsyncFnOnce(&telemetry::Guard) -> Result<(), Failure>,
) -> Result<(), Failure> {
    // The TLS implementation of the whole process. Installing it fails only if this function was called before.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let guard = telemetry::init(&options::telemetry(observability, Clock::System.new_id().to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(work(&guard));
    runtime.shutdown_timeout(Duration::from_secs(1));
    guard.shutdown();
    done
}

async fn migrate(config: &Config) -> Result<(), Failure> {
    let count = Store::migrate(&options::store(config)).await?;
    let version = Store::schema_version();
    telemetry::print(&match count {
        0 => format!("the database is at migration {version} already"),
        count => format!("the database is at migration {version}: {count} applied"),
    });
    Ok(())
}

/// Runs the demo provider alone.
async fn demo_provider(config: DemoConfig) -> Result<(), Failure> {
    let DemoConfig { provider, faults, .. } = config;
    let tls = tls(provider.tls_cert.as_deref(), provider.tls_key.as_deref())?;
    let (listener, address) = listen(provider.listen).await?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let options = demo::Options {
        faults: demo::Faults {
            latency: faults.latency,
            jitter: faults.jitter,
            failure_percent: faults.failure_percent,
            in_band_percent: faults.in_band_percent,
            outage: faults.outage,
            black_hole: faults.black_hole,
        },
        api_key: provider.api_key.as_ref().map(|key| Secret::new(key.expose())),
        tls,
    };
    let shutdown = CancellationToken::new();
    signals::cancel_on_signal(shutdown.clone())?;
    telemetry::print(&format!("demo provider on {scheme}://{address}"));
    Ok(demo::serve(listener, options, shutdown).await?)
}

/// Runs the demo gateway alone.
async fn demo_gateway(config: DemoGatewayConfig) -> Result<(), Failure> {
    let DemoGatewayConfig { gateway: options, faults, .. } = config;
    let tls = tls(options.tls_cert.as_deref(), options.tls_key.as_deref())?;
    let (listener, address) = listen(options.listen).await?;
    let book = gateway::Book::open(&options.data_dir)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let options = gateway::Options {
        faults: gateway::Faults {
            latency: faults.latency,
            jitter: faults.jitter,
            failure_percent: faults.failure_percent,
            outage: faults.outage,
            black_hole: faults.black_hole,
            lost_reply_percent: faults.lost_reply_percent,
            refund_delay: faults.refund_delay,
            action_timeout: faults.action_timeout,
        },
        api_key: options.api_key.as_ref().map(|key| Secret::new(key.expose())),
        tls,
    };
    let shutdown = CancellationToken::new();
    signals::cancel_on_signal(shutdown.clone())?;
    telemetry::print(&format!("demo gateway on {scheme}://{address}"));
    Ok(gateway::serve(listener, book, options, shutdown).await?)
}

/// The identity of a demo server, if both files are given.
fn tls(certificate: Option<&Path>, key: Option<&Path>) -> Result<Option<Tls>, Failure> {
    let read =
        |file: &Path| std::fs::read(file).map_err(|error| format!("{}: {}", file.display(), cause::of_io(&error)));
    Ok(match (certificate, key) {
        (Some(certificate), Some(key)) => Some(Tls { cert_pem: read(certificate)?, key_pem: read(key)? }),
        _ => None,
    })
}

/// Opens the port of a demo server.
async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let taken = |error| format!("--listen {address}: {}", cause::of_io(&error));
    let listener = TcpListener::bind(address).await.map_err(taken)?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// Fills a reporting database.
async fn project(config: ProjectConfig) -> Result<(), Failure> {
    let ProjectConfig { projector, .. } = config;
    // The configuration has demanded both.
    let Some(projection) = options::projection(&projector)? else { return Ok(()) };
    let shutdown = CancellationToken::new();
    signals::cancel_on_signal(shutdown.clone())?;
    if let Some((from, url)) = projector.from.as_ref().zip(projector.database_url.as_ref()) {
        telemetry::print(&format!("projecting the events of {from} into {url}"));
    }
    Ok(Box::pin(reports::project(projection, Clock::System, shutdown)).await?)
}

/// The endpoints of webhooks, or the exit code if the file is wrong.
fn endpoints(config: &Webhooks) -> Result<Vec<webhooks::Endpoint>, ExitCode> {
    let Some(file) = config.endpoints.as_ref().filter(|_| !config.list) else { return Ok(Vec::new()) };
    webhooks::read_endpoints(file).map_err(|problems| {
        let noun = if problems.len() == 1 { "value is" } else { "values are" };
        eprintln!("boxoffice cannot start: {} {noun} wrong\n  {}", problems.len(), problems.join("\n  "));
        ExitCode::from(2)
    })
}

async fn deliver_webhooks(endpoints: Vec<webhooks::Endpoint>, config: &Webhooks) -> Result<(), Failure> {
    let shutdown = CancellationToken::new();
    signals::cancel_on_signal(shutdown.clone())?;
    let count = endpoints.len();
    telemetry::print(&format!("delivering the events of {} to {count} endpoints", config.from));
    webhooks::run(endpoints, options::webhooks(config)?, Clock::System, shutdown).await
}

fn list_webhooks(config: &Webhooks) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    print(&runtime.block_on(webhooks::list(&options::webhooks_database(config)))?)
}

/// Asks a running service for its health. Succeeds only if it is serving.
fn healthcheck(address: SocketAddr, service: String) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        let asked = tokio::time::timeout(HEALTHCHECK_TIMEOUT, ask_for_health(address, service));
        asked.await.unwrap_or_else(|_| Err(format!(": no answer within {} s", HEALTHCHECK_TIMEOUT.as_secs())))
    });
    answer.map_err(|reason| format!("{address}{reason}").into())
}

/// The reason of a failure continues a sentence that begins with the address.
async fn ask_for_health(address: SocketAddr, service: String) -> Result<(), String> {
    // A plain connection first: its error has the cause, which tonic's hides.
    drop(TcpStream::connect(address).await.map_err(|error| format!(": {}", cause::of_io(&error)))?);
    let not_grpc = |_| " does not answer as a gRPC server".to_owned();
    let channel =
        Endpoint::try_from(format!("http://{address}")).map_err(not_grpc)?.connect().await.map_err(not_grpc)?;
    let request = HealthCheckRequest { service: service.clone() };
    match HealthClient::new(channel).check(request).await {
        Ok(answer) => match answer.into_inner().status() {
            ServingStatus::Serving => Ok(()),
            status => Err(format!(": {}", status.as_str_name())),
        },
        Err(status) if status.code() == Code::NotFound => Err(format!(" has no service {service}")),
        Err(status) => Err(format!(": {:?}: {}", status.code(), status.message())),
    }
}

/// The report of `check-config`, and what a start would change. It is a comment, since the report is in the form of the file.
fn checked(config: &Config, report: String) -> String {
    match OpenFiles::expected(config).notice() {
        Some(notice) => format!("{report}\n# {notice}"),
        None => report,
    }
}

/// Writes to the file of `--out`, or to standard output.
fn write(out: Option<&Path>, content: &[u8]) -> Result<(), Failure> {
    match out {
        Some(file) => {
            let unwritable = |error| format!("--out {}: {}", file.display(), cause::of_io(&error));
            Ok(std::fs::write(file, content).map_err(unwritable)?)
        }
        None => Ok(std::io::stdout().write_all(content)?),
    }
}

fn print(text: &str) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
