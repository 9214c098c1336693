//! Refunds of payments, and how instances take them.
//!
//! A refund begins only with the version of its payment that its refunds were read with, so that two refunds that begin at once
//! cannot exceed what is left: the second one finds another version, and is decided anew. Refunds of seats that are given up under the
//! lock of their showtime exclude each other by that lock, and need not be decided anew for each other. To work on a refund, an instance takes
//! its **fence**, as for purchases.

use chrono::{DateTime, NaiveDate, Utc};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, ExprTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    QueryTrait as _, Select, Set,
    prelude::Uuid,
    sea_query::{CaseStatement, Expr, UpdateStatement},
};

use super::{
    books::{MoneyEntry, insert_entries},
    dialect,
    entities::{payment, refund},
    errors::Error,
    handle::Store,
    ledger::Companion,
    outbox::{refund_ended, refunds_started},
    pools::PoolConnection,
    request_key::RequestKey,
    rows::{
        purchase::payment_state_name,
        refund::{detail, refund as read, state_name},
    },
    stuck_refunds::insert_note,
    tickets::{block_tickets, tickets_of_refund},
    timing::read_named,
};
use crate::{
    domain::{
        ids::{PaymentId, RefundId, RequestId},
        purchase::PaymentState,
        refund::{Refund, RefundFacts, RefundNote, RefundState},
        reservation::CustomerId,
    },
    telemetry::trace_parent::TraceParent,
};

/// The most refunds that one statement begins.
const CHUNK: usize = 500;

/// A refund as it is stored.
#[derive(Clone, Debug)]
pub struct StoredRefund {
    /// The refund.
    pub refund: Refund,
    /// Every write names this.
    pub fence: i64,
    /// The fingerprint of the request that began it; empty if it began with a change of seats.
    pub fingerprint: Vec<u8>,
}

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
            rows.extend(some.iter().filter_map(|start| block_tickets(&start.refund, start.force)));
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
/// Whoever works on it loses its fence, and it is due at once unless it is stuck.
#[must_use]
pub fn give_up_first(refund: &Refund, now: DateTime<Utc>) -> Companion {
    let owed = refund.facts.chosen.seats.is_empty();
    let facts = RefundFacts { releases: false, owed, ..refund.facts.clone() };
    let is_pending = Expr::col(refund::Column::State).eq(state_name(RefundState::Pending));
    let due = CaseStatement::new().case(is_pending, Some(now)).finally(None::<DateTime<Utc>>);
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

impl Store {
    /// Begins a refund, if the payment still has the version. Returns whether it has begun.
    ///
    /// # Errors
    /// The database cannot be used. `Constraint`: the same request has begun a refund.
    pub async fn start_refund(
        &self,
        start: RefundStart,
        key: &RequestKey,
        trace: Option<TraceParent>,
    ) -> Result<bool, Error> {
        let begun = self.write_rows("start_refund", &start_refunds(&[start], Some(key), trace)).await?;
        if begun {
            self.events_written().send();
        }
        Ok(begun)
    }

    /// Writes a refund. Returns whether the fence is still that of the refund; if not, nothing was written.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn write_refund(&self, write: &RefundWrite<'_>, now: DateTime<Utc>) -> Result<bool, Error> {
        let written = self.write_rows("write_refund", &settle_refund(write, now)).await?;
        if written && write.refund.state() != RefundState::Pending {
            self.events_written().send();
        }
        Ok(written)
    }

    /// A till pays out a refund that waited for it, which is due then. Returns whether it did wait.
    ///
    /// # Errors
    /// The database cannot be used. `Constraint`: the same request has begun or paid out another refund.
    pub async fn pay_out(&self, id: RefundId, till: &str, key: &RequestKey, now: DateTime<Utc>) -> Result<bool, Error> {
        let pay_out = refund::Entity::update_many()
            .filter(refund::Column::RefundId.eq(id.0))
            .filter(refund::Column::State.eq(state_name(RefundState::Pending)))
            .filter(refund::Column::DueTime.is_null())
            .col_expr(refund::Column::DueTime, Expr::value(Some(now)))
            .col_expr(refund::Column::Till, Expr::value(till))
            .col_expr(refund::Column::Message, Expr::value(""))
            .col_expr(refund::Column::RequestId, Expr::value(key.request_id.0))
            .col_expr(refund::Column::Caller, Expr::value(key.caller.as_str()))
            .col_expr(refund::Column::Fingerprint, Expr::value(key.fingerprint.to_vec()));
        self.write_rows("pay_out", &[Companion::update(pay_out.into_query(), 1)]).await
    }

    /// The refund that a request has begun, if it has.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn refund_of_request(&self, key: &RequestKey) -> Result<Option<StoredRefund>, Error> {
        self.one_refund(of_request(key.request_id, &key.caller)).await
    }

    /// A refund, if there is one.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn refund(&self, id: RefundId) -> Result<Option<StoredRefund>, Error> {
        self.one_refund(refund::Entity::find_by_id(id.0)).await
    }

    async fn one_refund(&self, query: Select<refund::Entity>) -> Result<Option<StoredRefund>, Error> {
        read_named("get_refund", async {
            let pooled = self.0.reads.acquire().await?;
            let Some(row) = pooled.read(query.one(pooled.connection)).await? else { return Ok(None) };
            let (fence, fingerprint) = (row.fence, row.fingerprint.clone().unwrap_or_default());
            Ok(Some(StoredRefund { refund: read(row)?, fence, fingerprint }))
        })
        .await
    }

    /// Refunds with which any instance may go on now, each with its fence, those that are due longest in front.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn due_refunds(&self, now: DateTime<Utc>, limit: u64) -> Result<Vec<(RefundId, i64)>, Error> {
        read_named("due_refunds", async {
            let pooled = self.0.reads.acquire().await?;
            let due = due_refunds(now, limit).into_tuple::<(Uuid, i64)>();
            let rows = pooled.read(due.all(pooled.connection)).await?;
            Ok(rows.into_iter().map(|(id, fence)| (RefundId(id), fence)).collect())
        })
        .await
    }

    /// Goes on with a refund that has this fence, unless another instance was faster. Its fence is then the next one.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn take_refund(
        &self,
        (id, fence): (RefundId, i64),
        due: DateTime<Utc>,
    ) -> Result<Option<StoredRefund>, Error> {
        let take = refund::Entity::update_many()
            .filter(refund::Column::RefundId.eq(id.0))
            .filter(refund::Column::Fence.eq(fence))
            .col_expr(refund::Column::Fence, Expr::value(fence + 1))
            .col_expr(refund::Column::DueTime, Expr::value(Some(due)));
        if !self.write_rows("take_refund", &[Companion::update(take.into_query(), 1)]).await? {
            return Ok(None);
        }
        let taken = self.refund(id).await?;
        Ok(taken.filter(|taken| taken.fence == fence + 1))
    }
}

