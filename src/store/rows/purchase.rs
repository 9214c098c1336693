//! Purchases and payments as they are stored.

#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use prost::Message as _;

use crate::{
    domain::{
        ids::{PaymentId, PurchaseId, ReservationId, ShowtimeId},
        money::{Currency, Money},
        purchase::{
            AtTill, Failure, FailureReason, NoteAction, Payment, PaymentMethod, PaymentState, Position, Purchase,
            PurchaseFacts, PurchaseNote, PurchaseNumber, PurchaseState, Record, Step, StepName, StepState, Steps, Work,
        },
        reservation::CustomerId,
    },
    store::{
        entities::{payment, purchase, purchase_note},
        errors::Error,
    },
};

/// What the database never looks into.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Detail {
    #[prost(string, tag = "1")]
    position: String,
    #[prost(uint32, tag = "3")]
    failed_attempts: u32,
    #[prost(int64, optional, tag = "4")]
    not_before: Option<i64>,
    #[prost(int64, optional, tag = "5")]
    pay_until: Option<i64>,
    #[prost(string, tag = "6")]
    redirect_uri: String,
    #[prost(string, tag = "7")]
    return_uri: String,
    #[prost(bool, tag = "8")]
    sold: bool,
    #[prost(message, repeated, tag = "9")]
    steps: Vec<StoredStep>,
    #[prost(message, optional, tag = "10")]
    failure: Option<StoredFailure>,
    #[prost(int64, optional, tag = "11")]
    complete_time: Option<i64>,
    #[prost(int64, optional, tag = "12")]
    undecided_since: Option<i64>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct StoredStep {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, required, tag = "2")]
    work: StoredWork,
    #[prost(message, optional, tag = "3")]
    compensation: Option<StoredWork>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct StoredWork {
    #[prost(string, tag = "1")]
    state: String,
    #[prost(uint32, tag = "2")]
    attempts: u32,
    #[prost(string, tag = "3")]
    message: String,
    #[prost(int64, optional, tag = "4")]
    start_time: Option<i64>,
    #[prost(int64, optional, tag = "5")]
    end_time: Option<i64>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct StoredFailure {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    decline_code: String,
    #[prost(bool, tag = "3")]
    retryable: bool,
}

/// Names for the values of an enum, in both directions.
macro_rules! named {
    ($name:ident, $read:ident: $type:ident { $($value:ident = $text:literal),* $(,)? }) => {
        pub(in crate::store) fn $name(value: $type) -> &'static str {
            match value { $($type::$value => $text),* }
        }

        pub(in crate::store) fn $read(text: &str) -> Option<$type> {
            match text { $($text => Some($type::$value),)* _ => None }
        }
    };
}

named!(position_name, position: Position {
    Held = "held", Authorizing = "authorizing", AwaitingAction = "awaiting_action", AwaitingToken = "awaiting_token",
    Confirming = "confirming", Capturing = "capturing", Completed = "completed", Voiding = "voiding",
    Refunding = "refunding", Freeing = "freeing", Compensated = "compensated",
});
named!(step_name, step: StepName {
    ReserveSeats = "reserve_seats", Pay = "pay", ConfirmReservation = "confirm_reservation", Capture = "capture",
    // Never written: it follows from the position.
    IssueTickets = "issue_tickets",
});
named!(work_name, work_state: StepState { Pending = "pending", Running = "running", Done = "done", Failed = "failed" });
named!(note_action_name, note_action: NoteAction {
    Resumed = "resumed", SettledCompleted = "settled_completed", SettledCompensated = "settled_compensated",
});
named!(reason_name, reason: FailureReason {
    PaymentDeclined = "payment_declined", PaymentRefused = "payment_refused", PaymentExpired = "payment_expired",
    NotSold = "not_sold", CaptureFailed = "capture_failed", Cancelled = "cancelled",
});
named!(method_name, method: PaymentMethod {
    CreditCard = "credit_card", DebitCard = "debit_card", PayPal = "paypal", ApplePay = "apple_pay",
    GooglePay = "google_pay", BankTransfer = "bank_transfer", Cash = "cash", Other = "other",
});
named!(payment_state_name, payment_state: PaymentState {
    Pending = "pending", Processing = "processing", Authorized = "authorized", Completed = "completed",
    Declined = "declined", PartiallyRefunded = "partially_refunded", Refunded = "refunded", Voided = "voided",
    Failed = "failed",
});

/// The state's name in its column.
pub(in crate::store) fn state_name(state: PurchaseState) -> &'static str {
    match state {
        PurchaseState::Running => "running",
        PurchaseState::AwaitingCustomer => "awaiting_customer",
        PurchaseState::Completed => "completed",
        PurchaseState::Compensated => "compensated",
        PurchaseState::Stuck => "stuck",
    }
}

/// The state of a purchase of which nothing else is read.
pub(in crate::store) fn read_state(row: &purchase::Model) -> Result<PurchaseState, Error> {
    let all = [
        PurchaseState::Running,
        PurchaseState::AwaitingCustomer,
        PurchaseState::Completed,
        PurchaseState::Compensated,
        PurchaseState::Stuck,
    ];
    let found = all.into_iter().find(|state| state_name(*state) == row.state);
    found.ok_or_else(|| Error::Unreadable {
        table: "purchases",
        key: row.purchase_id.to_string(),
        why: "the state is unknown".to_owned(),
    })
}

