//! Payments of purchases, as they are read. They are written with their purchases, and by their refunds.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _, Select,
};

use super::{
    dialect,
    entities::{payment, refund},
    errors::Error,
    handle::Store,
    refunds::refunds_of,
    rows::purchase::payment as read_payment,
    timing::read_named,
};
use crate::domain::{
    ids::{PaymentId, PurchaseId, ReservationId, ShowtimeId},
    purchase::Payment,
    refund::Refund,
    reservation::CustomerId,
};

/// A payment as it is stored, with what it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPayment {
    /// The payment.
    pub payment: Payment,
    /// Its purchase.
    pub purchase_id: PurchaseId,
    /// The reservation that is paid for.
    pub reservation_id: ReservationId,
    /// The customer.
    pub customer_id: CustomerId,
    /// Its refunds, the oldest first.
    pub refunds: Vec<Refund>,
    /// Grows when a refund of it begins and when one fails, and when its seats are exchanged or given up. It was read before `refunds`.
    pub refund_version: i64,
}

/// A place in a list: just after the item with this time and id.
pub type TimedCursor = (DateTime<Utc>, sea_orm::prelude::Uuid);

impl Store {
    /// A payment, if there is one.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn payment(&self, id: PaymentId) -> Result<Option<StoredPayment>, Error> {
        Ok(self.all_payments("get_payment", payment::Entity::find_by_id(id.0)).await?.pop())
    }

    /// A page of payments, the newest first.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn payments(
        &self,
        (customer, purchase): (Option<&CustomerId>, Option<PurchaseId>),
        after: Option<TimedCursor>,
        limit: u64,
    ) -> Result<Vec<StoredPayment>, Error> {
        let query = payments(self.0.reads.backend(), (customer, purchase), after, limit);
        self.all_payments("list_payments", query).await
    }

    async fn all_payments(
        &self,
        name: &'static str,
        query: Select<payment::Entity>,
    ) -> Result<Vec<StoredPayment>, Error> {
        read_named(name, async {
            let pooled = self.0.reads.acquire().await?;
            let mut rows = pooled.read(query.all(pooled.connection)).await?;
            let refunds = refunds_of(&pooled, &mut rows).await?;
            let read = |row: payment::Model| {
                let own = refunds.iter().filter(|refund| refund.facts.payment_id.0 == row.payment_id);
                let (refunds, refund_version) = (own.cloned().collect(), row.refund_version);
                let (purchase_id, reservation_id) = (PurchaseId(row.purchase_id), ReservationId(row.reservation_id));
                let customer_id = CustomerId::restore(&row.customer_id);
                let payment = read_payment(row)?;
                Ok(StoredPayment { payment, purchase_id, reservation_id, customer_id, refunds, refund_version })
            };
            rows.into_iter().map(read).collect()
        })
        .await
    }

    /// The payments of purchases of a showtime of which a refund has begun at some time.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn refunded_payments(&self, of: ShowtimeId) -> Result<Vec<StoredPayment>, Error> {
        self.all_payments("refunded_payments", refunded_payments(of)).await
    }
}

/// The query for the payments of a showtime of which a refund has begun.
pub(super) fn refunded_payments(of: ShowtimeId) -> Select<payment::Entity> {
    let refunded = refund::Entity::find().select_only().column(refund::Column::PaymentId);
    let refunded = refunded.filter(refund::Column::ShowtimeId.eq(of.0)).into_query();
    payment::Entity::find().filter(payment::Column::PaymentId.in_subquery(refunded))
}

/// The query behind the list of payments.
pub(super) fn payments(
    backend: sea_orm::DbBackend,
    (customer, purchase): (Option<&CustomerId>, Option<PurchaseId>),
    after: Option<TimedCursor>,
    limit: u64,
) -> Select<payment::Entity> {
    let mut query = payment::Entity::find()
        .order_by_desc(payment::Column::CreateTime)
        .order_by_desc(payment::Column::PaymentId)
        .limit(limit);
    if let Some(id) = customer {
        query = query.filter(dialect::is_name_by_digest(backend, payment::Column::CustomerId, id.as_str()));
    }
    if let Some(id) = purchase {
        query = query.filter(payment::Column::PurchaseId.eq(id.0));
    }
    if let Some(last) = after {
        query = query.filter(dialect::is_before([payment::Column::CreateTime, payment::Column::PaymentId], last));
    }
    query
}
