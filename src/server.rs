//! The composition root: the parts are made, joined, run, and taken down again in order.
//!
//! Starting: ports, then the store (and its schema), the provider, the app, the listener with health at `NOT_SERVING`, the
//! sample, and only then SERVING. Stopping runs the other way: `NOT_SERVING`, no new connections, requests in flight, the
//! changes they began, the store, telemetry. Everything that waits here has a limit.

pub mod admin;
mod banner;
pub mod coalesce;
pub mod commands;
mod health;
pub mod limits;
pub mod listener;
mod options;


use std::{net::SocketAddr, sync::Arc};

use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    app::App,
    clock::Clock,
    config::Config,
    grpc::{self, layers},
    ledger::{Ledger, TimeSource},
    store::Store,
    telemetry,
    upstream::{Movies, demo},
};
use health::Health;
use listener::Listener;

/// Why the service does not run: something that the person who started it can read.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// By then every connection has had its goodbye, and brings no new requests.
const GOODBYE: std::time::Duration = std::time::Duration::from_millis(100);

/// Those who watch have taken their last word by then, or get none. One who reads nothing at all is waited for like a request.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(2);

/// Commands that wait for the database are finished by then.
const FINISH: std::time::Duration = std::time::Duration::from_secs(5);

/// What runs beside the requests, and the tokens that end it.
#[derive(Default)]
struct Running {
    /// Cancelled when the service is asked to end: listeners close.
    ending: CancellationToken,
    /// Cancelled when everybody has been told: streams end.
    parting: CancellationToken,
    /// Cancelled when the requests have ended: what they needed may end too.
    ended: CancellationToken,
    tasks: TaskTracker,
}

/// Runs the service until it is asked to end, and ends it in order.
///
/// # Errors
/// It could not start, or its listener failed.
pub async fn serve(config: &Config, telemetry: &telemetry::Guard) -> Result<(), Failure> {
    let running = Running::default();
    end_on_signal(running.ending.clone())?;
    let bound = bind(config, &running).await?;
    let health = Health::new().await;
    if let Some(admin) = bound.admin {
        let (health, registry) = (health.clone(), telemetry.registry().clone());
        let page = admin::serve(admin, registry, move || health.clone().readiness());
        running.tasks.spawn(async move { report("the admin port", page.await) });
    }
    let (provider, demo) = provider(config, &running).await?;
    let furnished = tokio::select! {
        furnished = furnish(config, &provider, &health) => furnished?,
        // Asked to end before there was anything to drain.
        () = running.ending.cancelled() => return Ok(()),
    };
    let (store, ledger, app) = furnished;

    let watching = grpc::Watching { heartbeat: config.seats.watch_heartbeat, ending: running.ending.clone() };
    let services = grpc::services(app.clone(), health.service(), config.limits.max_message_bytes, watching)?;
    let stack = layers::stack(services, &options::layers(config, running.parting.clone()));
    let asked_to_end = running.ending.clone().cancelled_owned();
    let serving =
        limits::server(options::limits(config)).serve_with_incoming_shutdown(stack, bound.listener, asked_to_end);
    let serving = tokio::spawn(serving);

    if config.wants_sample() {
        sample(&app, &running).await;
    }
    running.tasks.spawn(tidy(app.clone(), running.ended.clone()));
    if let Some(pause) = options::sweep(config) {
        running.tasks.spawn(sweep(ledger, pause, running.ending.clone()));
    }
    if !running.ending.is_cancelled() {
        running.tasks.spawn(health.clone().monitor(running.ending.clone()));
        health.ready(true).await;
        let addresses = banner::Addresses { grpc: bound.address, admin: bound.admin_address, demo };
        banner::show(config, &app, &addresses).await;
    }

    let outcome = end(config, &running, &health, &app, serving).await;
    store.close().await;
    outcome
}

/// Opens the store and joins it with the provider.
async fn furnish(config: &Config, provider: &str, health: &Health) -> Result<(Store, Ledger, App), Failure> {
    let store = Store::open(&options::store(config)).await?;
    let movies = Movies::new(&options::upstream(config, provider)?, Clock::System)?;
    let ledger = Ledger::start(store.clone(), TimeSource::Database(Clock::System), &options::ledger(config));
    let rules = options::rules(config);
    let app = App::new(store.clone(), movies.clone(), ledger.clone(), Clock::System, rules).await?;
    health.watch(store.clone(), movies);
    Ok((store, ledger, app))
}

/// Makes the sample. One that is not complete is no reason not to serve: the next start goes on where this one ended.
async fn sample(app: &App, running: &Running) {
    tokio::select! {
        made = app.make_sample() => if let Err(error) = made {
            tracing::warn!(error = &error as &dyn std::error::Error, "the sample is not complete");
        },
        () = running.ending.cancelled() => {}
    }
}

