//! The exchange of seat map changes between instances, over Redis pub/sub.
//!
//! It only makes things faster. A message may be lost, be late, arrive twice, or arrive before its predecessor;
//! Redis may be down or silent. No request waits for it, and views are compared with the database all the same. All databases
//! share one channel: a message of another epoch is ignored.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use redis::{AsyncConnectionConfig, Client, Cmd, RedisError, aio::MultiplexedConnection};
use tokio::{sync::mpsc, time};
use uuid::Uuid;

use super::{
    catalog::Catalog,
    message::{self, Message},
};
use crate::{
    background::supervise,
    clock::Clock,
    domain::{ids::ShowtimeId, seat_map::Delta},
    telemetry::metrics,
};

const CHANNEL: &str = "boxoffice:seat_maps";
/// Batches of changes that wait to be published. More than these are not published.
const MAX_QUEUED: usize = 1_024;
/// Batches of changes in one message.
const MAX_JOINED: usize = 128;
/// Limits connecting (name, address, TLS and greeting), and publishing one message.
const TIMEOUT: Duration = Duration::from_secs(1);
/// A publisher that has had no changes for this long publishes an empty message.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// A listener that has received nothing for this long, not even its own messages, subscribes again.
const MAX_SILENCE: Duration = Duration::from_secs(3);

/// How instances exchange changes of seat maps.
#[derive(Clone)]
pub struct DeltaChannel {
    /// The Redis server.
    pub client: Client,
    /// The time between a failure and the next attempt (`--redis-rest`).
    pub cooldown: Duration,
}

impl fmt::Debug for DeltaChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address may contain a password.
        f.debug_struct("DeltaChannel").finish_non_exhaustive()
    }
}

/// Publishes changes to the other instances. Cheap to clone.
#[derive(Clone)]
pub(super) struct DeltaPublisher(mpsc::Sender<BytesMut>);

impl DeltaPublisher {
    /// Queues these changes for the next message, and drops them if the queue is full.
    pub(super) fn publish<'d>(&self, changes: impl Iterator<Item = (ShowtimeId, &'d Delta)>) {
        let mut bytes = BytesMut::new();
        for (id, delta) in changes {
            message::put_change(&mut bytes, id, delta);
        }
        if self.0.try_send(bytes).is_err() {
            metrics::feed_message("lost");
        }
    }
}

/// Starts a task that publishes and one that listens. They end when the catalog is gone.
pub(super) fn start(channel: &DeltaChannel, catalog: &Arc<Catalog>) -> DeltaPublisher {
    let (sender, queue) = mpsc::channel(MAX_QUEUED);
    let own_id = Clock::System.new_id();
    let endpoint = |name| Endpoint {
        channel: channel.clone(),
        own_id,
        catalog: Arc::downgrade(catalog),
        status: RedisStatus { name, failing: None },
    };
    let (mut publisher, mut listener) = (endpoint("published"), endpoint("received"));
    let mut queue = queue;
    let cooldown = channel.cooldown;
    tokio::spawn(async move {
        supervise("publisher of seat map changes", cooldown, async move || publisher.publish_queued(&mut queue).await)
            .await;
    });
    tokio::spawn(async move {
        supervise("listener to seat map changes", cooldown, async move || listener.listen().await).await;
    });
    DeltaPublisher(sender)
}

/// One side of the exchange, with its own connection.
struct Endpoint {
    channel: DeltaChannel,
    /// Marks the messages of this process, which its own listener ignores.
    own_id: Uuid,
    catalog: Weak<Catalog>,
    status: RedisStatus,
}

