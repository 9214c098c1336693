//! Where a sink is.

use std::{fmt, path::PathBuf};

use percent_encoding::percent_decode_str;
use url::Url;

/// A broker to which events are delivered.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// The sink's name. How far it is, is stored under this name.
    pub name: String,
    /// What is particular to this kind of broker.
    pub broker: Broker,
    /// The URL of the server, which may contain a password.
    pub url: String,
    /// Further servers of the same cluster, each as `host` or `host:port`.
    pub hosts: Vec<String>,
    /// PEM file with the authority that signed the servers' certificates.
    pub ca_file: Option<PathBuf>,
}

/// What is particular to a kind of broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broker {
    /// A Redis stream.
    Redis {
        /// The stream.
        stream: String,
        /// How many events the stream keeps, approximately.
        max_length: u64,
    },
    /// A topic exchange of `RabbitMQ`.
    RabbitMq {
        /// The exchange.
        exchange: String,
    },
    /// A stream of NATS `JetStream`.
    Nats {
        /// The stream.
        stream: String,
        /// What the subject of each event begins with.
        subject: String,
        /// How many events the stream keeps, if it is made here.
        max_messages: u64,
        /// File with the credentials of the account.
        credentials_file: Option<PathBuf>,
    },
    /// A topic of Kafka.
    Kafka {
        /// The topic.
        topic: String,
        /// Whether connections are encrypted.
        encrypted: bool,
        /// How user and password are shown to the servers, if the URL has them.
        sasl: Sasl,
    },
}

/// How user and password are shown to Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sasl {
    /// In clear.
    Plain,
    /// By a challenge with SHA-256.
    ScramSha256,
    /// By a challenge with SHA-512.
    ScramSha512,
}

impl Broker {
    /// The name of the kind, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Redis { .. } => "Redis",
            Self::RabbitMq { .. } => "RabbitMQ",
            Self::Nats { .. } => "NATS",
            Self::Kafka { .. } => "Kafka",
        }
    }
}

impl Address {
    /// The user and the password in the URL.
    pub(super) fn user(&self) -> Option<(String, Option<String>)> {
        let url = Url::parse(&self.url).ok()?;
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        (!url.username().is_empty()).then(|| (decoded(url.username()), url.password().map(decoded)))
    }

    /// All servers, as `host:port`.
    pub(super) fn servers(&self, usual_port: u16) -> Vec<String> {
        let first = Url::parse(&self.url).ok().and_then(|url| {
            let host = url.host_str()?;
            Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
        });
        let with_port = |host: String| {
            let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            if has_port { host } else { format!("{host}:{usual_port}") }
        };
        first.into_iter().chain(self.hosts.iter().cloned()).map(with_port).collect()
    }
}

// The URL is not printed.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("name", &self.name).finish_non_exhaustive()
    }
}
