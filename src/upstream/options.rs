//! How the provider and the cache are reached, and for how long their answers are good.

use std::time::Duration;

use thiserror::Error;

/// Text that never shows itself: no `Debug`, no `Display`, never logged.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Lends the text to what must send it.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

/// Everything this room needs to know.
#[derive(Clone)]
pub struct Options {
    /// How the provider is reached.
    pub provider: ProviderOptions,
    /// How Redis is reached; without it, the cache is in this process.
    pub redis: Option<RedisOptions>,
    /// For so long an answer is given again without asking. Zero asks every time.
    pub fresh: Duration,
    /// For so long an answer may stand in when the provider fails.
    pub stale: Duration,
    /// For so long "no such movie" is given again without asking.
    pub absent: Duration,
}

/// How the provider is reached.
#[derive(Clone)]
pub struct ProviderOptions {
    /// `http://…` or `https://…`, host and port.
    pub url: String,
    /// Sent as `x-apikey` with every call.
    pub api_key: Option<Secret>,
    /// Whom to trust over https: authorities, or the provider's own self-signed certificate, as PEM. None:
    /// the authorities that browsers believe.
    pub ca_pem: Option<Vec<u8>>,
    /// Accept any certificate: for development only.
    pub insecure: bool,
    /// The deadline of each attempt.
    pub timeout: Duration,
    /// How often one question is asked at most.
    pub attempts: u32,
}

/// How Redis is reached.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://…` or `rediss://…`; it may hold a password.
    pub url: Secret,
    /// The most that one call may take.
    pub timeout: Duration,
    /// For so long Redis is left alone after it failed.
    pub rest: Duration,
}

/// Why the room cannot be furnished. Nothing here repeats a secret.
#[derive(Debug, Error)]
pub enum SetupError {
    /// Not `http://host:port` or `https://host:port`.
    #[error("the provider's URL is not an http or https address with a host")]
    ProviderUrl,
    /// Metadata carries visible ASCII only.
    #[error("the provider's API key has characters that a gRPC header cannot carry")]
    ApiKey,
    /// Nothing to trust in it.
    #[error("the CA file holds no usable PEM certificate")]
    CaFile,
    /// The transport does not accept the TLS settings.
    #[error("the provider's TLS cannot be set up")]
    Tls(#[source] tonic::transport::Error),
    /// Not a Redis URL.
    #[error("the Redis URL cannot be understood: {0}")]
    RedisUrl(&'static str),
}
