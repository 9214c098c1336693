//! Refunds of payments, and how instances take them. To work on a refund, an instance takes its **fence**, as for purchases.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _, Select,
    prelude::Uuid, sea_query::Expr,
};

use super::{
    dialect,
    entities::{payment, refund},
    errors::Error,
    handle::Store,
    ledger::Companion,
    pools::PoolConnection,
    refund_writes::{RefundStart, RefundWrite, settle_refund, start_refunds},
    request_key::RequestKey,
    rows::{
        purchase::payment_state_name,
        refund::{refund as read, state_name},
    },
    timing::read_named,
};
use crate::{
    domain::{
        ids::{RefundId, RequestId},
        purchase::PaymentState,
        refund::{Refund, RefundState},
    },
    telemetry::trace_parent::TraceParent,
};

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
