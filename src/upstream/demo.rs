//! A demo provider: the provider's contract over the real wire, with a small catalogue and knobs for its moods.
//!
//! The embedded default talks to it, tests turn its knobs, and anybody may run it alone. It promises to speak as the
//! real one does: data packed in `Any`, failures as gRPC errors or in band, the API key in `x-apikey`, and to end on
//! shutdown whatever it is pretending. It serves `boxoffice.demo.v1.Faults` on the same port, reflection for both, and
//! health. The key guards the movies only.

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
use self::faults::{Fate, Moods};
use super::options::Secret;
use crate::pb::{
    self,
    boxoffice::demo::v1::faults_server::FaultsServer,
    movies::{
        Empty, IdRequest, MoviesApiException, ResponseModel, SearchRequest, ShowListResponse,
        movies_api_server::{MoviesApi, MoviesApiServer},
    },
};

/// Requests are an id or a text.
const LARGEST_REQUEST: usize = 64 << 10;
/// Per connection; a caller with more to ask waits.
const MOST_STREAMS: u32 = 256;
/// Streams that a connection may open and reset before it is closed.
const MOST_RESETS: usize = 64;
const LARGEST_HEADERS: u32 = 16 << 10;
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// After a shutdown, an open stream is waited for so long.
const DRAIN: Duration = Duration::from_secs(2);

/// How the demo provider is set up.
#[derive(Clone, Default)]
pub struct Options {
    /// Its moods at the start.
    pub faults: Faults,
    /// What callers must send as `x-apikey`.
    pub api_key: Option<Secret>,
    /// Speak TLS.
    pub tls: Option<Tls>,
}

/// A server's identity.
#[derive(Clone)]
pub struct Tls {
    /// The certificate, and those that lead to its authority, as PEM.
    pub cert_pem: Vec<u8>,
    /// The key, as PEM.
    pub key_pem: Vec<u8>,
}

/// Why the demo provider does not run.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The certificate or its key cannot be used, or the listener broke.
    #[error("the demo provider's transport fails")]
    Transport(#[from] tonic::transport::Error),
    /// Our own contract cannot be described.
    #[error("the demo provider's contract cannot be described")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves on `listener` until `shutdown`.
///
/// # Errors
/// When the certificate cannot be used.
pub async fn serve(listener: TcpListener, options: Options, shutdown: CancellationToken) -> Result<(), ServeError> {
    let Options { faults, api_key, tls } = options;
    let moods = Moods::new(faults, shutdown.clone());
    let movies = MoviesApiServer::new(Provider { moods: moods.clone() }).max_decoding_message_size(LARGEST_REQUEST);
    let guard = move |request: Request<()>| match &api_key {
        Some(key) if request.metadata().get("x-apikey").is_none_or(|sent| sent != key.expose()) => {
            Err(Status::unauthenticated("x-apikey is missing or wrong"))
        }
        _ => Ok(request),
    };
    let mut server = Server::builder()
        .max_concurrent_streams(MOST_STREAMS)
        .http2_max_pending_accept_reset_streams(Some(MOST_RESETS))
        .http2_max_local_error_reset_streams(Some(MOST_RESETS))
        .http2_max_header_list_size(LARGEST_HEADERS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT));
    if let Some(Tls { cert_pem, key_pem }) = tls {
        server = server.tls_config(ServerTlsConfig::new().identity(Identity::from_pem(cert_pem, key_pem)))?;
    }
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .with_service_name("movies.MoviesApi")
            .with_service_name("boxoffice.demo.v1.Faults")
    };
    // Its `""` is SERVING from the start, and a process that listens is all there is to know.
    let (_, health) = tonic_health::server::health_reporter();
    let serving = server
        .add_service(InterceptedService::new(movies, guard))
        .add_service(FaultsServer::new(moods).max_decoding_message_size(LARGEST_REQUEST))
        .add_service(described().build_v1()?)
        .add_service(described().build_v1alpha()?)
        .add_service(health)
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            shutdown.clone().cancelled_owned(),
        );
    let drained = async {
        shutdown.cancelled().await;
        time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = serving => Ok(ended?),
        () = drained => Ok(()),
    }
}

struct Provider {
    moods: Moods,
}

impl Provider {
    async fn answer(&self, data: impl FnOnce() -> Result<prost_types::Any, MoviesApiException>) -> Answer {
        let data = match self.moods.befall().await? {
            Fate::Well => data(),
            Fate::FailsInBand => Err(exception(500, "the demo provider fails in band")),
        };
        Ok(Response::new(match data {
            Ok(data) => ResponseModel { success: true, data: Some(data), exceptions: Vec::new() },
            Err(exception) => ResponseModel { success: false, data: None, exceptions: vec![exception] },
        }))
    }
}

type Answer = Result<Response<ResponseModel>, Status>;

#[tonic::async_trait]
impl MoviesApi for Provider {
    async fn get_by_id(&self, request: Request<IdRequest>) -> Answer {
        let id = request.into_inner().id;
        self.answer(|| {
            let film = catalogue::FILMS.iter().find(|film| film.id == id);
            film.map(|film| pack("showResponse", &film.show())).ok_or_else(|| exception(404, "no such movie"))
        })
        .await
    }

    async fn search(&self, request: Request<SearchRequest>) -> Answer {
        self.answer(|| Ok(found(&request.into_inner().text))).await
    }

    async fn get_all(&self, _: Request<Empty>) -> Answer {
        self.answer(|| Ok(found(""))).await
    }
}

/// The films with this text in their title, whatever its case.
fn found(text: &str) -> prost_types::Any {
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
