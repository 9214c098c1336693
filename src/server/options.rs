//! What each room needs to know, taken from the configuration.

use redis::{IntoConnectionInfo as _, io::tcp::TcpSettings};
use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::{
    app::Rules,
    config::{Config, Cors, Database, LogFormat, Migrate, Observability, RedisConfig, RemoteProvider, Trust},
    grpc::layers,
    ledger,
    server::limits,
    store, telemetry, upstream,
};

pub(super) fn store(config: &Config) -> store::Options {
    store::Options {
        database: match &config.database.database {
            Database::Sqlite { path } => store::Database::Sqlite(path.clone()),
            Database::Postgres { url } => store::Database::Postgres(url.expose().to_owned()),
        },
        connections: config.database.connections,
        timeout: config.database.timeout,
        migrate: config.database.migrate == Migrate::Auto,
        cached_showtimes: config.showtime_cache,
    }
}

pub(super) fn upstream(config: &Config, url: &str) -> Result<upstream::Options, Failure> {
    let provider = &config.provider;
    let trust = provider.remote.as_ref().map(|remote| &remote.trust);
    let ca_pem = match trust {
        Some(Trust::Authority(file)) => {
            let unreadable = |error| format!("--provider-ca-file {}: {error}", file.display());
            Some(std::fs::read(file).map_err(unreadable)?)
        }
        _ => None,
    };
    let api_key = |remote: &RemoteProvider| remote.api_key.as_ref().map(|key| upstream::Secret::new(key.expose()));
    Ok(upstream::Options {
        provider: upstream::ProviderOptions {
            url: url.to_owned(),
            api_key: provider.remote.as_ref().and_then(api_key),
            ca_pem,
            insecure: trust == Some(&Trust::Anybody),
            timeout: provider.timeout,
            attempts: provider.attempts,
        },
        redis: config.redis.as_ref().map(|redis| upstream::RedisOptions {
            url: upstream::Secret::new(redis.url.expose()),
            timeout: redis.timeout,
            rest: redis.rest,
        }),
        fresh: provider.fresh,
        stale: provider.stale,
        absent: provider.absent,
    })
}

pub(super) fn rules(config: &Config) -> Rules {
    Rules { hold_duration: config.hold_duration, turnaround: config.turnaround }
}

pub(super) fn ledger(config: &Config) -> ledger::Options {
    ledger::Options {
        rules: config.seating.clone(),
        writers: config.ledger.writers as usize,
        memory: config.ledger.memory_mib << 20,
        watchers: ledger::WatchQuota { all: config.ledger.max_watchers, caller: config.ledger.max_caller_watchers },
        feed: config.redis.as_ref().and_then(feed),
    }
}

/// The configuration has made sure that the address can be understood.
fn feed(redis: &RedisConfig) -> Option<ledger::DeltaChannel> {
    let info = redis.url.expose().into_connection_info().ok()?;
    let client = redis::Client::open(info.set_tcp_settings(TcpSettings::default().set_nodelay(true))).ok()?;
    Some(ledger::DeltaChannel { client, rest: redis.rest })
}

pub(super) fn layers(config: &Config, drain: CancellationToken) -> layers::Settings {
    layers::Settings {
        drain,
        cors_origins: match &config.cors {
            Cors::Any => vec!["*".to_owned()],
            Cors::Listed(origins) => origins.clone(),
        },
        request_timeout: config.limits.request_timeout,
        max_request_timeout: config.limits.max_request_timeout,
        max_requests: config.limits.max_requests,
        max_message_bytes: config.limits.max_message_bytes,
        max_header_bytes: config.limits.max_header_bytes as usize,
    }
}

pub(super) fn limits(config: &Config) -> limits::Limits {
    let most = &config.limits;
    limits::Limits {
        max_concurrent_streams: most.max_concurrent_streams,
        max_header_bytes: most.max_header_bytes,
        keepalive_interval: most.keepalive_interval,
        keepalive_timeout: most.keepalive_timeout,
    }
}

/// How the process is seen.
#[must_use]
pub(super) fn telemetry(seen: &Observability, instance: String) -> telemetry::Options {
    telemetry::Options {
        log_format: match seen.log_format {
            LogFormat::Human => telemetry::LogFormat::Human,
            LogFormat::Json => telemetry::LogFormat::Json,
        },
        log_level: seen.log_level.clone(),
        otlp_endpoint: seen.otlp_endpoint.as_ref().map(|endpoint| endpoint.expose().to_owned()),
        instance,
    }
}
