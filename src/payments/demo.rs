//! A demo gateway: the gateway's contract over a real connection, with tokens that fail like a real one.
//!
//! The service starts one when no gateway is configured, tests set its faults, and it can be run alone. A token decides what
//! becomes of a payment (`demo/token.rs`). A fault or a token never delays the shutdown. `boxoffice.demo.v1.GatewayFaults` is
//! served on the same port, and so are reflection for both services and health. The key protects only the gateway.
//!
//! What it knows is in a [`Book`]: in memory, and in a file if it has a folder. Each change is written before it is answered, so
//! it survives a kill. It does not survive a power cut, because nothing is forced to the disk: the money is not real.

mod book;
mod faults;
mod file;
mod pushes;
mod record;
mod request;
mod rules;
mod service;
mod state;
mod token;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::{Routes, interceptor::InterceptedService};

pub use self::{book::Book, faults::Faults, file::OpenError};
use self::{
    faults::{Control, SharedFaults},
    service::DemoGateway,
    state::State,
};
pub use crate::remote::demo::{ServeError, Tls};
use crate::{
    pb::{
        boxoffice::demo::v1::gateway_faults_server::GatewayFaultsServer, payments::v1::gateway_server::GatewayServer,
    },
    remote::{
        Secret,
        demo::{self, MAX_REQUEST_BYTES},
    },
};

/// The number of concurrent calls for each connection. A service calls over one connection, and if the gateway is slow, each of
/// its purchases waits in a call.
const MAX_STREAMS: u32 = 16_384;

/// The options of the demo gateway.
#[derive(Clone, Default)]
pub struct Options {
    /// The faults at the start.
    pub faults: Faults,
    /// The key that callers must send as `x-api-key`. Without it, any caller is admitted.
    pub api_key: Option<Secret>,
    /// The certificate and key for TLS. Without it, the connection is not encrypted.
    pub tls: Option<Tls>,
}

/// Serves on `listener` until `shutdown` is cancelled.
///
/// # Errors
/// If the certificate or its key cannot be used.
pub async fn serve(
    listener: TcpListener,
    book: Book,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let Options { faults, api_key, tls } = options;
    let (state, faults) = (State::new(book), SharedFaults::new(faults, shutdown.clone()));
    let gateway = DemoGateway::new(state.clone(), faults.clone(), shutdown.clone());
    let gateway = GatewayServer::new(gateway).max_decoding_message_size(MAX_REQUEST_BYTES);
    let control = GatewayFaultsServer::new(Control::new(faults, state.clone()));
    let routes = Routes::new(InterceptedService::new(gateway, demo::check_key("x-api-key", api_key)))
        .add_service(control.max_decoding_message_size(MAX_REQUEST_BYTES));
    let names = ["payments.v1.Gateway", "boxoffice.demo.v1.GatewayFaults"];
    tokio::select! {
        served = demo::serve(listener, routes, &names, MAX_STREAMS, tls, shutdown) => served,
        never = state.settle_when_due() => match never {},
    }
}
