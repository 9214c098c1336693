//! A stream of NATS `JetStream` as a sink.
//!
//! A message has the id of its event, with which `JetStream` drops what comes again within its window, and names the stream that must
//! take it. A subject that is bound to no stream has no responder, and that is trouble: events would be lost.

use async_nats::{
    Client, ConnectOptions, HeaderMap,
    jetstream::{
        self, Context, ErrorCode,
        context::{PublishError, PublishErrorKind},
        message::PublishMessage,
        stream::{Config, StorageType},
    },
};
use std::{error::Error as _, path::PathBuf, time::Duration};

use super::{
    address::Address,
    each::{self, CONFIRMATION, Outcome},
    message::{CONTENT_TYPE, Message},
    trouble::{Failure, Trouble},
};

const KIND: &str = "NATS";
/// The deadline for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Where messages are published.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) stream: &'a str,
    pub(super) subject: &'a str,
    pub(super) max_messages: u64,
    pub(super) credentials_file: Option<&'a PathBuf>,
}

pub(super) struct Connection {
    context: Context,
    stream: String,
    subject: String,
}

impl Connection {
    /// Connects, and makes the stream if it is missing.
    pub(super) async fn open(address: &Address, target: Target<'_>) -> Result<Self, Trouble> {
        let client = connect(address, target.credentials_file).await?;
        let context = jetstream::context::ContextBuilder::new().timeout(CONFIRMATION).build(client);
        let subjects = vec![format!("{}.>", target.subject)];
        let config = Config {
            name: target.stream.to_owned(),
            subjects,
            max_messages: target.max_messages.cast_signed(),
            storage: StorageType::File,
            description: Some("Events of Boxoffice".to_owned()),
            ..Config::default()
        };
        // A stream that is there stays as it is.
        let made = context.get_or_create_stream(config).await;
        made.map_err(|error| trouble(&format!("the stream {} cannot be used: {error}", target.stream)))?;
        Ok(Self { context, stream: target.stream.to_owned(), subject: target.subject.to_owned() })
    }

    pub(super) async fn deliver(&self, messages: &[&Message]) -> Outcome {
        each::publish(messages, KIND, |message| self.publish(message)).await
    }

    async fn publish(&self, message: &Message) -> Result<(), Failure> {
        let mut headers = HeaderMap::new();
        for (name, value) in message.attributes() {
            headers.insert(format!("ce-{name}"), value);
        }
        headers.insert("content-type", CONTENT_TYPE);
        let publish = PublishMessage::build().headers(headers).payload(message.data.clone().into());
        let publish = publish.message_id(message.unique_id()).expected_stream(&self.stream);
        let subject = format!("{}.{}", self.subject, message.name());
        let sent = self
            .context
            .send_publish(subject.clone(), publish)
            .await
            .map_err(|error| self.failure(&error, &subject))?;
        sent.await.map(|_| ()).map_err(|error| self.failure(&error, &subject))
    }

    fn failure(&self, error: &PublishError, subject: &str) -> Failure {
        match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => Failure::Refused(format!("NATS: {error}")),
            PublishErrorKind::StreamNotFound => {
                Failure::Trouble(trouble(&format!("no stream takes the subject {subject}")))
            }
            _ => {
                let answer = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
                if answer.is_some_and(|answer| answer.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM) {
                    return Failure::Refused(format!(
                        "NATS: the message is larger than the stream {} takes",
                        self.stream
                    ));
                }
                Failure::Trouble(trouble(&error.to_string()))
            }
        }
    }
}

async fn connect(address: &Address, credentials_file: Option<&PathBuf>) -> Result<Client, Trouble> {
    let mut options =
        ConnectOptions::new().name("boxoffice").connection_timeout(CONNECT_TIMEOUT).request_timeout(Some(CONFIRMATION));
    if let Some(file) = credentials_file {
        let read = options.credentials_file(file).await;
        options = read.map_err(|error| trouble(&format!("the credentials_file cannot be read: {error}")))?;
    }
    options = match address.user() {
        Some((user, Some(password))) => options.user_and_password(user, password),
        Some((token, None)) => options.token(token),
        None => options,
    };
    if let Some(file) = &address.ca_file {
        options = options.add_root_certificates(file.clone());
    }
    let scheme = if address.url.starts_with("tls://") { "tls" } else { "nats" };
    let servers: Vec<_> = address.servers(4222).iter().map(|server| format!("{scheme}://{server}")).collect();
    options.connect(servers).await.map_err(|error| trouble(&error.to_string()))
}

fn trouble(why: &str) -> Trouble {
    Trouble::Broker(format!("NATS: {why}"))
}
