//! The composition root: makes the parts, joins them, runs them, and stops them in order.
//!
//! Start: the limit on open files, the ports, the admin page, the demo provider, the store and its schema, the movies, the ledger, the feed, the
//! app, the demo gateway, the gRPC port with its health at `NOT_SERVING`, the sample, then `SERVING`. Stop: `NOT_SERVING`, no new connections, the requests in
//! flight, the changes that they began, the store, telemetry. Each wait has a limit; `drain.rs` has the steps.

pub mod admin;
mod audit_command;
mod banner;
pub mod coalesce;
pub mod commands;
mod demos;
mod drain;
mod event_commands;
mod failure;
mod health;
mod key_commands;
pub mod limits;
pub mod listener;
mod open_files;
mod operator_calls;
mod options;
mod peer_stream;
mod protocol_errors;
mod purchase_commands;
mod refund_commands;
mod signals;
mod socket;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    app::{self, App},
    background::Task,
    clock::Clock,
    config::Config,
    feed::Feed,
    grpc::{self, connections::Connections, layers},
    ledger::{Ledger, TimeSource},
    payments::Gateway,
    reports::Reader,
    sinks,
    store::{self, Store},
    telemetry::{self, connection_errors, metrics},
    upstream::Movies,
};
use drain::Lifecycle;
pub use failure::Failure;
use health::Health;
use listener::Listener;
use open_files::OpenFiles;

/// How often stored answers older than 26 hours are deleted.
const DELETION_PERIOD: Duration = Duration::from_hours(1);
/// How often what went wrong with connections is logged.
const CONNECTION_ERRORS_PERIOD: Duration = Duration::from_secs(1);

/// Runs the service until it is asked to end, and stops it in order.
///
/// # Errors
/// The service could not start, or its listener failed.
pub async fn serve(config: &Config, telemetry: &telemetry::Guard) -> Result<(), Failure> {
    let lifecycle = Lifecycle::default();
    signals::cancel_on_signal(lifecycle.shutdown.clone())?;
    let connections = Connections::new(options::connections(config, lifecycle.streams_end.clone()));
    let bound = bind(config, &connections, OpenFiles::raise(config).max_connections(), &lifecycle).await?;
    let observed = connections.clone();
    metrics::observe_connection_bytes(move || observed.bytes());
    lifecycle.tasks.spawn(log_connection_errors(lifecycle.requests_ended.clone()));
    let health = Health::new().await;
    if let Some(admin) = bound.admin {
        let (health, registry) = (health.clone(), telemetry.registry().clone());
        let pages = admin::serve(admin, registry, move || health.clone().readiness());
        lifecycle.tasks.spawn(async move { failure::log_if_failed("the admin port", pages.await) });
    }
    let (provider, demo) = demos::provider(config, &lifecycle).await?;
    let gateway = demos::Gateway::bind(config).await?;
    let built = tokio::select! {
        built = Box::pin(build(config, &provider, gateway.url(), &health)) => built?,
        // There is nothing to drain yet.
        () = lifecycle.shutdown.cancelled() => return Ok(()),
    };
    let (store, ledger, feed, app) = built;
    let demo_gateway = gateway.start(config, &lifecycle)?;
    lifecycle.tasks.spawn(feed.clone().run(lifecycle.shutdown.clone()));
    let delivery =
        sinks::run(options::sinks(config), store.clone(), feed.clone(), Clock::System, lifecycle.shutdown.clone());
    lifecycle.tasks.spawn(delivery);

    let watching = grpc::Watching { heartbeat: config.seats.watch_heartbeat, shutdown: lifecycle.shutdown.clone() };
    let services = grpc::services(app.clone(), health.service(), config.limits.max_message_bytes, watching)?;
    let stack = layers::stack(services, &options::layers(config, bound.address));
    let shutdown = lifecycle.shutdown.clone().cancelled_owned();
    let serving = limits::server(options::limits(config)).serve_with_incoming_shutdown(stack, bound.listener, shutdown);
    let serving = tokio::spawn(serving);
    let period = Connections::period(config.limits.delivery_timeout);
    lifecycle.tasks.spawn(close_unread(connections.clone(), period, lifecycle.shutdown.clone()));

    if config.wants_sample() {
        sample(&app, &lifecycle).await;
    }
    lifecycle.tasks.spawn(app.clone().resume_purchases(lifecycle.shutdown.clone()));
    lifecycle.tasks.spawn(app.clone().follow_gateway(lifecycle.shutdown.clone()));
    lifecycle.tasks.spawn(app.clone().resume_refunds(lifecycle.shutdown.clone()));
    lifecycle.tasks.spawn(app.clone().complete_sales(lifecycle.shutdown.clone()));
    lifecycle.tasks.spawn(app.clone().refresh_signing_keys(lifecycle.shutdown.clone()));
    lifecycle.tasks.spawn(app.clone().refresh_door_lists(lifecycle.shutdown.clone()));
    lifecycle.tasks.spawn(app.clone().ticket_earlier_sales(lifecycle.shutdown.clone()));
    lifecycle.tasks.spawn(delete_old_answers(app.clone(), lifecycle.requests_ended.clone()));
    let kept = options::kept_events(config);
    lifecycle.tasks.spawn(feed.delete_old(kept, Clock::System, lifecycle.shutdown.clone()));
    if let Some(period) = options::sweep(config) {
        lifecycle.tasks.spawn(sweep(ledger, period, lifecycle.shutdown.clone()));
    }
    if !lifecycle.shutdown.is_cancelled() {
        lifecycle.tasks.spawn(health.clone().monitor(lifecycle.shutdown.clone()));
        health.ready(true).await;
        let addresses = banner::Addresses { grpc: bound.address, admin: bound.admin_address, demo, demo_gateway };
        banner::show(config, &app, &addresses).await;
    }

    let outcome = lifecycle.end(serving, &health, &app, &connections, config.limits.drain_timeout).await;
    store.close().await;
    outcome
}

