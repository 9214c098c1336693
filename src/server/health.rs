//! Health: whether callers should send requests to this process.
//!
//! `NOT_SERVING` until the service is ready, while it drains, and while the database does not answer; the Movies service does
//! not need the database. A failure of the movie provider or of Redis changes nothing here.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{sync::Mutex, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use super::admin::{Dependency, Readiness};
use crate::{
    background::Task,
    grpc::SERVICES,
    store::{self, Store},
    upstream::{self, Movies},
};

/// How often the database is checked.
const PERIOD: Duration = Duration::from_secs(1);
/// How long the database may take to answer a check.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The name of the server as a whole in the health protocol.
const SERVER: &str = "";
/// The service that works without a database.
const MOVIES: &str = "boxoffice.v1.Movies";

/// The health of this process and of what it depends on.
pub(super) struct Health {
    reporter: HealthReporter,
    service: HealthServer<HealthService>,
    /// Locked while it is published, so that the last status published is the current one.
    state: Mutex<State>,
    dependencies: OnceLock<(Store, Movies)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    ready: bool,
    database: bool,
}

/// Why the database counts as failing.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error("the database did not answer within {} s", TIMEOUT.as_secs())]
    Late,
    #[error("the database does not answer")]
    Store(#[source] store::Error),
}

impl Health {
    /// Starts as `NOT_SERVING`.
    pub(super) async fn new() -> Arc<Self> {
        let (reporter, _initial_status) = tonic_health::server::health_reporter();
        let service = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
        let state = State { ready: false, database: true };
        let health = Self { reporter, service, state: Mutex::new(state), dependencies: OnceLock::new() };
        health.publish(state).await;
        Arc::new(health)
    }

    /// The gRPC health service.
    pub(super) fn service(&self) -> HealthServer<HealthService> {
        self.service.clone()
    }

    /// Sets the dependencies. Readiness reports them from now on.
    pub(super) fn watch(&self, store: Store, movies: Movies) {
        let _already = self.dependencies.set((store, movies));
    }

    /// Sets whether this process takes requests: from the end of its start until it drains.
    pub(super) async fn ready(&self, ready: bool) {
        self.update(|state| state.ready = ready).await;
    }

    /// Checks the database every second, and publishes when it begins or ceases to answer.
    pub(super) async fn monitor(self: Arc<Self>, shutdown: CancellationToken) {
        let task = Task::new("check of the database", PERIOD).shutdown(shutdown);
        task.run(async move || {
            let checked = self.check_database().await;
            self.update(|state| state.database = checked.is_ok()).await;
            checked
        })
        .await;
    }

    async fn check_database(&self) -> Result<(), CheckError> {
        match self.dependencies.get() {
            Some((store, _)) => {
                let answer = timeout(TIMEOUT, store.ping()).await;
                answer.map_err(|_elapsed| CheckError::Late)?.map_err(CheckError::Store)
            }
            None => Ok(()),
        }
    }

    async fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().await;
        let before = *state;
        change(&mut state);
        if *state != before {
            self.publish(*state).await;
        }
    }

    async fn publish(&self, state: State) {
        for service in [SERVER].into_iter().chain(SERVICES.iter().copied()) {
            let serves = state.ready && (state.database || service == MOVIES);
            let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
            self.reporter.set_service_status(service, status).await;
        }
    }

    /// The answer of `/readyz`: every dependency by name, and whether readiness needs it.
    pub(super) async fn readiness(self: Arc<Self>) -> Readiness {
        let State { ready, .. } = *self.state.lock().await;
        let Some((_, movies)) = self.dependencies.get() else {
            return Readiness { ready, dependencies: Vec::new() };
        };
        let (database, redis) = tokio::join!(self.check_database(), movies.redis_state());
        let database_state = if database.is_ok() { "up" } else { "failing" };
        let dependencies = vec![
            Dependency { name: "database", state: database_state.to_owned(), required: true },
            Dependency { name: "provider", state: word(movies.provider_state()).to_owned(), required: false },
            Dependency { name: "redis", state: word(redis).to_owned(), required: false },
        ];
        Readiness { ready: ready && database.is_ok(), dependencies }
    }
}

fn word(state: upstream::Dependency) -> &'static str {
    match state {
        upstream::Dependency::Up => "up",
        upstream::Dependency::Failing => "failing",
        upstream::Dependency::NotConfigured => "not configured",
    }
}
