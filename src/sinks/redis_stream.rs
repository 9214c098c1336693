//! A Redis stream as a sink.
//!
//! The id of an entry is the event's position in the feed and its index there, and ids grow. So an instance that was taken for dead
//! and wakes up cannot write older events after newer ones: Redis refuses them. Events are written in one script, which ends
//! with the first that is refused, so no event is written before one that precedes it.

use std::{io, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, IntoConnectionInfo as _, RedisError, TlsCertificates, Value,
    aio::MultiplexedConnection, cmd, io::tcp::TcpSettings,
};

use super::{
    address::Address,
    message::{CONTENT_TYPE, Message},
    trouble::Trouble,
};
use crate::telemetry::cause;

/// The deadline for opening a connection: name lookup, TCP, TLS and handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The deadline of a command.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Writes events until one is refused, and returns how many were written, and why the next one was refused. The arguments are
/// the length of the stream, and for each event its id, the number of its fields and values, and these.
const WRITE: &str = r"
local written, at = 0, 2
while at < #ARGV do
    local last = at + 1 + ARGV[at + 1]
    local reply = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], ARGV[at], unpack(ARGV, at + 2, last))
    if reply.err then
        return {written, reply.err}
    end
    written, at = written + 1, last + 1
end
return {written, ''}";

/// A connection to the server, which has looked at its settings.
pub(super) struct Connection {
    server: MultiplexedConnection,
    stream: String,
    max_length: u64,
    /// The highest id that the stream is known to have had. Events up to it were written before.
    top: EntryId,
}

/// An id of an entry: the event's position with the shift, and its index.
pub(super) type EntryId = (i64, usize);

/// The end of the stream.
#[derive(Debug)]
pub(super) struct End {
    /// The highest id that an entry has had.
    pub(super) top: EntryId,
    /// The attributes in that entry, unless the entry was deleted.
    pub(super) attributes: Option<Vec<(String, Value)>>,
}

impl End {
    /// Whether the last entry is this event. Events of two histories may have the same id, and then differ in their time. What was
    /// deleted is taken for `otherwise`.
    pub(super) fn is(&self, event: Option<Message<'_>>, otherwise: bool) -> bool {
        let Some(attributes) = &self.attributes else { return otherwise };
        let of = |wanted: &str| attributes.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
        event.is_some_and(|event| {
            let mut compared = event.attributes().filter(|(name, _)| ["id", "subject", "time"].contains(name));
            compared.all(|(name, value)| of(name) == Some(Value::BulkString(value.as_bytes().to_vec())))
        })
    }
}

