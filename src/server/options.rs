//! What each room is started with, taken from the configuration.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use redis::{IntoConnectionInfo as _, io::tcp::TcpSettings};
use tokio_util::sync::CancellationToken;

use crate::{
    app::{self, Rules},
    config::{
        self, AccessibleSeats, AuditConfig, Cache, Config, Cors, Database, DatabaseLocation, Hosts, LogFormat, Migrate,
        Observability, OrphanSeats, Projector, SecretUrl, Webhooks,
    },
    consumer,
    domain::seating::{self, OrphanRule},
    feed,
    grpc::{connections, layers},
    ledger, payments, remote, reports,
    server::limits,
    sinks, store,
    telemetry::{self, cause},
    upstream, webhooks,
};

pub(super) fn store(config: &Config) -> store::Options {
    database(&config.database, config.cache.showtime_cache)
}

/// The database of an audit, which is not migrated.
pub(super) fn audited(config: &AuditConfig) -> store::Options {
    store::Options { migrate: false, ..database(&config.database, 0) }
}

fn database(config: &Database, cached_showtimes: u64) -> store::Options {
    let Database { migrate, database_connections, database_timeout, .. } = *config;
    store::Options {
        database: match config.location() {
            DatabaseLocation::Sqlite(path) => store::Database::Sqlite(path),
            DatabaseLocation::Postgres(url) => store::Database::Postgres(url.expose().to_owned()),
        },
        connections: database_connections,
        timeout: database_timeout,
        migrate: migrate == Migrate::Auto,
        cached_showtimes,
    }
}

/// Fails if the file of `--provider-ca-file` cannot be read.
pub(super) fn upstream(config: &Config, url: &str) -> Result<upstream::Options, String> {
    let provider = &config.provider;
    let read = |file: &PathBuf| {
        let unreadable = |error| format!("--provider-ca-file {}: {}", file.display(), cause::of_io(&error));
        std::fs::read(file).map_err(unreadable)
    };
    Ok(upstream::Options {
        provider: upstream::ProviderOptions {
            url: url.to_owned(),
            api_key: provider.provider_api_key.as_ref().map(|key| upstream::Secret::new(key.expose())),
            ca_pem: provider.provider_ca_file.as_ref().map(read).transpose()?,
            insecure: provider.provider_insecure,
            timeout: provider.provider_timeout,
            attempts: provider.provider_attempts,
        },
        redis: config.cache.redis_url.as_ref().map(|url| upstream::RedisOptions {
            url: upstream::Secret::new(url.expose()),
            timeout: config.cache.redis_timeout,
            cooldown: config.cache.redis_rest,
        }),
        fresh: provider.provider_fresh,
        stale: provider.provider_stale,
        absent: provider.provider_absent,
    })
}

/// Fails if the file of `--payment-gateway-ca-file` cannot be read.
pub(super) fn payments(config: &Config, url: &str) -> Result<payments::Options, String> {
    gateway(&config.payments, url)
}

/// Fails if the file of `--payment-gateway-ca-file` cannot be read.
pub(super) fn gateway(gateway: &config::Payments, url: &str) -> Result<payments::Options, String> {
    let read = |file: &PathBuf| {
        let unreadable = |error| format!("--payment-gateway-ca-file {}: {}", file.display(), cause::of_io(&error));
        std::fs::read(file).map_err(unreadable)
    };
    Ok(payments::Options {
        url: url.to_owned(),
        api_key: gateway.payment_gateway_key.as_ref().map(|key| remote::Secret::new(key.expose())),
        ca_pem: gateway.payment_gateway_ca_file.as_ref().map(read).transpose()?,
        insecure: gateway.payment_gateway_insecure,
        timeout: gateway.payment_gateway_timeout,
    })
}

/// How purchases are paid for by this gateway.
pub(super) fn payment_options(config: &Config, gateway: payments::Gateway) -> app::PaymentOptions {
    let payments = &config.payments;
    app::PaymentOptions {
        gateway,
        gateway_timeout: payments.payment_gateway_timeout,
        pay_time: payments.pay_time,
        action_time: payments.pay_action_time,
    }
}

/// The longest time until the service answers a subscriber, and the longest silence after that. Between two heartbeats of the service
/// there is an hour at most, and ten seconds as a rule; a broken connection is found by its pings.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_SILENCE: Duration = Duration::from_mins(61);

