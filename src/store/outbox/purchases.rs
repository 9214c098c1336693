//! The public events of a purchase and its payments: one row for each write that makes events.
//!
//! Most columns of a purchase change with every write, and an attempt that failed makes no event. So the revision of the events is a
//! column of its own (`purchases.event_revision`), which only a write with events raises. It is written under the fence, so that each
//! revision is written once and after the one before.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{PublicEvents, payloads::money};
use crate::{
    domain::purchase::{FailureReason, Payment, Position, Purchase, PurchaseEvent, StepName},
    pb::boxoffice::events::v1::{self as pb, AggregateType, event::Payload},
    store::{purchase_rows::EventRow, rows::purchase::method_name},
    telemetry::trace_parent::TraceParent,
};

/// The last revision of the events of a purchase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastRevision {
    /// Its number; 0 if there is none.
    pub number: i64,
    /// Its time. Later revisions are not before it, whatever the clocks of other instances say, since the feed orders by time.
    pub time: Option<DateTime<Utc>>,
}

impl LastRevision {
    /// That of a purchase that was just inserted.
    #[must_use]
    pub fn of_new(purchase: &Purchase) -> Self {
        Self { number: 1, time: Some(purchase.facts.create_time) }
    }
}

/// The events of one write of a purchase.
#[derive(Clone, Debug)]
pub struct PurchaseEvents {
    last: LastRevision,
    row: Option<Arc<EventRow>>,
}

impl PurchaseEvents {
    /// The events of a purchase that is inserted, whatever its state is.
    #[must_use]
    pub fn of_new(purchase: &Purchase, trace: Option<TraceParent>) -> Self {
        Self::since(None, purchase, LastRevision::default(), purchase.facts.create_time, trace)
    }

    /// No events, for a purchase that is made of what was before there were any.
    #[must_use]
    pub fn none() -> Self {
        Self { last: LastRevision::default(), row: None }
    }

    /// The events that lead from a stored state to another one, after the last revision.
    #[must_use]
    pub fn between(
        before: &Purchase,
        after: &Purchase,
        last: LastRevision,
        now: DateTime<Utc>,
        trace: Option<TraceParent>,
    ) -> Self {
        Self::since(Some(before), after, last, now, trace)
    }

    fn since(
        before: Option<&Purchase>,
        after: &Purchase,
        last: LastRevision,
        now: DateTime<Utc>,
        trace: Option<TraceParent>,
    ) -> Self {
        let found = after.events_since(before);
        if found.is_empty() {
            return Self { last, row: None };
        }
        let (number, time) = (last.number + 1, last.time.map_or(now, |time| time.max(now)));
        let mut bytes = Vec::new();
        let mut events = PublicEvents::new(&mut bytes, after.facts.showtime_id, number, time, trace);
        events.aggregate_type = AggregateType::Purchase;
        for event in found {
            events.add(payload(after, event));
        }
        let event_count = events.ordinal;
        let aggregate = after.facts.purchase_id.0;
        let row = EventRow { aggregate, revision: number, events: bytes, create_time: time, event_count };
        Self { last: LastRevision { number, time: Some(time) }, row: Some(Arc::new(row)) }
    }

    /// The last revision after the write.
    #[must_use]
    pub fn last(&self) -> LastRevision {
        self.last
    }

    /// Whether there are none.
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.row.is_none()
    }

    /// The row of the outbox. `None`: there are no events, and the last revision stays.
    pub(in crate::store) fn row(&self) -> Option<Arc<EventRow>> {
        self.row.clone()
    }
}

