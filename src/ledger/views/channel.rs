//! What this process commits is told to the others over Redis, and what they commit is heard here.
//!
//! It only makes things faster. A message may be lost, come late or twice, or come before the one that it follows; Redis may
//! be gone or silent. So nobody waits for it, and views go on being compared with the database. There is one channel for
//! all databases: what was said in another epoch is not meant for us.

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
    Inner, Views,
    message::{self, Message},
};
use crate::{
    clock::Clock,
    domain::{ids::ShowtimeId, seat_map::Delta},
    telemetry::{metrics, panics},
};

const CHANNEL: &str = "boxoffice:seat_maps";
/// Commits that may wait to be told. Those beyond are not told at all.
const QUEUED: usize = 1_024;
/// Commits that are told by one message, at most.
const TOGETHER: usize = 128;
/// A message; or name, address, TLS, greeting.
const CONNECT: Duration = Duration::from_secs(1);
/// Whoever has nothing to tell gives a sign of life so often,
const SIGN: Duration = Duration::from_secs(1);
/// and who hears nothing for so long, not even itself, listens anew.
const SILENCE: Duration = Duration::from_secs(3);

/// How Redis is reached.
#[derive(Clone)]
pub struct DeltaChannel {
    /// The server.
    pub client: Client,
    /// For so long Redis is left alone after it failed.
    pub rest: Duration,
}

impl fmt::Debug for DeltaChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // There may be a password in the address.
        f.debug_struct("DeltaChannel").finish_non_exhaustive()
    }
}

/// The way to tell the others.
pub(super) struct DeltaPublisher(mpsc::Sender<BytesMut>);

impl DeltaPublisher {
    /// Tells them of these changes when it comes to it, if it does.
    pub(super) fn tell<'d>(&self, changes: impl Iterator<Item = (ShowtimeId, &'d Delta)>) {
        let mut bytes = BytesMut::new();
        for (id, delta) in changes {
            message::add(&mut bytes, id, delta);
        }
        if self.0.try_send(bytes).is_err() {
            metrics::feed_message("lost");
        }
    }
}

/// What was set up to tell, and not begun yet.
pub(super) struct Setup {
    feed: DeltaChannel,
    queue: mpsc::Receiver<BytesMut>,
}

pub(super) fn set_up(feed: DeltaChannel) -> (DeltaPublisher, Setup) {
    let (send, queue) = mpsc::channel(QUEUED);
    (DeltaPublisher(send), Setup { feed, queue })
}

/// Begins to tell and to listen, until the views are gone.
pub(super) fn start(setup: Setup, views: &Views) {
    let Setup { feed, mut queue } = setup;
    let (me, views) = (Clock::System.new_id(), Arc::downgrade(&views.0));
    let (listening, heard) = (feed.clone(), Weak::clone(&views));
    tokio::spawn(async move {
        while let Err(panic) = panics::catch_async(listen(&listening, me, &heard)).await {
            panics::report(&panic);
            time::sleep(listening.rest).await;
        }
    });
    tokio::spawn(async move {
        while let Err(panic) = panics::catch_async(tell(&feed, me, &mut queue, &views)).await {
            panics::report(&panic);
            time::sleep(feed.rest).await;
        }
    });
}

async fn tell(feed: &DeltaChannel, me: Uuid, queue: &mut mpsc::Receiver<BytesMut>, views: &Weak<Inner>) {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(None);
    let mut complaints = Complaints::about("told");
    let mut waiting = Vec::new();
    loop {
        let connected = time::timeout(CONNECT, feed.client.get_multiplexed_async_connection_with_config(&config)).await;
        let mut worked = false;
        if let Some(mut connection) = complaints.check(connected) {
            loop {
                let received = time::timeout(SIGN, queue.recv_many(&mut waiting, TOGETHER)).await;
                let Some(views) = views.upgrade().map(Views).filter(|_| received != Ok(0)) else { return };
                // Where the database cannot be asked, there is nothing to tell of.
                let Ok(epoch) = views.epoch().await else { break };
                let message = message(me, &epoch, waiting.drain(..));
                // No request waits for it.
                let told = time::timeout(CONNECT, publish(&mut connection, message)).await;
                if complaints.check(told).is_none() {
                    break;
                }
                worked = true;
            }
        }
        if views.strong_count() == 0 {
            return;
        }
        if !worked {
            time::sleep(feed.rest).await;
            // By then it has been found by comparison.
            while queue.try_recv().is_ok() {
                metrics::feed_message("lost");
            }
        }
    }
}

fn message(me: Uuid, epoch: &str, changes: impl Iterator<Item = BytesMut>) -> Bytes {
    let mut message = message::head(me, epoch);
    changes.for_each(|change| message.extend_from_slice(&change));
    message.freeze()
}

async fn publish(connection: &mut MultiplexedConnection, message: Bytes) -> Result<(), RedisError> {
    Cmd::new().arg("PUBLISH").arg(CHANNEL).arg(&*message).exec_async(connection).await?;
    metrics::feed_message("sent");
    Ok(())
}

async fn listen(feed: &DeltaChannel, me: Uuid, views: &Weak<Inner>) {
    let mut complaints = Complaints::about("heard");
    loop {
        let subscribed = time::timeout(CONNECT, async {
            let mut connection = feed.client.get_async_pubsub().await?;
            connection.subscribe(CHANNEL).await?;
            Ok(connection)
        });
        if let Some(connection) = complaints.check(subscribed.await) {
            let mut messages = connection.into_on_message();
            while let Ok(Some(heard)) = time::timeout(SILENCE, messages.next()).await {
                let Some(views) = views.upgrade().map(Views) else { return };
                let message = message::read(Bytes::copy_from_slice(heard.get_payload_bytes()));
                if let Some(Message { epoch, changes, .. }) = message.filter(|message| message.sender != me) {
                    metrics::feed_message("heard");
                    views.hear_others(&epoch, changes);
                }
            }
        }
        if views.strong_count() == 0 {
            return;
        }
        time::sleep(feed.rest).await;
    }
}

/// The log is told once when Redis fails, and once when it is back.
struct Complaints {
    what: &'static str,
    failing: Option<bool>,
}

impl Complaints {
    fn about(what: &'static str) -> Self {
        Self { what, failing: None }
    }

    fn check<T>(&mut self, done: Result<Result<T, RedisError>, time::error::Elapsed>) -> Option<T> {
        let error = match done {
            Ok(Ok(done)) => {
                if self.failing != Some(false) {
                    tracing::info!("changes of seat maps are {} over Redis", self.what);
                }
                self.failing = Some(false);
                return Some(done);
            }
            Ok(Err(error)) => error.category().to_owned(),
            Err(_) => "no answer in time".to_owned(),
        };
        metrics::feed_message("failed");
        if self.failing != Some(true) {
            tracing::warn!(error, "changes of seat maps are not {} over Redis; the database is compared", self.what);
        }
        self.failing = Some(true);
        None
    }
}
