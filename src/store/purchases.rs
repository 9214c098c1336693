//! Purchases, and how instances take them.
//!
//! To work on a purchase, an instance takes its **fence**, and names it in every write, in the ledger's transactions, too. An
//! instance that was taken for dead has an old fence and changes nothing. `due_time` says from when on another instance may take it. It is
//! compared by the clocks of the instances: a wrong clock makes a takeover early or late, and no purchase wrong.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, ExprTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    Select, sea_query::Expr,
};

use super::{
    dialect,
    entities::{payment, purchase},
    errors::Error,
    handle::Store,
    outbox::LastRevision,
    payments::TimedCursor,
    refunds::refunds_of,
    request_key::RequestKey,
    rows::purchase::{purchase as read, state_name},
    timing::read_named,
};
use crate::domain::{
    ids::{PurchaseId, ShowtimeId},
    purchase::{Purchase, PurchaseNumber, PurchaseState},
    refund::Refund,
    reservation::CustomerId,
};

/// A purchase as it is stored.
#[derive(Clone, Debug)]
pub struct StoredPurchase {
    /// The purchase.
    pub purchase: Purchase,
    /// The refunds of its payments, the oldest first.
    pub refunds: Vec<Refund>,
    /// Every write names this.
    pub fence: i64,
    /// Grows with every write.
    pub version: i64,
    /// The fingerprint of the request that began it.
    pub fingerprint: Vec<u8>,
    /// The last revision of its events.
    pub last_events: LastRevision,
}

/// A purchase that can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DuePurchase {
    /// The purchase.
    pub purchase_id: PurchaseId,
    /// Its fence.
    pub fence: i64,
}

/// Which purchases a list contains. A criterion that is `None` or empty excludes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurchaseFilter {
    /// Only purchases of this customer.
    pub customer_id: Option<CustomerId>,
    /// Only purchases for this showtime.
    pub showtime_id: Option<ShowtimeId>,
    /// Only purchases in one of these states.
    pub states: Vec<PurchaseState>,
}

impl Store {
    /// A purchase, if there is one.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn purchase(&self, id: PurchaseId) -> Result<Option<StoredPurchase>, Error> {
        self.one_purchase(purchase::Entity::find_by_id(id.0)).await
    }

    /// The id of the purchase with this number, if there is one.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn purchase_id(&self, number: &PurchaseNumber) -> Result<Option<PurchaseId>, Error> {
        read_named("purchase_by_number", async {
            let pooled = self.0.reads.acquire().await?;
            let id = by_number(number).into_tuple::<sea_orm::prelude::Uuid>();
            Ok(pooled.read(id.one(pooled.connection)).await?.map(PurchaseId))
        })
        .await
    }

    /// The purchase that a request has begun, if it has.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn purchase_of_request(&self, key: &RequestKey) -> Result<Option<StoredPurchase>, Error> {
        let query = purchase::Entity::find()
            .filter(purchase::Column::RequestId.eq(key.request_id.0))
            .filter(purchase::Column::Caller.eq(key.caller.as_str()));
        self.one_purchase(query).await
    }

    async fn one_purchase(&self, query: Select<purchase::Entity>) -> Result<Option<StoredPurchase>, Error> {
        Ok(self.all_purchases("get_purchase", query).await?.pop())
    }

    /// Purchases with their payments. A purchase changes together with its payments, but the two reads are two statements: a
    /// purchase may be older than its payments. It is read again where that matters, since its next write would fail.
    async fn all_purchases(
        &self,
        name: &'static str,
        query: Select<purchase::Entity>,
    ) -> Result<Vec<StoredPurchase>, Error> {
        read_named(name, async {
            let pooled = self.0.reads.acquire().await?;
            let backend = pooled.backend();
            let rows = pooled.read(query.all(pooled.connection)).await?;
            let ids = rows.iter().map(|row| row.purchase_id);
            let of_these = dialect::is_among(backend, payment::Column::PurchaseId, ids);
            let payments = payment::Entity::find().filter(of_these);
            let mut payments = pooled.read(payments.all(pooled.connection)).await?;
            payments.sort_unstable_by_key(|row| row.ordinal);
            let refunds = refunds_of(&pooled, &mut payments).await?;
            let read = |row: purchase::Model| {
                let own = payments.iter().filter(|payment| payment.purchase_id == row.purchase_id).cloned().collect();
                let refunds = refunds.iter().filter(|refund| refund.facts.purchase_id.0 == row.purchase_id);
                let refunds = refunds.cloned().collect();
                let (fence, version, fingerprint) = (row.fence, row.version, row.fingerprint.clone());
                let last_events = LastRevision { number: row.event_revision, time: row.event_time };
                Ok(StoredPurchase { purchase: read(row, own)?, refunds, fence, version, fingerprint, last_events })
            };
            rows.into_iter().map(read).collect()
        })
        .await
    }

    /// A page of purchases, the newest first.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn purchases(
        &self,
        filter: &PurchaseFilter,
        after: Option<TimedCursor>,
        limit: u64,
    ) -> Result<Vec<StoredPurchase>, Error> {
        let query = purchases(self.0.reads.backend(), filter, after, limit);
        self.all_purchases("list_purchases", query).await
    }

    /// Purchases with which any instance may go on now, those that are due longest in front.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn due_purchases(&self, now: DateTime<Utc>, limit: u64) -> Result<Vec<DuePurchase>, Error> {
        read_named("due_purchases", async {
            let pooled = self.0.reads.acquire().await?;
            let due = due_purchases(now, limit).into_tuple::<(sea_orm::prelude::Uuid, i64)>();
            let rows = pooled.read(due.all(pooled.connection)).await?;
            Ok(rows.into_iter().map(|(id, fence)| DuePurchase { purchase_id: PurchaseId(id), fence }).collect())
        })
        .await
    }

    /// Goes on with a purchase that has this fence, unless another instance was faster. Returns the new fence. Who has decided something
    /// about the purchase as it was read names its version too, because the holder of the fence may have written it meanwhile.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn take_purchase(
        &self,
        id: PurchaseId,
        (fence, version): (i64, Option<i64>),
        due: DateTime<Utc>,
    ) -> Result<Option<i64>, Error> {
        self.run_transaction("take_purchase", async || {
            let tx = self.begin().await?;
            let as_read = version.map(|version| purchase::Column::Version.eq(version));
            let taken = purchase::Entity::update_many()
                .filter(purchase::Column::PurchaseId.eq(id.0))
                .filter(purchase::Column::Fence.eq(fence))
                .filter(Condition::all().add_option(as_read))
                .col_expr(purchase::Column::Fence, Expr::value(fence + 1))
                .col_expr(purchase::Column::DueTime, Expr::value(Some(due)))
                .exec(&tx.inner)
                .await?;
            tx.commit((taken.rows_affected == 1).then_some(fence + 1)).await
        })
        .await
    }
}

