//! A demo provider: the provider's contract over a real connection, with a small catalogue and configurable faults.
//!
//! The service starts one when no provider is configured, tests set its faults, and it can be run alone. It behaves as the
//! real provider does: data is packed in `Any`, failures are gRPC errors or in band, the API key is in `x-apikey`. A fault
//! never delays the shutdown. `boxoffice.demo.v1.Faults` is served on the same port, and so are reflection for both
//! services and health. The API key protects only the movies.

mod catalogue;
mod faults;

use std::time::Duration;

use prost::Message;
use thiserror::Error;
use tokio::{net::TcpListener, time};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status,
    service::interceptor::InterceptedService,
    transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming},
};

pub use self::faults::Faults;
use self::faults::{Reaction, SharedFaults};
use super::options::Secret;
use crate::pb::{
    self,
    boxoffice::demo::v1::faults_server::FaultsServer,
    movies::{
        Empty, IdRequest, MoviesApiException, ResponseModel, SearchRequest, ShowListResponse,
        movies_api_server::{MoviesApi, MoviesApiServer},
    },
};

/// The largest request in bytes. A request holds an id or a text.
const MAX_REQUEST_BYTES: usize = 64 << 10;
/// The number of concurrent calls for each connection. Further calls wait.
const MAX_STREAMS: u32 = 256;
/// The number of streams that a connection may open and reset before it is closed.
const MAX_RESETS: usize = 64;
const MAX_HEADER_BYTES: u32 = 16 << 10;
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the shutdown waits for open streams.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// The options of the demo provider.
#[derive(Clone, Default)]
pub struct Options {
    /// The faults at the start.
    pub faults: Faults,
    /// The key that callers must send as `x-apikey`. Without it, any caller is admitted.
    pub api_key: Option<Secret>,
    /// The certificate and key for TLS. Without it, the connection is not encrypted.
    pub tls: Option<Tls>,
}

/// The identity of a TLS server.
#[derive(Clone)]
pub struct Tls {
    /// The certificate chain, as PEM.
    pub cert_pem: Vec<u8>,
    /// The private key, as PEM.
    pub key_pem: Vec<u8>,
}

/// Why the demo provider cannot serve.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The certificate or its key cannot be used, or the listener failed.
    #[error("the demo provider cannot serve: its certificate or its listener failed")]
    Transport(#[from] tonic::transport::Error),
    /// The embedded descriptors cannot be decoded.
    #[error("the demo provider cannot serve reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves on `listener` until `shutdown` is cancelled.
///
/// # Errors
/// If the certificate or its key cannot be used.
pub async fn serve(listener: TcpListener, options: Options, shutdown: CancellationToken) -> Result<(), ServeError> {
    let Options { faults, api_key, tls } = options;
    let faults = SharedFaults::new(faults, shutdown.clone());
    let movies = MoviesApiServer::new(Provider { faults: faults.clone() }).max_decoding_message_size(MAX_REQUEST_BYTES);
    let check_key = move |request: Request<()>| match &api_key {
        Some(key) if request.metadata().get("x-apikey").is_none_or(|sent| sent != key.expose()) => {
            Err(Status::unauthenticated("x-apikey is missing or wrong"))
        }
        _ => Ok(request),
    };
    let mut server = Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_pending_accept_reset_streams(Some(MAX_RESETS))
        .http2_max_local_error_reset_streams(Some(MAX_RESETS))
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT));
    if let Some(Tls { cert_pem, key_pem }) = tls {
        server = server.tls_config(ServerTlsConfig::new().identity(Identity::from_pem(cert_pem, key_pem)))?;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .with_service_name("movies.MoviesApi")
            .with_service_name("boxoffice.demo.v1.Faults")
    };
    // The service named `""` is SERVING from the start. A process that listens is healthy.
    let (_, health) = tonic_health::server::health_reporter();
    let serving = server
        .add_service(InterceptedService::new(movies, check_key))
        .add_service(FaultsServer::new(faults).max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(health)
        .serve_with_incoming_shutdown(
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

struct Provider {
    faults: SharedFaults,
}

impl Provider {
    async fn answer(&self, data: impl FnOnce() -> Result<prost_types::Any, MoviesApiException>) -> DemoResult {
        let data = match self.faults.apply().await? {
            Reaction::Answer => data(),
            Reaction::FailInBand => Err(exception(500, "the demo provider simulates a failure in band")),
        };
        Ok(Response::new(match data {
            Ok(data) => ResponseModel { success: true, data: Some(data), exceptions: Vec::new() },
            Err(exception) => ResponseModel { success: false, data: None, exceptions: vec![exception] },
        }))
    }
}

type DemoResult = Result<Response<ResponseModel>, Status>;

#[tonic::async_trait]
impl MoviesApi for Provider {
    async fn get_by_id(&self, request: Request<IdRequest>) -> DemoResult {
        let id = request.into_inner().id;
        self.answer(|| {
            let film = catalogue::FILMS.iter().find(|film| film.id == id);
            film.map(|film| pack("showResponse", &film.show())).ok_or_else(|| exception(404, "no such movie"))
        })
        .await
    }

    async fn search(&self, request: Request<SearchRequest>) -> DemoResult {
        self.answer(|| Ok(search(&request.into_inner().text))).await
    }

    async fn get_all(&self, _: Request<Empty>) -> DemoResult {
        self.answer(|| Ok(search(""))).await
    }
}

/// The films with this text in their title. Case is ignored.
fn search(text: &str) -> prost_types::Any {
    let text = text.to_lowercase();
    let films = catalogue::FILMS.iter().filter(|film| film.title.to_lowercase().contains(&text));
    pack("showListResponse", &ShowListResponse { shows: films.map(catalogue::Film::show).collect() })
}

fn exception(status_code: i32, message: &str) -> MoviesApiException {
    MoviesApiException { message: message.to_owned(), status_code }
}

fn pack(name: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any { type_url: format!("type.googleapis.com/movies.{name}"), value: message.encode_to_vec() }
}
