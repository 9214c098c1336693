//! What an operation does to a payment. Pure: a request and a record give the next record, or a refusal.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tonic::Status;

use super::{
    record::{Hidden, Record, time, timestamp},
    request::Request,
    token::Token,
};
use crate::{
    domain::money::Money,
    payments::money,
    pb::payments::v1::{Operation, OperationKind, OperationState, Payment, PaymentState},
};

/// How long an authorisation can be captured.
const CAPTURE_WITHIN: TimeDelta = TimeDelta::days(7);
/// The most operations of one payment.
const MAX_OPERATIONS: usize = 1_000;

/// The time of a request, and how long things take.
#[derive(Clone, Copy)]
pub(super) struct Timing {
    pub(super) now: DateTime<Utc>,
    pub(super) refund_delay: Duration,
    pub(super) action_timeout: Duration,
}

impl Timing {
    fn after(&self, delay: Duration) -> DateTime<Utc> {
        self.now + TimeDelta::from_std(delay).unwrap_or_default()
    }
}

/// Decides a request. `None`: it was carried out before, and changes nothing.
pub(super) fn decide(found: Option<&Record>, request: &Request, timing: Timing) -> Result<Option<Record>, Status> {
    let Some(record) = found else { return new(request, timing).map(Some) };
    let operations = &record.payment.operations;
    if let Some(at) = operations.iter().position(|one| one.operation_key == request.operation_key) {
        let same = record.hidden.get(at).is_some_and(|hidden| hidden.fingerprint == request.fingerprint);
        return if same { Ok(None) } else { Err(used()) };
    }
    if operations.len() >= MAX_OPERATIONS {
        return Err(Status::resource_exhausted("the payment has too many operations"));
    }
    if record.amount().map(|amount| amount.currency) != Some(request.amount.currency) {
        return Err(Status::invalid_argument("amount has another currency than the payment"));
    }
    let mut next = record.clone();
    match request.kind {
        OperationKind::Authorize => authorize_again(&mut next, request, timing)?,
        OperationKind::Capture => capture(&mut next, request, timing)?,
        OperationKind::Void => void(&mut next, request, timing)?,
        OperationKind::Refund => refund(&mut next, request, timing)?,
        OperationKind::Unspecified => return Err(Status::internal("an operation of no kind")),
    }
    Ok(Some(next))
}

/// The refusal of an operation key that another operation has.
pub(super) fn used() -> Status {
    Status::invalid_argument("operation_key was used with other content")
}

/// The first operation with a payment key.
fn new(request: &Request, timing: Timing) -> Result<Record, Status> {
    let mut record = Record {
        payment: Payment {
            payment_key: request.payment_key.clone(),
            amount: Some(money::message(request.amount)),
            captured_amount: Some(money::message(Money { minor: 0, ..request.amount })),
            refunded_amount: Some(money::message(Money { minor: 0, ..request.amount })),
            ..Payment::default()
        },
        token: request.token.into(),
        ..Record::default()
    };
    match request.kind {
        OperationKind::Authorize => authorize(&mut record, request, timing),
        // The tombstone.
        OperationKind::Void => {
            record.payment.set_state(PaymentState::Voided);
            add(&mut record, request, timing, OperationState::Done, "");
        }
        _ => return Err(Status::not_found("payment_key was never seen")),
    }
    Ok(record)
}

fn authorize(record: &mut Record, request: &Request, timing: Timing) {
    if let Some((code, retryable)) = request.token.decline() {
        decline(record, code, retryable);
        add(record, request, timing, OperationState::Failed, code);
    } else if request.token == Token::ActionRequired {
        let payment = &mut record.payment;
        payment.set_state(PaymentState::ActionRequired);
        // The bank of the demo has no page: `.example` is reserved. `CompleteAction` takes the customer's place.
        payment.redirect_uri = format!("https://bank.example/approve/{}", request.payment_key);
        payment.expire_time = Some(timestamp(timing.after(timing.action_timeout)));
        add(record, request, timing, OperationState::Pending, "");
    } else {
        authorized(record, timing.now);
        add(record, request, timing, OperationState::Done, "");
    }
}

/// An authorisation with a payment key that is known, by an operation key that is not.
fn authorize_again(record: &mut Record, request: &Request, timing: Timing) -> Result<(), Status> {
    if record.payment.state() != PaymentState::Voided {
        return Err(Status::failed_precondition("payment_key has an authorisation: use a new key for another token"));
    }
    same_amount(record, request)?;
    add(record, request, timing, OperationState::Failed, "voided");
    Ok(())
}

fn capture(record: &mut Record, request: &Request, timing: Timing) -> Result<(), Status> {
    let state = record.payment.state();
    if state != PaymentState::Authorized {
        return Err(Status::failed_precondition(format!("the payment is {}", state.as_str_name())));
    }
    if record.payment.capture_before.as_ref().is_some_and(|before| time(before) <= timing.now) {
        return Err(Status::failed_precondition("the authorisation can no longer be captured"));
    }
    if record.amount().is_none_or(|amount| request.amount.minor > amount.minor) {
        return Err(Status::invalid_argument("amount is more than was authorised"));
    }
    if record.token() == Token::CaptureFails {
        add(record, request, timing, OperationState::Failed, "capture_refused");
        return Ok(());
    }
    record.payment.set_state(PaymentState::Captured);
    record.payment.capture_before = None;
    record.payment.captured_amount = Some(money::message(request.amount));
    add(record, request, timing, OperationState::Done, "");
    Ok(())
}

