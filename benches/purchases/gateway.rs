//! A payment gateway that keeps nothing: it answers every call with what was asked for, after a delay, or not until it is told to.
//!
//! The demo gateway writes each change to a file, one after the other, and would be what is measured. This one costs both sides the
//! same, and as little as a gateway can.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use boxoffice::pb::{
    google::r#type::Money,
    payments::v1::{
        AuthorizeRequest, AuthorizeResponse, CaptureRequest, CaptureResponse, GetPaymentRequest, GetPaymentResponse,
        ListPaymentsRequest, ListPaymentsResponse, Operation, OperationKind, OperationState, Payment, PaymentState,
        RefundRequest, RefundResponse, VoidRequest, VoidResponse, WatchPaymentsRequest, WatchPaymentsResponse,
        gateway_server::{self, GatewayServer},
    },
};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::watch;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// The number of concurrent calls of a connection. The service calls over one.
const MAX_STREAMS: u32 = 32_768;

/// When calls are answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Answers {
    /// After this time; zero: at once.
    After(Duration),
    /// Not before this is changed. It concerns authorisations only.
    Later,
}

/// A running gateway. Its server ends with the runtime.
pub(crate) struct Gateway {
    address: String,
    answers: watch::Sender<Answers>,
    waiting: Arc<AtomicUsize>,
}

impl Gateway {
    /// Starts one that answers at once.
    pub(crate) fn start() -> Self {
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).expect("a free port").with_nodelay(Some(true));
        let address = incoming.local_addr().expect("the address of the socket").to_string();
        let (answers, receiver) = watch::channel(Answers::After(Duration::ZERO));
        let waiting = Arc::new(AtomicUsize::new(0));
        let service = GatewayServer::new(Service { answers: receiver, waiting: Arc::clone(&waiting) });
        let server = Server::builder().max_concurrent_streams(MAX_STREAMS).add_service(service);
        tokio::spawn(server.serve_with_incoming(incoming));
        Self { address, answers, waiting }
    }

    /// The value for `--payment-gateway-url`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Says when calls are answered from now on, those that wait included.
    pub(crate) fn answer(&self, answers: Answers) {
        self.answers.send_replace(answers);
    }

    /// Authorisations that wait for an answer.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

struct Service {
    answers: watch::Receiver<Answers>,
    waiting: Arc<AtomicUsize>,
}

/// Counts a call while it waits. A caller that gives up drops the call.
struct Waits<'w>(&'w AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Service {
    async fn wait(&self, is_authorization: bool) {
        let answers = *self.answers.borrow();
        match answers {
            Answers::After(delay) if delay.is_zero() => {}
            Answers::After(delay) => tokio::time::sleep(delay).await,
            Answers::Later if is_authorization => {
                self.waiting.fetch_add(1, Ordering::Relaxed);
                let _waits = Waits(&self.waiting);
                let mut answers = self.answers.clone();
                let _ended = answers.wait_for(|answers| *answers != Answers::Later).await;
            }
            Answers::Later => {}
        }
    }

    /// The payment after an operation that is done.
    async fn done(
        &self,
        (payment_key, operation_key): (String, String),
        amount: Option<Money>,
        kind: OperationKind,
    ) -> Option<Payment> {
        self.wait(kind == OperationKind::Authorize).await;
        let state = match kind {
            OperationKind::Void => PaymentState::Voided,
            OperationKind::Capture | OperationKind::Refund => PaymentState::Captured,
            OperationKind::Authorize | OperationKind::Unspecified => PaymentState::Authorized,
        };
        let operation = Operation {
            operation_key,
            kind: kind.into(),
            amount: amount.clone(),
            state: OperationState::Done.into(),
            ..Operation::default()
        };
        let captured_amount = amount.clone().filter(|_| state == PaymentState::Captured);
        Some(Payment {
            payment_key,
            amount,
            state: state.into(),
            captured_amount,
            operations: vec![operation],
            ..Payment::default()
        })
    }
}

#[tonic::async_trait]
impl gateway_server::Gateway for Service {
    async fn authorize(&self, request: Request<AuthorizeRequest>) -> Result<Response<AuthorizeResponse>, Status> {
        let AuthorizeRequest { payment_key, operation_key, amount, .. } = request.into_inner();
        let payment = self.done((payment_key, operation_key), amount, OperationKind::Authorize).await;
        Ok(Response::new(AuthorizeResponse { payment }))
    }

    async fn capture(&self, request: Request<CaptureRequest>) -> Result<Response<CaptureResponse>, Status> {
        let CaptureRequest { payment_key, operation_key, amount } = request.into_inner();
        let payment = self.done((payment_key, operation_key), amount, OperationKind::Capture).await;
        Ok(Response::new(CaptureResponse { payment }))
    }

    async fn void(&self, request: Request<VoidRequest>) -> Result<Response<VoidResponse>, Status> {
        let VoidRequest { payment_key, operation_key, amount } = request.into_inner();
        let payment = self.done((payment_key, operation_key), amount, OperationKind::Void).await;
        Ok(Response::new(VoidResponse { payment }))
    }

    async fn refund(&self, request: Request<RefundRequest>) -> Result<Response<RefundResponse>, Status> {
        let RefundRequest { payment_key, operation_key, amount } = request.into_inner();
        let payment = self.done((payment_key, operation_key), amount, OperationKind::Refund).await;
        Ok(Response::new(RefundResponse { payment }))
    }

    async fn get_payment(&self, _: Request<GetPaymentRequest>) -> Result<Response<GetPaymentResponse>, Status> {
        Err(Status::not_found("this gateway keeps nothing"))
    }

    async fn list_payments(&self, _: Request<ListPaymentsRequest>) -> Result<Response<ListPaymentsResponse>, Status> {
        Ok(Response::new(ListPaymentsResponse::default()))
    }

    type WatchPaymentsStream = Pin<Box<dyn Stream<Item = Result<WatchPaymentsResponse, Status>> + Send>>;

    /// The first message, and no change ever.
    async fn watch_payments(
        &self,
        _: Request<WatchPaymentsRequest>,
    ) -> Result<Response<Self::WatchPaymentsStream>, Status> {
        let first = WatchPaymentsResponse { payment: None, resume_token: "0".to_owned() };
        let changes = stream::once(std::future::ready(Ok(first))).chain(stream::pending());
        Ok(Response::new(Box::pin(changes)))
    }
}
