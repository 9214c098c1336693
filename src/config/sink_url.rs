//! The URL of a sink: which broker it is, where it is, and what the service does there.

use std::path::PathBuf;

use url::Url;

use super::secret::{MASK, SecretUrl};

/// The most characters of the name of a sink.
const LONGEST_NAME: usize = 40;
/// The most characters of a stream, an exchange, a subject or a topic. `RabbitMQ` and Kafka take no more.
const LONGEST_TARGET: usize = 249;
/// The events that a stream keeps, if its URL says nothing else.
const MOST_KEPT: u64 = 1_000_000;

/// A broker to which events are delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    /// The sink's name. How far it is, is stored under this name.
    pub name: String,
    /// What is particular to this kind of broker.
    pub broker: Broker,
    /// The server, without parameters of ours.
    pub url: SecretUrl,
    /// Further servers of the same cluster, each as `host` or `host:port`.
    pub hosts: Vec<String>,
    /// PEM file with the authority that signed the servers' certificates.
    pub ca_file: Option<PathBuf>,
    /// The URL as it was given, without its password.
    pub(super) masked: String,
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
        /// How many events a stream that the service makes keeps.
        max_messages: u64,
        /// File with the credentials of the account, as `nsc` writes it.
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

/// The schemes of a kind of broker and whether connections are encrypted with them, the name of the kind, and the parameters
/// besides `name`.
type Kind = (&'static [(&'static str, bool)], &'static str, &'static [&'static str]);

const KINDS: [Kind; 4] = [
    (&[("redis", false), ("rediss", true)], "redis", &["stream", "max_length", "ca_file"]),
    (&[("amqp", false), ("amqps", true)], "rabbitmq", &["exchange", "ca_file"]),
    (&[("nats", false), ("tls", true)], "nats", &["stream", "subject", "max_messages", "credentials_file", "ca_file"]),
    (&[("kafka", false), ("kafka+ssl", true)], "kafka", &["topic", "sasl", "ca_file"]),
];

/// Reads a URL such as `redis://host:6379/0?stream=boxoffice:events&max_length=1000000&name=redis`. A reason quotes no password.
pub(super) fn sink(text: &str) -> Result<Sink, String> {
    let (first, hosts) = split_hosts(text);
    let mut url = Url::parse(&first).map_err(|reason| format!("is not a URL: {reason}"))?;
    let kind = KINDS.iter().find_map(|(schemes, name, parameters)| {
        schemes
            .iter()
            .find(|(scheme, _)| *scheme == url.scheme())
            .map(|(_, encrypted)| (*name, *encrypted, *parameters))
    });
    let (kind, encrypted, known) = kind.ok_or("must begin with redis://, amqp://, nats:// or kafka://, or, encrypted, with rediss://, amqps://, tls:// or kafka+ssl://")?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err("has no host".to_owned());
    }
    let given: Vec<(String, String)> =
        url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    if let Some((other, _)) = given.iter().find(|(name, _)| name != "name" && !known.contains(&name.as_str())) {
        return Err(format!("has a parameter other than name, {}: {other}", known.join(", ")));
    }
    let given = Parameters(given);
    let name = given.text("name").unwrap_or_else(|| kind.to_owned());
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(plain) {
        return Err(format!("has a name that is not 1 to {LONGEST_NAME} of a-z, 0-9 and -"));
    }
    if !hosts.is_empty() && !["nats", "kafka"].contains(&kind) {
        return Err("has several hosts, which only nats:// and kafka:// may have".to_owned());
    }
    for host in &hosts {
        let parsed = Url::parse(&format!("nats://{host}")).ok();
        let plain = parsed.is_some_and(|url| url.has_host() && url.username().is_empty() && url.path().is_empty());
        if !plain {
            return Err("has a host that is not as in host:4222".to_owned());
        }
    }
    let ca_file = given.path("ca_file");
    if ca_file.is_some() && !encrypted {
        return Err("has a ca_file without encryption: it needs rediss://, amqps://, tls:// or kafka+ssl://".to_owned());
    }
    let masked = masked(&url, &hosts);
    url.set_query(None);
    let broker = broker(kind, encrypted, &given, &url)?;
    Ok(Sink { name, broker, url: SecretUrl::new(url.as_str(), &url), hosts, ca_file, masked })
}

