//! Purchases, and who goes on with them.
//!
//! Whoever works on a purchase has taken its **fence**, and names it in every write, in the ledger's transactions, too. So an
//! instance that was taken for dead changes nothing any more. `due_time` says from when on another instance may take it. It is
//! compared by the clocks of the instances: a wrong clock makes a takeover early or late, and no purchase wrong.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, ExprTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    QueryTrait as _, Select, Set,
    sea_query::{Expr, InsertStatement, UpdateStatement},
};

use super::{
    books::{MoneyEntry, insert_entries},
    dialect,
    entities::{payment, purchase},
    errors::Error,
    handle::Store,
    ledger::Companion,
    payments::TimedCursor,
    refunds::refunds_of,
    request_key::RequestKey,
    rows::purchase::{detail, method_name, payment_state_name, purchase as read, state_name},
    timing::read_named,
    transactions::Tx,
};
use crate::domain::{
    ids::{PaymentId, PurchaseId, ShowtimeId},
    purchase::{Payment, Purchase, PurchaseState},
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
    /// Who works on it names this.
    pub fence: i64,
    /// Grows with every write.
    pub version: i64,
    /// The fingerprint of the request that began it.
    pub fingerprint: Vec<u8>,
}

/// What a purchase looks like to those who would go on with it.
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

/// A write of a purchase that somebody works on.
#[derive(Clone, Debug)]
pub struct PurchaseWrite<'a> {
    /// The purchase as it is now.
    pub purchase: &'a Purchase,
    /// The fence.
    pub fence: i64,
    /// From when on another instance may go on with it. `None`: nobody has to.
    pub due: Option<DateTime<Utc>>,
    /// Whether the last payment is new.
    pub new_payment: bool,
}

/// The rows of a new purchase, for the transaction of its first change of seats. Its fence is 1.
#[must_use]
pub fn insert_purchase(purchase: &Purchase, key: &RequestKey, due: DateTime<Utc>) -> Vec<Companion> {
    let facts = &purchase.facts;
    let row = purchase::ActiveModel {
        purchase_id: Set(facts.purchase_id.0),
        number: Set(facts.number.to_string()),
        customer_id: Set(facts.customer_id.to_string()),
        showtime_id: Set(facts.showtime_id.0),
        reservation_id: Set(facts.reservation_id.0),
        currency: Set(purchase.total().currency.code().to_owned()),
        total_minor: Set(purchase.total().minor),
        create_time: Set(facts.create_time),
        request_id: Set(key.request_id.0),
        caller: Set(key.caller.clone()),
        fingerprint: Set(key.fingerprint.to_vec()),
        state: Set(state_name(purchase.state()).to_owned()),
        fence: Set(1),
        version: Set(1),
        due_time: Set(Some(due)),
        detail: Set(detail(purchase)),
    };
    let insert = purchase::Entity::insert(row).into_query();
    let payments = purchase.payments().iter().enumerate();
    let payments = payments.map(|(at, payment)| Companion::insert(insert_payment(purchase, payment, at), 1));
    std::iter::once(Companion::insert(insert, 1)).chain(payments).collect()
}

/// The same for a purchase that exists.
#[must_use]
pub fn update_purchase(write: &PurchaseWrite<'_>) -> Vec<Companion> {
    let (update, payment) = statements(write);
    let payment = payment.map(|payment| match payment {
        PaymentWrite::Insert(insert) => Companion::insert(*insert, 1),
        PaymentWrite::Update(update) => Companion::update(*update, 1),
    });
    std::iter::once(Companion::update(update, 1)).chain(payment).collect()
}

enum PaymentWrite {
    Insert(Box<InsertStatement>),
    Update(Box<UpdateStatement>),
}

fn statements(write: &PurchaseWrite<'_>) -> (UpdateStatement, Option<PaymentWrite>) {
    let PurchaseWrite { purchase, fence, due, new_payment } = write;
    let update = purchase::Entity::update_many()
        .filter(purchase::Column::PurchaseId.eq(purchase.facts.purchase_id.0))
        .filter(purchase::Column::Fence.eq(*fence))
        .col_expr(purchase::Column::TotalMinor, Expr::value(purchase.total().minor))
        .col_expr(purchase::Column::State, Expr::value(state_name(purchase.state())))
        .col_expr(purchase::Column::Version, Expr::col(purchase::Column::Version).add(1))
        .col_expr(purchase::Column::DueTime, Expr::value(*due))
        .col_expr(purchase::Column::Detail, Expr::value(detail(purchase)))
        .into_query();
    let payment = purchase.payments().iter().enumerate().next_back().map(|(at, payment)| {
        if *new_payment {
            return PaymentWrite::Insert(Box::new(insert_payment(purchase, payment, at)));
        }
        let update = payment::Entity::update_many()
            .filter(payment::Column::PaymentId.eq(payment.payment_id.0))
            .col_expr(payment::Column::AmountMinor, Expr::value(payment.amount.minor))
            .col_expr(payment::Column::RefundedMinor, Expr::value(payment.refunded_minor))
            .col_expr(payment::Column::State, Expr::value(payment_state_name(payment.state)))
            .col_expr(payment::Column::Token, Expr::value(payment.token.as_str()))
            .col_expr(payment::Column::DeclineCode, Expr::value(payment.decline_code.as_str()))
            .col_expr(payment::Column::ProcessTime, Expr::value(payment.process_time));
        PaymentWrite::Update(Box::new(update.into_query()))
    });
    (update, payment)
}

