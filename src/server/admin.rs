//! The port for operators: `/healthz` (the process is alive), `/readyz` (it takes requests) and `/metrics`.
//!
//! Plain HTTP without authentication, meant for loopback.

use std::{fmt::Write as _, time::Duration};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header};
use prometheus::{Registry, TextEncoder};
use serde::Serialize;

use super::{
    limits::{self, Limits},
    listener::Listener,
};
use crate::grpc::connections::{self, Connections};

/// The most connections of this port. Scrapers and probes are few.
pub const MAX_CONNECTIONS: usize = 64;
/// Bytes that may be kept for all connections of the port.
const CONNECTION_MEMORY: usize = 16 << 20;

/// How long a readiness check may take.
const READINESS_TIMEOUT: Duration = Duration::from_secs(2);

/// The state of one dependency.
#[derive(Clone, Debug, Serialize)]
pub struct Dependency {
    /// The name that operators know, such as "database".
    pub name: &'static str,
    /// One or a few words, such as "up" or "not configured".
    pub state: String,
    /// Whether the service is not ready without it.
    pub required: bool,
}

/// Whether requests should be sent to this process, and the state of its dependencies.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Readiness {
    /// Whether requests should be sent.
    pub ready: bool,
    /// All dependencies, required ones and others.
    pub dependencies: Vec<Dependency>,
}

/// What the connections to the port share.
pub(super) fn connections() -> Connections {
    Connections::new(connections::Limits { max_bytes: CONNECTION_MEMORY, ..connections::Limits::default() })
}

/// Serves the port until `listener` is cancelled. Each `/readyz` calls `readiness`, for at most two seconds.
///
/// # Errors
/// The listener failed.
pub async fn serve<F, R>(listener: Listener, registry: Registry, readiness: F) -> Result<(), tonic::transport::Error>
where
    F: Fn() -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Readiness> + Send + 'static,
{
    let pages = Router::new()
        .route("/metrics", get(exposition).with_state(registry))
        // A process that can answer is alive. A dependency that is down is no reason to restart it.
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(move || ready(readiness())))
        .with_state::<()>(());
    // The same limits as for gRPC, with fewer streams.
    let limits = Limits { max_concurrent_streams: 16, ..Limits::default() };
    limits::server(limits).serve_with_incoming_shutdown(pages, listener, std::future::pending::<()>()).await
}

async fn exposition(State(registry): State<Registry>) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "writing the metrics failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn ready(readiness: impl Future<Output = Readiness>) -> Response {
    let Ok(found) = tokio::time::timeout(READINESS_TIMEOUT, readiness).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "not ready: the dependencies did not answer in time\n")
            .into_response();
    };
    let code = if found.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut text = String::from(if found.ready { "ready\n" } else { "not ready\n" });
    for Dependency { name, state, required } in &found.dependencies {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}: {state}{}", if *required { "" } else { " (not required)" });
    }
    (code, text).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::telemetry::metrics;

    async fn get(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_port_serves_liveness_readiness_and_metrics() {
        let registry = metrics::for_tests().clone();
        metrics::breaker("admin-test", 2);
        let stop = CancellationToken::new();
        let listener =
            Listener::bind(([127, 0, 0, 1], 0).into(), MAX_CONNECTIONS, connections(), stop.clone()).await.unwrap();
        let address = listener.local_addr();
        let down = Dependency { name: "database", state: "unreachable".to_owned(), required: true };
        let readiness = move || {
            let dependencies = vec![down.clone(), Dependency { name: "redis", required: false, ..down.clone() }];
            async { Readiness { ready: false, dependencies } }
        };
        let serving = tokio::spawn(serve(listener, registry, readiness));
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let ready = get(address, "/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
        assert!(ready.contains("database: unreachable\nredis: unreachable (not required)\n"), "{ready}");
        let metrics = get(address, "/metrics").await;
        assert!(metrics.contains("boxoffice_breaker_state{breaker=\"admin-test\"} 2"), "{metrics}");
        assert!(get(address, "/").await.starts_with("HTTP/1.1 404"));
        stop.cancel();
        serving.await.unwrap().unwrap();
    }
}