/// Opens the store, makes the ledger, the feed and the app on it, and the client of the payment gateway.
async fn build(
    config: &Config,
    provider: &str,
    gateway: &str,
    health: &Health,
) -> Result<(Store, Ledger, Feed, App), Failure> {
    let gateway = Gateway::new(&options::payments(config, gateway)?)?;
    let store = Store::open(&options::store(config)).await?;
    let sinks = options::sinks(config);
    sinks::check(&sinks).await?;
    // Before old events are deleted: while no instance ran, nothing was delivered.
    let names: Vec<_> = sinks.iter().map(|sink| sink.name.as_str()).collect();
    store.keep_for_sinks(&names, Clock::System.now()).await?;
    let movies = Movies::new(&options::upstream(config, provider)?, Clock::System)?;
    let ledger = Ledger::start(store.clone(), TimeSource::Database(Clock::System), &options::ledger(config));
    let (feed, rules) = (Feed::new(store.clone()), options::rules(config));
    let reports = match options::reports(config) {
        Some(reports) => Some(Reader::open(&reports).await?),
        None => None,
    };
    let payments = options::payment_options(config, gateway);
    let (clock, parts) = (Clock::System, (store.clone(), movies.clone(), ledger.clone(), feed.clone()));
    let app = App::new(parts, reports, payments, clock, rules).await?;
    health.watch(store.clone(), movies);
    Ok((store, ledger, feed, app))
}

/// Makes the sample. If that fails the service runs all the same, and the next start makes what is missing.
async fn sample(app: &App, lifecycle: &Lifecycle) {
    tokio::select! {
        made = app.make_sample() => if let Err(error) = made {
            tracing::warn!(error = &error as &dyn std::error::Error, "the sample is not complete");
        },
        () = lifecycle.shutdown.cancelled() => {}
    }
}

struct Bound {
    listener: Listener,
    address: SocketAddr,
    admin: Option<Listener>,
    admin_address: Option<SocketAddr>,
}

/// Takes the ports. This comes first, so that nothing has been touched if one of them is in use.
async fn bind(
    config: &Config,
    connections: &Connections,
    max_connections: usize,
    lifecycle: &Lifecycle,
) -> Result<Bound, Failure> {
    let limits = (max_connections, connections.clone());
    let listener = listen("listen", config.grpc.listen, limits, &lifecycle.shutdown).await?;
    let listener = listener.coalesce_writes(config.limits.coalesce_writes);
    let admin = match config.http.admin_listen.address() {
        Some(address) => {
            let limits = (admin::MAX_CONNECTIONS, admin::connections());
            Some(listen("admin-listen", address, limits, &lifecycle.requests_ended).await?)
        }
        None => None,
    };
    let admin_address = admin.as_ref().map(Listener::local_addr);
    Ok(Bound { address: listener.local_addr(), admin_address, listener, admin })
}

async fn listen(
    option: &str,
    address: SocketAddr,
    (most, connections): (usize, Connections),
    stop: &CancellationToken,
) -> Result<Listener, Failure> {
    let bound = Listener::bind(address, most, connections, stop.clone()).await;
    bound.map_err(|error| format!("--{option} {address}: {}", telemetry::cause::of_io(&error)).into())
}

/// Logs what went wrong with connections, a line a second for each kind, until the requests have ended.
async fn log_connection_errors(shutdown: CancellationToken) {
    let task = Task::new("log of connection errors", CONNECTION_ERRORS_PERIOD).shutdown(shutdown);
    task.run(async || {
        connection_errors::log();
        Ok::<_, Infallible>(())
    })
    .await;
    connection_errors::log();
}

/// Deletes stored answers that are too old to be asked for again.
async fn delete_old_answers(app: App, shutdown: CancellationToken) {
    let task = Task::new("deletion of old answers", DELETION_PERIOD).shutdown(shutdown);
    task.run(async move || {
        let count = app.delete_old_answers().await?;
        if count > 0 {
            tracing::debug!(count, "deleted old answers");
        }
        Ok::<_, app::Error>(())
    })
    .await;
}

/// Closes connections whose clients do not take what they are sent. A shutdown closes them by itself.
async fn close_unread(connections: Connections, period: Duration, shutdown: CancellationToken) {
    let task = Task::new("closing of connections that are not read", period).shutdown(shutdown);
    task.run(async move || {
        connections.tick();
        Ok::<_, Infallible>(())
    })
    .await;
}

/// Records lapsed holds as expired. It stops when a shutdown begins: another instance goes on with it.
async fn sweep(ledger: Ledger, period: Duration, shutdown: CancellationToken) {
    let task = Task::new("sweep of lapsed holds", period).shutdown(shutdown);
    task.run(async move || {
        let count = ledger.sweep().await?;
        if count > 0 {
            tracing::debug!(count, "swept showtimes with lapsed holds");
        }
        Ok::<_, Arc<store::Error>>(())
    })
    .await;
}
