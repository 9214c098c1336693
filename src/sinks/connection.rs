//! A connection to the broker of a sink.

use super::{
    address::{Address, Broker},
    each::Outcome,
    kafka,
    message::Message,
    nats, rabbitmq, redis_stream,
    trouble::Trouble,
};

pub(super) enum Connection {
    /// Takes messages as one sequence, of which it keeps a prefix.
    Redis(redis_stream::Connection),
    /// Confirms or refuses each message.
    Each(Box<Each>),
}

pub(super) enum Each {
    RabbitMq(rabbitmq::Connection),
    Nats(nats::Connection),
    Kafka(kafka::Connection),
}

impl Connection {
    pub(super) async fn open(address: &Address) -> Result<Self, Trouble> {
        Ok(match &address.broker {
            Broker::Redis { stream, max_length } => {
                Self::Redis(redis_stream::Connection::open(address, stream, *max_length).await?)
            }
            Broker::RabbitMq { exchange } => {
                Self::Each(Box::new(Each::RabbitMq(rabbitmq::Connection::open(address, exchange).await?)))
            }
            Broker::Nats { stream, subject, max_messages, credentials_file } => {
                let credentials_file = credentials_file.as_ref();
                let target = nats::Target { stream, subject, max_messages: *max_messages, credentials_file };
                Self::Each(Box::new(Each::Nats(nats::Connection::open(address, target).await?)))
            }
            Broker::Kafka { topic, encrypted, sasl } => {
                Self::Each(Box::new(Each::Kafka(kafka::Connection::open(address, topic, *encrypted, *sasl).await?)))
            }
        })
    }
}

impl Each {
    /// Whether the connection can be used after trouble.
    pub(super) fn works(&self) -> bool {
        match self {
            Self::RabbitMq(connection) => connection.works(),
            Self::Nats(_) | Self::Kafka(_) => false,
        }
    }

    /// Delivers messages, at most one unconfirmed for each aggregate unless they are confirmed together.
    pub(super) async fn deliver(&mut self, messages: &[Message<'_>]) -> Outcome {
        match self {
            Self::RabbitMq(connection) => connection.deliver(messages).await,
            Self::Nats(connection) => connection.deliver(messages).await,
            Self::Kafka(connection) => connection.deliver(messages).await,
        }
    }
}
