//! How refunds are written: the rows that begin one, and those of its end.
//!
//! A refund begins only with the version of its payment that its refunds were read with, so that two refunds that begin at once
//! cannot exceed what is left: the second one finds another version, and is decided anew. Refunds of seats that are given up under the
//! lock of their showtime exclude each other by that lock, and need not be decided anew for each other.

use chrono::{DateTime, NaiveDate, Utc};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, ExprTrait as _, QueryFilter as _, QueryTrait as _, Set,
    sea_query::{CaseStatement, Expr, UpdateStatement},
};

use super::{
    books::{MoneyEntry, insert_entries},
    entities::{payment, refund, refund_note},
    ledger::Companion,
    outbox::{refund_ended, refunds_started},
    request_key::RequestKey,
    rows::{
        purchase::payment_state_name,
        refund::{detail, note_action_name, state_name},
    },
    ticket_writes::{block_tickets, tickets_of_refund},
};
use crate::{
    domain::{
        ids::{PaymentId, RefundId},
        purchase::PaymentState,
        refund::{Refund, RefundFacts, RefundNote, RefundState},
        reservation::CustomerId,
    },
    telemetry::trace_parent::TraceParent,
};

/// The most refunds that one statement begins.
const CHUNK: usize = 500;

/// How much a payment's version grows with a refund that a request asks for, and with one that fails. A refund that begins with a
/// change of seats adds one, so that the version is two counters.
const ASKED: i64 = 1 << 32;

/// Which version a payment must still have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefundVersion {
    /// This one: no refund has begun or failed since it was read.
    Exactly(i64),
    /// One like this: refunds may have begun with changes of seats. Who is under the lock of the showtime has seen those changes, so the
    /// refunds of other seats do not depend on them.
    LikeThis(i64),
}

impl RefundVersion {
    fn condition(self) -> Expr {
        let version = Expr::col(payment::Column::RefundVersion);
        match self {
            Self::Exactly(known) => version.eq(known),
            Self::LikeThis(known) => version.div(ASKED).eq(known / ASKED),
        }
    }
}

/// A refund that begins.
#[derive(Clone, Debug)]
pub struct RefundStart {
    /// The refund.
    pub refund: Refund,
    /// The version of its payment that it was decided with.
    pub version: RefundVersion,
    /// The customer whose payment it is.
    pub customer_id: CustomerId,
    /// Whether it has no events, because it was done long before it is written.
    pub silent: bool,
    /// Whether tickets that were used are blocked as well.
    pub force: bool,
}

/// A write of a refund by the holder of its fence, or by an operator.
#[derive(Clone, Copy, Debug)]
pub struct RefundWrite<'a> {
    /// The refund as it is now.
    pub refund: &'a Refund,
    /// The customer whose payment it is.
    pub customer_id: &'a CustomerId,
    /// The fence.
    pub fence: i64,
    /// From when on another instance may go on with it. `None`: no instance has to.
    pub due: Option<DateTime<Utc>>,
    /// The date of its end where the cinema is, if a till has paid it out.
    pub local_date: Option<NaiveDate>,
    /// Whether it has no events, because it was done long before it is written.
    pub silent: bool,
    /// What an operator did. The refund must be stuck then, and gets another fence, so that of two operators one is first.
    pub note: Option<&'a RefundNote>,
}

