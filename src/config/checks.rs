//! Rules that a type cannot express: those over several options, and those for which a file is read.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use url::Url;

use super::{
    demos::{DemoGateway, DemoProvider},
    location::DatabaseLocation,
    operators::AuditConfig,
    options::{
        Cache, Config, Database, DemoConfig, DemoGatewayConfig, Events, Exposure, Grpc, Http, Limits, Observability,
        Payments, ProjectConfig, Projector, Provider, Reports, Webhooks, WebhooksConfig,
    },
    row::Row,
    secret::SecretUrl,
    sink_url::Broker,
    sources::Settings,
};
use crate::telemetry::cause;

pub(super) fn service(settings: &mut Settings, config: &Config) {
    let (listen, admin_listen) = (config.grpc.listen, config.http.admin_listen.address());
    exposed(settings, &config.exposure, Grpc::listen, Some(listen));
    exposed(settings, &config.exposure, Http::admin_listen, admin_listen);
    let same = listen.port() != 0 && Some(listen) == admin_listen;
    settings.demand(&[Http::admin_listen, Grpc::listen], !same, "is the address of --listen, too");
    database(settings, &config.database);
    if let Some(url) = &config.reports.reports_url {
        database_url(settings, Reports::reports_url, url);
        let same = config.database.database_url.as_ref() == Some(url);
        settings.demand(&[Reports::reports_url, Database::database_url], !same, "is the service's own database");
    }
    redis(settings, &config.cache);
    provider(settings, &config.provider);
    payments(settings, &config.payments);
    sinks(settings, &config.events);
    settings.demand(
        &[Limits::request_timeout, Limits::max_request_timeout],
        config.limits.request_timeout <= config.limits.max_request_timeout,
        "is longer than --max-request-timeout",
    );
    observability(settings, &config.observability);
}

pub(super) fn demo(settings: &mut Settings, config: &DemoConfig) {
    let provider = &config.provider;
    exposed(settings, &config.exposure, DemoProvider::listen, Some(provider.listen));
    let (certificate, key) = (provider.tls_cert.as_ref(), provider.tls_key.as_ref());
    identity(settings, (DemoProvider::tls_cert, certificate), (DemoProvider::tls_key, key));
    observability(settings, &config.observability);
}

pub(super) fn demo_gateway(settings: &mut Settings, config: &DemoGatewayConfig) {
    let gateway = &config.gateway;
    exposed(settings, &config.exposure, DemoGateway::listen, Some(gateway.listen));
    settings.demand(&[DemoGateway::data_dir], !gateway.data_dir.is_file(), "is a file, not a folder");
    let (certificate, key) = (gateway.tls_cert.as_ref(), gateway.tls_key.as_ref());
    identity(settings, (DemoGateway::tls_cert, certificate), (DemoGateway::tls_key, key));
    observability(settings, &config.observability);
}

/// A certificate and its private key are given together.
fn identity(
    settings: &mut Settings,
    (certificate, certificate_file): (Row, Option<&PathBuf>),
    (key, key_file): (Row, Option<&PathBuf>),
) {
    let paired = certificate_file.is_some() == key_file.is_some();
    let unpaired = if certificate_file.is_some() { [certificate, key] } else { [key, certificate] };
    settings.demand(&unpaired, paired, format!("needs {} beside it", unpaired[1].flag()));
    pem(settings, certificate, certificate_file, Pem::Certificates);
    pem(settings, key, key_file, Pem::PrivateKey);
}

pub(super) fn project(settings: &mut Settings, config: &ProjectConfig) {
    let Projector { from, from_ca_file, database_url: url, .. } = &config.projector;
    settings.demand(&[Projector::from], from.is_some(), "must name the service, as in http://localhost:50051");
    if let Some(from) = from {
        endpoint(settings, Projector::from, from);
    }
    let encrypted = from.as_ref().is_some_and(|from| from.scheme() == "https");
    let needless = "has a meaning only with a --from that begins with https://";
    settings.demand(&[Projector::from_ca_file, Projector::from], encrypted || from_ca_file.is_none(), needless);
    pem(settings, Projector::from_ca_file, from_ca_file.as_ref(), Pem::Authorities);
    settings.demand(&[Projector::database_url], url.is_some(), "must name the reporting database");
    if let Some(url) = url {
        database_url(settings, Projector::database_url, url);
    }
    observability(settings, &config.observability);
}

