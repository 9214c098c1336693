//! How purchases and their payments are written: in the ledger's transactions, or in one of their own.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sea_orm::{
    ConnectionTrait as _, StatementBuilder,
    sea_query::{InsertStatement, UpdateStatement},
};

use super::{
    books::{self, MoneyEntry},
    entities::{payment, purchase},
    errors::Error,
    handle::Store,
    ledger::Companion,
    purchase_rows::{PaymentRow, PurchaseRow, Row, insert_payment},
    request_key::RequestKey,
    row_batches::Batched,
    rows::purchase::{detail, method_name, payment_state_name, state_name},
    transactions::Tx,
};
use crate::domain::{
    ids::PaymentId,
    purchase::{Payment, Purchase},
};

/// A write of a purchase by the holder of its fence.
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
    let row = purchase::Model {
        purchase_id: facts.purchase_id.0,
        number: facts.number.to_string(),
        customer_id: facts.customer_id.to_string(),
        showtime_id: facts.showtime_id.0,
        reservation_id: facts.reservation_id.0,
        currency: purchase.total().currency.code().to_owned(),
        total_minor: purchase.total().minor,
        create_time: facts.create_time,
        request_id: key.request_id.0,
        caller: key.caller.clone(),
        fingerprint: key.fingerprint.to_vec(),
        state: state_name(purchase.state()).to_owned(),
        fence: 1,
        version: 1,
        due_time: Some(due),
        detail: detail(purchase),
    };
    let payments = purchase.payments().iter().enumerate();
    let payments = payments.map(|(at, payment)| Row::NewPayment(Arc::new(payment_row(purchase, payment, at))));
    std::iter::once(Row::NewPurchase(Arc::new(row))).chain(payments).map(Companion::row).collect()
}

/// The same for a purchase that exists.
#[must_use]
pub fn update_purchase(write: &PurchaseWrite<'_>) -> Vec<Companion> {
    let PurchaseWrite { purchase, fence, due, new_payment } = write;
    let row = Row::Purchase(Arc::new(changed(purchase, *fence, *due)));
    std::iter::once(row).chain(changed_payment(purchase, *new_payment)).map(Companion::row).collect()
}

fn changed(purchase: &Purchase, fence: i64, due_time: Option<DateTime<Utc>>) -> PurchaseRow {
    PurchaseRow {
        purchase_id: purchase.facts.purchase_id.0,
        fence,
        total_minor: purchase.total().minor,
        state: state_name(purchase.state()),
        due_time,
        detail: detail(purchase),
    }
}

/// The row of the last payment, which may be new.
fn changed_payment(purchase: &Purchase, is_new: bool) -> Option<Row> {
    let (at, payment) = purchase.payments().iter().enumerate().next_back()?;
    if is_new {
        return Some(Row::NewPayment(Arc::new(payment_row(purchase, payment, at))));
    }
    let row = PaymentRow {
        payment_id: payment.payment_id.0,
        amount_minor: payment.amount.minor,
        refunded_minor: payment.refunded_minor,
        state: payment_state_name(payment.state),
        token: payment.token.clone(),
        decline_code: payment.decline_code.clone(),
        process_time: payment.process_time,
    };
    Some(Row::Payment(Arc::new(row)))
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
    let payment = changed_payment(purchase, *new_payment).and_then(|row| match row {
        Row::NewPayment(row) => Some(PaymentWrite::Insert(Box::new(insert_payment(&row)))),
        Row::Payment(row) => Some(PaymentWrite::Update(Box::new(row.update()))),
        Row::NewPurchase(_) | Row::Purchase(_) | Row::Entries(_) => None,
    });
    (changed(purchase, *fence, *due).update(), payment)
}

fn payment_row(purchase: &Purchase, payment: &Payment, at: usize) -> payment::Model {
    payment::Model {
        payment_id: payment.payment_id.0,
        purchase_id: purchase.facts.purchase_id.0,
        ordinal: i16::try_from(at).unwrap_or(i16::MAX),
        customer_id: purchase.facts.customer_id.to_string(),
        reservation_id: purchase.facts.reservation_id.0,
        method: method_name(payment.method).to_owned(),
        currency: payment.amount.currency.code().to_owned(),
        amount_minor: payment.amount.minor,
        create_time: payment.create_time,
        refunded_minor: payment.refunded_minor,
        state: payment_state_name(payment.state).to_owned(),
        token: payment.token.clone(),
        decline_code: payment.decline_code.clone(),
        process_time: payment.process_time,
        refund_version: 0,
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
        let rows =
            update_purchase(write).into_iter().chain(books::entry_rows(write.purchase.total().currency, entries, now));
        match self.0.purchase_rows.write(rows.collect(), || self.ledger_connection()).await {
            Batched::Written => return Ok(true),
            Batched::Unknown => return Err(Error::unknown("a commit of several purchases was not answered")),
            // Alone, so that only the one suffers that is the cause.
            Batched::NotWritten => {}
        }
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
