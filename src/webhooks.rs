//! Webhooks: events of the public stream are delivered to HTTP endpoints, signed as [Standard Webhooks](https://www.standardwebhooks.com)
//! has it.
//!
//! - Every event is delivered at least once: it is queued in the transaction that notes the place in the feed, and leaves the queue
//!   when the endpoint has confirmed it. When it comes again it has the same id.
//! - Of an aggregate, such as a showtime, at most one delivery to an endpoint is under way, and they come in their order. One that has
//!   failed for days is given up, and those behind it go on.
//! - An endpoint that is down delays no other one. Addresses that are not public are refused unless the endpoint allows them.
//!
//! Deliberately absent: endpoints that callers of the service register. The operator has them in a file.

mod address;
mod client;
mod courier;
mod endpoints;
mod message;
mod options;
mod queue;
mod reader;
mod schedule;
mod signature;
mod store;

use std::{path::Path, sync::Arc, time::Duration};

use chrono::TimeDelta;
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use self::{courier::Courier, store::Store};
use crate::clock::Clock;

pub use endpoints::Endpoint;
pub use options::{Failure, Options};
pub use store::Database;

/// How often the process says that it works.
const BEAT: Duration = Duration::from_secs(2);
/// How often deliveries are deleted that were given up long ago, and how long they are kept.
const FORGET_EVERY: Duration = Duration::from_hours(1);
const KEPT_FAILED: TimeDelta = TimeDelta::days(30);
/// The most deliveries that were given up and are listed.
const MOST_LISTED: u64 = 1_000;

/// Delivers until the shutdown.
///
/// # Errors
/// The database cannot be used at the start, another process has taken over, or the service cannot be read.
pub async fn run(
    endpoints: Vec<Endpoint>,
    options: Options,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    let owner = clock.new_id().to_string();
    let store = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        store = Store::open(&options.database, &owner) => store?,
    };
    let delivered = deliver(endpoints, &options, &store, &clock, shutdown).await;
    if delivered.is_ok() {
        for of in store.report().await? {
            let (endpoint, delivered, waiting, failed) = (of.endpoint, of.delivered, of.waiting, of.failed);
            let disabled = of.disabled_time.is_some();
            tracing::info!(endpoint, delivered, waiting, failed, disabled, "webhooks so far");
        }
        store.release().await?;
    }
    store.close().await;
    delivered
}

async fn deliver(
    endpoints: Vec<Endpoint>,
    options: &Options,
    store: &Store,
    clock: &Clock,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    prepare(&endpoints, options, store, clock).await?;
    // Ends the other endpoints when one of them cannot go on.
    let stop = shutdown.child_token();
    let mut couriers = JoinSet::new();
    for endpoint in endpoints {
        let courier = Courier::new(Arc::new(endpoint), store.clone(), options, clock.clone(), stop.clone());
        if let Some(courier) = courier.await? {
            couriers.spawn(courier.run());
        }
    }
    let working = async {
        while let Some(ended) = couriers.join_next().await {
            ended??;
        }
        if !options.once {
            shutdown.cancelled().await;
        }
        Ok(())
    };
    // The beat goes on until the last delivery is written.
    let ended = tokio::select! {
        failure = keep(store, clock) => Err(failure),
        ended = working => ended,
    };
    stop.cancel();
    while couriers.join_next().await.is_some() {}
    ended
}

/// Does what was asked for endpoints by name.
async fn prepare(endpoints: &[Endpoint], options: &Options, store: &Store, clock: &Clock) -> Result<(), Failure> {
    for (option, names) in [("--enable", &options.enable), ("--redeliver", &options.redeliver)] {
        if let Some(unknown) = names.iter().find(|name| !endpoints.iter().any(|endpoint| *endpoint.name == **name)) {
            return Err(format!("{option} {unknown}: there is no such endpoint in the file").into());
        }
    }
    for name in &options.enable {
        store.enable(name).await?;
    }
    for name in &options.redeliver {
        let deliveries = store.redeliver(name, clock.now()).await?;
        tracing::info!(endpoint = name, deliveries, "deliveries that were given up are attempted again");
    }
    Ok(())
}

/// Says that the process works, and deletes what was given up long ago, until another process has taken over.
async fn keep(store: &Store, clock: &Clock) -> Failure {
    let mut beats: u64 = 0;
    loop {
        let forgets = beats.is_multiple_of(FORGET_EVERY.as_secs() / BEAT.as_secs());
        let done =
            if forgets { store.forget_failed(clock.now() - KEPT_FAILED).await.map(|_| ()) } else { store.beat().await };
        match done {
            Ok(()) => beats += 1,
            // The couriers report it.
            Err(error) if error.passes() => {}
            Err(error) => return error.into(),
        }
        sleep(BEAT).await;
    }
}

/// The state of the endpoints and the deliveries that were given up last, as lines of JSON.
///
/// # Errors
/// The database cannot be used.
pub async fn list(database: &Database) -> Result<String, Failure> {
    let store = Store::open_to_read(database).await?;
    let (report, failed) = (store.report().await?, store.failed(MOST_LISTED).await?);
    store.close().await;
    let mut lines = Vec::new();
    for endpoint in &report {
        lines.push(serde_json::to_string(endpoint)?);
    }
    for delivery in &failed {
        lines.push(serde_json::to_string(delivery)?);
    }
    Ok(lines.join("\n"))
}

/// Reads the file of endpoints.
///
/// # Errors
/// Everything that is wrong with it, each with the option.
pub fn read_endpoints(file: &Path) -> Result<Vec<Endpoint>, Vec<String>> {
    let named = |problem: String| format!("--endpoints {}: {problem}", file.display());
    endpoints::read(file).map_err(|problems| problems.into_iter().map(named).collect())
}
