//! A payment gateway that stands before the demo gateway and answers some calls wrongly.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicUsize, Ordering},
};

use boxoffice::pb::payments::v1::{
    AuthorizeRequest, AuthorizeResponse, CaptureRequest, CaptureResponse, GetPaymentRequest, GetPaymentResponse,
    ListPaymentsRequest, ListPaymentsResponse, Operation, OperationKind, OperationState, Payment, PaymentState,
    RefundRequest, RefundResponse, VoidRequest, VoidResponse, WatchPaymentsRequest, WatchPaymentsResponse,
    gateway_client::GatewayClient,
    gateway_server::{self, GatewayServer},
};
use futures_util::{StreamExt as _, stream, stream::BoxStream};
use tonic::{
    Request, Response, Status,
    transport::{
        Channel,
        server::{Server, TcpIncoming},
    },
};

use super::gateway::channel;

/// What is wrong with the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Wrong {
    Nothing,
    /// The amount of an authorisation.
    AuthorizedAmount,
    /// The amount of a capture.
    CapturedAmount,
    /// The payment of an authorisation.
    PaymentKey,
    /// The operation of an authorisation.
    OperationKey,
    /// Every void is refused.
    Void,
    /// The amount of a refund.
    RefundedAmount,
    /// The amount of a payment that is read.
    ReadAmount,
    /// What was captured in all.
    CapturedTotal,
    /// The money is taken with the authorisation.
    CapturesAtOnce,
    /// The money is taken, the capture is answered as refused, and the payment is read as if nothing was taken.
    DeniesCapture,
    /// Every void is answered as done, and nothing is voided.
    VoidsNothing,
    /// Each change is pushed twice, and the change before it once more after it.
    Pushes,
    /// No money is taken and nothing is voided, and nothing is said about it.
    MovesNothing,
    /// Every authorisation is carried out, and answered as declined.
    Declines,
    /// Every refund is carried out, and answered as refused.
    DeniesRefund,
}

/// The gateway. Its server ends with the test's runtime.
pub(crate) struct WrongGateway {
    address: String,
    wrong: Arc<AtomicU8>,
    calls: Arc<AtomicUsize>,
}

impl WrongGateway {
    /// Starts one before the gateway with this URL. Nothing is wrong with it yet.
    pub(crate) fn before(url: String) -> Self {
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = incoming.local_addr().expect("an address").to_string();
        let wrong = Arc::new(AtomicU8::new(Wrong::Nothing as u8));
        let calls = Arc::new(AtomicUsize::new(0));
        let (client, shared) = (GatewayClient::new(channel(url)), (Arc::clone(&wrong), Arc::clone(&calls)));
        let service = GatewayServer::new(Answers { client, wrong: shared.0, calls: shared.1 });
        let serving = Server::builder().add_service(service).serve_with_incoming(incoming);
        tokio::spawn(serving);
        Self { address, wrong, calls }
    }

    /// The value for `--payment-gateway-url`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often it was asked to do something.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Says what is wrong from now on.
    pub(crate) fn set(&self, wrong: Wrong) {
        self.wrong.store(wrong as u8, Ordering::SeqCst);
    }
}

struct Answers {
    client: GatewayClient<Channel>,
    wrong: Arc<AtomicU8>,
    calls: Arc<AtomicUsize>,
}

impl Answers {
    fn is(&self, wrong: Wrong) -> bool {
        self.wrong.load(Ordering::SeqCst) == wrong as u8
    }

    /// Fails without saying what was done, if that is what is wrong.
    fn unless(&self, wrong: Wrong) -> Result<(), Status> {
        if self.is(wrong) { Err(Status::unavailable("there is no connection to the bank")) } else { Ok(()) }
    }

    /// The payment with another amount of its operations of this kind, if that is what is wrong.
    fn with_amount(&self, wrong: Wrong, kind: OperationKind, payment: &mut Option<Payment>) {
        let operations = payment.iter_mut().flat_map(|payment| &mut payment.operations);
        for operation in operations.filter(|one| self.is(wrong) && one.kind() == kind) {
            operation.amount.iter_mut().for_each(|amount| amount.units += 1);
        }
    }
}

