//! A topic exchange of `RabbitMQ` as a sink.
//!
//! Messages are persistent, and the broker confirms each. They are mandatory: one for which no queue is bound is returned. That
//! is trouble with the topology, not with the message, and so is a negative confirmation: a queue is full or has failed. Only
//! a message that is too large is refused. For that the broker closes the channel and tells its limit.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use lapin::{
    BasicProperties, Channel, Confirmation, ConnectionProperties, ErrorKind, ExchangeKind,
    options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions},
    protocol::{AMQPErrorKind, AMQPSoftError},
    tcp::OwnedTLSConfig,
    types::{AMQPValue, FieldTable},
    uri::AMQPUri,
};
use tokio::time::timeout;

use super::{
    address::Address,
    each::{self, Outcome},
    message::{CONTENT_TYPE, Message},
    trouble::{Failure, Trouble},
};

const KIND: &str = "RabbitMQ";
/// The deadline for opening a connection and making the exchange.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// The delivery mode of a message that outlives a restart of the broker.
const PERSISTENT: u8 = 2;

pub(super) struct Connection {
    open: lapin::Connection,
    channel: Channel,
    exchange: String,
}

impl Connection {
    /// Connects, and makes the exchange if it is missing.
    pub(super) async fn open(address: &Address, exchange: &str) -> Result<Self, Trouble> {
        let opened = timeout(CONNECT_TIMEOUT, Box::pin(Self::connect(address, exchange))).await;
        opened.unwrap_or_else(|_| Err(Trouble::late(KIND, CONNECT_TIMEOUT)))
    }

    async fn connect(address: &Address, exchange: &str) -> Result<Self, Trouble> {
        let uri: AMQPUri = address.url.parse().map_err(|error| trouble(&format!("the URL cannot be read: {error}")))?;
        let authority = match &address.ca_file {
            Some(file) => Some(tokio::fs::read_to_string(file).await.map_err(|error| trouble(&error.to_string()))?),
            None => None,
        };
        let tls = OwnedTLSConfig { identity: None, cert_chain: authority };
        let runtime = lapin::runtime::default_runtime().map_err(|error| trouble(&error.to_string()))?;
        let properties = ConnectionProperties::default().with_connection_name("boxoffice".into());
        let connection = lapin::Connection::connect_uri_with_config(uri, properties, tls, runtime).await;
        let connection = connection.map_err(|error| failed(&error))?;
        let channel = connection.create_channel().await.map_err(|error| failed(&error))?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(|error| failed(&error))?;
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let declared =
            channel.exchange_declare(exchange.into(), ExchangeKind::Topic, options, FieldTable::default()).await;
        declared.map_err(|error| match error.kind() {
            ErrorKind::ProtocolError(error)
                if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) =>
            {
                Trouble::Setup(format!("the exchange {exchange} is there and is no durable topic exchange"))
            }
            _ => failed(&error),
        })?;
        Ok(Self { open: connection, channel, exchange: exchange.to_owned() })
    }

    pub(super) async fn deliver(&self, messages: &[Message<'_>]) -> Outcome {
        if self.open.status().blocked() {
            let trouble = trouble("the broker takes no messages: its memory or its disk is full");
            return Outcome { trouble: Some(trouble), ..Outcome::default() };
        }
        let returned = Mutex::default();
        let mut outcome = each::publish(messages, KIND, |message| self.publish(message, &returned)).await;
        // The library may give a returned message to the confirmation of another one, and then the returned one is taken for confirmed.
        let returned = returned.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcome.confirmed.retain(|index| !returned.contains(messages[*index].event_type()));
        // The channel was closed because of one message, and the broker does not say of which.
        let limit = outcome.trouble.as_ref().and_then(|trouble| match trouble {
            Trouble::Broker(why) => size_limit(why),
            Trouble::Setup(_) => None,
        });
        if let Some(limit) = limit {
            for (index, message) in messages.iter().enumerate().filter(|(_, message)| message.data_len() > limit) {
                let why = format!("RabbitMQ takes at most {limit} bytes, and the event has {}", message.data_len());
                outcome.refused.push((index, why));
            }
        }
        outcome
    }

    /// Whether the connection can be used after trouble. What the broker does not take must not cost a connection for each attempt.
    pub(super) fn works(&self) -> bool {
        self.open.status().connected() && self.channel.status().connected()
    }

    /// Publishes a message. The types of those that come back are noted.
    async fn publish(&self, message: &Message<'_>, returned: &Mutex<HashSet<String>>) -> Result<(), Failure> {
        let mut headers = FieldTable::default();
        for (name, value) in message.attributes() {
            headers.insert(format!("cloudEvents_{name}").into(), AMQPValue::LongString(value.as_bytes().into()));
        }
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type(CONTENT_TYPE.into())
            .with_message_id(message.entry.id().into())
            .with_type(message.event_type().into())
            .with_timestamp(u64::try_from(message.time().unwrap_or_default().timestamp()).unwrap_or_default())
            .with_headers(headers);
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let (exchange, key) = (self.exchange.as_str().into(), message.event_type().into());
        let published = self.channel.basic_publish(exchange, key, options, &message.data(), properties).await;
        let confirmed = published.map_err(|error| Failure::Trouble(failed(&error)))?.await;
        let confirmed = confirmed.map_err(|error| Failure::Trouble(failed(&error)))?;
        if let Confirmation::Ack(Some(message)) | Confirmation::Nack(Some(message)) = &confirmed {
            let mut returned = returned.lock().unwrap_or_else(PoisonError::into_inner);
            returned.insert(message.delivery.routing_key.to_string());
        }
        match confirmed {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(came_back)) => Err(Failure::Trouble(trouble(&format!(
                "no queue is bound to the exchange {} for {}",
                self.exchange, came_back.delivery.routing_key
            )))),
            Confirmation::Nack(_) => Err(Failure::Trouble(trouble(&format!(
                "a queue did not take {}: it is full, or has failed",
                message.event_type()
            )))),
            Confirmation::NotRequested => Err(Failure::Trouble(trouble("the channel does not confirm messages"))),
        }
    }
}

/// The limit in an error that says that a message was too large.
fn size_limit(why: &str) -> Option<usize> {
    let (_, after) = why.split_once("message size ")?;
    let number = after.rsplit(|c: char| !c.is_ascii_digit()).find(|number| !number.is_empty())?;
    number.parse().ok()
}

fn failed(error: &lapin::Error) -> Trouble {
    trouble(&error.to_string())
}

fn trouble(why: &str) -> Trouble {
    Trouble::Broker(format!("RabbitMQ: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_a_message_is_read_from_the_error_of_the_broker() {
        let why =
            "RabbitMQ: protocol error: PRECONDITION_FAILED - message size 531 is larger than configured max size 500";
        assert_eq!(size_limit(why), Some(500));
        assert_eq!(size_limit("RabbitMQ: connection reset by peer 104"), None);
    }
}