/// There is no authentication yet, so an address that other machines can reach needs a second option that allows it.
fn exposed(settings: &mut Settings, exposure: &Exposure, option: Row, address: Option<SocketAddr>) {
    let Some(address) = address else { return };
    settings.demand(
        &[option, Exposure::trusted_network],
        exposure.trusted_network || address.ip().to_canonical().is_loopback(),
        format!(
            "{address} can be reached from other machines, and callers are not authenticated: listen on 127.0.0.1, or give \
             --trusted-network if everybody who can reach it may do everything"
        ),
    );
}

pub(super) fn webhooks(settings: &mut Settings, config: &WebhooksConfig) {
    let webhooks = &config.webhooks;
    endpoint(settings, Webhooks::from, &webhooks.from);
    let (insecure, file) = (webhooks.from.scheme() == "http", webhooks.from_ca_file.as_ref());
    settings.demand(
        &[Webhooks::from_ca_file, Webhooks::from],
        !insecure || file.is_none(),
        "has a meaning only with a --from that begins with https://",
    );
    pem(settings, Webhooks::from_ca_file, file, Pem::Authorities);
    let given = webhooks.endpoints.is_some() || webhooks.list;
    settings.demand(&[Webhooks::endpoints], given, "must name a file with the endpoints");
    let (folder, url) = (Webhooks::data_dir, Webhooks::database_url);
    settings.demand(&[folder], !webhooks.data_dir.is_file(), "is a file, not a folder");
    if let Some(given) = &webhooks.database_url {
        database_url(settings, url, given);
    }
    observability(settings, &config.observability);
}

pub(super) fn audit(settings: &mut Settings, config: &AuditConfig) {
    database(settings, &config.database);
    payments(settings, &config.payments);
    observability(settings, &config.observability);
}

fn database(settings: &mut Settings, database: &Database) {
    settings.demand(&[Database::data_dir], !database.data_dir.is_file(), "is a file, not a folder");
    if let Some(url) = &database.database_url {
        database_url(settings, Database::database_url, url);
    }
}

/// The URL of a database is that of a Postgres server or of an SQLite file.
fn database_url(settings: &mut Settings, option: Row, url: &SecretUrl) {
    if let DatabaseLocation::Sqlite(path) = DatabaseLocation::of(url) {
        let text = url.expose();
        let plain = !text.contains(['?', '#']) && path.file_name().is_some() && !text.ends_with(":memory:");
        let reason = "must name a file, as in sqlite:///var/lib/boxoffice/boxoffice.db";
        settings.demand(&[option], plain, reason);
        settings.demand(&[option], !path.is_dir(), "names a folder, not a file");
    } else {
        let known = ["postgres", "postgresql"].contains(&url.scheme());
        settings.demand(&[option], known, "must begin with postgres:// or sqlite://");
    }
}

fn redis(settings: &mut Settings, cache: &Cache) {
    let Some(url) = &cache.redis_url else { return };
    let known = ["redis", "rediss"].contains(&url.scheme());
    settings.demand(&[Cache::redis_url], known, "must begin with redis:// or rediss://");
    // Opens no connection: it parses the URL, and finds what this build cannot do.
    let usable = redis::Client::open(url.expose()).is_ok();
    settings.demand(&[Cache::redis_url], usable, "must be as in rediss://user:password@host:6379/0");
}

fn provider(settings: &mut Settings, provider: &Provider) {
    let url = provider.provider_url.as_ref();
    if let Some(url) = url {
        endpoint(settings, Provider::provider_url, url);
    }
    let encrypted = url.is_some_and(|url| url.scheme() == "https");
    let needless = "has a meaning only with a --provider-url that begins with https://";
    let (insecure, file) = (provider.provider_insecure, provider.provider_ca_file.as_ref());
    settings.demand(&[Provider::provider_insecure, Provider::provider_url], encrypted || !insecure, needless);
    settings.demand(&[Provider::provider_ca_file, Provider::provider_url], encrypted || file.is_none(), needless);
    settings.demand(
        &[Provider::provider_ca_file, Provider::provider_insecure],
        !insecure || file.is_none(),
        "contradicts --provider-insecure: the certificate is verified or it is not",
    );
    settings.demand(
        &[Provider::provider_api_key, Provider::provider_url],
        url.is_some() || provider.provider_api_key.is_none(),
        "has a meaning only with a --provider-url",
    );
    pem(settings, Provider::provider_ca_file, file, Pem::Authorities);
    settings.demand(
        &[Provider::provider_fresh, Provider::provider_stale],
        provider.provider_fresh <= provider.provider_stale,
        "is longer than --provider-stale: a movie cannot be fresh when it is too old to be stale",
    );
}