/// Fails if the file of `--from-ca-file` cannot be read.
pub(super) fn webhooks(config: &Webhooks) -> Result<webhooks::Options, String> {
    let read = |file: &PathBuf| {
        let unreadable = |error| format!("--from-ca-file {}: {}", file.display(), cause::of_io(&error));
        std::fs::read(file).map_err(unreadable)
    };
    Ok(webhooks::Options {
        consumer: consumer::Options {
            url: config.from.expose().to_owned(),
            ca_pem: config.from_ca_file.as_ref().map(read).transpose()?,
            timeout: SUBSCRIBE_TIMEOUT,
            silence: LONGEST_SILENCE,
        },
        database: webhooks_database(config),
        once: config.once,
        max_waiting: config.max_waiting,
        retry_schedule: config.retry_schedule.0.clone(),
        attempt_timeout: config.attempt_timeout,
        enable: config.enable.0.clone(),
        redeliver: config.redeliver.0.clone(),
    })
}

pub(super) fn webhooks_database(config: &Webhooks) -> webhooks::Database {
    match config.location() {
        DatabaseLocation::Sqlite(path) => webhooks::Database::Sqlite(path),
        DatabaseLocation::Postgres(url) => webhooks::Database::Postgres(url.expose().to_owned()),
    }
}

pub(super) fn rules(config: &Config) -> Rules {
    Rules {
        hold_duration: config.cinema.hold_duration,
        turnaround: config.cinema.turnaround,
        doors_open: config.cinema.doors_open,
        seating: seating(config),
    }
}

pub(super) fn ledger(config: &Config) -> ledger::Options {
    let seats = &config.seats;
    ledger::Options {
        rules: seating(config),
        writers: seats.ledger_writers as usize,
        memory: seats.ledger_memory << 20,
        watchers: ledger::WatchQuota { total: seats.max_watchers, per_caller: seats.max_caller_watchers },
        delta_channel: delta_channel(&config.cache),
    }
}

fn seating(config: &Config) -> seating::Rules {
    let cinema = &config.cinema;
    seating::Rules {
        max_seats: cinema.max_seats,
        max_customer_seats: cinema.max_customer_seats,
        closing: cinema.sales_closing,
        extension: cinema.hold_extension,
        orphan_rule: match cinema.orphan_seats {
            OrphanSeats::Allow => OrphanRule::Allow,
            OrphanSeats::Refuse => OrphanRule::Refuse,
        },
        accessible_seats: match cinema.accessible_seats {
            AccessibleSeats::Open => seating::AccessibleSeats::Open,
            AccessibleSeats::OnRequest => {
                seating::AccessibleSeats::OnRequest { open_before: cinema.accessible_seats_open_before }
            }
        },
    }
}

/// The events that are kept.
pub(super) fn kept_events(config: &Config) -> feed::Kept {
    feed::Kept { time: config.events.event_retention, most: i64::from(config.events.event_cap) }
}

/// The brokers to which events are delivered.
pub(super) fn sinks(config: &Config) -> Vec<sinks::Address> {
    let address = |sink: &config::Sink| sinks::Address {
        name: sink.name.clone(),
        broker: broker(&sink.broker),
        url: sink.url.expose().to_owned(),
        hosts: sink.hosts.clone(),
        ca_file: sink.ca_file.clone(),
    };
    config.events.sink.0.iter().map(address).collect()
}

fn broker(broker: &config::Broker) -> sinks::Broker {
    match broker.clone() {
        config::Broker::Redis { stream, max_length } => sinks::Broker::Redis { stream, max_length },
        config::Broker::RabbitMq { exchange } => sinks::Broker::RabbitMq { exchange },
        config::Broker::Nats { stream, subject, max_messages, credentials_file } => {
            sinks::Broker::Nats { stream, subject, max_messages, credentials_file }
        }
        config::Broker::Kafka { topic, encrypted, sasl } => {
            let sasl = match sasl {
                config::Sasl::Plain => sinks::Sasl::Plain,
                config::Sasl::ScramSha256 => sinks::Sasl::ScramSha256,
                config::Sasl::ScramSha512 => sinks::Sasl::ScramSha512,
            };
            sinks::Broker::Kafka { topic, encrypted, sasl }
        }
    }
}

