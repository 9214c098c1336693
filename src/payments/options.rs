//! The options of this room: how the gateway is reached.

use std::time::Duration;

use thiserror::Error;

use crate::remote::{Secret, channel::ChannelError};

/// The options of [`Gateway`](super::Gateway).
#[derive(Clone)]
pub struct Options {
    /// `http://host:port` or `https://host:port`.
    pub url: String,
    /// Sent as `x-api-key` with every call.
    pub api_key: Option<Secret>,
    /// The certificates to trust over https, as PEM: authorities, or the gateway's own self-signed certificate. `None` trusts
    /// the authorities that browsers trust.
    pub ca_pem: Option<Vec<u8>>,
    /// Whether any certificate is accepted. For development only.
    pub insecure: bool,
    /// The deadline of each call.
    pub timeout: Duration,
}

/// An option that cannot work. No message repeats a value, because URLs and keys may hold secrets.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The gateway's URL is not `http://host:port` or `https://host:port`.
    #[error("the payment gateway's URL must be http://host:port or https://host:port")]
    Url,
    /// The key has other characters than visible ASCII.
    #[error("the payment gateway's key must consist of visible ASCII characters, because it is sent in a gRPC header")]
    ApiKey,
    /// The CA file has no certificate that can be trusted.
    #[error("the payment gateway's CA file must hold at least one PEM certificate, and holds none that can be used")]
    CaFile,
    /// The TLS library refuses the settings.
    #[error("TLS to the payment gateway cannot be set up")]
    Tls(#[source] tonic::transport::Error),
}

impl From<ChannelError> for SetupError {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Url => Self::Url,
            ChannelError::CaFile => Self::CaFile,
            ChannelError::Tls(error) => Self::Tls(error),
        }
    }
}