fn payments(settings: &mut Settings, payments: &Payments) {
    let url = payments.payment_gateway_url.as_ref();
    if let Some(url) = url {
        endpoint(settings, Payments::payment_gateway_url, url);
    }
    let encrypted = url.is_some_and(|url| url.scheme() == "https");
    let needless = "has a meaning only with a --payment-gateway-url that begins with https://";
    let (insecure, file) = (payments.payment_gateway_insecure, payments.payment_gateway_ca_file.as_ref());
    let (url_row, insecure_row, file_row) =
        (Payments::payment_gateway_url, Payments::payment_gateway_insecure, Payments::payment_gateway_ca_file);
    settings.demand(&[insecure_row, url_row], encrypted || !insecure, needless);
    settings.demand(&[file_row, url_row], encrypted || file.is_none(), needless);
    settings.demand(
        &[file_row, insecure_row],
        !insecure || file.is_none(),
        "contradicts --payment-gateway-insecure: the certificate is verified or it is not",
    );
    settings.demand(
        &[Payments::payment_gateway_key, url_row],
        url.is_some() || payments.payment_gateway_key.is_none(),
        "has a meaning only with a --payment-gateway-url",
    );
    pem(settings, file_row, file, Pem::Authorities);
}

fn sinks(settings: &mut Settings, events: &Events) {
    for sink in &events.sink.0 {
        pem(settings, Events::sink, sink.ca_file.as_ref(), Pem::Authorities);
        if let Broker::Nats { credentials_file: Some(file), .. } = &sink.broker
            && let Err(error) = fs::read(file)
        {
            settings.refuse(&Events::sink, format!("{} cannot be read: {}", file.display(), cause::of_io(&error)));
        }
    }
}

/// The URL of a gRPC server is a scheme, a host and a port, and nothing else.
fn endpoint(settings: &mut Settings, option: Row, url: &SecretUrl) {
    let plain = Url::parse(url.expose()).is_ok_and(|url| {
        ["http", "https"].contains(&url.scheme())
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
    });
    settings.demand(&[option], plain, "must be http:// or https:// with a host and a port, and nothing after them");
}

/// What a PEM file must contain.
#[derive(Clone, Copy)]
enum Pem {
    /// Certificates, at least one of which can sign others.
    Authorities,
    Certificates,
    PrivateKey,
}

impl Pem {
    /// The label of such a part in the file.
    fn label(self) -> &'static str {
        match self {
            Self::Authorities | Self::Certificates => "CERTIFICATE",
            Self::PrivateKey => "PRIVATE KEY",
        }
    }

    /// Whether the file contains it in a form that TLS can use.
    fn is_in(self, content: &[u8]) -> bool {
        let certificates =
            || CertificateDer::pem_slice_iter(content).collect::<Result<Vec<_>, _>>().unwrap_or_default();
        match self {
            Self::Authorities => RootCertStore::empty().add_parsable_certificates(certificates()).0 > 0,
            Self::Certificates => !certificates().is_empty(),
            Self::PrivateKey => PrivateKeyDer::from_pem_slice(content).is_ok(),
        }
    }
}

fn pem(settings: &mut Settings, option: Row, file: Option<&PathBuf>, kind: Pem) {
    let Some(reason) = file.and_then(|file| unusable(file, kind)) else { return };
    settings.demand(&[option], false, reason);
}

fn unusable(file: &Path, kind: Pem) -> Option<String> {
    match fs::read(file) {
        Ok(content) if kind.is_in(&content) => None,
        Ok(_) => Some(format!("{} holds no {} in PEM form", file.display(), kind.label())),
        Err(error) => Some(format!("{} cannot be read: {}", file.display(), cause::of_io(&error))),
    }
}

fn observability(settings: &mut Settings, observability: &Observability) {
    let directives = observability.log_level.split(',');
    if let Some(wrong) = directives.into_iter().find(|directive| !is_directive(directive.trim())) {
        let reason =
            format!("\"{wrong}\" is neither a level (off, error, warn, info, debug, trace) nor a target=level");
        settings.refuse(&Observability::log_level, reason);
    }
    if let Some(url) = &observability.otlp_endpoint {
        endpoint(settings, Observability::otlp_endpoint, url);
        let plain = url.expose().starts_with("http://");
        settings.demand(
            &[Observability::otlp_endpoint],
            plain,
            "must be http://: traces go to a collector nearby, without TLS",
        );
    }
}

/// Stricter than the filter itself, which takes a mistyped level for the name of a target.
fn is_directive(text: &str) -> bool {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    let (target, level) = text.rsplit_once('=').unwrap_or(("all", text));
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    !target.is_empty() && target.chars().all(allowed) && levels.contains(&level.to_ascii_lowercase().as_str())
}
