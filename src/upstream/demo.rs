//! A demo provider: the provider's contract over a real connection, with a small catalogue and configurable faults.
//!
//! The service starts one when no provider is configured, tests set its faults, and it can be run alone. It behaves as the
//! real provider does: data is packed in `Any`, failures are gRPC errors or in band, the API key is in `x-apikey`. A fault
//! never delays the shutdown. `boxoffice.demo.v1.Faults` is served on the same port, and so are reflection for both
//! services and health. The API key protects only the movies.

mod catalogue;
mod faults;

use prost::Message;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status,
    service::{Routes, interceptor::InterceptedService},
};

pub use self::faults::Faults;
use self::faults::{Reaction, SharedFaults};
pub use crate::remote::demo::{ServeError, Tls};
use crate::{
    pb::{
        boxoffice::demo::v1::faults_server::FaultsServer,
        movies::{
            Empty, IdRequest, MoviesApiException, ResponseModel, SearchRequest, ShowListResponse,
            movies_api_server::{MoviesApi, MoviesApiServer},
        },
    },
    remote::{
        Secret,
        demo::{self, MAX_REQUEST_BYTES},
    },
};

/// The number of concurrent calls for each connection.
const MAX_STREAMS: u32 = 256;

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

/// Serves on `listener` until `shutdown` is cancelled.
///
/// # Errors
/// If the certificate or its key cannot be used.
pub async fn serve(listener: TcpListener, options: Options, shutdown: CancellationToken) -> Result<(), ServeError> {
    let Options { faults, api_key, tls } = options;
    let faults = SharedFaults::new(faults, shutdown.clone());
    let movies = MoviesApiServer::new(Provider { faults: faults.clone() }).max_decoding_message_size(MAX_REQUEST_BYTES);
    let routes = Routes::new(InterceptedService::new(movies, demo::check_key("x-apikey", api_key)))
        .add_service(FaultsServer::new(faults).max_decoding_message_size(MAX_REQUEST_BYTES));
    demo::serve(listener, routes, &["movies.MoviesApi", "boxoffice.demo.v1.Faults"], MAX_STREAMS, tls, shutdown).await
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