struct Bound {
    listener: Listener,
    address: SocketAddr,
    admin: Option<Listener>,
    admin_address: Option<SocketAddr>,
}

/// Takes the ports first: if one is in use, nothing has been touched yet.
async fn bind(config: &Config, running: &Running) -> Result<Bound, Failure> {
    let listener = listen("listen", config.grpc.listen, config.limits.max_connections, &running.ending).await?;
    let admin = match config.http.admin_listen.address() {
        Some(address) => Some(listen("admin-listen", address, admin::MAX_CONNECTIONS, &running.ended).await?),
        None => None,
    };
    let admin_address = admin.as_ref().map(Listener::local_addr);
    Ok(Bound { address: listener.local_addr(), admin_address, listener, admin })
}

async fn listen(option: &str, address: SocketAddr, most: usize, stop: &CancellationToken) -> Result<Listener, Failure> {
    let bound = Listener::bind(address, most, stop.clone()).await;
    bound.map_err(|error| format!("--{option} {address}: {}", telemetry::cause::of_io(&error)).into())
}

/// The provider's address: the one configured, or that of a demo provider started here.
async fn provider(config: &Config, running: &Running) -> Result<(String, Option<SocketAddr>), Failure> {
    if let Some(url) = &config.provider.provider_url {
        return Ok((url.expose().to_owned(), None));
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let demo = demo::serve(listener, demo::Options::default(), running.ended.clone());
    running.tasks.spawn(async move { report("the demo provider", demo.await) });
    Ok((format!("http://{address}"), Some(address)))
}

/// Waits for the end, and goes through it: a drain that is bounded, and a second signal that cuts it short.
async fn end(
    config: &Config,
    running: &Running,
    health: &Arc<Health>,
    app: &App,
    mut serving: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
) -> Result<(), Failure> {
    let served = tokio::select! {
        served = &mut serving => served,
        () = running.ending.cancelled() => {
            tracing::info!("draining");
            health.ready(false).await;
            let drained = async {
                tokio::select! {
                    served = &mut serving => served,
                    () = goodbyes(app) => {
                        running.parting.cancel();
                        serving.await
                    }
                }
            };
            let served = tokio::time::timeout(config.limits.drain_timeout, drained).await.unwrap_or_else(|_| {
                tracing::warn!("some requests did not end in time; their callers will see a broken connection");
                Ok(Ok(()))
            });
            // What they had begun is finished all the same.
            if tokio::time::timeout(FINISH, app.drained()).await.is_err() {
                tracing::warn!("some commands were not finished in time");
            }
            served
        }
    };
    running.ending.cancel();
    running.ended.cancel();
    running.tasks.close();
    // What runs beside the requests has nothing to lose.
    let _late = tokio::time::timeout(std::time::Duration::from_secs(2), running.tasks.wait()).await;
    Ok(served??)
}

/// Everybody has been told; those who watch are given a while to hear it.
async fn goodbyes(app: &App) {
    tokio::time::sleep(GOODBYE).await;
    let _deaf = tokio::time::timeout(LAST_WORDS, app.unwatched()).await;
}

/// The first signal asks to end, the second ends the process.
fn end_on_signal(ending: CancellationToken) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if ending.is_cancelled() {
                std::process::exit(1);
            }
            ending.cancel();
        }
    });
    Ok(())
}

/// Forgets old answers now and then.
async fn tidy(app: App, ended: CancellationToken) {
    let mut hourly = tokio::time::interval(std::time::Duration::from_hours(1));
    hourly.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = ended.cancelled() => return,
            _ = hourly.tick() => match app.tidy().await {
                Ok(0) => {}
                Ok(count) => tracing::debug!(count, "forgot old answers"),
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "old answers were not forgotten"),
            },
        }
    }
}

/// Writes down, again and again, which holds are over. It does not outlast the wish to end: another one goes on.
async fn sweep(ledger: Ledger, pause: std::time::Duration, ending: CancellationToken) {
    let mut failing = false;
    loop {
        tokio::select! {
            () = ending.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        match ledger.sweep().await {
            Ok(0) => failing = false,
            Ok(count) => {
                failing = false;
                tracing::debug!(count, "looked after showtimes with holds that are over");
            }
            // Told once: the health check tells of a database that is gone, and nothing is sold wrongly meanwhile.
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(error = &error as &dyn std::error::Error, "holds that are over were not written down");
            }
            Err(_) => {}
        }
    }
}

fn report<T, E: std::error::Error + 'static>(what: &str, done: Result<T, E>) {
    if let Err(error) = done {
        tracing::error!(error = &error as &dyn std::error::Error, "{what} failed");
    }
}