fn broker(kind: &str, encrypted: bool, given: &Parameters, url: &Url) -> Result<Broker, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    Ok(match kind {
        "redis" => {
            // Opens no connection: it parses the URL, and finds what this build cannot do.
            redis::Client::open(url.as_str()).map_err(|_| "must be as in rediss://user:password@host:6379/0")?;
            let stream = given.target("stream", "boxoffice:events", |_| true)?;
            Broker::Redis { stream, max_length: given.number("max_length")? }
        }
        "rabbitmq" => {
            let path = url.path().trim_start_matches('/');
            if path.contains('/') || url.fragment().is_some() {
                return Err(
                    "must be as in amqp://user:password@host:5672/virtual-host, with %2f for / in its name".to_owned()
                );
            }
            Broker::RabbitMq { exchange: given.target("exchange", "boxoffice.events", |c| !c.is_control())? }
        }
        "nats" => {
            no_path(url)?;
            let stream = given.target("stream", "BOXOFFICE", |c| plain(c) && c != '.')?;
            let subject = given.target("subject", "boxoffice.events", plain)?;
            if subject.split('.').any(str::is_empty) {
                return Err("has a subject with an empty part".to_owned());
            }
            let credentials_file = given.path("credentials_file");
            Broker::Nats { stream, subject, max_messages: given.number("max_messages")?, credentials_file }
        }
        _ => {
            no_path(url)?;
            let sasl = given.text("sasl");
            if url.username().is_empty() && sasl.is_some() {
                return Err("has sasl without a user".to_owned());
            }
            if !url.username().is_empty() && url.password().is_none() {
                return Err("has a user without a password".to_owned());
            }
            let sasl = match sasl.as_deref() {
                None | Some("plain") => Sasl::Plain,
                Some("scram-sha-256") => Sasl::ScramSha256,
                Some("scram-sha-512") => Sasl::ScramSha512,
                Some(_) => return Err("has a sasl other than plain, scram-sha-256 and scram-sha-512".to_owned()),
            };
            Broker::Kafka { topic: given.target("topic", "boxoffice.events", plain)?, encrypted, sasl }
        }
    })
}

fn no_path(url: &Url) -> Result<(), String> {
    let has_none = ["", "/"].contains(&url.path()) && url.fragment().is_none();
    if has_none { Ok(()) } else { Err("has a path, which means nothing to this broker".to_owned()) }
}

/// The parameters of a URL.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn text(&self, wanted: &str) -> Option<String> {
        self.0.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
    }

    fn path(&self, wanted: &str) -> Option<PathBuf> {
        self.text(wanted).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// A number of events that are kept.
    fn number(&self, wanted: &str) -> Result<u64, String> {
        let Some(text) = self.text(wanted) else { return Ok(MOST_KEPT) };
        let number = text.parse().ok().filter(|number| *number > 0 && i64::try_from(*number).is_ok());
        number.ok_or_else(|| format!("has a {wanted} that is not a whole number above 0"))
    }

    /// Where events are written, whose characters must all be allowed.
    fn target(&self, wanted: &str, default: &str, allowed: impl Fn(char) -> bool) -> Result<String, String> {
        let text = self.text(wanted).unwrap_or_else(|| default.to_owned());
        if text.is_empty() {
            return Err(format!("has an empty {wanted}"));
        }
        if text.len() > LONGEST_TARGET || !text.chars().all(allowed) {
            return Err(format!("has a {wanted} with characters that may not be there, or more than {LONGEST_TARGET}"));
        }
        Ok(text)
    }
}

/// The URL with its first host alone, and the others.
fn split_hosts(text: &str) -> (String, Vec<String>) {
    let Some((scheme, rest)) = text.split_once("://") else { return (text.to_owned(), Vec::new()) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(end);
    let mut hosts = authority.split(',').map(str::to_owned);
    let first = hosts.next().unwrap_or_default();
    (format!("{scheme}://{first}{after}"), hosts.collect())
}

/// The URL with all its hosts and parameters, of which none is a secret, and without its password.
fn masked(url: &Url, hosts: &[String]) -> String {
    let mut masked = url.clone();
    if masked.password().is_some() {
        // Fails only for URLs that cannot have a user.
        let _ = masked.set_password(Some(MASK));
    } else if !masked.username().is_empty() {
        // A token.
        let _ = masked.set_username(MASK);
    }
    let text = masked.to_string();
    let Some((scheme, rest)) = text.split_once("://") else { return MASK.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(end);
    let hosts: Vec<_> = std::iter::once(authority).chain(hosts.iter().map(String::as_str)).collect();
    format!("{scheme}://{}{after}", hosts.join(","))
}
