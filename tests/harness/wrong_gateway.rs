//! A payment gateway that answers wrongly, as no gateway should.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use boxoffice::pb::{
    google::r#type::Money,
    payments::v1::{
        AuthorizeRequest, AuthorizeResponse, CaptureRequest, CaptureResponse, GetPaymentRequest, GetPaymentResponse,
        ListPaymentsRequest, ListPaymentsResponse, Operation, OperationKind, OperationState, Payment, PaymentState,
        RefundRequest, RefundResponse, VoidRequest, VoidResponse, WatchPaymentsRequest, WatchPaymentsResponse,
        gateway_server,
    },
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::{Empty, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, transport::Server};

/// What is wrong with its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Authorize answers with another amount.
    Amount,
    /// Authorize answers with another payment.
    PaymentKey,
    /// Authorize answers with another operation.
    OperationKey,
    /// Capture answers with another amount.
    CapturedAmount,
}

/// Serves on a free port until it is dropped.
pub(crate) struct WrongGateway {
    url: String,
    calls: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl WrongGateway {
    pub(crate) async fn start(wrong: Wrong) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let calls = Arc::new(AtomicUsize::new(0));
        let service = gateway_server::GatewayServer::new(Service { wrong, calls: Arc::clone(&calls) });
        let serve = Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
        let task = tokio::spawn(async move { serve.await.expect("it serves") });
        Self { url, calls, task }
    }

    /// The value for `--payment-gateway-url`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How often it was called.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Drop for WrongGateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Service {
    wrong: Wrong,
    calls: Arc<AtomicUsize>,
}

impl Service {
    /// A payment with one operation, and what is wrong with it.
    fn answer(&self, kind: OperationKind, (key, operation_key): (String, String), amount: Option<&Money>) -> Payment {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let captures = kind == OperationKind::Capture;
        let more = |amount: &Money| Money { units: amount.units + 1, ..amount.clone() };
        let is = |wrong: Wrong, captured: bool| self.wrong == wrong && captured == captures;
        let wrong_amount = is(Wrong::Amount, false) || is(Wrong::CapturedAmount, true);
        let told = if wrong_amount { amount.map(more) } else { amount.cloned() };
        let state = if captures { PaymentState::Captured } else { PaymentState::Authorized };
        let other = |key: String, wrong| if is(wrong, false) { format!("{key}0") } else { key };
        let operation = Operation {
            operation_key: other(operation_key, Wrong::OperationKey),
            kind: kind.into(),
            amount: told.clone(),
            state: OperationState::Done.into(),
            ..Operation::default()
        };
        Payment {
            payment_key: other(key, Wrong::PaymentKey),
            amount: told.clone(),
            state: state.into(),
            captured_amount: told.filter(|_| captures),
            operations: vec![operation],
            ..Payment::default()
        }
    }
}

#[tonic::async_trait]
impl gateway_server::Gateway for Service {
    async fn authorize(&self, call: Request<AuthorizeRequest>) -> Result<Response<AuthorizeResponse>, Status> {
        let AuthorizeRequest { payment_key, operation_key, amount, .. } = call.into_inner();
        let payment = self.answer(OperationKind::Authorize, (payment_key, operation_key), amount.as_ref());
        Ok(Response::new(AuthorizeResponse { payment: Some(payment) }))
    }

    async fn capture(&self, call: Request<CaptureRequest>) -> Result<Response<CaptureResponse>, Status> {
        let CaptureRequest { payment_key, operation_key, amount } = call.into_inner();
        let payment = self.answer(OperationKind::Capture, (payment_key, operation_key), amount.as_ref());
        Ok(Response::new(CaptureResponse { payment: Some(payment) }))
    }

    async fn void(&self, call: Request<VoidRequest>) -> Result<Response<VoidResponse>, Status> {
        let VoidRequest { payment_key, operation_key, amount } = call.into_inner();
        let payment = self.answer(OperationKind::Void, (payment_key, operation_key), amount.as_ref());
        Ok(Response::new(VoidResponse { payment: Some(payment) }))
    }

    async fn refund(&self, _: Request<RefundRequest>) -> Result<Response<RefundResponse>, Status> {
        Err(Status::unimplemented("it takes only"))
    }

    async fn get_payment(&self, _: Request<GetPaymentRequest>) -> Result<Response<GetPaymentResponse>, Status> {
        Err(Status::not_found("it knows nothing"))
    }

    async fn list_payments(&self, _: Request<ListPaymentsRequest>) -> Result<Response<ListPaymentsResponse>, Status> {
        Ok(Response::new(ListPaymentsResponse::default()))
    }

    type WatchPaymentsStream = Empty<Result<WatchPaymentsResponse, Status>>;

    async fn watch_payments(
        &self,
        _: Request<WatchPaymentsRequest>,
    ) -> Result<Response<Self::WatchPaymentsStream>, Status> {
        Ok(Response::new(tokio_stream::empty()))
    }
}
