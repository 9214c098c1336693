//! The client of the payment gateway: each call is one attempt with a deadline, and its answer is checked.

use std::{
    fmt,
    time::{Duration, Instant},
};

use tokio::time;
use tonic::{
    Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};
use tracing::{Instrument as _, debug, field, info_span};

use super::{
    money,
    options::{Options, SetupError},
    pushes::Pushes,
    report::{MAX_TOKEN, OperationKind, Page, PaymentReport, differs},
    trouble::Trouble,
};
use crate::{
    domain::money::Money,
    pb::payments::v1::{
        AuthorizeRequest, CaptureRequest, GetPaymentRequest, ListPaymentsRequest, Payment, RefundRequest, VoidRequest,
        WatchPaymentsRequest, gateway_client::GatewayClient,
    },
    remote::{
        self,
        channel::{self, ChannelOptions},
    },
    telemetry::metrics,
};

/// The largest answer in bytes. A page of a thousand payments takes about 500 KB.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// The payments of a page of the report.
const PAGE: i32 = 500;

/// A new payment.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorize {
    /// The key of the payment.
    pub payment_key: String,
    /// The key of the operation.
    pub operation_key: String,
    /// The amount to reserve.
    pub amount: Money,
    /// How the customer pays, such as `CREDIT_CARD`.
    pub method: String,
    /// The gateway's token for what the customer pays with. `Debug` does not show it.
    pub token: String,
    /// Where the customer is sent after an action; empty: nowhere.
    pub return_uri: String,
}

impl fmt::Debug for Authorize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { payment_key, operation_key, amount, method, .. } = self;
        let mut shown = f.debug_struct("Authorize");
        shown.field("payment_key", payment_key).field("operation_key", operation_key);
        shown.field("amount", amount).field("method", method).finish_non_exhaustive()
    }
}

/// A capture, a void or a refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The key of the payment.
    pub payment_key: String,
    /// The key of the operation.
    pub operation_key: String,
    /// The amount: of a void, that of the authorisation.
    pub amount: Money,
}

/// The client of the payment gateway. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    client: GatewayClient<Channel>,
    api_key: Option<MetadataValue<Ascii>>,
    timeout: Duration,
}

impl Gateway {
    /// Sets up the client without waiting for the gateway, which may be started later. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// A [`SetupError`] that names the option that cannot work.
    pub fn new(options: &Options) -> Result<Self, SetupError> {
        let channel = channel::open(&ChannelOptions {
            url: &options.url,
            ca_pem: options.ca_pem.as_deref(),
            insecure: options.insecure,
            timeout: options.timeout,
        })?;
        let client = GatewayClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        let api_key = options.api_key.as_ref().map(|key| remote::header(key).ok_or(SetupError::ApiKey));
        Ok(Self { client, api_key: api_key.transpose()?, timeout: options.timeout })
    }

    /// Reserves money under a new payment key. A decline is an answer, not an error.
    ///
    /// # Errors
    /// There is no answer, or one that differs from what was asked.
    pub async fn authorize(&self, request: &Authorize) -> Result<PaymentReport, Trouble> {
        let Authorize { payment_key, operation_key, amount, method, token, return_uri } = request;
        let message = AuthorizeRequest {
            payment_key: payment_key.clone(),
            operation_key: operation_key.clone(),
            amount: Some(money::message(*amount)),
            method: method.clone(),
            token: token.clone(),
            return_uri: return_uri.clone(),
        };
        let answer = self.attempt("Authorize", message, async |mut client, request| client.authorize(request).await);
        let answer = answer.await.and_then(|answer| read(answer.payment)).and_then(|report| {
            report.check(payment_key, operation_key, OperationKind::Authorize, *amount)?;
            Ok(report)
        });
        noted("Authorize", answer)
    }

    /// Takes money that was authorised.
    ///
    /// # Errors
    /// There is no answer, or one that differs from what was asked.
    pub async fn capture(&self, operation: &Operation) -> Result<PaymentReport, Trouble> {
        let (payment_key, operation_key, amount) = operation.parts();
        let message = CaptureRequest { payment_key, operation_key, amount };
        let answer = self.attempt("Capture", message, async |mut client, request| client.capture(request).await).await;
        operation.checked("Capture", OperationKind::Capture, answer.map(|answer| answer.payment))
    }

    /// Ends a payment of which nothing was captured, also one that the gateway has never seen.
    ///
    /// # Errors
    /// There is no answer, or one that differs from what was asked.
    pub async fn void(&self, operation: &Operation) -> Result<PaymentReport, Trouble> {
        let (payment_key, operation_key, amount) = operation.parts();
        let message = VoidRequest { payment_key, operation_key, amount };
        let answer = self.attempt("Void", message, async |mut client, request| client.void(request).await).await;
        operation.checked("Void", OperationKind::Void, answer.map(|answer| answer.payment))
    }