/// The refunds of these payments, the oldest first. A payment that never had one is not asked for. What was given back of the
/// payments is then what these refunds say, since one may have ended after the payments were read.
pub(super) async fn refunds_of(
    pooled: &PoolConnection<'_>,
    payments: &mut [payment::Model],
) -> Result<Vec<Refund>, Error> {
    let ids: Vec<_> = payments.iter().filter(|row| row.refund_version > 0).map(|row| row.payment_id).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let query = of_payments(pooled.backend(), ids.into_iter());
    let rows = pooled.read(query.all(pooled.connection)).await?;
    let mut refunds = rows.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    refunds.sort_by_key(|refund| (refund.facts.create_time, refund.facts.refund_id));
    for row in payments {
        let done = refunds.iter().filter(|refund| refund.state() == RefundState::Done);
        let done = done.filter(|refund| refund.facts.payment_id.0 == row.payment_id);
        let refunded: i64 = done.map(|refund| refund.facts.chosen.amount.minor).sum();
        if refunded > row.refunded_minor {
            let is_all = refunded >= row.amount_minor;
            let state = if is_all { PaymentState::Refunded } else { PaymentState::PartiallyRefunded };
            payment_state_name(state).clone_into(&mut row.state);
            row.refunded_minor = refunded;
        }
    }
    Ok(refunds)
}

/// The query for the refunds of payments.
pub(super) fn of_payments(backend: sea_orm::DbBackend, ids: impl Iterator<Item = Uuid>) -> Select<refund::Entity> {
    refund::Entity::find().filter(dialect::is_among(backend, refund::Column::PaymentId, ids))
}

/// The query for the refund that a request has begun.
pub(super) fn of_request(request_id: RequestId, caller: &str) -> Select<refund::Entity> {
    refund::Entity::find().filter(refund::Column::RequestId.eq(request_id.0)).filter(refund::Column::Caller.eq(caller))
}

/// The query for refunds that are due.
pub(super) fn due_refunds(now: DateTime<Utc>, limit: u64) -> Select<refund::Entity> {
    refund::Entity::find()
        .select_only()
        .columns([refund::Column::RefundId, refund::Column::Fence])
        .filter(refund::Column::DueTime.is_not_null())
        .filter(refund::Column::DueTime.lte(now))
        .order_by_asc(refund::Column::DueTime)
        .order_by_asc(refund::Column::RefundId)
        .limit(limit)
}
