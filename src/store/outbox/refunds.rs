//! The public events of refunds. A refund is an aggregate of its own. The first revision is its beginning, and the last one its end;
//! each time that it gets stuck in between is one as well.
//!
//! Refunds are written without the row of their purchase, many of them at once when a showtime is cancelled. As an aggregate each one
//! needs no counter that others raise as well: its row says which revision comes.

use chrono::{DateTime, Utc};
use sea_orm::{EntityTrait as _, QueryTrait as _, sea_query::InsertStatement};

use super::{PublicEvents, payloads::money, row};
use crate::{
    domain::{
        refund::{BEGINNING, Refund, RefundState},
        reservation::CustomerId,
    },
    pb::boxoffice::events::v1::{self as pb, AggregateType, event::Payload},
    store::entities::outbox,
    telemetry::trace_parent::TraceParent,
};

/// The rows of refunds that begin.
pub(in crate::store) fn refunds_started<'a>(
    refunds: impl Iterator<Item = (&'a Refund, &'a CustomerId)>,
    trace: Option<TraceParent>,
) -> InsertStatement {
    let row = |(refund, customer_id): (&Refund, &CustomerId)| {
        let started = Payload::PaymentRefundStarted(started(refund, customer_id));
        of_revision(refund, BEGINNING, refund.facts.create_time, trace, started)
    };
    outbox::Entity::insert_many(refunds.map(row)).into_query()
}

/// The row of a refund that has ended or is stuck. `None`: it goes on.
pub(in crate::store) fn refund_ended(
    refund: &Refund,
    customer_id: &CustomerId,
    now: DateTime<Utc>,
) -> Option<InsertStatement> {
    let pb::PaymentRefundStarted { payment_id, customer_id, purchase_id, reservation_id, refund_id, amount, seats } =
        started(refund, customer_id);
    let ended = match refund.state() {
        RefundState::Pending => return None,
        RefundState::Done => Payload::PaymentRefunded(pb::PaymentRefunded {
            payment_id,
            customer_id,
            purchase_id,
            reservation_id,
            refund_id,
            amount,
            seats,
        }),
        RefundState::Failed => Payload::PaymentRefundFailed(pb::PaymentRefundFailed {
            payment_id,
            customer_id,
            purchase_id,
            reservation_id,
            refund_id,
            amount,
            seats,
        }),
        RefundState::Stuck => Payload::PaymentRefundStuck(pb::PaymentRefundStuck {
            payment_id,
            customer_id,
            purchase_id,
            reservation_id,
            refund_id,
            amount,
            seats,
        }),
    };
    // The feed orders by time, and the clock of another instance may be behind.
    let time = now.max(refund.facts.create_time);
    Some(outbox::Entity::insert(of_revision(refund, refund.record().last_event, time, None, ended)).into_query())
}

fn of_revision(
    refund: &Refund,
    revision: i64,
    time: DateTime<Utc>,
    trace: Option<TraceParent>,
    payload: Payload,
) -> outbox::ActiveModel {
    let mut bytes = Vec::new();
    let mut events = PublicEvents::new(&mut bytes, refund.facts.showtime_id, revision, time, trace);
    events.aggregate_type = AggregateType::Refund;
    events.add(payload);
    row(refund.facts.refund_id.0, revision, time, (bytes, 1))
}

fn started(refund: &Refund, customer_id: &CustomerId) -> pb::PaymentRefundStarted {
    let facts = &refund.facts;
    let seats = facts.chosen.seats.iter();
    pb::PaymentRefundStarted {
        payment_id: facts.payment_id.to_string(),
        customer_id: customer_id.to_string(),
        purchase_id: facts.purchase_id.to_string(),
        reservation_id: facts.reservation_id.to_string(),
        refund_id: facts.refund_id.to_string(),
        amount: Some(money(facts.chosen.amount)),
        seats: seats.map(|name| pb::Seat { row: name.row.to_string(), number: name.number }).collect(),
    }
}
