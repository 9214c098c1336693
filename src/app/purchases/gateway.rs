//! Calls of the payment gateway, and what its answers mean for a purchase.

use uuid::Uuid;

use crate::{
    app::App,
    domain::{
        ids::PaymentId,
        purchase::{Action, GatewayAnswer, Payment, PaymentMethod, Purchase},
    },
    payments::{Authorize, GatewayState, Operation, OperationState, PaymentReport, Refusal, Trouble},
    store::planted::{self, Bug},
};

/// The names of operations in their keys. A key is made of the payment's id and one of these, so it is the same for every
/// attempt, at every instance.
const AUTHORIZE: &str = "authorize";
const CAPTURE: &str = "capture";
const VOID: &str = "void";

impl App {
    /// Does what is to be done at the gateway, once.
    pub(super) async fn ask_gateway(&self, purchase: &Purchase, action: Action) -> Result<GatewayAnswer, Trouble> {
        let Some(payment) = purchase.payment() else { return Err(Trouble::NotFound) };
        let renamed = with_new_keys(purchase, payment);
        let payment = renamed.as_ref().unwrap_or(payment);
        let gateway = &self.0.purchases.options.gateway;
        let (report, operation) = match action {
            Action::Capture => (self.capture(payment).await, CAPTURE),
            Action::Void => (self.void(payment).await, VOID),
            Action::AskGateway => (self.look_up(payment).await, AUTHORIZE),
            _ => (gateway.authorize(&authorize(purchase, payment)).await, AUTHORIZE),
        };
        let report = report?;
        report.check_whole(payment.amount)?;
        Ok(answer(&report, payment, operation))
    }

    /// Whether a payment counts as voided because the gateway does not know it yet, if that bug is planted.
    pub(super) async fn takes_not_found_for_not_charged(&self, purchase: &Purchase) -> bool {
        let Some(payment) = purchase.payment().filter(|_| planted::has(Bug::NotFoundIsNotCharged)) else {
            return false;
        };
        matches!(self.look_up(payment).await, Err(Trouble::NotFound))
    }

    /// Reads a payment, whose amount must be the one that was asked for.
    async fn look_up(&self, payment: &Payment) -> Result<PaymentReport, Trouble> {
        let report = self.0.purchases.options.gateway.payment(&payment.key()).await?;
        report.check_whole(payment.amount)?;
        Ok(report)
    }

    /// Takes the money. An attempt before may have done so and had no answer, so a refusal is looked at a second time.
    async fn capture(&self, payment: &Payment) -> Result<PaymentReport, Trouble> {
        let captured = self.0.purchases.options.gateway.capture(&operation(payment, CAPTURE)).await;
        self.unless_decided(payment, captured, |state| matches!(state, GatewayState::Captured)).await
    }

    /// Voids a payment. A gateway refuses that if it has taken the money, or if there is nothing to void.
    async fn void(&self, payment: &Payment) -> Result<PaymentReport, Trouble> {
        let voided = self.0.purchases.options.gateway.void(&operation(payment, VOID)).await;
        let is_decided = |state: &GatewayState| {
            matches!(state, GatewayState::Captured | GatewayState::Voided | GatewayState::Declined { .. })
        };
        let report = self.unless_decided(payment, voided, is_decided).await?;
        match report.operation(&payment.operation_key(VOID)).map(|operation| &operation.state) {
            Some(OperationState::Failed { code }) if !is_decided(&report.state) => {
                let message = format!("the void failed: {code}");
                Err(Trouble::Refused { code: Refusal::FailedPrecondition, message })
            }
            _ => Ok(report),
        }
    }

    /// What was answered, unless it is a refusal and the payment is in a state that says why.
    async fn unless_decided(
        &self,
        payment: &Payment,
        answer: Result<PaymentReport, Trouble>,
        is_decided: impl Fn(&GatewayState) -> bool,
    ) -> Result<PaymentReport, Trouble> {
        let Err(refused @ Trouble::Refused { .. }) = answer else { return answer };
        match self.look_up(payment).await {
            Ok(report) if is_decided(&report.state) => Ok(report),
            Ok(_) | Err(Trouble::Refused { .. } | Trouble::NotFound) => Err(refused),
            Err(unknown) => Err(unknown),
        }
    }
}

/// The payment by another id for each attempt, if that bug is planted.
fn with_new_keys(purchase: &Purchase, payment: &Payment) -> Option<Payment> {
    let attempts = u128::from(purchase.record().failed_attempts);
    let payment_id = PaymentId(Uuid::from_u128(payment.payment_id.0.as_u128().wrapping_add(attempts)));
    planted::has(Bug::NewKeyForEachRetry).then(|| Payment { payment_id, ..payment.clone() })
}

fn authorize(purchase: &Purchase, payment: &Payment) -> Authorize {
    Authorize {
        payment_key: payment.key(),
        operation_key: payment.operation_key(AUTHORIZE),
        amount: payment.amount,
        method: method_name(payment.method).to_owned(),
        token: payment.token.clone(),
        return_uri: purchase.facts.return_uri.clone(),
    }
}

fn operation(payment: &Payment, name: &str) -> Operation {
    Operation { payment_key: payment.key(), operation_key: payment.operation_key(name), amount: payment.amount }
}

/// What a report means for a purchase that has asked for this operation.
fn answer(report: &PaymentReport, payment: &Payment, operation: &str) -> GatewayAnswer {
    let of = |name| report.operation(&payment.operation_key(name)).map(|operation| &operation.state);
    let failed = |name| match of(name) {
        Some(OperationState::Failed { code }) => Some(code.clone()),
        _ => None,
    };
    match &report.state {
        GatewayState::Pending => GatewayAnswer::Pending,
        GatewayState::ActionRequired { redirect_uri, .. } => {
            GatewayAnswer::ActionRequired { redirect_uri: redirect_uri.clone() }
        }
        GatewayState::Authorized { .. } => match failed(CAPTURE) {
            Some(code) if operation == CAPTURE => GatewayAnswer::CaptureFailed { code },
            _ => GatewayAnswer::Authorized,
        },
        GatewayState::Declined { code, retryable } => {
            GatewayAnswer::Declined { code: code.clone(), retryable: *retryable }
        }
        GatewayState::Voided => GatewayAnswer::Voided,
        GatewayState::Captured => GatewayAnswer::Captured,
    }
}

/// The method's name in the gateway's contract.
pub(super) fn method_name(method: PaymentMethod) -> &'static str {
    match method {
        PaymentMethod::CreditCard => "CREDIT_CARD",
        PaymentMethod::DebitCard => "DEBIT_CARD",
        PaymentMethod::PayPal => "PAYPAL",
        PaymentMethod::ApplePay => "APPLE_PAY",
        PaymentMethod::GooglePay => "GOOGLE_PAY",
        PaymentMethod::BankTransfer => "BANK_TRANSFER",
        PaymentMethod::Cash => "CASH",
        PaymentMethod::Other => "OTHER",
    }
}
