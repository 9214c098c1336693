//! How purchases and their payments are written: in the ledger's transactions, or in one of their own. Their events are written
//! with them.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, ExprTrait as _, QueryFilter as _, QueryTrait as _, Set,
    sea_query::{Expr, UpdateStatement},
};

use super::{
    books::{MoneyEntry, insert_entries},
    entities::{payment, purchase},
    errors::Error,
    handle::Store,
    ledger::{Companion, NewRows},
    outbox::{LastRevision, PurchaseEvents},
    planted::{self, Bug},
    request_key::RequestKey,
    rows::purchase::{detail, method_name, payment_state_name, state_name},
};
use crate::domain::{
    ids::PaymentId,
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
    /// The events that lead to it.
    pub events: PurchaseEvents,
}

/// The rows of a new purchase with its events, for the transaction of its first change of seats. Its fence is 1. A purchase that no
/// request has begun, which is a sale at a till, is found by its own id.
#[must_use]
pub fn insert_purchase(
    purchase: &Purchase,
    key: Option<&RequestKey>,
    due: Option<DateTime<Utc>>,
    events: &PurchaseEvents,
) -> Vec<Companion> {
    let facts = &purchase.facts;
    let LastRevision { number, time } = events.last();
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
        event_revision: Set(number),
        event_time: Set(time),
    };
    let payments = purchase.payments().iter().enumerate();
    let payments = payments.map(|(at, payment)| payment_row(purchase, payment, at)).collect();
    let rows = [NewRows::Purchases(vec![row]), NewRows::Payments(payments)];
    rows.into_iter().chain(events.row().map(|row| NewRows::Outbox(vec![row]))).map(Companion::rows_of).collect()
}

/// The same for a purchase that exists.
#[must_use]
pub fn update_purchase(write: &PurchaseWrite<'_>) -> Vec<Companion> {
    with_payment(update(write), write)
}

/// The rows that are written of a purchase, of its last payment, and of its events. The purchase is the first one, so that nothing
/// is written with a fence that is not that of the purchase.
pub(super) fn with_payment(update: UpdateStatement, write: &PurchaseWrite<'_>) -> Vec<Companion> {
    let PurchaseWrite { purchase, new_payment, events, .. } = write;
    let mut rows = vec![Companion::update(update, 1)];
    if let Some((at, payment)) = purchase.payments().iter().enumerate().next_back() {
        rows.push(match new_payment {
            true => Companion::rows_of(NewRows::Payments(vec![payment_row(purchase, payment, at)])),
            false => Companion::update(update_payment(payment), 1),
        });
    }
    // Without the fence the key of the outbox would refuse the write, and the planted bug would be none.
    let events = events.insert().filter(|_| !planted::has(Bug::NoFence));
    rows.extend(events.map(|row| Companion::insert(row, 1)));
    rows
}

/// The statement that writes the row of a purchase.
pub(super) fn update(PurchaseWrite { purchase, fence, due, events, .. }: &PurchaseWrite<'_>) -> UpdateStatement {
    let fenced = (!planted::has(Bug::NoFence)).then(|| purchase::Column::Fence.eq(*fence));
    let mut update = purchase::Entity::update_many()
        .filter(purchase::Column::PurchaseId.eq(purchase.facts.purchase_id.0))
        .filter(Condition::all().add_option(fenced))
        .col_expr(purchase::Column::TotalMinor, Expr::value(purchase.total().minor))
        .col_expr(purchase::Column::State, Expr::value(state_name(purchase.state())))
        .col_expr(purchase::Column::Version, Expr::col(purchase::Column::Version).add(1))
        .col_expr(purchase::Column::DueTime, Expr::value(*due))
        .col_expr(purchase::Column::Detail, Expr::value(detail(purchase)));
    if !events.is_empty() {
        let LastRevision { number, time } = events.last();
        update = update
            .col_expr(purchase::Column::EventRevision, Expr::value(number))
            .col_expr(purchase::Column::EventTime, Expr::value(time));
    }
    update.into_query()
}

fn update_payment(payment: &Payment) -> UpdateStatement {
    payment::Entity::update_many()
        .filter(payment::Column::PaymentId.eq(payment.payment_id.0))
        .col_expr(payment::Column::AmountMinor, Expr::value(payment.amount.minor))
        .col_expr(payment::Column::RefundedMinor, Expr::value(payment.refunded_minor))
        .col_expr(payment::Column::State, Expr::value(payment_state_name(payment.state)))
        .col_expr(payment::Column::Token, Expr::value(payment.token.as_str()))
        .col_expr(payment::Column::DeclineCode, Expr::value(payment.decline_code.as_str()))
        .col_expr(payment::Column::ProcessTime, Expr::value(payment.process_time))
        .into_query()
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
        let mut rows = update_purchase(write);
        rows.extend(insert_entries(write.purchase.total().currency, entries, now));
        let written = self.write_rows("write_purchase", &rows).await?;
        if written && !write.events.is_empty() {
            self.events_written().send();
        }
        Ok(written)
    }
}
