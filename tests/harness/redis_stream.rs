//! Events in a Redis stream.

use boxoffice::pb::boxoffice::{events::v1::Event, v1::FeedEvent};
use prost::Message as _;
use redis::{AsyncConnectionConfig, FromRedisValue as _, aio::MultiplexedConnection};

use super::{DEADLINE, Redis, Server, World, eventually, server::Setup};

pub(crate) fn with_sink(setup: Setup, redis: &Redis) -> Setup {
    setup.with("--sink", redis.url())
}

pub(crate) async fn start(world: &World, redis: &Redis) -> Server {
    with_sink(world.setup().clone(), redis).start().await
}

/// An entry of the stream.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: String,
    attributes: Vec<(String, String)>,
    pub(crate) event: Event,
}

impl Entry {
    pub(crate) fn attribute(&self, name: &str) -> &str {
        self.attributes.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }
}

pub(crate) async fn connect(redis: &Redis) -> MultiplexedConnection {
    let client = redis::Client::open(redis.url()).expect("a URL");
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(DEADLINE));
    client.get_multiplexed_async_connection_with_config(&config).await.expect("Redis listens")
}

/// The ids of all entries of the stream, and their fields.
pub(crate) async fn fields(redis: &Redis) -> Vec<(String, Vec<(String, redis::Value)>)> {
    let mut connection = connect(redis).await;
    let mut read = redis::cmd("XRANGE");
    read.arg("boxoffice:events").arg("-").arg("+");
    read.query_async(&mut connection).await.expect("a stream")
}

/// All entries of the stream.
pub(crate) async fn entries(redis: &Redis) -> Vec<Entry> {
    let read = fields(redis).await;
    let text = |value| String::from_redis_value(value).expect("a text");
    read.into_iter()
        .map(|(id, mut fields)| {
            let (name, data) = fields.pop().expect("an entry has fields");
            assert_eq!(name, "data");
            let data = Vec::<u8>::from_redis_value(data).expect("bytes");
            let attributes = fields.into_iter().map(|(name, value)| (name, text(value))).collect();
            Entry { id, attributes, event: Event::decode(data.as_slice()).expect("an event") }
        })
        .collect()
}

/// Waits until the stream has these events and no others.
pub(crate) async fn has(redis: &Redis, events: &[FeedEvent]) -> Vec<Entry> {
    let entries = eventually("the stream has every event", async || {
        let entries = entries(redis).await;
        (entries.len() >= events.len()).then_some(entries)
    })
    .await;
    let ids: Vec<_> = entries.iter().map(|entry| entry.attribute("id")).collect();
    assert_eq!(ids, events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>());
    entries
}
