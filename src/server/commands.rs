//! What the binary does: one function for each subcommand, and the runtime under them.

use std::{io::Write as _, net::SocketAddr, path::Path, process::ExitCode, time::Duration};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{Failure, options, serve};
use crate::{
    clock::Clock,
    config::{Command, Config, DemoConfig, Observability},
    pb,
    store::Store,
    telemetry,
    upstream::{self, demo},
};

/// What a health check waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Does what was asked, and answers with the exit code.
#[must_use]
pub fn run(command: Command) -> ExitCode {
    if let Command::Serve(config) | Command::Migrate(config) | Command::CheckConfig(config) = &command
        && let Err(why) = options::store(config).check()
    {
        eprintln!("boxoffice cannot start: 1 value is wrong\n  --database-url: {why}");
        return ExitCode::from(2);
    }
    let done = match command {
        Command::Serve(config) => {
            with_runtime(&config.observability.clone(), async |guard| serve(&config, guard).await)
        }
        Command::Migrate(config) => with_runtime(&config.observability.clone(), async |_| migrate(&config).await),
        Command::DemoProvider(config) => with_runtime(&config.observability.clone(), async |_| provide(config).await),
        Command::CheckConfig(config) => say(&config.describe()),
        Command::Healthcheck { address, service } => check(address, service),
        Command::Descriptors { out } => write_descriptors(out.as_deref()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let mut why = failure.to_string();
            let mut cause = failure.source();
            while let Some(deeper) = cause {
                why += ": ";
                why += &deeper.to_string();
                cause = deeper.source();
            }
            eprintln!("boxoffice: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Runs work on a runtime, seen through telemetry, which is flushed after the runtime has gone.
fn with_runtime(
    seen: &Observability,
    work: impl AsyncFnOnce(&telemetry::Guard) -> Result<(), Failure>,
) -> Result<(), Failure> {
    // The one TLS implementation of the whole process; it is there already only if this was called twice.
    let _already = rustls::crypto::ring::default_provider().install_default();
    let guard = telemetry::init(&options::telemetry(seen, Clock::System.new_id().to_string()))?;
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
        0 => format!("the database was at migration {version} already"),
        count => format!("the database is at migration {version}: {count} applied"),
    });
    Ok(())
}

/// Runs the demo provider alone.
async fn provide(config: DemoConfig) -> Result<(), Failure> {
    let read = |file: &Path| std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()));
    let tls = match &config.tls {
        Some(identity) => Some(demo::Tls { cert_pem: read(&identity.certificate)?, key_pem: read(&identity.key)? }),
        None => None,
    };
    let listener =
        TcpListener::bind(config.listen).await.map_err(|error| format!("--listen {}: {error}", config.listen))?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let address = listener.local_addr()?;
    let options = demo::Options {
        faults: demo::Faults {
            latency: config.latency,
            jitter: config.jitter,
            failure_percent: config.failure_percent,
            in_band_percent: config.in_band_percent,
            outage: config.outage,
            black_hole: config.black_hole,
        },
        api_key: config.api_key.as_ref().map(|key| upstream::Secret::new(key.expose())),
        tls,
    };
    let shutdown = CancellationToken::new();
    super::end_on_signal(shutdown.clone())?;
    telemetry::print(&format!("demo provider on {scheme}://{address}"));
    Ok(demo::serve(listener, options, shutdown).await?)
}

/// Asks a running service how it is: success only if it is serving.
fn check(address: SocketAddr, service: String) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = async {
        let channel = tonic::transport::Endpoint::try_from(format!("http://{address}"))?.connect().await?;
        let request = HealthCheckRequest { service };
        let status = HealthClient::new(channel).check(request).await?.into_inner().status();
        if status == ServingStatus::Serving { Ok(()) } else { Err(Failure::from(status.as_str_name())) }
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await })?
}

fn write_descriptors(out: Option<&Path>) -> Result<(), Failure> {
    match out {
        Some(file) => {
            std::fs::write(file, pb::DESCRIPTORS).map_err(|error| format!("--out {}: {error}", file.display()).into())
        }
        None => Ok(std::io::stdout().write_all(pb::DESCRIPTORS)?),
    }
}

fn say(text: &str) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
