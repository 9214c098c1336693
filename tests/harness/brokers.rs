//! Brokers of each kind behind one interface, and what was delivered to them.

use std::collections::HashMap;

use boxoffice::pb::boxoffice::{events::v1::Event, v1::FeedEvent};
use prost::Message as _;

use super::{eventually, kafka::Kafka, nats::Nats, rabbitmq::RabbitMq};

/// Makes a test of each of these functions for each kind of broker, `name::nats` and so on. The function gets a [`Broker`].
macro_rules! on_all_brokers {
    ($($test:ident),+ $(,)?) => {
        $(mod $test {
            use crate::harness::brokers::Broker;

            #[tokio::test]
            async fn nats() {
                Box::pin(super::$test(Broker::nats().await)).await;
            }

            #[tokio::test]
            async fn rabbitmq() {
                Box::pin(super::$test(Broker::rabbitmq().await)).await;
            }

            #[tokio::test]
            async fn kafka() {
                Box::pin(super::$test(Broker::kafka().await)).await;
            }
        })+
    };
}

/// A message that a consumer got.
#[derive(Clone, Debug)]
pub(crate) struct Delivered {
    /// The headers by their names in lower case, with the prefix of the broker before those of a `CloudEvent`.
    pub(crate) headers: Vec<(String, String)>,
    /// The subject, the routing key, or the key.
    pub(crate) key: String,
    pub(crate) event: Event,
}

impl Delivered {
    pub(crate) fn new(headers: Vec<(String, String)>, key: String, data: &[u8]) -> Self {
        Self { headers, key, event: Event::decode(data).expect("an event") }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }

    /// The id of the event in the headers of NATS or RabbitMQ.
    pub(crate) fn id_of_event(&self) -> &str {
        let id = self.headers.iter().find(|(name, _)| ["ce-id", "cloudevents_id"].contains(&name.as_str()));
        id.map_or("", |(_, value)| value)
    }
}

pub(crate) enum Broker {
    Nats(Nats),
    RabbitMq(RabbitMq),
    Kafka(Kafka),
}

impl Broker {
    pub(crate) async fn nats() -> Self {
        Self::Nats(Nats::start("").await)
    }

    /// With a queue for all events.
    pub(crate) async fn rabbitmq() -> Self {
        let broker = RabbitMq::start("").await;
        broker.bind("boxoffice.#").await;
        Self::RabbitMq(broker)
    }

    /// With the topic.
    pub(crate) async fn kafka() -> Self {
        let broker = Kafka::start().await;
        broker.create_topic().await;
        Self::Kafka(broker)
    }

    /// The value for `--sink`.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Nats(broker) => broker.url(),
            Self::RabbitMq(broker) => broker.url(),
            Self::Kafka(broker) => broker.url(),
        }
    }

    /// The name of its sink.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Nats(_) => "nats",
            Self::RabbitMq(_) => "rabbitmq",
            Self::Kafka(_) => "kafka",
        }
    }

    /// The prefix of the headers of a `CloudEvent`.
    pub(crate) fn prefix(&self) -> &'static str {
        match self {
            Self::Nats(_) => "ce-",
            Self::RabbitMq(_) => "cloudevents_",
            Self::Kafka(_) => "ce_",
        }
    }

    pub(crate) fn pause(&self) {
        match self {
            Self::Nats(broker) => broker.pause(),
            Self::RabbitMq(broker) => broker.pause(),
            Self::Kafka(broker) => broker.pause(),
        }
    }

    pub(crate) fn resume(&self) {
        match self {
            Self::Nats(broker) => broker.resume(),
            Self::RabbitMq(broker) => broker.resume(),
            Self::Kafka(broker) => broker.resume(),
        }
    }

    /// Kills the broker as a power cut would.
    pub(crate) fn kill(&mut self) {
        match self {
            Self::Nats(broker) => broker.kill(),
            Self::RabbitMq(broker) => broker.kill(),
            Self::Kafka(broker) => broker.kill(),
        }
    }

    /// Starts the broker again at the same address, with what it has stored. Kafka's has stored nothing.
    pub(crate) async fn restart(&mut self) {
        match self {
            Self::Nats(broker) => broker.restart("").await,
            Self::RabbitMq(broker) => broker.restart().await,
            Self::Kafka(broker) => broker.restart().await,
        }
    }

    /// All messages in the order in which each showtime's have arrived.
    pub(crate) async fn messages(&self) -> Vec<Delivered> {
        match self {
            Self::Nats(broker) => broker.messages().await,
            Self::RabbitMq(broker) => broker.messages().await,
            Self::Kafka(broker) => broker.messages().await,
        }
    }

    /// Waits until a consumer that drops what is not newer than the last event of its showtime has had exactly these events.
    /// Returns all messages.
    pub(crate) async fn has(&self, events: &[FeedEvent]) -> Vec<Delivered> {
        eventually("the broker has every event", async || {
            let messages = self.messages().await;
            (consumed(&messages).len() >= events.len()).then_some(messages)
        })
        .await;
        let messages = self.messages().await;
        let by_showtime = |mut ids: Vec<String>| {
            // The order counts within a showtime.
            ids.sort_by_key(|id| id.split('/').next().map(str::to_owned));
            ids
        };
        let wanted = events.iter().map(|event| event.id.clone()).collect();
        assert_eq!(by_showtime(consumed(&messages)), by_showtime(wanted));
        messages
    }
}

/// The events that a consumer takes that drops what is not newer than the last event of its showtime.
pub(crate) fn taken(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let mut last = HashMap::new();
    let is_new = |event: &Event| {
        let place = (event.revision, event.ordinal);
        let is_new = last.get(&event.aggregate_id).is_none_or(|before| *before < place);
        if is_new {
            last.insert(event.aggregate_id.clone(), place);
        }
        is_new
    };
    events.into_iter().filter(is_new).collect()
}

/// The ids of what such a consumer takes of messages.
pub(crate) fn consumed(messages: &[Delivered]) -> Vec<String> {
    let id = |event: Event| format!("{}/{}/{}", event.aggregate_id, event.revision, event.ordinal);
    taken(messages.iter().map(|message| message.event.clone())).into_iter().map(id).collect()
}
