//! How purchases and their payments are written: in the ledger's transactions, or in one of their own. Their events are written
//! with them.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{
    entities::{payment, purchase},
    errors::Error,
    handle::Store,
    ledger::Companion,
    outbox::{LastRevision, PurchaseEvents},
    planted::{self, Bug},
    purchase_rows::{PaymentRow, PurchaseRow, Row},
    request_key::RequestKey,
    row_batches::Batched,
    rows::purchase::{detail, method_name, payment_state_name, state_name},
};
use crate::domain::purchase::{Payment, Purchase, PurchaseState};

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
    let row = purchase::Model {
        purchase_id: facts.purchase_id.0,
        number: facts.number.as_str().to_owned(),
        customer_id: facts.customer_id.to_string(),
        showtime_id: facts.showtime_id.0,
        reservation_id: facts.reservation_id.0,
        currency: purchase.total().currency.code().to_owned(),
        total_minor: purchase.total().minor,
        create_time: facts.create_time,
        request_id,
        caller,
        fingerprint,
        state: state_name(purchase.state()).to_owned(),
        fence: 1,
        version: 1,
        due_time: due,
        detail: detail(purchase),
        event_revision: number,
        event_time: time,
    };
    let payments = purchase.payments().iter().enumerate();
    let payments = payments.map(|(at, payment)| Row::NewPayment(Arc::new(payment_row(purchase, payment, at))));
    let rows = std::iter::once(Row::NewPurchase(Arc::new(row))).chain(payments).chain(events.row().map(Row::Events));
    rows.map(Companion::row).collect()
}

/// The same for a purchase that exists.
#[must_use]
pub fn update_purchase(write: &PurchaseWrite<'_>) -> Vec<Companion> {
    let row = changed(write);
    with_payment(Companion::row(Row::Purchase(Arc::new(row))), write)
}

/// What is written of a purchase.
pub(super) fn changed(PurchaseWrite { purchase, fence, due, events, .. }: &PurchaseWrite<'_>) -> PurchaseRow {
    PurchaseRow {
        purchase_id: purchase.facts.purchase_id.0,
        fence: *fence,
        total_minor: purchase.total().minor,
        state: state_name(purchase.state()),
        due_time: *due,
        detail: detail(purchase),
        last_events: (!events.is_empty()).then(|| events.last()),
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

/// The rows that are written of a purchase, of its last payment, and of its events. The purchase is the first one, so that nothing
/// is written with a fence that is not that of the purchase.
pub(super) fn with_payment(row: Companion, write: &PurchaseWrite<'_>) -> Vec<Companion> {
    let PurchaseWrite { purchase, new_payment, events, .. } = write;
    // Without the fence the key of the outbox would refuse the write, and the planted bug would be none.
    let events = events.row().filter(|_| !planted::has(Bug::NoFence)).map(Row::Events);
    let paid = (purchase.state() == PurchaseState::Completed).then_some(Row::TicketsPaid(purchase.facts.purchase_id.0));
    let others = changed_payment(purchase, *new_payment).into_iter().chain(events).chain(paid).map(Companion::row);
    std::iter::once(row).chain(others).collect()
}

fn payment_row(purchase: &Purchase, payment: &Payment, at: usize) -> payment::Model {
    let at_till = payment.at_till.as_ref();
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
        tender: at_till.map(|paid| paid.tender.clone()),
        transaction_id: at_till.map(|paid| paid.transaction_id.clone()),
        till: at_till.map(|paid| paid.till.clone()),
        local_date: at_till.and_then(|paid| paid.local_date),
    }
}

impl Store {
    /// Writes a purchase, and the rows beside it. Returns whether the fence is still that of the purchase; if not, nothing
    /// was written.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn write_purchase(&self, write: &PurchaseWrite<'_>, beside: Vec<Companion>) -> Result<bool, Error> {
        let mut rows = update_purchase(write);
        rows.extend(beside);
        let written = match self.0.purchase_rows.write(rows.clone(), || self.ledger_connection()).await {
            Batched::Written => true,
            Batched::Unknown => return Err(Error::unknown("a commit of several purchases was not answered")),
            // Alone, so that only the one suffers that is the cause.
            Batched::NotWritten => self.write_rows("write_purchase", &rows).await?,
        };
        if written && !write.events.is_empty() {
            self.events_written().send();
        }
        Ok(written)
    }
}
