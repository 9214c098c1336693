//! All services on one router, each with its limits.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::{Response, metadata::MetadataValue, service::Routes};
use tonic_health::pb::health_server::{Health, HealthServer};

use crate::{
    app::{Answer, App},
    pb::{
        self,
        boxoffice::v1::{
            auditoriums_server::AuditoriumsServer, movies_server::MoviesServer,
            reservations_server::ReservationsServer, showtimes_server::ShowtimesServer,
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

/// An answer's message; a replay says that it is one.
pub(super) fn answered<T, M>(answer: &Answer<T>, message: M) -> Response<M> {
    let mut response = Response::new(message);
    if answer.replayed {
        response.metadata_mut().insert("idempotent-replayed", MetadataValue::from_static("true"));
    }
    response
}

/// Our services, health and reflection.
///
/// # Errors
/// The descriptors that were compiled in cannot be read.
pub fn routes(
    app: App,
    health: HealthServer<impl Health>,
    max_message: usize,
    watching: Watching,
) -> Result<axum::Router, tonic_reflection::server::Error> {
    let service = Service { app, watching };
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let limit = max_message;
    Ok(Routes::new(health.max_decoding_message_size(limit))
        .add_service(AuditoriumsServer::new(service.clone()).max_decoding_message_size(limit))
        .add_service(MoviesServer::new(service.clone()).max_decoding_message_size(limit))
        .add_service(ReservationsServer::new(service.clone()).max_decoding_message_size(limit))
        .add_service(ShowtimesServer::new(service).max_decoding_message_size(limit))
        .add_service(reflection().build_v1()?.max_decoding_message_size(limit))
        .add_service(reflection().build_v1alpha()?.max_decoding_message_size(limit))
        .into_axum_router())
}