/// The rows of refunds that begin, with their events. They are due at once, unless they wait for a till. Each payment is named once.
#[must_use]
pub fn start_refunds(refunds: &[RefundStart], key: Option<&RequestKey>, trace: Option<TraceParent>) -> Vec<Companion> {
    let mut rows = Vec::new();
    let mut refunds: Vec<_> = refunds.iter().collect();
    refunds.sort_by_key(|start| (start.version, start.refund.facts.payment_id));
    for same in refunds.chunk_by(|one, next| one.version == next.version) {
        for some in same.chunks(CHUNK) {
            let count = some.len() as u64;
            let version = some.first().map_or(RefundVersion::Exactly(0), |start| start.version);
            let payments = some.iter().map(|start| start.refund.facts.payment_id.0);
            let update = next_version(if key.is_some() { ASKED } else { 1 })
                .filter(payment::Column::PaymentId.is_in(payments))
                .filter(version.condition());
            rows.push(Companion::update(update.into_query(), count));
            let insert = refund::Entity::insert_many(some.iter().map(|start| row(&start.refund, key)));
            rows.push(Companion::insert(insert.into_query(), count));
            let told = some.iter().filter(|start| !start.silent);
            let told: Vec<_> = told.map(|start| (&start.refund, &start.customer_id)).collect();
            if !told.is_empty() {
                let count = told.len() as u64;
                rows.push(Companion::insert(refunds_started(told.into_iter(), trace), count));
            }
            rows.extend(some.iter().flat_map(|start| block_tickets(&start.refund, start.force)));
        }
    }
    rows
}

/// The row that makes a change of seats and the beginning of a refund exclude each other: it exists if the payment still has this
/// version, and gives it the next one.
#[must_use]
pub fn exclude_refunds(payment_id: PaymentId, version: RefundVersion) -> Companion {
    let update = next_version(1).filter(payment::Column::PaymentId.eq(payment_id.0)).filter(version.condition());
    Companion::update(update.into_query(), 1)
}

/// The row of a refund that is open when its seats, or seats of its payment, are given up: it only gives the money back from then on.
/// An instance that works on it loses its fence, and it is due at once, unless it waits for a till or is stuck.
#[must_use]
pub fn give_up_first(refund: &Refund, now: DateTime<Utc>) -> Companion {
    let owed = refund.facts.chosen.seats.is_empty();
    let facts = RefundFacts { releases: false, owed, ..refund.facts.clone() };
    // One that waits for a till, or for an operator, is not due.
    let is_due = Expr::col(refund::Column::DueTime).is_not_null();
    let due = CaseStatement::new().case(is_due, Some(now)).finally(None::<DateTime<Utc>>);
    let update = refund::Entity::update_many()
        .filter(refund::Column::RefundId.eq(facts.refund_id.0))
        .filter(refund::Column::State.is_in([RefundState::Pending, RefundState::Stuck].map(state_name)))
        .col_expr(refund::Column::Detail, Expr::value(detail(&facts)))
        .col_expr(refund::Column::Fence, Expr::col(refund::Column::Fence).add(1))
        .col_expr(refund::Column::DueTime, due.into());
    Companion::update(update.into_query(), 1)
}

/// The rows of a refund that has ended or goes on, with its events, and what its end changes: money that was given back counts for
/// the payment and in the books.
#[must_use]
pub fn settle_refund(write: &RefundWrite<'_>, now: DateTime<Utc>) -> Vec<Companion> {
    let facts = &write.refund.facts;
    let mut rows = vec![Companion::update(update(write), 1)];
    let event = refund_ended(write.refund, write.customer_id, now).filter(|_| !write.silent);
    rows.extend(event.map(|row| Companion::insert(row, 1)));
    rows.extend(write.note.map(|note| insert_note(facts.refund_id, note)));
    rows.extend(tickets_of_refund(write.refund));
    match write.refund.state() {
        RefundState::Done => {
            let refunded = || Expr::col(payment::Column::RefundedMinor).add(facts.chosen.amount.minor);
            let is_all = refunded().gte(Expr::col(payment::Column::AmountMinor));
            let state = CaseStatement::new()
                .case(is_all, payment_state_name(PaymentState::Refunded))
                .finally(payment_state_name(PaymentState::PartiallyRefunded));
            // What is left of the payment stays the same, so its version does.
            let payment = payment::Entity::update_many()
                .filter(payment::Column::PaymentId.eq(facts.payment_id.0))
                .col_expr(payment::Column::RefundedMinor, refunded())
                .col_expr(payment::Column::State, state.into());
            rows.push(Companion::update(payment.into_query(), 1));
            let entries = write.refund.entries().into_iter().filter(|(_, minor)| *minor != 0);
            let entry =
                |(account, minor)| (facts.payment_id, write.refund.book_operation(), MoneyEntry { account, minor });
            let entries: Vec<_> = entries.map(entry).collect();
            rows.extend(insert_entries(facts.chosen.amount.currency, &entries, now));
        }
        RefundState::Failed => {
            let payment = next_version(ASKED).filter(payment::Column::PaymentId.eq(facts.payment_id.0));
            rows.push(Companion::update(payment.into_query(), 1));
        }
        RefundState::Pending | RefundState::Stuck => {}
    }
    rows
}

