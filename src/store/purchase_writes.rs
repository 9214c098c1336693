//! How purchases and their payments are written: in the ledger's transactions, or in one of their own.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait as _, EntityTrait as _, ExprTrait as _, QueryFilter as _,
    QueryTrait as _, Set, StatementBuilder,
    sea_query::{Expr, InsertStatement, UpdateStatement},
};

use super::{
    books::{self, MoneyEntry},
    entities::{payment, purchase},
    errors::Error,
    handle::Store,
    ledger::{Companion, NewRows},
    planted::{self, Bug},
    request_key::RequestKey,
    rows::purchase::{detail, method_name, payment_state_name, state_name},
    transactions::Tx,
};
use crate::domain::{
    ids::PaymentId,
    money::Currency,
    purchase::{Payment, Purchase},
};

/// Stands for a request where a purchase was begun by none. Callers have other names.
const SALE_CALLER: &str = "!sale";

/// A write of a purchase by the holder of its fence.
#[derive(Clone, Debug)]
pub struct PurchaseWrite<'a> {
    /// The purchase as it is now.
    pub purchase: &'a Purchase,
    /// The fence.
    pub fence: i64,
    /// From when on another instance may go on with it. `None`: no instance has to.
    pub due: Option<DateTime<Utc>>,
    /// Whether the last payment is new.
    pub new_payment: bool,
}

/// The rows of a new purchase, for the transaction of its first change of seats. Its fence is 1. A purchase that no request has
/// begun, which is a sale at a till, is found by its own id.
#[must_use]
pub fn insert_purchase(purchase: &Purchase, key: Option<&RequestKey>, due: Option<DateTime<Utc>>) -> Vec<Companion> {
    let facts = &purchase.facts;
    let (request_id, caller, fingerprint) = match key {
        Some(key) => (key.request_id.0, key.caller.clone(), key.fingerprint.to_vec()),
        None => (facts.purchase_id.0, SALE_CALLER.to_owned(), Vec::new()),
    };
    let row = purchase::ActiveModel {
        purchase_id: Set(facts.purchase_id.0),
        number: Set(facts.number.to_string()),
        customer_id: Set(facts.customer_id.to_string()),
        showtime_id: Set(facts.showtime_id.0),
        reservation_id: Set(facts.reservation_id.0),
        currency: Set(purchase.total().currency.code().to_owned()),
        total_minor: Set(purchase.total().minor),
        create_time: Set(facts.create_time),
        request_id: Set(request_id),
        caller: Set(caller),
        fingerprint: Set(fingerprint),
        state: Set(state_name(purchase.state()).to_owned()),
        fence: Set(1),
        version: Set(1),
        due_time: Set(due),
        detail: Set(detail(purchase)),
    };
    let payments = purchase.payments().iter().enumerate();
    let payments = payments.map(|(at, payment)| payment_row(purchase, payment, at)).collect();
    vec![Companion::rows_of(NewRows::Purchases(vec![row])), Companion::rows_of(NewRows::Payments(payments))]
}

/// Money that moves together with a change of seats. `None`: none does.
#[must_use]
pub fn insert_money(
    currency: Currency,
    entries: &[(PaymentId, &str, MoneyEntry)],
    now: DateTime<Utc>,
) -> Option<Companion> {
    let rows = || Companion::rows_of(NewRows::Money(books::rows(currency, entries, now)));
    (!entries.is_empty()).then(rows)
}

/// The same for a purchase that exists.
#[must_use]
pub fn update_purchase(write: &PurchaseWrite<'_>) -> Vec<Companion> {
    let (update, payment) = statements(write);
    companions(update, payment)
}

/// The statements as rows that commit with a change of seats.
pub(super) fn companions(update: UpdateStatement, payment: Option<PaymentWrite>) -> Vec<Companion> {
    let payment = payment.map(|payment| match payment {
        PaymentWrite::Insert(insert) => Companion::insert(*insert, 1),
        PaymentWrite::Update(update) => Companion::update(*update, 1),
    });
    std::iter::once(Companion::update(update, 1)).chain(payment).collect()
}

/// A statement about the last payment of a purchase.
pub(super) enum PaymentWrite {
    Insert(Box<InsertStatement>),
    Update(Box<UpdateStatement>),
}

/// What is written of a purchase and of its last payment.
pub(super) fn statements(write: &PurchaseWrite<'_>) -> (UpdateStatement, Option<PaymentWrite>) {
    let PurchaseWrite { purchase, fence, due, new_payment } = write;
    let fenced = (!planted::has(Bug::NoFence)).then(|| purchase::Column::Fence.eq(*fence));
    let update = purchase::Entity::update_many()
        .filter(purchase::Column::PurchaseId.eq(purchase.facts.purchase_id.0))
        .filter(Condition::all().add_option(fenced))
        .col_expr(purchase::Column::TotalMinor, Expr::value(purchase.total().minor))
        .col_expr(purchase::Column::State, Expr::value(state_name(purchase.state())))
        .col_expr(purchase::Column::Version, Expr::col(purchase::Column::Version).add(1))
        .col_expr(purchase::Column::DueTime, Expr::value(*due))
        .col_expr(purchase::Column::Detail, Expr::value(detail(purchase)))
        .into_query();
    let payment = purchase.payments().iter().enumerate().next_back().map(|(at, payment)| {
        if *new_payment {
            let insert = payment::Entity::insert(payment_row(purchase, payment, at)).into_query();
            return PaymentWrite::Insert(Box::new(insert));
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

fn payment_row(purchase: &Purchase, payment: &Payment, at: usize) -> payment::ActiveModel {
    let at_till = payment.at_till.as_ref();
    payment::ActiveModel {
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
        tender: Set(at_till.map(|paid| paid.tender.clone())),
        transaction_id: Set(at_till.map(|paid| paid.transaction_id.clone())),
        till: Set(at_till.map(|paid| paid.till.clone())),
        local_date: Set(at_till.and_then(|paid| paid.local_date)),
    }
}

impl Store {
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
            if !execute_all(&tx, &update, payment).await? {
                return tx.rollback(false).await;
            }
            insert_entries(&tx, write.purchase, entries, now).await?;
            tx.commit(true).await
        })
        .await
    }
}

/// Writes a purchase, and its last payment. Returns whether the purchase is as the statement demands; if not, nothing was written.
pub(super) async fn execute_all(
    tx: &Tx,
    update: &UpdateStatement,
    payment: Option<PaymentWrite>,
) -> Result<bool, Error> {
    if execute(tx, update).await? == 0 {
        return Ok(false);
    }
    match payment {
        Some(PaymentWrite::Insert(insert)) => execute(tx, &*insert).await?,
        Some(PaymentWrite::Update(update)) => execute(tx, &*update).await?,
        None => 0,
    };
    Ok(true)
}

/// Writes money that moves with a purchase.
pub(super) async fn insert_entries(
    tx: &Tx,
    purchase: &Purchase,
    entries: &[(PaymentId, &str, MoneyEntry)],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if entries.is_empty() {
        return Ok(());
    }
    execute(tx, &books::insert_entries(purchase.total().currency, entries, now)).await?;
    Ok(())
}

async fn execute(tx: &Tx, statement: &impl StatementBuilder) -> Result<u64, Error> {
    Ok(tx.inner.execute(statement).await?.rows_affected())
}
