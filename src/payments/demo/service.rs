//! The service of the demo gateway: what its tokens and faults do to a call, around what the rules do to a payment.

use std::{
    collections::HashSet,
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time;
use tokio_util::sync::CancellationToken;
use tonic::{Request as Call, Response, Status};

use super::{
    faults::{SharedFaults, lost},
    pushes::{self, Pushes},
    request::{self, Request},
    state::State,
    token::Token,
};
use crate::pb::{
    google::r#type::Money,
    payments::v1::{
        AuthorizeRequest, AuthorizeResponse, CaptureRequest, CaptureResponse, GetPaymentRequest, GetPaymentResponse,
        ListPaymentsRequest, ListPaymentsResponse, OperationKind, Payment, RefundRequest, RefundResponse, VoidRequest,
        VoidResponse, WatchPaymentsRequest, gateway_server,
    },
};

/// How late the answer for `tok_slow` comes.
const SLOW: Duration = Duration::from_secs(2);
const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1_000;
/// The most operations of `tok_timeout_before_charge` that wait for their second attempt. With more, some wait twice.
const MAX_HANGING: usize = 10_000;

/// The demo gateway.
pub(super) struct DemoGateway {
    state: State,
    faults: SharedFaults,
    shutdown: CancellationToken,
    /// The operations of which the first attempt is not answered.
    hanging: Arc<Mutex<HashSet<String>>>,
}

impl DemoGateway {
    pub(super) fn new(state: State, faults: SharedFaults, shutdown: CancellationToken) -> Self {
        Self { state, faults, shutdown, hanging: Arc::default() }
    }

    /// Carries out a capture, a void or a refund.
    async fn operate(
        &self,
        kind: OperationKind,
        payment_key: &str,
        operation_key: &str,
        amount: Option<&Money>,
    ) -> Result<Option<Payment>, Status> {
        self.faults.apply().await?;
        let request = Request::operation(kind, payment_key, operation_key, amount)?;
        Ok(Some(self.state.execute(&request, self.faults.timing())?.0))
    }

    /// Whether this is the first attempt of the operation.
    fn is_first(&self, operation_key: &str) -> bool {
        let mut hanging = self.hanging.lock().unwrap_or_else(PoisonError::into_inner);
        if hanging.remove(operation_key) {
            return false;
        }
        if hanging.len() >= MAX_HANGING {
            hanging.clear();
        }
        hanging.insert(operation_key.to_owned())
    }

    /// Never answers. Only a shutdown ends the call.
    async fn hang<T>(&self) -> Result<T, Status> {
        self.faults.unless_shut_down(pending()).await
    }
}

#[tonic::async_trait]
impl gateway_server::Gateway for DemoGateway {
    async fn authorize(&self, call: Call<AuthorizeRequest>) -> Result<Response<AuthorizeResponse>, Status> {
        self.faults.apply().await?;
        let request = Request::authorize(call.get_ref())?;
        match request.token {
            Token::Error => return Err(Status::internal("tok_error always fails")),
            Token::TimeoutBeforeCharge if self.is_first(&request.operation_key) => return self.hang().await,
            _ => {}
        }
        let (payment, changed) = self.state.execute(&request, self.faults.timing())?;
        match request.token {
            Token::Slow => self.faults.unless_shut_down(time::sleep(SLOW)).await?,
            Token::TimeoutAfterCharge if changed => return self.hang().await,
            Token::LostReply if changed => return Err(lost()),
            _ => {}
        }
        self.faults.reply(AuthorizeResponse { payment: Some(payment) })
    }

    async fn capture(&self, call: Call<CaptureRequest>) -> Result<Response<CaptureResponse>, Status> {
        let CaptureRequest { payment_key, operation_key, amount } = call.get_ref();
        let payment = self.operate(OperationKind::Capture, payment_key, operation_key, amount.as_ref()).await?;
        self.faults.reply(CaptureResponse { payment })
    }

    async fn void(&self, call: Call<VoidRequest>) -> Result<Response<VoidResponse>, Status> {
        let VoidRequest { payment_key, operation_key, amount } = call.get_ref();
        let payment = self.operate(OperationKind::Void, payment_key, operation_key, amount.as_ref()).await?;
        self.faults.reply(VoidResponse { payment })
    }

    async fn refund(&self, call: Call<RefundRequest>) -> Result<Response<RefundResponse>, Status> {
        let RefundRequest { payment_key, operation_key, amount } = call.get_ref();
        let payment = self.operate(OperationKind::Refund, payment_key, operation_key, amount.as_ref()).await?;
        self.faults.reply(RefundResponse { payment })
    }

    async fn get_payment(&self, call: Call<GetPaymentRequest>) -> Result<Response<GetPaymentResponse>, Status> {
        self.faults.apply().await?;
        let key = &call.get_ref().payment_key;
        request::key("payment_key", key)?;
        let payment = self.state.payment(key)?.ok_or_else(|| Status::not_found("payment_key was never seen"))?;
        self.faults.reply(GetPaymentResponse { payment: Some(payment) })
    }

    async fn list_payments(&self, call: Call<ListPaymentsRequest>) -> Result<Response<ListPaymentsResponse>, Status> {
        self.faults.apply().await?;
        let ListPaymentsRequest { page_size, page_token } = call.into_inner();
        let size = match usize::try_from(page_size) {
            Ok(0) => DEFAULT_PAGE,
            Ok(size @ 1..=MAX_PAGE) => size,
            _ => return Err(Status::invalid_argument("page_size must be from 0 to 1000")),
        };
        let from = if page_token.is_empty() { Ok(0) } else { page_token.parse::<usize>() };
        let from = from.map_err(|_| Status::invalid_argument("page_token is not one of this gateway"))?;
        let (payments, all) = self.state.page(from, size)?;
        let end = from.saturating_add(payments.len());
        let next_page_token = if end < all { end.to_string() } else { String::new() };
        self.faults.reply(ListPaymentsResponse { payments, next_page_token })
    }

    type WatchPaymentsStream = Pushes;

    async fn watch_payments(&self, call: Call<WatchPaymentsRequest>) -> Result<Response<Pushes>, Status> {
        self.faults.apply().await?;
        let change = self.state.read_token(&call.get_ref().resume_token);
        let change = change.ok_or_else(|| Status::invalid_argument("resume_token is not one of this gateway"))?;
        Ok(Response::new(pushes::after(self.state.clone(), change, self.shutdown.clone())))
    }
}