/// Raises the version of payments.
fn next_version(step: i64) -> sea_orm::UpdateMany<payment::Entity> {
    payment::Entity::update_many()
        .col_expr(payment::Column::RefundVersion, Expr::col(payment::Column::RefundVersion).add(step))
}

fn update(write: &RefundWrite<'_>) -> UpdateStatement {
    let (record, facts) = (write.refund.record(), &write.refund.facts);
    let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let update = refund::Entity::update_many()
        .filter(refund::Column::RefundId.eq(facts.refund_id.0))
        .filter(refund::Column::Fence.eq(write.fence))
        .col_expr(refund::Column::State, Expr::value(state_name(record.state)))
        .col_expr(refund::Column::DueTime, Expr::value(write.due))
        .col_expr(refund::Column::Attempts, Expr::value(count(record.attempts)))
        .col_expr(refund::Column::FailedAttempts, Expr::value(count(record.failed_attempts)))
        .col_expr(refund::Column::Message, Expr::value(record.message.as_str()))
        .col_expr(refund::Column::EndTime, Expr::value(record.end_time))
        .col_expr(refund::Column::Till, Expr::value(facts.till.as_deref()))
        .col_expr(refund::Column::LocalDate, Expr::value(write.local_date))
        .col_expr(refund::Column::EventRevision, Expr::value(record.last_event));
    let update = match write.note {
        Some(_) => update
            .filter(refund::Column::State.eq(state_name(RefundState::Stuck)))
            .col_expr(refund::Column::Fence, Expr::value(write.fence + 1)),
        None => update,
    };
    update.into_query()
}

fn row(refund: &Refund, key: Option<&RequestKey>) -> refund::ActiveModel {
    let facts = &refund.facts;
    refund::ActiveModel {
        refund_id: Set(facts.refund_id.0),
        payment_id: Set(facts.payment_id.0),
        purchase_id: Set(facts.purchase_id.0),
        reservation_id: Set(facts.reservation_id.0),
        showtime_id: Set(facts.showtime_id.0),
        currency: Set(facts.chosen.amount.currency.code().to_owned()),
        amount_minor: Set(facts.chosen.amount.minor),
        reason: Set(facts.reason.clone()),
        create_time: Set(facts.create_time),
        request_id: Set(key.map(|key| key.request_id.0)),
        caller: Set(key.map(|key| key.caller.clone())),
        fingerprint: Set(key.map(|key| key.fingerprint.to_vec())),
        detail: Set(detail(facts)),
        state: Set(state_name(refund.state()).to_owned()),
        fence: Set(0),
        due_time: Set((!refund.record().waits).then_some(facts.create_time)),
        attempts: Set(0),
        failed_attempts: Set(0),
        message: Set(refund.record().message.clone()),
        end_time: Set(None),
        till: Set(facts.till.clone()),
        local_date: Set(None),
        event_revision: Set(Some(refund.record().last_event)),
    }
}

/// The row of what an operator did with a refund.
fn insert_note(refund_id: RefundId, note: &RefundNote) -> Companion {
    let row = refund_note::ActiveModel {
        refund_id: Set(refund_id.0),
        note_id: Set(note.note_id),
        create_time: Set(note.time),
        caller: Set(note.caller.clone()),
        action: Set(note_action_name(note.action).to_owned()),
        note: Set(note.text.clone()),
    };
    Companion::insert(refund_note::Entity::insert(row).into_query(), 1)
}
