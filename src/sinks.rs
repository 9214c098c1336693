//! Sinks: brokers to which the events of the feed are delivered.
//!
//! - Every event is delivered at least once, and those of an aggregate in their order. How far a sink is, is written after the
//!   broker has confirmed. An event that was delivered before that was written is delivered again.
//! - One instance delivers to a sink. Another one takes over when that one has stopped, or has said nothing for a while.
//! - Trouble with the connection or the broker pauses a sink for as long as it lasts, and never counts against an event. Only
//!   an event that the broker itself refuses becomes a dead letter, behind which the later events of its aggregate wait.
//!
//! Deliberately absent: what a consumer has read. That is the broker's business, or the consumer's own.

mod address;
mod confirmed;
mod connection;
mod delivery;
mod each;
mod kafka;
mod message;
mod nats;
mod rabbitmq;
mod redis_stream;
mod relay;
mod sequence;
mod trouble;

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use address::{Address, Broker, Sasl};

use crate::{clock::Clock, feed::Feed, store::Store};
use connection::Connection;
use relay::Relay;
use trouble::Trouble;

/// Looks at each broker that can be reached, and fails if it is not set up for events.
///
/// # Errors
/// The name of the sink, and what is wrong.
pub async fn check(addresses: &[Address]) -> Result<(), String> {
    let opened = addresses.iter().map(async |address| (address, Connection::open(address).await.map(|_| ())));
    for (address, opened) in join_all(opened).await {
        if let Err(Trouble::Setup(why)) = opened {
            return Err(format!("--sink {}: {why}", address.name));
        }
    }
    Ok(())
}

/// Delivers events to the sinks until the shutdown.
pub async fn run(addresses: Vec<Address>, store: Store, feed: Feed, clock: Clock, shutdown: CancellationToken) {
    let owner: Arc<str> = clock.new_id().to_string().into();
    let mut relays = JoinSet::new();
    for address in addresses {
        let relay = Relay::new(address, store.clone(), feed.clone(), clock.clone(), Arc::clone(&owner));
        relays.spawn(relay.run(shutdown.clone()));
    }
    relays.join_all().await;
}
