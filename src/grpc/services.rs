//! All services, each with its limits.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::Router;
use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, codegen::BoxFuture, metadata::MetadataValue, service::Routes};
use tonic_health::pb::health_server::{Health, HealthServer};

use super::layers::{RequestContext, unknown_path};
use crate::{
    app::{Answer, App},
    pb::{
        self,
        boxoffice::v1::{
            auditoriums_server::{self, AuditoriumsServer},
            movies_server::{self, MoviesServer},
            reservations_server::{self, ReservationsServer},
            showtimes_server::{self, ShowtimesServer},
        },
    },
};

/// What implements our own services: the app, spoken to over gRPC.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) app: App,
    pub(super) watching: Watching,
}

/// How seat maps are watched.
#[derive(Clone, Debug)]
pub struct Watching {
    /// The longest silence.
    pub heartbeat: Duration,
    /// Cancelled when watchers are to be told that the server ends.
    pub ending: CancellationToken,
}

/// The names under which the services are known, to health checks among others.
pub const SERVICES: [&str; 4] =
    ["boxoffice.v1.Auditoriums", "boxoffice.v1.Movies", "boxoffice.v1.Reservations", "boxoffice.v1.Showtimes"];

/// Those that are not ours.
const OTHERS: [&str; 3] =
    ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// An answer's message; a replay says that it is one.
pub(super) fn answered<T, M>(answer: &Answer<T>, message: M) -> tonic::Response<M> {
    let mut response = tonic::Response::new(message);
    if answer.replayed {
        response.metadata_mut().insert("idempotent-replayed", MetadataValue::from_static("true"));
    }
    response
}

/// Everything that is served. Our own services are called directly: in a profile of seat maps being shown, a router took
/// about a twentieth of the service's time.
#[derive(Clone)]
pub struct Services(Arc<Served>);

struct Served {
    auditoriums: AuditoriumsServer<Service>,
    movies: MoviesServer<Service>,
    reservations: ReservationsServer<Service>,
    showtimes: ShowtimesServer<Service>,
    /// Health, reflection, and what nobody serves.
    others: Router,
}

/// Our services, health and reflection.
///
/// # Errors
/// The descriptors that were compiled in cannot be read.
pub fn services(
    app: App,
    health: HealthServer<impl Health>,
    max_message: usize,
    watching: Watching,
) -> Result<Services, tonic_reflection::server::Error> {
    let service = Service { app, watching };
    let reflection = || {
        let described = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        // The provider's contracts are among the descriptors, and nobody serves them here.
        SERVICES.into_iter().chain(OTHERS).fold(described, tonic_reflection::server::Builder::with_service_name)
    };
    let limit = max_message;
    let others = Routes::new(health.max_decoding_message_size(limit))
        .add_service(reflection().build_v1()?.max_decoding_message_size(limit))
        .add_service(reflection().build_v1alpha()?.max_decoding_message_size(limit));
    Ok(Services(Arc::new(Served {
        auditoriums: AuditoriumsServer::new(service.clone()).max_decoding_message_size(limit),
        movies: MoviesServer::new(service.clone()).max_decoding_message_size(limit),
        reservations: ReservationsServer::new(service.clone()).max_decoding_message_size(limit),
        showtimes: ShowtimesServer::new(service).max_decoding_message_size(limit),
        others: others.into_axum_router().fallback(unknown_path),
    })))
}

impl tower::Service<Request<Body>> for Services {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Served { auditoriums, movies, reservations, showtimes, others } = &*self.0;
        // The layers have looked it up. What no contract has goes to the others, who know a better refusal.
        match RequestContext::of(request.extensions()).map(RequestContext::service) {
            Some(showtimes_server::SERVICE_NAME) => showtimes.clone().call(request),
            Some(reservations_server::SERVICE_NAME) => reservations.clone().call(request),
            Some(movies_server::SERVICE_NAME) => movies.clone().call(request),
            Some(auditoriums_server::SERVICE_NAME) => auditoriums.clone().call(request),
            _ => {
                let answer = others.clone().call(request);
                Box::pin(async move { Ok(answer.await?.map(Body::new)) })
            }
        }
    }
}