fn insert_payment(purchase: &Purchase, payment: &Payment, at: usize) -> InsertStatement {
    let row = payment::ActiveModel {
        payment_id: Set(payment.payment_id.0),
        purchase_id: Set(purchase.facts.purchase_id.0),
        ordinal: Set(i16::try_from(at).unwrap_or(i16::MAX)),
        customer_id: Set(purchase.facts.customer_id.to_string()),
        reservation_id: Set(purchase.facts.reservation_id.0),
        method: Set(method_name(payment.method).to_owned()),
        currency: Set(payment.amount.currency.code().to_owned()),
        amount_minor: Set(payment.amount.minor),
        create_time: Set(payment.create_time),
        refunded_minor: Set(payment.refunded_minor),
        state: Set(payment_state_name(payment.state).to_owned()),
        token: Set(payment.token.clone()),
        decline_code: Set(payment.decline_code.clone()),
        process_time: Set(payment.process_time),
        refund_version: Set(0),
    };
    payment::Entity::insert(row).into_query()
}

impl Store {
    /// A purchase, if there is one.
    ///
    /// # Errors
    /// The database cannot be used, or has a row that cannot be read.
    pub async fn purchase(&self, id: PurchaseId) -> Result<Option<StoredPurchase>, Error> {
        self.one_purchase(purchase::Entity::find_by_id(id.0)).await
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
                Ok(StoredPurchase { purchase: read(row, own)?, refunds, fence, version, fingerprint })
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

    /// Goes on with a purchase that has this fence, unless somebody else was faster. Returns the new fence.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn take_purchase(&self, id: PurchaseId, fence: i64, due: DateTime<Utc>) -> Result<Option<i64>, Error> {
        self.run_transaction("take_purchase", async || {
            let tx = self.begin().await?;
            let taken = purchase::Entity::update_many()
                .filter(purchase::Column::PurchaseId.eq(id.0))
                .filter(purchase::Column::Fence.eq(fence))
                .col_expr(purchase::Column::Fence, Expr::value(fence + 1))
                .col_expr(purchase::Column::DueTime, Expr::value(Some(due)))
                .exec(&tx.inner)
                .await?;
            tx.commit((taken.rows_affected == 1).then_some(fence + 1)).await
        })
        .await
    }

    /// Writes a purchase, and money that moves with it. Returns whether the fence is still that of the purchase; if not, nothing
    /// was written.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn write_purchase(
        &self,
        write: &PurchaseWrite<'_>,
        entries: &[(PaymentId, &str, MoneyEntry)],
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        self.run_transaction("write_purchase", async || {
            let tx = self.begin().await?;
            let (update, payment) = statements(write);
            if execute(&tx, &update).await? == 0 {
                return tx.rollback(false).await;
            }
            match payment {
                Some(PaymentWrite::Insert(insert)) => execute(&tx, &*insert).await?,
                Some(PaymentWrite::Update(update)) => execute(&tx, &*update).await?,
                None => 0,
            };
            if !entries.is_empty() {
                execute(&tx, &insert_entries(write.purchase.total().currency, entries, now)).await?;
            }
            tx.commit(true).await
        })
        .await
    }
}

async fn execute(tx: &Tx, statement: &impl sea_orm::StatementBuilder) -> Result<u64, Error> {
    use sea_orm::ConnectionTrait as _;
    Ok(tx.inner.execute(statement).await?.rows_affected())
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
    if let Some((time, id)) = after {
        let last = Expr::tuple([Expr::value(time), Expr::value(id)]);
        let this = [purchase::Column::CreateTime, purchase::Column::PurchaseId];
        query = query.filter(Expr::tuple(this.map(|column| Expr::col((purchase::Entity, column)))).lt(last));
    }
    query
}