/// The bytes of the column `detail`.
pub(in crate::store) fn detail(purchase: &Purchase) -> Vec<u8> {
    let record = purchase.record();
    let work = |work: &Work| StoredWork {
        state: work_name(work.state).to_owned(),
        attempts: work.attempts,
        message: work.message.clone(),
        start_time: work.start_time.map(micros),
        end_time: work.end_time.map(micros),
    };
    let step = |step: &Step| StoredStep {
        name: step_name(step.name).to_owned(),
        work: work(&step.work),
        compensation: step.compensation.as_ref().map(work),
    };
    let failure = |failure: &Failure| StoredFailure {
        reason: reason_name(failure.reason).to_owned(),
        decline_code: failure.decline_code.clone(),
        retryable: failure.retryable,
    };
    Detail {
        position: position_name(record.position).to_owned(),
        failed_attempts: record.failed_attempts,
        not_before: record.not_before.map(micros),
        pay_until: record.pay_until.map(micros),
        redirect_uri: record.redirect_uri.clone(),
        return_uri: purchase.facts.return_uri.clone(),
        sold: record.sold,
        steps: record.steps.0.iter().map(step).collect(),
        failure: record.failure.as_ref().map(failure),
        complete_time: record.complete_time.map(micros),
        undecided_since: record.undecided_since.map(micros),
    }
    .encode_to_vec()
}

fn micros(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros()
}

/// Reads a purchase with its payments, in their order.
pub(in crate::store) fn purchase(row: purchase::Model, payments: Vec<payment::Model>) -> Result<Purchase, Error> {
    let key = row.purchase_id.to_string();
    let unreadable = |why: &str| Error::Unreadable { table: "purchases", key: key.clone(), why: why.to_owned() };
    let currency = Currency::parse(&row.currency).ok_or_else(|| unreadable("currency"))?;
    let payments = payments.into_iter().map(payment).collect::<Result<_, _>>()?;
    let detail = Detail::decode(row.detail.as_slice()).map_err(|_| unreadable("detail"))?;
    let facts = PurchaseFacts {
        purchase_id: PurchaseId(row.purchase_id),
        number: PurchaseNumber::restore(row.number),
        customer_id: CustomerId::restore(&row.customer_id),
        showtime_id: ShowtimeId(row.showtime_id),
        reservation_id: ReservationId(row.reservation_id),
        return_uri: detail.return_uri.clone(),
        create_time: row.create_time,
    };
    let total = Money { currency, minor: row.total_minor };
    let record = record(detail, total, row.state == "stuck", payments).ok_or_else(|| unreadable("detail"))?;
    Ok(Purchase::restore(facts, record))
}

/// Reads a payment.
pub(in crate::store) fn payment(row: payment::Model) -> Result<Payment, Error> {
    let key = row.payment_id.to_string();
    let read = || {
        Some(Payment {
            payment_id: PaymentId(row.payment_id),
            method: method(&row.method)?,
            token: row.token,
            amount: Money { currency: Currency::parse(&row.currency)?, minor: row.amount_minor },
            refunded_minor: row.refunded_minor,
            state: payment_state(&row.state)?,
            decline_code: row.decline_code,
            create_time: row.create_time,
            process_time: row.process_time,
            at_till: row.tender.map(|tender| AtTill {
                tender,
                till: row.till.unwrap_or_default(),
                transaction_id: row.transaction_id.unwrap_or_default(),
                local_date: row.local_date,
            }),
        })
    };
    read().ok_or_else(|| Error::Unreadable { table: "payments", key, why: "a value is unknown".to_owned() })
}

/// Reads what was kept of what an operator did.
pub(in crate::store) fn note(row: purchase_note::Model) -> Result<PurchaseNote, Error> {
    let action = note_action(&row.action).ok_or_else(|| Error::Unreadable {
        table: "purchase_notes",
        key: row.note_id.to_string(),
        why: "the action is unknown".to_owned(),
    })?;
    let purchase_note::Model { note_id, create_time: time, caller, note: text, .. } = row;
    Ok(PurchaseNote { note_id, time, caller, action, text })
}

fn record(detail: Detail, total: Money, stuck: bool, payments: Vec<Payment>) -> Option<Record> {
    let failure = match detail.failure {
        Some(StoredFailure { reason: text, decline_code, retryable }) => {
            Some(Failure { reason: reason(&text)?, decline_code, retryable })
        }
        None => None,
    };
    Some(Record {
        position: position(&detail.position)?,
        stuck,
        failed_attempts: detail.failed_attempts,
        undecided_since: detail.undecided_since.and_then(time),
        not_before: detail.not_before.and_then(time),
        pay_until: detail.pay_until.and_then(time),
        redirect_uri: detail.redirect_uri,
        sold: detail.sold,
        total,
        payments,
        steps: Steps(detail.steps.into_iter().map(read_step).collect::<Option<_>>()?),
        failure,
        complete_time: detail.complete_time.and_then(time),
    })
}

fn read_step(stored: StoredStep) -> Option<Step> {
    let compensation = match stored.compensation {
        Some(stored) => Some(read_work(stored)?),
        None => None,
    };
    Some(Step { name: step(&stored.name)?, work: read_work(stored.work)?, compensation })
}

fn read_work(stored: StoredWork) -> Option<Work> {
    let StoredWork { state, attempts, message, start_time, end_time } = stored;
    Some(Work {
        state: work_state(&state)?,
        attempts,
        message,
        start_time: start_time.and_then(time),
        end_time: end_time.and_then(time),
    })
}

fn time(micros: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
}