    /// Gives back money that was captured.
    ///
    /// # Errors
    /// There is no answer, or one that differs from what was asked.
    pub async fn refund(&self, operation: &Operation) -> Result<PaymentReport, Trouble> {
        let (payment_key, operation_key, amount) = operation.parts();
        let message = RefundRequest { payment_key, operation_key, amount };
        let answer = self.attempt("Refund", message, async |mut client, request| client.refund(request).await).await;
        operation.checked("Refund", OperationKind::Refund, answer.map(|answer| answer.payment))
    }

    /// Reads a payment.
    ///
    /// # Errors
    /// [`Trouble::NotFound`] if the gateway has never seen the key, which does not prove that nothing was charged.
    pub async fn payment(&self, key: &str) -> Result<PaymentReport, Trouble> {
        let message = GetPaymentRequest { payment_key: key.to_owned() };
        let answer = self.attempt("GetPayment", message, async |mut client, request| client.get_payment(request).await);
        let answer = answer.await.and_then(|answer| read(answer.payment));
        noted(
            "GetPayment",
            answer.and_then(|it| if it.key == key { Ok(it) } else { Err(differs("the payment's key")) }),
        )
    }

    /// Reads a page of the gateway's report, at most 500 payments. An empty token reads the first page.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn list(&self, page_token: &str) -> Result<Page, Trouble> {
        let message = ListPaymentsRequest { page_size: PAGE, page_token: page_token.to_owned() };
        let answer =
            self.attempt("ListPayments", message, async |mut client, request| client.list_payments(request).await);
        let answer = answer.await?;
        if answer.next_page_token.len() > MAX_TOKEN || answer.payments.len() > 2 * PAGE.unsigned_abs() as usize {
            return noted("ListPayments", Err(differs("the page is too large")));
        }
        let all = answer.payments.len();
        let payments: Vec<_> = answer.payments.iter().filter_map(|one| PaymentReport::read(one).ok()).collect();
        Ok(Page { unreadable: all - payments.len(), payments, next_page_token: answer.next_page_token })
    }

    /// Opens the stream of changes after this token; an empty one means from now on.
    ///
    /// # Errors
    /// The stream cannot be opened. A refusal with [`Refusal::InvalidArgument`](super::Refusal) means that the gateway does not
    /// know the token.
    pub async fn watch(&self, resume_token: &str) -> Result<Pushes, Trouble> {
        let mut request = self.request(WatchPaymentsRequest { resume_token: resume_token.to_owned() });
        // A deadline in the metadata would end the stream.
        request.metadata_mut().remove("grpc-timeout");
        let mut client = self.client.clone();
        match time::timeout(self.timeout, client.watch_payments(request)).await {
            Ok(opened) => Ok(Pushes(opened?.into_inner())),
            Err(_) => Err(self.late()),
        }
    }

    /// Makes one call with the deadline, and records it.
    async fn attempt<Q, A>(
        &self,
        method: &'static str,
        message: Q,
        call: impl AsyncFnOnce(GatewayClient<Channel>, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Trouble> {
        let span = info_span!(
            "gateway_call",
            otel.kind = "client",
            rpc.system = "grpc",
            rpc.service = "payments.v1.Gateway",
            rpc.method = method,
            outcome = field::Empty,
        );
        let start = Instant::now();
        let answered = async { call(self.client.clone(), self.request(message)).await };
        let answer = match time::timeout(self.timeout, answered.instrument(span.clone())).await {
            Ok(answer) => answer.map(Response::into_inner).map_err(Trouble::from),
            Err(_) => Err(self.late()),
        };
        let outcome = answer.as_ref().map_or_else(Trouble::label, |_| "ok");
        span.record("outcome", outcome);
        metrics::gateway_call(method, outcome, start.elapsed());
        answer
    }

    fn late(&self) -> Trouble {
        Trouble::Unknown { message: format!("no answer within {:?}", self.timeout) }
    }

    /// A gRPC request with the deadline, the key and the trace context in its metadata.
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        let metadata = request.metadata_mut();
        if let Some(key) = &self.api_key {
            metadata.insert("x-api-key", key.clone());
        }
        remote::add_trace(metadata);
        request
    }
}

impl Operation {
    fn parts(&self) -> (String, String, Option<crate::pb::google::r#type::Money>) {
        (self.payment_key.clone(), self.operation_key.clone(), Some(money::message(self.amount)))
    }

    /// Reads and checks the answer to this operation.
    fn checked(
        &self,
        method: &'static str,
        kind: OperationKind,
        answer: Result<Option<Payment>, Trouble>,
    ) -> Result<PaymentReport, Trouble> {
        let answer = answer.and_then(read).and_then(|report| {
            report.check(&self.payment_key, &self.operation_key, kind, self.amount)?;
            Ok(report)
        });
        noted(method, answer)
    }
}

fn read(payment: Option<Payment>) -> Result<PaymentReport, Trouble> {
    PaymentReport::read(&payment.ok_or(differs("there is no payment in it"))?)
}

/// Logs why a call has no answer that can be used. Callers decide how serious that is.
fn noted<T>(method: &'static str, answer: Result<T, Trouble>) -> Result<T, Trouble> {
    if let Err(trouble) = &answer {
        debug!(%trouble, method, "call of the payment gateway failed");
    }
    answer
}
