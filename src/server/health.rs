//! Health: what is said to those who ask whether to send requests here.
//!
//! `NOT_SERVING` until everything is ready, while draining, and while the database does not answer; movies need no
//! database. The provider and Redis may fail without anybody being sent away.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use super::admin::{Dependency, Readiness};
use crate::{
    grpc::SERVICES,
    store::Store,
    upstream::{self, Movies},
};

/// How often the database is asked whether it is there.
const PERIOD: Duration = Duration::from_secs(1);
/// How long it may take to say so.
const PATIENCE: Duration = Duration::from_secs(1);
/// The server as a whole.
const WHOLE: &str = "";
/// The service that works without a database.
const MOVIES: &str = "boxoffice.v1.Movies";

/// What is known of this process and of what it depends on.
pub(super) struct Health {
    reporter: HealthReporter,
    service: HealthServer<HealthService>,
    /// Held while it is told, so that what is told last is what is true.
    state: Mutex<State>,
    dependencies: OnceLock<(Store, Movies)>,
}

#[derive(Clone, Copy)]
struct State {
    ready: bool,
    database: bool,
}

impl Health {
    /// Says `NOT_SERVING` until told otherwise.
    pub(super) async fn new() -> Arc<Self> {
        let (reporter, _whole_is_serving) = tonic_health::server::health_reporter();
        let service = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
        let state = Mutex::new(State { ready: false, database: true });
        let health = Arc::new(Self { reporter, service, state, dependencies: OnceLock::new() });
        health.ready(false).await;
        health
    }

    /// The gRPC side.
    pub(super) fn service(&self) -> HealthServer<HealthService> {
        self.service.clone()
    }

    /// From now on these are asked.
    pub(super) fn watch(&self, store: Store, movies: Movies) {
        let _already = self.dependencies.set((store, movies));
    }

    /// Says whether this process takes requests: not before it has started, and not while it drains.
    pub(super) async fn ready(&self, ready: bool) {
        self.tell(|state| state.ready = ready).await;
    }

    /// Asks the database now and then, until the end, and says what has changed.
    pub(super) async fn monitor(self: Arc<Self>, ending: CancellationToken) {
        let mut period = tokio::time::interval(PERIOD);
        period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut was = true;
        loop {
            tokio::select! {
                () = ending.cancelled() => return,
                _ = period.tick() => {}
            }
            let is = self.database_answers().await;
            if is != was {
                tracing::warn!(answers = is, "the database");
                self.tell(|state| state.database = is).await;
                was = is;
            }
        }
    }

    async fn database_answers(&self) -> bool {
        match self.dependencies.get() {
            Some((store, _)) => tokio::time::timeout(PATIENCE, store.ping()).await.is_ok_and(|answer| answer.is_ok()),
            None => false,
        }
    }

    async fn tell(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().await;
        change(&mut state);
        for service in [WHOLE].into_iter().chain(SERVICES.iter().copied()) {
            let fine = state.ready && (state.database || service == MOVIES);
            let status = if fine { ServingStatus::Serving } else { ServingStatus::NotServing };
            self.reporter.set_service_status(service, status).await;
        }
    }

    /// For `/readyz`: every dependency by name, and whether readiness needs it.
    pub(super) async fn readiness(self: Arc<Self>) -> Readiness {
        let State { ready, .. } = *self.state.lock().await;
        let Some((_, movies)) = self.dependencies.get() else {
            return Readiness { ready, dependencies: Vec::new() };
        };
        let (database, redis) = tokio::join!(self.database_answers(), movies.redis_state());
        let database = if database { "up" } else { "failing" };
        let dependencies = vec![
            Dependency { name: "database", state: database.to_owned(), required: true },
            Dependency { name: "provider", state: word(movies.provider_state()).to_owned(), required: false },
            Dependency { name: "redis", state: word(redis).to_owned(), required: false },
        ];
        Readiness { ready: ready && database == "up", dependencies }
    }
}

fn word(state: upstream::Dependency) -> &'static str {
    match state {
        upstream::Dependency::Up => "up",
        upstream::Dependency::Failing => "failing",
        upstream::Dependency::NotConfigured => "not configured",
    }
}