fn payload(purchase: &Purchase, event: PurchaseEvent<'_>) -> Payload {
    let facts = &purchase.facts;
    let (purchase_id, customer_id) = (facts.purchase_id.to_string(), facts.customer_id.to_string());
    let (reservation_id, total) = (facts.reservation_id.to_string(), purchase.total());
    match event {
        PurchaseEvent::Started => {
            // A purchase that holds its seats first does not know their price yet.
            let total_price = (purchase.position() != Position::Held).then(|| money(total));
            Payload::PurchaseStarted(pb::PurchaseStarted { purchase_id, customer_id, reservation_id, total_price })
        }
        PurchaseEvent::StepCompleted { step, compensation } => {
            let step = step_name(step).into();
            let completed = pb::PurchaseStepCompleted { purchase_id, customer_id, reservation_id, step, compensation };
            Payload::PurchaseStepCompleted(completed)
        }
        PurchaseEvent::PaymentAuthorized(payment) => Payload::PaymentAuthorized(authorized(purchase, payment)),
        PurchaseEvent::PaymentCompleted(payment) => Payload::PaymentCompleted(completed(purchase, payment)),
        PurchaseEvent::PaymentDeclined(payment) => Payload::PaymentDeclined(declined(purchase, payment)),
        PurchaseEvent::Completed => {
            let payment_id = purchase.payment().map(|payment| payment.payment_id.to_string()).unwrap_or_default();
            let total_price = Some(money(total));
            let completed = pb::PurchaseCompleted { purchase_id, customer_id, reservation_id, total_price, payment_id };
            Payload::PurchaseCompleted(completed)
        }
        PurchaseEvent::Compensated => {
            let failure = purchase.failure();
            let reason = failure.map(|failure| reason(failure.reason).into()).unwrap_or_default();
            let decline_code = failure.map(|failure| failure.decline_code.clone()).unwrap_or_default();
            let compensated =
                pb::PurchaseCompensated { purchase_id, customer_id, reservation_id, reason, decline_code };
            Payload::PurchaseCompensated(compensated)
        }
        PurchaseEvent::Stuck => {
            let (step, compensation) = purchase.present_step().unwrap_or((StepName::ReserveSeats, false));
            let step = step_name(step).into();
            Payload::PurchaseStuck(pb::PurchaseStuck { purchase_id, customer_id, reservation_id, step, compensation })
        }
    }
}
fn authorized(purchase: &Purchase, payment: &Payment) -> pb::PaymentAuthorized {
    pb::PaymentAuthorized {
        payment_id: payment.payment_id.to_string(),
        customer_id: purchase.facts.customer_id.to_string(),
        purchase_id: purchase.facts.purchase_id.to_string(),
        reservation_id: purchase.facts.reservation_id.to_string(),
        amount: Some(money(payment.amount)),
        method: method_name(payment.method).to_owned(),
    }
}

fn completed(purchase: &Purchase, payment: &Payment) -> pb::PaymentCompleted {
    let pb::PaymentAuthorized { payment_id, customer_id, purchase_id, reservation_id, amount, method } =
        authorized(purchase, payment);
    pb::PaymentCompleted { payment_id, customer_id, purchase_id, reservation_id, amount, method }
}

fn declined(purchase: &Purchase, payment: &Payment) -> pb::PaymentDeclined {
    let pb::PaymentAuthorized { payment_id, customer_id, purchase_id, reservation_id, amount, method } =
        authorized(purchase, payment);
    let decline_code = payment.decline_code.clone();
    let retryable = purchase.failure().is_some_and(|failure| failure.retryable);
    pb::PaymentDeclined {
        payment_id,
        customer_id,
        purchase_id,
        reservation_id,
        amount,
        method,
        decline_code,
        retryable,
    }
}

fn step_name(step: StepName) -> pb::PurchaseStepName {
    match step {
        StepName::ReserveSeats => pb::PurchaseStepName::ReserveSeats,
        StepName::Pay => pb::PurchaseStepName::Pay,
        StepName::ConfirmReservation => pb::PurchaseStepName::ConfirmReservation,
        StepName::Capture => pb::PurchaseStepName::Capture,
        StepName::IssueTickets => pb::PurchaseStepName::IssueTickets,
    }
}

fn reason(reason: FailureReason) -> pb::PurchaseFailureReason {
    match reason {
        FailureReason::PaymentDeclined => pb::PurchaseFailureReason::PaymentDeclined,
        FailureReason::PaymentRefused => pb::PurchaseFailureReason::PaymentRefused,
        FailureReason::PaymentExpired => pb::PurchaseFailureReason::PaymentExpired,
        FailureReason::NotSold => pb::PurchaseFailureReason::NotSold,
        FailureReason::CaptureFailed => pb::PurchaseFailureReason::CaptureFailed,
        FailureReason::Cancelled => pb::PurchaseFailureReason::Cancelled,
    }
}