/// The reporting database; none: there are no reports.
pub(super) fn reports(config: &Config) -> Option<reports::Options> {
    let config::Reports { reports_url, reports_connections, reports_timeout } = &config.reports;
    let location = location(reports_url.as_ref()?);
    Some(reports::Options { location, connections: *reports_connections, timeout: *reports_timeout })
}

/// What the projector does. `None`: it is not said where the service or the database is.
pub(super) fn projection(config: &Projector) -> Result<Option<reports::Projection>, String> {
    let read = |file: &PathBuf| {
        std::fs::read(file).map_err(|error| format!("--from-ca-file {}: {}", file.display(), cause::of_io(&error)))
    };
    let ca_pem = config.from_ca_file.as_ref().map(read).transpose()?;
    let Some((from, url)) = config.from.as_ref().zip(config.database_url.as_ref()) else { return Ok(None) };
    let (timeout, silence) = (config.from_timeout, config.silence_timeout);
    Ok(Some(reports::Projection {
        // One writes, and one is free when the first one is broken.
        database: reports::Options { location: location(url), connections: 2, timeout: config.database_timeout },
        service: consumer::Options { url: from.expose().to_owned(), ca_pem, timeout, silence },
        batch: config.batch,
        rebuild: config.rebuild,
        once: config.once,
    }))
}

fn location(url: &SecretUrl) -> reports::Location {
    match DatabaseLocation::of(url) {
        DatabaseLocation::Sqlite(path) => reports::Location::Sqlite(path),
        DatabaseLocation::Postgres(url) => reports::Location::Postgres(url.expose().to_owned()),
    }
}

/// The pause between two sweeps; none: this instance does not sweep.
pub(super) fn sweep(config: &Config) -> Option<Duration> {
    config.seats.sweep.then_some(config.seats.sweep_interval)
}

/// The delta channel, if Redis is configured.
fn delta_channel(cache: &Cache) -> Option<ledger::DeltaChannel> {
    let info = cache.redis_url.as_ref()?.expose().into_connection_info().ok()?;
    let client = redis::Client::open(info.set_tcp_settings(TcpSettings::default().set_nodelay(true))).ok()?;
    Some(ledger::DeltaChannel { client, cooldown: cache.redis_rest })
}

/// The settings of the layers. `listen` is the address with the port that was opened.
pub(super) fn layers(config: &Config, listen: SocketAddr) -> layers::Settings {
    layers::Settings {
        cors_origins: match &config.http.cors_origin {
            Cors::Any => vec!["*".to_owned()],
            Cors::Listed(origins) => origins.clone(),
        },
        hosts: match &config.http.allowed_host {
            Hosts::Any => layers::Hosts::new(Some(listen), &["*".to_owned()]),
            Hosts::Listed(names) => layers::Hosts::new(Some(listen), names),
        },
        request_timeout: config.limits.request_timeout,
        max_request_timeout: config.limits.max_request_timeout,
        body_timeout: config.limits.body_timeout,
        max_message_bytes: config.limits.max_message_bytes,
        max_header_bytes: config.limits.max_header_bytes as usize,
    }
}

/// What all connections share. Streams end when `streams_end` is cancelled.
pub(super) fn connections(config: &Config, streams_end: CancellationToken) -> connections::Limits {
    connections::Limits {
        max_bytes: config.limits.connection_memory << 20,
        max_requests: config.limits.max_requests,
        streams_end,
    }
}

pub(super) fn limits(config: &Config) -> limits::Limits {
    let limits = &config.limits;
    limits::Limits {
        max_concurrent_streams: limits.max_concurrent_streams,
        max_header_bytes: limits.max_header_bytes,
        keepalive_interval: limits.keepalive_interval,
        keepalive_timeout: limits.keepalive_timeout,
    }
}

pub(super) fn telemetry(observability: &Observability, instance: String) -> telemetry::Options {
    telemetry::Options {
        log_format: match observability.log_format {
            LogFormat::Human => telemetry::LogFormat::Human,
            LogFormat::Json => telemetry::LogFormat::Json,
        },
        log_level: observability.log_level.clone(),
        otlp_endpoint: observability.otlp_endpoint.as_ref().map(|endpoint| endpoint.expose().to_owned()),
        instance,
    }
}
