//! Payments.

use chrono::NaiveDate;

use super::{
    common::{finish, page},
    refunds::refund,
    values::{local_date, money, optional, timestamp},
};
use crate::{
    app::{CashUp, CashUpLine, PageRequest, StoredPayment},
    domain::{
        ids::{PaymentId, PurchaseId, ReservationId},
        money::Money,
        purchase::{Payment, PaymentMethod, PaymentState, check_till},
        refund::Refund,
        reservation::CustomerId,
        violations::Violations,
    },
    pb::boxoffice::v1 as pb,
};

/// Reads the payment that a request names, and the customer to whom it must belong.
pub(crate) fn payment_ref(payment_id: &str, customer_id: &str) -> Result<(PaymentId, Option<CustomerId>), Violations> {
    let mut violations = Violations::new();
    let payment_id = violations.take("payment_id", PaymentId::parse(payment_id));
    let customer_id = violations.take("customer_id", optional(customer_id, CustomerId::parse));
    finish(violations, payment_id.zip(customer_id))
}

/// Reads the till and the day that a request names.
pub(crate) fn get_cash_up(request: pb::GetCashUpRequest) -> Result<(String, NaiveDate), Violations> {
    let mut violations = Violations::new();
    violations.take("till", check_till(&request.till));
    let date = violations.take("local_date", local_date(&request.local_date));
    finish(violations, date.map(|date| (request.till, date)))
}

pub(crate) fn cash_up(cash_up: &CashUp) -> pb::GetCashUpResponse {
    let line = |line: &CashUpLine| pb::CashUpLine {
        method: method(line.method).into(),
        tender: line.tender.clone(),
        sale_count: line.sales.0,
        sales: Some(money(line.sales.1)),
        refund_count: line.refunds.0,
        refunds: Some(money(line.refunds.1)),
    };
    pb::GetCashUpResponse { lines: cash_up.lines.iter().map(line).collect() }
}

/// Which payments a list has.
type PaymentFilter = (Option<CustomerId>, Option<PurchaseId>);

pub(crate) fn list_payments(request: pb::ListPaymentsRequest) -> Result<(PaymentFilter, PageRequest), Violations> {
    let mut violations = Violations::new();
    let customer_id = violations.take("customer_id", optional(&request.customer_id, CustomerId::parse));
    let purchase_id = violations.take("purchase_id", optional(&request.purchase_id, PurchaseId::parse));
    let page = page(&mut violations, request.page_size, request.page_token);
    finish(violations, customer_id.zip(purchase_id).map(|filter| (filter, page)))
}

pub(crate) fn payment(stored: &StoredPayment) -> pb::Payment {
    let StoredPayment { payment, purchase_id, reservation_id, customer_id, refunds, .. } = stored;
    message((payment, refunds), *purchase_id, *reservation_id, customer_id)
}

/// A payment of a purchase, with those of these refunds that are its own.
pub(super) fn message(
    (payment, refunds): (&Payment, &[Refund]),
    purchase_id: PurchaseId,
    reservation_id: ReservationId,
    customer_id: &CustomerId,
) -> pb::Payment {
    let own = refunds.iter().filter(|refund| refund.facts.payment_id == payment.payment_id);
    let refunded = Money { minor: payment.refunded_minor, ..payment.amount };
    pb::Payment {
        payment_id: payment.payment_id.to_string(),
        purchase_id: purchase_id.to_string(),
        reservation_id: reservation_id.to_string(),
        customer_id: customer_id.as_str().to_owned(),
        amount: Some(money(payment.amount)),
        refunded_amount: Some(money(refunded)),
        state: state(payment.state).into(),
        method: method(payment.method).into(),
        decline_code: payment.decline_code.clone(),
        create_time: Some(timestamp(payment.create_time)),
        process_time: payment.process_time.map(timestamp),
        refunds: own.map(refund).collect(),
        transaction_id: payment.at_till.as_ref().map(|paid| paid.transaction_id.clone()).unwrap_or_default(),
        till: payment.at_till.as_ref().map(|paid| pb::TillPayment {
            till: paid.till.clone(),
            tender: paid.tender.clone(),
            local_date: paid.local_date.map(|date| date.to_string()).unwrap_or_default(),
        }),
    }
}

fn state(state: PaymentState) -> pb::PaymentState {
    match state {
        PaymentState::Pending => pb::PaymentState::Pending,
        PaymentState::Processing => pb::PaymentState::Processing,
        PaymentState::Authorized => pb::PaymentState::Authorized,
        PaymentState::Completed => pb::PaymentState::Completed,
        PaymentState::Declined => pb::PaymentState::Declined,
        PaymentState::PartiallyRefunded => pb::PaymentState::PartiallyRefunded,
        PaymentState::Refunded => pb::PaymentState::Refunded,
        PaymentState::Voided => pb::PaymentState::Voided,
        PaymentState::Failed => pb::PaymentState::Failed,
    }
}

fn method(method: PaymentMethod) -> pb::PaymentMethod {
    match method {
        PaymentMethod::CreditCard => pb::PaymentMethod::CreditCard,
        PaymentMethod::DebitCard => pb::PaymentMethod::DebitCard,
        PaymentMethod::PayPal => pb::PaymentMethod::Paypal,
        PaymentMethod::ApplePay => pb::PaymentMethod::ApplePay,
        PaymentMethod::GooglePay => pb::PaymentMethod::GooglePay,
        PaymentMethod::BankTransfer => pb::PaymentMethod::BankTransfer,
        PaymentMethod::Cash => pb::PaymentMethod::Cash,
        PaymentMethod::Other => pb::PaymentMethod::Other,
    }
}

/// Reads a method of payment.
pub(super) fn read_method(method: i32) -> Result<PaymentMethod, Violations> {
    match pb::PaymentMethod::try_from(method) {
        Ok(pb::PaymentMethod::CreditCard) => Ok(PaymentMethod::CreditCard),
        Ok(pb::PaymentMethod::DebitCard) => Ok(PaymentMethod::DebitCard),
        Ok(pb::PaymentMethod::Paypal) => Ok(PaymentMethod::PayPal),
        Ok(pb::PaymentMethod::ApplePay) => Ok(PaymentMethod::ApplePay),
        Ok(pb::PaymentMethod::GooglePay) => Ok(PaymentMethod::GooglePay),
        Ok(pb::PaymentMethod::BankTransfer) => Ok(PaymentMethod::BankTransfer),
        Ok(pb::PaymentMethod::Cash) => Ok(PaymentMethod::Cash),
        Ok(pb::PaymentMethod::Other) => Ok(PaymentMethod::Other),
        Ok(pb::PaymentMethod::Unspecified) | Err(_) => Err(Violations::one("", "must be a known method of payment")),
    }
}