#[tonic::async_trait]
impl gateway_server::Gateway for Answers {
    async fn authorize(&self, request: Request<AuthorizeRequest>) -> Result<Response<AuthorizeResponse>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let request = request.into_inner();
        let (payment_key, amount) = (request.payment_key.clone(), request.amount.clone());
        let mut answer = self.client.clone().authorize(request).await?.into_inner();
        if self.is(Wrong::CapturesAtOnce) {
            let operation_key = format!("{payment_key}/at-once");
            let captured = self.client.clone().capture(CaptureRequest { payment_key, operation_key, amount }).await?;
            answer.payment = captured.into_inner().payment;
        }
        self.with_amount(Wrong::AuthorizedAmount, OperationKind::Authorize, &mut answer.payment);
        if let Some(payment) = answer.payment.as_mut().filter(|_| self.is(Wrong::Declines)) {
            payment.set_state(PaymentState::Declined);
            (payment.decline_code, payment.retryable) = ("insufficient_funds".to_owned(), true);
        }
        if let Some(payment) = &mut answer.payment {
            let of_payment = self.is(Wrong::PaymentKey).then_some(&mut payment.payment_key);
            let operations = payment.operations.iter_mut().filter(|_| self.is(Wrong::OperationKey));
            let keys = operations.map(|operation| &mut operation.operation_key).chain(of_payment);
            keys.for_each(|key| key.push('0'));
        }
        Ok(Response::new(answer))
    }

    async fn capture(&self, request: Request<CaptureRequest>) -> Result<Response<CaptureResponse>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.unless(Wrong::MovesNothing)?;
        let mut answer = self.client.clone().capture(request.into_inner()).await?.into_inner();
        self.with_amount(Wrong::CapturedAmount, OperationKind::Capture, &mut answer.payment);
        if self.is(Wrong::CapturedTotal) {
            let captured = answer.payment.iter_mut().filter_map(|payment| payment.captured_amount.as_mut());
            captured.for_each(|amount| amount.units -= 1);
        }
        if self.is(Wrong::DeniesCapture) {
            return Err(Status::failed_precondition("nothing can be captured today"));
        }
        Ok(Response::new(answer))
    }

    async fn void(&self, request: Request<VoidRequest>) -> Result<Response<VoidResponse>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.unless(Wrong::MovesNothing)?;
        if self.is(Wrong::Void) {
            return Err(Status::failed_precondition("there is no voiding today"));
        }
        if self.is(Wrong::VoidsNothing) {
            let VoidRequest { payment_key, operation_key, amount } = request.into_inner();
            let asked = GetPaymentRequest { payment_key };
            let payment = self.client.clone().get_payment(asked).await?.into_inner().payment;
            let (kind, state) = (OperationKind::Void.into(), OperationState::Done.into());
            let operation = Operation { operation_key, kind, amount, state, ..Operation::default() };
            let payment = payment.map(|mut payment| {
                payment.set_state(PaymentState::Voided);
                payment.operations.push(operation);
                payment
            });
            return Ok(Response::new(VoidResponse { payment }));
        }
        self.client.clone().void(request.into_inner()).await
    }

    async fn refund(&self, request: Request<RefundRequest>) -> Result<Response<RefundResponse>, Status> {
        let mut answer = self.client.clone().refund(request.into_inner()).await?.into_inner();
        if self.is(Wrong::DeniesRefund) {
            return Err(Status::failed_precondition("nothing can be given back today"));
        }
        self.with_amount(Wrong::RefundedAmount, OperationKind::Refund, &mut answer.payment);
        Ok(Response::new(answer))
    }

    async fn get_payment(&self, request: Request<GetPaymentRequest>) -> Result<Response<GetPaymentResponse>, Status> {
        let mut answer = self.client.clone().get_payment(request.into_inner()).await?.into_inner();
        if let Some(payment) = &mut answer.payment {
            if self.is(Wrong::ReadAmount) {
                payment.amount.iter_mut().for_each(|amount| amount.units += 1);
            }
            if self.is(Wrong::DeniesCapture) {
                payment.set_state(PaymentState::Authorized);
                payment.captured_amount = None;
            }
        }
        Ok(Response::new(answer))
    }

    async fn list_payments(
        &self,
        request: Request<ListPaymentsRequest>,
    ) -> Result<Response<ListPaymentsResponse>, Status> {
        self.client.clone().list_payments(request.into_inner()).await
    }

    type WatchPaymentsStream = BoxStream<'static, Result<WatchPaymentsResponse, Status>>;

    async fn watch_payments(
        &self,
        request: Request<WatchPaymentsRequest>,
    ) -> Result<Response<Self::WatchPaymentsStream>, Status> {
        let pushes = self.client.clone().watch_payments(request.into_inner()).await?.into_inner();
        let (wrong, mut before) = (Arc::clone(&self.wrong), None);
        let answers = pushes.flat_map(move |push| {
            let is_wrong = wrong.load(Ordering::SeqCst) == Wrong::Pushes as u8;
            let again = push.clone().ok().filter(|_| is_wrong).map(Ok);
            let earlier = push.as_ref().ok().and_then(|push| before.replace(push.clone())).filter(|_| is_wrong).map(Ok);
            stream::iter([Some(push), again, earlier].into_iter().flatten())
        });
        Ok(Response::new(answers.boxed()))
    }
}
