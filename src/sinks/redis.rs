//! A Redis stream as a sink.
//!
//! The id of an entry is the event's position in the feed and its index there, so Redis refuses what it has. An instance that was
//! taken for dead and wakes up cannot write older events after newer ones. Events are written in one script, which ends with
//! the first that is refused, so the stream always holds a prefix of the feed.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, IntoConnectionInfo as _, RedisError, Value,
    aio::MultiplexedConnection, cmd, io::tcp::TcpSettings,
};

use super::{address::Address, message::Message, trouble::Trouble};

/// The deadline for opening a connection: name lookup, TCP, TLS and handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The deadline of a command.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Writes events until one is refused, and returns how many the stream has, and why the next one was refused. The arguments are
/// the length of the stream, and for each event its id, the number of its fields and values, and these.
const WRITE: &str = r"
local written, at = 0, 2
while at < #ARGV do
    local last = at + 1 + ARGV[at + 1]
    local reply = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], ARGV[at], unpack(ARGV, at + 2, last))
    if reply.err and not string.find(reply.err, 'equal or smaller', 1, true) then
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
}

/// The last entry of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Last {
    /// The position in its id.
    pub(super) position: i64,
    /// The index in its id.
    pub(super) index: usize,
    /// The event's id.
    pub(super) event: String,
}

impl Connection {
    /// Connects, and checks that the server does not delete what is written.
    pub(super) async fn open(address: &Address) -> Result<Self, Trouble> {
        let info = address.url.as_str().into_connection_info().map_err(|error| trouble(&error))?;
        let client = Client::open(info.set_tcp_settings(TcpSettings::default().set_nodelay(true)));
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
        Ok(Self { server: connection, stream: address.stream.clone(), max_length: address.max_length })
    }

    /// The last entry of the stream, if there is one.
    pub(super) async fn last(&mut self) -> Result<Option<Last>, Trouble> {
        let mut command = cmd("XREVRANGE");
        command.arg(&self.stream).arg("+").arg("-").arg("COUNT").arg(1);
        let entries: Vec<(String, Vec<(String, Value)>)> = ask(&mut self.server, &command).await?;
        let Some((id, fields)) = entries.into_iter().next() else { return Ok(None) };
        let foreign = || Trouble::Setup(format!("the stream {} has the entry {id}, which is no event", self.stream));
        let (position, index) = id.split_once('-').ok_or_else(foreign)?;
        let event =
            fields.into_iter().find(|(name, _)| name == "id").and_then(|(_, id)| String::from_redis_value(id).ok());
        Ok(Some(Last {
            position: position.parse().map_err(|_| foreign())?,
            index: index.parse().map_err(|_| foreign())?,
            event: event.ok_or_else(foreign)?,
        }))
    }

    /// Writes the messages. `shift` is added to their positions.
    pub(super) async fn write(&mut self, messages: &[Message], shift: i64) -> Result<(), Trouble> {
        let mut call = cmd("EVAL");
        call.arg(WRITE).arg(1).arg(&self.stream).arg(self.max_length);
        for message in messages {
            call.arg(format!("{}-{}", message.position + shift, message.index));
            call.arg(2 * message.attributes.len() + 2);
            for (name, value) in &message.attributes {
                call.arg(name).arg(value);
            }
            call.arg("data").arg(&message.data);
        }
        let (written, why): (usize, String) = ask(&mut self.server, &call).await?;
        if written < messages.len() { Err(Trouble::Broker(format!("Redis refuses events: {why}"))) } else { Ok(()) }
    }
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

/// The error without what the server quotes in it.
fn trouble(error: &RedisError) -> Trouble {
    let code = error.code().map(|code| format!(" ({code})")).unwrap_or_default();
    Trouble::Broker(format!("Redis: {}{code}", error.category()))
}