impl Connection {
    /// Connects, and checks that the server does not delete what is written.
    pub(super) async fn open(address: &Address, stream: &str, max_length: u64) -> Result<Self, Trouble> {
        let info = address.url.as_str().into_connection_info().map_err(|error| trouble(&error))?;
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = match &address.ca_file {
            Some(file) => {
                let read = tokio::fs::read(file).await;
                let read =
                    read.map_err(|error| Trouble::Broker(format!("Redis: the ca_file cannot be read: {error}")))?;
                Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(read) })
            }
            None => Client::open(info),
        };
        let client = client.map_err(|error| trouble(&error))?;
        let config = AsyncConnectionConfig::new();
        let config = config.set_connection_timeout(Some(CONNECT_TIMEOUT)).set_response_timeout(Some(TIMEOUT));
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = within(CONNECT_TIMEOUT + TIMEOUT, connecting).await?;
        let memory: String = ask(&mut connection, cmd("INFO").arg("memory")).await?;
        let policy = memory.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).unwrap_or_default().trim();
        if policy.starts_with("allkeys") {
            return Err(Trouble::Setup(format!(
                "the server deletes keys when its memory is full (maxmemory-policy {policy}), and events with them; it must be \
                 a server with noeviction or a volatile policy, and not the one of the cache"
            )));
        }
        Ok(Self { server: connection, stream: stream.to_owned(), max_length, top: (0, 0) })
    }

    /// The end of the stream, if there is a stream.
    pub(super) async fn end(&mut self) -> Result<Option<End>, Trouble> {
        if !ask::<bool>(&mut self.server, cmd("EXISTS").arg(&self.stream)).await? {
            self.top = (0, 0);
            return Ok(None);
        }
        let found: Vec<(String, Value)> = ask(&mut self.server, cmd("XINFO").arg("STREAM").arg(&self.stream)).await?;
        let (mut top, mut last) = (String::new(), None);
        for (name, value) in found {
            match name.as_str() {
                "last-generated-id" => top = read(value)?,
                "last-entry" => last = read::<Option<(String, Vec<(String, Value)>)>>(value)?,
                _ => {}
            }
        }
        let foreign =
            || Trouble::Setup(format!("the stream {} has had the id {top}, which is no event's", self.stream));
        let (position, index) = top.split_once('-').ok_or_else(foreign)?;
        self.top = (position.parse().map_err(|_| foreign())?, index.parse().map_err(|_| foreign())?);
        let attributes = last.filter(|(id, _)| *id == top).map(|(_, fields)| fields);
        Ok(Some(End { top: self.top, attributes }))
    }

    /// Whether the stream does not end with what was written last. The server may have lost it, and others may have written.
    pub(super) async fn has_another_end(&mut self) -> Result<bool, Trouble> {
        let written = self.top;
        Ok(self.end().await?.is_none_or(|end| end.top != written))
    }

    /// Writes the messages, those that are there already excepted. `shift` is added to their positions. Returns how many were
    /// written.
    pub(super) async fn write(&mut self, messages: &[Message<'_>], shift: i64) -> Result<usize, Trouble> {
        let mut call = cmd("EVAL");
        call.arg(WRITE).arg(1).arg(&self.stream).arg(self.max_length);
        let mut wanted = 0;
        for message in messages {
            let id = (message.position + shift, message.index);
            if id <= self.top {
                continue;
            }
            wanted += 1;
            let attributes: Vec<_> = message.attributes().collect();
            call.arg(format!("{}-{}", id.0, id.1)).arg(2 * attributes.len() + 6);
            for (name, value) in attributes {
                call.arg(name).arg(value.as_ref());
            }
            call.arg("datacontenttype").arg(CONTENT_TYPE);
            // Grows when the stream goes on with another history of the database.
            call.arg("history").arg(shift).arg("data").arg(message.data());
        }
        let (written, why): (usize, String) = ask(&mut self.server, &call).await?;
        if written < wanted {
            return Err(Trouble::Broker(format!("Redis refuses events: {why}")));
        }
        if let Some(last) = messages.last() {
            self.top = self.top.max((last.position + shift, last.index));
        }
        Ok(written)
    }
}

fn read<T: FromRedisValue>(value: Value) -> Result<T, Trouble> {
    T::from_redis_value(value).map_err(|_| Trouble::Broker("Redis answers what is not expected".to_owned()))
}

async fn ask<T: FromRedisValue>(connection: &mut MultiplexedConnection, command: &redis::Cmd) -> Result<T, Trouble> {
    within(TIMEOUT, command.query_async(connection)).await
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, RedisError>>) -> Result<T, Trouble> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer.map_err(|error| trouble(&error)),
        Err(_) => Err(Trouble::Broker(format!("Redis does not answer within {limit:?}"))),
    }
}

/// The error without what the server quotes in it. An error of the network or of TLS has its cause.
fn trouble(error: &RedisError) -> Trouble {
    let why = match error.code() {
        Some(code) => format!(" ({code})"),
        None if error.is_io_error() => format!(": {}", cause::of_io(&io::Error::other(error.to_string()))),
        None => String::new(),
    };
    Trouble::Broker(format!("Redis: {}{why}", error.category()))
}
