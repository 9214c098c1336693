//! The options of this room: how the provider and Redis are reached, and for how long their answers are used.

use std::time::Duration;

use thiserror::Error;

use crate::remote::{Secret, channel::ChannelError};

/// The options of [`Movies`](super::Movies).
#[derive(Clone)]
pub struct Options {
    /// How the provider is reached.
    pub provider: ProviderOptions,
    /// How Redis is reached. Without it, the cache is in the memory of this process only.
    pub redis: Option<RedisOptions>,
    /// How long an answer is served from the cache without asking the provider. Zero asks the provider every time.
    pub fresh: Duration,
    /// How long an answer is served from the cache when the provider fails.
    pub stale: Duration,
    /// How long "no such movie" is served from the cache.
    pub absent: Duration,
}

/// How the provider is reached.
#[derive(Clone)]
pub struct ProviderOptions {
    /// `http://host:port` or `https://host:port`.
    pub url: String,
    /// Sent as `x-apikey` with every call.
    pub api_key: Option<Secret>,
    /// The certificates to trust over https, as PEM: authorities, or the provider's own self-signed certificate. `None`
    /// trusts the authorities that browsers trust.
    pub ca_pem: Option<Vec<u8>>,
    /// Whether any certificate is accepted. For development only.
    pub insecure: bool,
    /// The deadline of each attempt.
    pub timeout: Duration,
    /// The largest number of attempts for one request, at least 1.
    pub attempts: u32,
}

/// How Redis is reached.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://…` or `rediss://…`. A secret, because it may hold a password.
    pub url: Secret,
    /// The deadline of each call.
    pub timeout: Duration,
    /// How long Redis is not called after it failed.
    pub cooldown: Duration,
}

/// An option that cannot work. No message repeats a value, because URLs and keys may hold secrets.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The provider's URL is not `http://host:port` or `https://host:port`.
    #[error("the provider's URL must be http://host:port or https://host:port")]
    ProviderUrl,
    /// The API key has other characters than visible ASCII.
    #[error("the provider's API key must consist of visible ASCII characters, because it is sent in a gRPC header")]
    ApiKey,
    /// The CA file has no certificate that can be trusted.
    #[error("the provider's CA file must hold at least one PEM certificate, and holds none that can be used")]
    CaFile,
    /// The TLS library refuses the settings.
    #[error("TLS to the provider cannot be set up")]
    Tls(#[source] tonic::transport::Error),
    /// The Redis URL is not one, or asks for what is not supported.
    #[error("the Redis URL cannot be used: {0}")]
    RedisUrl(&'static str),
}

impl From<ChannelError> for SetupError {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Url => Self::ProviderUrl,
            ChannelError::CaFile => Self::CaFile,
            ChannelError::Tls(error) => Self::Tls(error),
        }
    }
}