/// The query for the id of the purchase with a number.
pub(super) fn by_number(number: &PurchaseNumber) -> Select<purchase::Entity> {
    purchase::Entity::find()
        .select_only()
        .column(purchase::Column::PurchaseId)
        .filter(purchase::Column::Number.eq(number.as_str()))
}

/// The query for purchases that are due.
pub(super) fn due_purchases(now: DateTime<Utc>, limit: u64) -> Select<purchase::Entity> {
    purchase::Entity::find()
        .select_only()
        .columns([purchase::Column::PurchaseId, purchase::Column::Fence])
        .filter(purchase::Column::DueTime.is_not_null())
        .filter(purchase::Column::DueTime.lte(now))
        .order_by_asc(purchase::Column::DueTime)
        .order_by_asc(purchase::Column::PurchaseId)
        .limit(limit)
}

/// The query behind the list of purchases.
pub(super) fn purchases(
    backend: sea_orm::DbBackend,
    filter: &PurchaseFilter,
    after: Option<TimedCursor>,
    limit: u64,
) -> Select<purchase::Entity> {
    let mut query = purchase::Entity::find()
        .order_by_desc(purchase::Column::CreateTime)
        .order_by_desc(purchase::Column::PurchaseId)
        .limit(limit);
    if let Some(id) = &filter.customer_id {
        query = query.filter(dialect::is_name_by_digest(backend, purchase::Column::CustomerId, id.as_str()));
    }
    if let Some(id) = filter.showtime_id {
        query = query.filter(purchase::Column::ShowtimeId.eq(id.0));
    }
    match filter.states[..] {
        [] => {}
        // Those that are stuck have an index of their own, whose condition is written as it stands there.
        [PurchaseState::Stuck] => {
            let stuck = Expr::Constant(state_name(PurchaseState::Stuck).into());
            query = query.filter(Expr::col(purchase::Column::State).eq(stuck));
        }
        _ => {
            let states = filter.states.iter().map(|state| purchase::Column::State.eq(state_name(*state)));
            query = query.filter(states.fold(Condition::any(), Condition::add));
        }
    }
    if let Some(last) = after {
        query = query.filter(dialect::is_before([purchase::Column::CreateTime, purchase::Column::PurchaseId], last));
    }
    query
}
