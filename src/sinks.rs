//! Sinks: brokers to which the events of the feed are delivered.
//!
//! - Every event is delivered at least once, and those of a showtime in their order. How far a sink is, is written after the
//!   broker has confirmed. An event that was delivered before that was written is delivered again.
//! - One instance delivers to a sink. Another one takes over when that one has stopped, or has said nothing for a while.
//! - Trouble with the connection or the broker pauses a sink for as long as it lasts, and never counts against an event.
//!
//! Deliberately absent: what a consumer has read. That is the broker's business, or the consumer's own.

mod address;
mod message;
mod redis;
mod relay;
mod trouble;

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use address::Address;

use crate::{clock::Clock, feed::Feed, store::Store};
use relay::Relay;
use trouble::Trouble;

/// Looks at each broker that can be reached, and fails if it is not set up for events.
///
/// # Errors
/// The name of the sink, and what is wrong.
pub async fn check(addresses: &[Address]) -> Result<(), String> {
    for address in addresses {
        if let Err(Trouble::Setup(why)) = redis::Connection::open(address).await.map(|_| ()) {
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
