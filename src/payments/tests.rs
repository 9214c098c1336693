//! Tests of the whole room over loopback: the real client with the real demo gateway.

mod access;
mod answers;
mod file;
mod keys;
mod pushes;
mod tokens;

use std::{net::SocketAddr, path::Path, time::Duration};

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::{
    Authorize, Gateway, GatewayState, Operation, OperationState, Options, PaymentReport, Refusal, Trouble,
    demo::{self, Book},
};
use crate::{
    domain::money::{Currency, Money},
    pb::boxoffice::demo::v1::{
        CompleteActionRequest, GatewayFaultSettings, SetGatewayFaultsRequest,
        gateway_faults_client::GatewayFaultsClient,
    },
};

/// A demo gateway on a free port. It ends with the test.
struct Demo {
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<(), demo::ServeError>>,
    faults: GatewayFaultsClient<Channel>,
}

impl Demo {
    async fn start() -> Self {
        Self::with(Book::in_memory(), demo::Options::default()).await
    }

    /// Starts one whose refunds are over when the next call arrives.
    async fn with_quick_refunds() -> Self {
        let mut demo = Self::start().await;
        demo.set(GatewayFaultSettings { refund_delay: Some(prost_types::Duration::default()), ..no_faults() }).await;
        demo
    }

    async fn in_folder(folder: &Path) -> Self {
        Self::with(Book::open(folder).unwrap(), demo::Options::default()).await
    }

    async fn with(book: Book, options: demo::Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(demo::serve(listener, book, options, shutdown.clone()));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Self { address, shutdown, serving, faults: GatewayFaultsClient::new(channel) }
    }

    /// Stops it, and waits until nothing uses its file.
    async fn stop(mut self) {
        self.shutdown.cancel();
        (&mut self.serving).await.unwrap().unwrap();
    }

    async fn set(&mut self, faults: GatewayFaultSettings) {
        self.faults.set_gateway_faults(SetGatewayFaultsRequest { faults: Some(faults) }).await.unwrap();
    }

    /// Does what a customer does. Returns the name of the state.
    async fn complete(&mut self, key: &str, approve: bool) -> String {
        let request = CompleteActionRequest { payment_key: key.to_owned(), approve };
        self.faults.complete_action(request).await.unwrap().into_inner().state
    }

    fn gateway(&self) -> Gateway {
        Gateway::new(&options(&format!("http://{}", self.address), Duration::from_secs(30))).unwrap()
    }

    /// A client that soon gives up.
    fn impatient(&self) -> Gateway {
        Gateway::new(&options(&format!("http://{}", self.address), Duration::from_millis(300))).unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn options(url: &str, timeout: Duration) -> Options {
    Options { url: url.to_owned(), api_key: None, ca_pem: None, insecure: false, timeout }
}

fn no_faults() -> GatewayFaultSettings {
    GatewayFaultSettings::default()
}

fn euros(minor: i64) -> Money {
    Money { currency: Currency::parse("EUR").unwrap(), minor }
}

/// An authorisation of 25 EUR by this token, whose operation has the key of the payment with `/authorize`.
fn by(token: &str, key: &str) -> Authorize {
    Authorize {
        payment_key: key.to_owned(),
        operation_key: format!("{key}/authorize"),
        amount: euros(2_500),
        method: "CREDIT_CARD".to_owned(),
        token: token.to_owned(),
        return_uri: "https://cinema.example/return".to_owned(),
    }
}

/// An operation on a payment, with a key made of the payment's key and this step.
fn step(key: &str, step: &str, minor: i64) -> Operation {
    Operation { payment_key: key.to_owned(), operation_key: format!("{key}/{step}"), amount: euros(minor) }
}

/// Authorises and captures 25 EUR.
async fn captured(gateway: &Gateway, token: &str, key: &str) -> PaymentReport {
    gateway.authorize(&by(token, key)).await.unwrap();
    gateway.capture(&step(key, "capture", 2_500)).await.unwrap()
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(answer: Result<T, Trouble>, code: Refusal) {
    match answer {
        Err(Trouble::Refused { code: found, .. }) if found == code => {}
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_unknown<T: std::fmt::Debug>(answer: Result<T, Trouble>) {
    match answer {
        Err(Trouble::Unknown { .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_authorized(report: &PaymentReport) {
    assert!(matches!(report.state, GatewayState::Authorized { capture_before: Some(_) }), "{report:?}");
}

fn state_of(report: &PaymentReport, operation: &str) -> OperationState {
    report.operation(operation).unwrap().state.clone()
}

fn failed(code: &str) -> OperationState {
    OperationState::Failed { code: code.to_owned() }
}
