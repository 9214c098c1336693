//! A stream of NATS `JetStream` as a sink.
//!
//! A message has the id of its event, with which `JetStream` drops what comes again within its window, and names the stream that must
//! take it. A subject that is bound to no stream has no responder, and that is trouble: events would be lost.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use async_nats::{
    Client, ConnectOptions, HeaderMap, HeaderName, StatusCode, Subscriber,
    client::PublishErrorKind,
    header::{IntoHeaderName as _, NATS_EXPECTED_STREAM, NATS_MESSAGE_ID},
    jetstream::{
        self, ErrorCode,
        stream::{Config, StorageType},
    },
};
use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::{
    address::Address,
    each::{CONFIRMATION, Order, Outcome, UNCONFIRMED},
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
    client: Client,
    stream: String,
    subject: String,
    /// The subject of answers, without the number of the message.
    inbox: String,
    answers: Subscriber,
    /// How many messages were sent.
    sent: usize,
    /// For each kind of event, the headers of a message of it.
    templates: HashMap<&'static str, HeaderMap>,
}

/// The attributes that all messages of a kind have in common on a connection.
const COMMON: [&str; 3] = ["type", "specversion", "epoch"];
/// The attributes that a message may be without.
const OPTIONAL: [&str; 2] = ["time", "traceparent"];

/// What a stream says of a message: where it is stored, or why it is not.
#[derive(Deserialize)]
struct Answer {
    stream: Option<String>,
    error: Option<jetstream::Error>,
}

impl Connection {
    /// Connects, and makes the stream if it is missing.
    pub(super) async fn open(address: &Address, target: Target<'_>) -> Result<Self, Trouble> {
        let client = connect(address, target.credentials_file).await?;
        let context = jetstream::context::ContextBuilder::new().timeout(CONFIRMATION).build(client.clone());
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
        let inbox = client.new_inbox();
        let subscribed = client.subscribe(format!("{inbox}.*")).await;
        let answers = subscribed.map_err(|error| trouble(&error.to_string()))?;
        let (stream, subject) = (target.stream.to_owned(), target.subject.to_owned());
        Ok(Self { client, stream, subject, inbox, answers, sent: 0, templates: HashMap::new() })
    }

    /// Publishes messages, and reads the answers to them as they come. One subscription takes all answers: a request of the
    /// library for each message takes twice as long.
    pub(super) async fn deliver(&mut self, messages: &[Message<'_>]) -> Outcome {
        let (begin, mut order, mut outcome) = (Instant::now(), Order::new(messages), Outcome::default());
        // Of each message that was sent in this delivery, its index until there is an answer.
        let (first, mut unanswered, mut unconfirmed) = (self.sent, Vec::with_capacity(messages.len()), 0);
        let mut sent_at = begin;
        loop {
            while outcome.goes_on(begin, unconfirmed) {
                let Some(index) = order.next() else { break };
                match self.send(&messages[index]).await {
                    Ok(()) => {
                        unanswered.push(Some(index));
                        (unconfirmed, sent_at) = (unconfirmed + 1, Instant::now());
                    }
                    Err(failure) => outcome.note(index, Err(failure), &mut order),
                }
            }
            if unconfirmed == 0 {
                return outcome;
            }
            // All that have come, so that what they let go on is sent together.
            let mut come = self.answers.by_ref().ready_chunks(UNCONFIRMED);
            let answers = match timeout_at(sent_at + CONFIRMATION, come.next()).await {
                Ok(answers) => answers.ok_or_else(|| trouble("the connection is closed")),
                Err(_) => Err(Trouble::late(KIND, CONFIRMATION)),
            };
            let answers = match answers {
                Ok(answers) => answers,
                Err(trouble) => {
                    outcome.trouble.get_or_insert(trouble);
                    return outcome;
                }
            };
            for answer in answers {
                // An answer may be to a message of an earlier delivery.
                let number = answer.subject.rsplit('.').next().and_then(|number| number.parse::<usize>().ok());
                let index = number.and_then(|number| unanswered.get_mut(number.checked_sub(first)?)?.take());
                if let Some(index) = index {
                    unconfirmed -= 1;
                    outcome.note(index, self.confirmed(&answer, &messages[index]), &mut order);
                }
            }
        }
    }

    async fn send(&mut self, message: &Message<'_>) -> Result<(), Failure> {
        let headers = self.headers(message);
        let (reply, data) = (format!("{}.{}", self.inbox, self.sent), message.data().into());
        let sent = self.client.publish_with_reply_and_headers(self.subject_of(message), reply, headers, data).await;
        sent.map_err(|error| match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => Failure::Refused(format!("NATS: {error}")),
            _ => Failure::Trouble(trouble(&error.to_string())),
        })?;
        self.sent += 1;
        Ok(())
    }

    /// The headers of a message. They are a copy of those of one of its kind, with new values where it may have others: a map from
    /// nothing hashes each name, and again when it grows, which took a third of the service's time.
    fn headers(&mut self, message: &Message<'_>) -> HeaderMap {
        let template = self.templates.entry(message.name()).or_insert_with(|| {
            let mut headers = HeaderMap::new();
            for (name, value) in message.attributes().filter(|(name, _)| !OPTIONAL.contains(name)) {
                headers.insert(header(name), value.into_owned());
            }
            headers.insert(const { HeaderName::from_static("content-type") }, CONTENT_TYPE);
            headers.insert(NATS_EXPECTED_STREAM, self.stream.as_str());
            headers
        });
        let mut headers = template.clone();
        for (name, value) in message.attributes().filter(|(name, _)| !COMMON.contains(name)) {
            headers.insert(header(name), value.into_owned());
        }
        headers.insert(NATS_MESSAGE_ID, message.unique_id());
        headers
    }

    fn subject_of(&self, message: &Message<'_>) -> String {
        format!("{}.{}", self.subject, message.name())
    }

    /// What an answer says of a message.
    fn confirmed(&self, answer: &async_nats::Message, message: &Message<'_>) -> Result<(), Failure> {
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            let subject = self.subject_of(message);
            return Err(Failure::Trouble(trouble(&format!("no stream takes the subject {subject}"))));
        }
        match serde_json::from_slice(&answer.payload) {
            Ok(Answer { error: None, stream: Some(_) }) => Ok(()),
            Ok(Answer { error: Some(error), .. }) => Err(self.failure(&error)),
            Ok(Answer { error: None, stream: None }) => Err(Failure::Trouble(trouble("an answer says nothing"))),
            Err(error) => Err(Failure::Trouble(trouble(&format!("an answer cannot be read: {error}")))),
        }
    }

    fn failure(&self, error: &jetstream::Error) -> Failure {
        if error.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM {
            return Failure::Refused(format!("NATS: the message is larger than the stream {} takes", self.stream));
        }
        Failure::Trouble(trouble(&error.to_string()))
    }
}

/// The header of an attribute of a `CloudEvent`. Those of every message are made at compile time: the library compares each name
/// with all that it knows.
fn header(attribute: &'static str) -> HeaderName {
    macro_rules! known {
        ($($name:literal),+ $(,)?) => {
            match attribute {
                $($name => const { HeaderName::from_static(concat!("ce-", $name)) },)+
                other => format!("ce-{other}").into_header_name(),
            }
        };
    }
    known!("id", "type", "specversion", "source", "subject", "partitionkey", "epoch", "time", "traceparent")
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
