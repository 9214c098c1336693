//! How a demo server listens: its limits, its TLS, its key, its reflection, and its end.

use std::time::Duration;

use thiserror::Error;
use tokio::{net::TcpListener, time};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    service::Routes,
    transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming},
};

use super::secret::Secret;
use crate::pb::DESCRIPTORS;

/// The largest request in bytes.
pub const MAX_REQUEST_BYTES: usize = 64 << 10;
const MAX_HEADER_BYTES: u32 = 16 << 10;
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the shutdown waits for open streams.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// The identity of a TLS server.
#[derive(Clone)]
pub struct Tls {
    /// The certificate chain, as PEM.
    pub cert_pem: Vec<u8>,
    /// The private key, as PEM.
    pub key_pem: Vec<u8>,
}

/// Why a demo server cannot serve.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The certificate or its key cannot be used, or the listener failed.
    #[error("the demo server cannot serve: its certificate or its listener failed")]
    Transport(#[from] tonic::transport::Error),
    /// The embedded descriptors cannot be decoded.
    #[error("the demo server cannot serve reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves on `listener` until `shutdown` is cancelled: these routes, reflection for the services with these names, and health.
/// The service named `""` is SERVING from the start, because a process that listens is healthy.
///
/// A connection has at most `max_streams` calls at once, and further ones wait. It is closed if it opens and resets a quarter of
/// that number.
///
/// # Errors
/// If the certificate or its key cannot be used.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    names: &[&str],
    max_streams: u32,
    tls: Option<Tls>,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let max_resets = (max_streams / 4) as usize;
    let mut server = Server::builder()
        .max_concurrent_streams(max_streams)
        .http2_max_pending_accept_reset_streams(Some(max_resets))
        .http2_max_local_error_reset_streams(Some(max_resets))
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT));
    if let Some(Tls { cert_pem, key_pem }) = tls {
        server = server.tls_config(ServerTlsConfig::new().identity(Identity::from_pem(cert_pem, key_pem)))?;
    }
    let reflection = || {
        let builder = tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS);
        names.iter().fold(builder, |builder, name| builder.with_service_name(*name))
    };
    let (_, health) = tonic_health::server::health_reporter();
    let routes =
        routes.add_service(reflection().build_v1()?).add_service(reflection().build_v1alpha()?).add_service(health);
    let serving = server.add_routes(routes).serve_with_incoming_shutdown(
        TcpIncoming::from(listener).with_nodelay(Some(true)),
        shutdown.clone().cancelled_owned(),
    );
    let drained = async {
        shutdown.cancelled().await;
        time::sleep(DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        ended = serving => Ok(ended?),
        () = drained => Ok(()),
    }
}

/// Refuses calls without the key in this header. Without a key every call is admitted.
pub fn check_key(
    header: &'static str,
    key: Option<Secret>,
) -> impl FnMut(Request<()>) -> Result<Request<()>, Status> + Clone + Send + Sync + 'static {
    move |request: Request<()>| match &key {
        Some(key) if request.metadata().get(header).is_none_or(|sent| sent != key.expose()) => {
            Err(Status::unauthenticated(format!("{header} is missing or wrong")))
        }
        _ => Ok(request),
    }
}
