//! The services of the gRPC port: our own, health, reflection, and the fallback for unknown paths.
//!
//! A new service takes its contract in `proto/`, which `build.rs` finds; a file of handlers, declared in `grpc.rs`; an import
//! and one line in [`served!`]; and its use cases in `app`.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::Router;
use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, body::Body, codegen::BoxFuture, service::Routes};
use tonic_health::pb::health_server::{Health, HealthServer};

use super::{
    layers::{RequestContext, unknown_path},
    status::transport,
};
use crate::{
    app::App,
    pb::{
        self,
        boxoffice::v1::{
            auditoriums_server, events_server, movies_server, operations_server, payments_server, purchases_server,
            reports_server, reservations_server, showtimes_server, tickets_server,
        },
    },
};

/// The implementation of our own services: each handler converts between a message and a use case of the app.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) app: App,
    pub(super) watching: Watching,
}

/// How seat maps are watched.
#[derive(Clone, Debug)]
pub struct Watching {
    /// The longest time without a message to a watcher.
    pub heartbeat: Duration,
    /// Cancelled when the server shuts down, so that watchers are sent the place from which to resume.
    pub shutdown: CancellationToken,
}

/// Declares our own services. From this list come the names for health checks and reflection, the servers, and the table by
/// which a request finds its server.
macro_rules! served {
    ($($field:ident: $module:ident::$server:ident),* $(,)?) => {
        /// The full names of our own services, under which health checks know them.
        pub const SERVICES: &[&str] = &[$($module::SERVICE_NAME),*];

        struct Served {
            $($field: $module::$server<Service>,)*
            /// Health, reflection, and the fallback for unknown paths.
            others: Router,
        }

        impl Served {
            fn new(service: &Service, max_message: usize, others: Router) -> Self {
                $(let $field = $module::$server::new(service.clone()).max_decoding_message_size(max_message);)*
                Self { $($field,)* others }
            }

            /// Calls the service with this name, or what stands behind our own services if it is none of them.
            fn call(&self, name: &str, request: Request<Body>) -> BoxFuture<Response<Body>, Infallible> {
                match name {
                    $($module::SERVICE_NAME => tower::Service::call(&mut self.$field.clone(), request),)*
                    _ => {
                        let answer = tower::Service::call(&mut self.others.clone(), request);
                        Box::pin(async move { Ok(refused_by_name(answer.await?.map(Body::new))) })
                    }
                }
            }
        }
    };
}

served! {
    auditoriums: auditoriums_server::AuditoriumsServer,
    events: events_server::EventsServer,
    movies: movies_server::MoviesServer,
    operations: operations_server::OperationsServer,
    payments: payments_server::PaymentsServer,
    purchases: purchases_server::PurchasesServer,
    reports: reports_server::ReportsServer,
    reservations: reservations_server::ReservationsServer,
    showtimes: showtimes_server::ShowtimesServer,
    tickets: tickets_server::TicketsServer,
}

/// The services that are not ours.
const OTHERS: [&str; 3] =
    ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// Everything that is served.
///
/// Our own services are found by name and called directly. tonic's router takes longer to find them: in a profile of seat maps
/// being read it took a twentieth of the service's time.
#[derive(Clone)]
pub struct Services(Arc<Served>);

/// Puts our services, health and reflection together.
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
        // The descriptors also have the provider's contracts, which are not served here.
        let names = SERVICES.iter().copied().chain(OTHERS);
        names.fold(described, tonic_reflection::server::Builder::with_service_name)
    };
    let others = Routes::new(health.max_decoding_message_size(max_message))
        .add_service(reflection().build_v1()?.max_decoding_message_size(max_message))
        .add_service(reflection().build_v1alpha()?.max_decoding_message_size(max_message));
    let others = others.into_axum_router().fallback(unknown_path);
    Ok(Services(Arc::new(Served::new(&service, max_message, others))))
}

/// The answer of a service that is not ours. Their codec answers INTERNAL to bytes that do not decode, which is the caller's
/// mistake. They have no other INTERNAL.
fn refused_by_name(answer: Response<Body>) -> Response<Body> {
    match Status::from_header_map(answer.headers()) {
        Some(status) if status.code() == Code::Internal => transport::malformed_frame(status.message()).into_http(),
        _ => answer,
    }
}

impl tower::Service<Request<Body>> for Services {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The layers have looked the service up. A path that no contract has is left to the router's fallback.
        let name = RequestContext::of(request.extensions()).map_or("", RequestContext::service);
        self.0.call(name, request)
    }
}