impl Endpoint {
    /// Publishes what is queued, on one connection after the other, until the catalog is gone.
    async fn publish_queued(&mut self, queue: &mut mpsc::Receiver<BytesMut>) {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(TIMEOUT)).set_response_timeout(None);
        while self.catalog.strong_count() > 0 {
            let client = &self.channel.client;
            let connected = time::timeout(TIMEOUT, client.get_multiplexed_async_connection_with_config(&config)).await;
            let mut published = false;
            if let Some(mut connection) = self.status.check(connected) {
                while self.publish_next(queue, &mut connection).await {
                    published = true;
                }
            }
            // A connection that worked is replaced at once.
            if !published && self.catalog.strong_count() > 0 {
                time::sleep(self.channel.cooldown).await;
                // By then the other instances have found these changes by comparison.
                while queue.try_recv().is_ok() {
                    metrics::feed_message("lost");
                }
            }
        }
    }

    /// Waits for changes, or for the keepalive, and publishes one message. Returns whether that succeeded.
    async fn publish_next(
        &mut self,
        queue: &mut mpsc::Receiver<BytesMut>,
        connection: &mut MultiplexedConnection,
    ) -> bool {
        let mut changes = Vec::new();
        let received = time::timeout(KEEPALIVE, queue.recv_many(&mut changes, MAX_JOINED)).await;
        // The queue is closed when the last publisher is dropped.
        let Some(catalog) = self.catalog.upgrade().filter(|_| received != Ok(0)) else { return false };
        // Without its epoch a message means nothing. If the database cannot be read, nothing is committed either.
        let Ok(epoch) = catalog.epoch().await else {
            for _ in &changes {
                metrics::feed_message("lost");
            }
            return false;
        };
        drop(catalog);
        let mut message = message::begin(self.own_id, &epoch);
        for change in &changes {
            message.extend_from_slice(change);
        }
        let published = time::timeout(TIMEOUT, publish(connection, message.freeze())).await;
        self.status.check(published).is_some()
    }

    /// Applies the changes of other instances, on one subscription after the other, until the catalog is gone.
    async fn listen(&mut self) {
        while self.catalog.strong_count() > 0 {
            let subscribed = time::timeout(TIMEOUT, async {
                let mut connection = self.channel.client.get_async_pubsub().await?;
                connection.subscribe(CHANNEL).await?;
                Ok(connection)
            });
            if let Some(connection) = self.status.check(subscribed.await) {
                let mut messages = connection.into_on_message();
                while let Ok(Some(message)) = time::timeout(MAX_SILENCE, messages.next()).await {
                    let Some(catalog) = self.catalog.upgrade() else { return };
                    let message = message::read(Bytes::copy_from_slice(message.get_payload_bytes()));
                    let foreign = message.filter(|message| message.sender != self.own_id);
                    if let Some(Message { epoch, changes, .. }) = foreign {
                        metrics::feed_message("heard");
                        catalog.apply_published(&epoch, changes);
                    }
                }
            }
            if self.catalog.strong_count() > 0 {
                time::sleep(self.channel.cooldown).await;
            }
        }
    }
}

async fn publish(connection: &mut MultiplexedConnection, message: Bytes) -> Result<(), RedisError> {
    Cmd::new().arg("PUBLISH").arg(CHANNEL).arg(&*message).exec_async(connection).await?;
    metrics::feed_message("sent");
    Ok(())
}

/// Whether Redis works, logged when it changes.
struct RedisStatus {
    /// What Redis is used for, as in "seat map changes are … over Redis".
    name: &'static str,
    failing: Option<bool>,
}

impl RedisStatus {
    fn check<T>(&mut self, result: Result<Result<T, RedisError>, time::error::Elapsed>) -> Option<T> {
        let error = match result {
            Ok(Ok(value)) => {
                if self.failing != Some(false) {
                    tracing::info!("seat map changes are {} over Redis", self.name);
                }
                self.failing = Some(false);
                return Some(value);
            }
            Ok(Err(error)) => error.category().to_owned(),
            Err(_) => format!("no answer within {TIMEOUT:?}"),
        };
        metrics::feed_message("failed");
        if self.failing != Some(true) {
            tracing::warn!(
                error,
                "seat map changes are not {} over Redis; seat maps are compared with the database",
                self.name
            );
        }
        self.failing = Some(true);
        None
    }
}