fn void(record: &mut Record, request: &Request, timing: Timing) -> Result<(), Status> {
    match record.payment.state() {
        PaymentState::Captured => return Err(Status::failed_precondition("the payment is captured: refund it")),
        PaymentState::Declined => same_amount(record, request)?,
        _ => {
            same_amount(record, request)?;
            end_authorization(record, timing.now, Some("voided"));
            clear(&mut record.payment);
            record.payment.set_state(PaymentState::Voided);
        }
    }
    add(record, request, timing, OperationState::Done, "");
    Ok(())
}

fn refund(record: &mut Record, request: &Request, timing: Timing) -> Result<(), Status> {
    if record.payment.state() != PaymentState::Captured {
        return Err(Status::failed_precondition("the payment is not captured"));
    }
    if record.refunds().saturating_add(request.amount.minor) > record.captured() {
        return Err(Status::failed_precondition("amount is more than what is left of the captured amount"));
    }
    add(record, request, timing, OperationState::Pending, "");
    if let Some(hidden) = record.hidden.last_mut() {
        hidden.due = Some(timestamp(timing.after(timing.refund_delay)));
    }
    Ok(())
}

/// What the customer does. `None`: there is nothing to do.
pub(super) fn complete(record: &Record, approve: bool, now: DateTime<Utc>) -> Option<Record> {
    (record.payment.state() == PaymentState::ActionRequired).then(|| {
        let mut next = record.clone();
        if approve {
            end_authorization(&mut next, now, None);
            authorized(&mut next, now);
        } else {
            end_authorization(&mut next, now, Some("authentication_failed"));
            decline(&mut next, "authentication_failed", true);
        }
        next
    })
}

/// What has become due by this time: the end of refunds, and of a customer's time to act. `None`: nothing has.
pub(super) fn settle(record: &Record, now: DateTime<Utc>) -> Option<Record> {
    if record.due().is_none_or(|due| due > now) {
        return None;
    }
    let mut next = record.clone();
    let expired = next.payment.expire_time.as_ref().is_some_and(|expires| time(expires) <= now);
    if next.payment.state() == PaymentState::ActionRequired && expired {
        end_authorization(&mut next, now, Some("expired"));
        decline(&mut next, "expired", true);
    }
    let fails = next.token() == Token::RefundFails;
    for (operation, hidden) in next.payment.operations.iter_mut().zip(&mut next.hidden) {
        if hidden.due.as_ref().is_some_and(|due| time(due) <= now) {
            hidden.due = None;
            end(operation, now, fails.then_some("refund_refused"));
        }
    }
    if let Some(amount) = next.amount() {
        next.payment.refunded_amount = Some(money::message(Money { minor: next.refunds_done(), ..amount }));
    }
    Some(next)
}

fn authorized(record: &mut Record, now: DateTime<Utc>) {
    clear(&mut record.payment);
    record.payment.set_state(PaymentState::Authorized);
    record.payment.capture_before = Some(timestamp(now + CAPTURE_WITHIN));
}

fn decline(record: &mut Record, code: &str, retryable: bool) {
    clear(&mut record.payment);
    record.payment.set_state(PaymentState::Declined);
    code.clone_into(&mut record.payment.decline_code);
    record.payment.retryable = retryable;
}

/// Clears what only some states have.
fn clear(payment: &mut Payment) {
    payment.redirect_uri.clear();
    payment.expire_time = None;
    payment.capture_before = None;
    payment.decline_code.clear();
    payment.retryable = false;
}

/// Ends an authorisation that is PENDING.
fn end_authorization(record: &mut Record, now: DateTime<Utc>, failure: Option<&str>) {
    let pending =
        |one: &&mut Operation| one.kind() == OperationKind::Authorize && one.state() == OperationState::Pending;
    if let Some(operation) = record.payment.operations.iter_mut().find(pending) {
        end(operation, now, failure);
    }
}

fn end(operation: &mut Operation, now: DateTime<Utc>, failure: Option<&str>) {
    operation.set_state(if failure.is_some() { OperationState::Failed } else { OperationState::Done });
    failure.unwrap_or_default().clone_into(&mut operation.failure_code);
    operation.end_time = Some(timestamp(now));
}

fn same_amount(record: &Record, request: &Request) -> Result<(), Status> {
    if record.amount() == Some(request.amount) {
        return Ok(());
    }
    Err(Status::invalid_argument("amount is not that of the payment"))
}

fn add(record: &mut Record, request: &Request, timing: Timing, state: OperationState, failure: &str) {
    record.payment.operations.push(Operation {
        operation_key: request.operation_key.clone(),
        kind: request.kind.into(),
        amount: Some(money::message(request.amount)),
        state: state.into(),
        failure_code: failure.to_owned(),
        create_time: Some(timestamp(timing.now)),
        end_time: (state != OperationState::Pending).then(|| timestamp(timing.now)),
    });
    record.hidden.push(Hidden { fingerprint: request.fingerprint.clone(), due: None });
}
