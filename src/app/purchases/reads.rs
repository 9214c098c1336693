//! Reads of purchases and payments.

use std::sync::Arc;

use chrono::DateTime;
use uuid::Uuid;

use super::{PurchaseRef, PurchaseView, changes::Waiter};
use crate::{
    app::{App, Error, Origin, PageRequest, PurchaseRefusal, ReservationRef},
    domain::{
        ids::{PaymentId, PurchaseId},
        receipt::Receipt,
        reservation::CustomerId,
    },
    store::{PurchaseFilter, StoredPayment, StoredPurchase, TimedCursor},
};
use tokio::sync::OwnedSemaphorePermit;

const PURCHASES: &str = "purchases";
const PAYMENTS: &str = "payments";

/// A page of purchases.
pub struct PurchasePage {
    /// The purchases, the newest first.
    pub purchases: Vec<PurchaseView>,
    /// The token of the next page, empty on the last one.
    pub next: String,
}

/// A page of payments.
pub struct PaymentPage {
    /// The payments, the newest first.
    pub payments: Vec<StoredPayment>,
    /// The token of the next page, empty on the last one.
    pub next: String,
}

/// Sends a purchase whenever it has changed, until it has ended.
pub struct PurchaseWatch {
    app: App,
    which: PurchaseRef,
    waiter: Waiter,
    /// The version that was sent last.
    sent: Option<i64>,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

impl App {
    /// Reads a purchase.
    ///
    /// # Errors
    /// The purchase does not exist or belongs to another customer, or the store fails.
    pub async fn purchase(&self, _origin: &Origin, which: &PurchaseRef) -> Result<PurchaseView, Error> {
        let stored = self.find_purchase(which).await?;
        self.view_purchase(stored).await
    }

    /// Watches a purchase.
    ///
    /// # Errors
    /// The purchase does not exist or belongs to another customer, there are too many watchers, or the store fails.
    pub async fn watch_purchase(&self, _origin: &Origin, which: PurchaseRef) -> Result<PurchaseWatch, Error> {
        let permit = Arc::clone(&self.0.purchases.watchers).try_acquire_owned();
        let permit = permit.map_err(|_| Error::TooManyWatchers)?;
        self.find_purchase(&which).await?;
        let waiter = self.0.purchases.changes.subscribe(which.purchase_id);
        Ok(PurchaseWatch { app: self.clone(), which, waiter, sent: None, ended: false, _permit: permit })
    }

    /// Reads a page of purchases, the newest first.
    ///
    /// # Errors
    /// The page token is not of this list and filter, or the store fails.
    pub async fn purchases(
        &self,
        _origin: &Origin,
        filter: &PurchaseFilter,
        page: &PageRequest,
    ) -> Result<PurchasePage, Error> {
        let limit = page.limit()?;
        let showtime = filter.showtime_id.map(|id| id.to_string()).unwrap_or_default();
        let states: Vec<_> = filter.states.iter().map(|state| format!("{state:?}")).collect();
        let customer = filter.customer_id.as_ref().map_or("", CustomerId::as_str);
        let signed = [showtime.as_str(), &states.join(","), customer].join("|");
        let after = self.0.pages.cursor(PURCHASES, &signed, &page.token)?.and_then(|cursor| read_cursor(&cursor));
        let mut found = Box::pin(self.0.store.purchases(filter, after, limit as u64 + 1)).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = match found.last().map(|last| &last.purchase.facts) {
            Some(last) if more => {
                self.0.pages.token(PURCHASES, &signed, &write_cursor((last.create_time, last.purchase_id.0)))
            }
            _ => String::new(),
        };
        let mut purchases = Vec::with_capacity(found.len());
        for stored in found {
            purchases.push(self.view_purchase(stored).await?);
        }
        Ok(PurchasePage { purchases, next })
    }

    /// Reads a payment.
    ///
    /// # Errors
    /// The payment does not exist or belongs to another customer, or the store fails.
    pub async fn payment(
        &self,
        _origin: &Origin,
        id: PaymentId,
        customer: Option<&CustomerId>,
    ) -> Result<StoredPayment, Error> {
        let found = self.0.store.payment(id).await?;
        let found = found.filter(|found| customer.is_none_or(|customer| found.customer_id == *customer));
        found.ok_or_else(|| Error::no_payment(id))
    }

    /// Writes the receipt of a purchase.
    ///
    /// # Errors
    /// The purchase does not exist or belongs to another customer, it is not completed, or the store fails.
    pub async fn receipt(&self, origin: &Origin, which: &PurchaseRef) -> Result<Receipt, Error> {
        let PurchaseView { purchase, reservation, .. } = self.purchase(origin, which).await?;
        let receipt = Receipt::of(&purchase, &reservation.reservation, &reservation.plan);
        receipt.ok_or(Error::Purchase(PurchaseRefusal::NotCompleted))
    }

    /// Reads a page of payments, the newest first.
    ///
    /// # Errors
    /// The page token is not of this list and filter, or the store fails.
    pub async fn payments(
        &self,
        _origin: &Origin,
        (customer, purchase): (Option<&CustomerId>, Option<PurchaseId>),
        page: &PageRequest,
    ) -> Result<PaymentPage, Error> {
        let limit = page.limit()?;
        let of_purchase = purchase.map(|id| id.to_string()).unwrap_or_default();
        let signed = [of_purchase.as_str(), customer.map_or("", CustomerId::as_str)].join("|");
        let after = self.0.pages.cursor(PAYMENTS, &signed, &page.token)?.and_then(|cursor| read_cursor(&cursor));
        let mut payments = Box::pin(self.0.store.payments((customer, purchase), after, limit as u64 + 1)).await?;
        let more = payments.len() > limit;
        payments.truncate(limit);
        let next = match payments.last().map(|last| &last.payment) {
            Some(last) if more => {
                self.0.pages.token(PAYMENTS, &signed, &write_cursor((last.create_time, last.payment_id.0)))
            }
            _ => String::new(),
        };
        Ok(PaymentPage { payments, next })
    }

    /// Reads the purchase from the store, if it exists and belongs to the customer.
    pub(super) async fn find_purchase(&self, which: &PurchaseRef) -> Result<StoredPurchase, Error> {
        let found = self.0.store.purchase(which.purchase_id).await?;
        let belongs = |found: &StoredPurchase| {
            which.customer_id.as_ref().is_none_or(|customer| found.purchase.facts.customer_id == *customer)
        };
        found.filter(belongs).ok_or_else(|| Error::no_purchase(which.purchase_id))
    }

    /// A purchase together with its reservation as it is now.
    pub(super) async fn view_purchase(&self, stored: StoredPurchase) -> Result<PurchaseView, Error> {
        let StoredPurchase { purchase, refunds, version, .. } = stored;
        let named = ReservationRef { reservation_id: purchase.facts.reservation_id, customer_id: None };
        let reservation = self.reservation(&Origin::from(super::super::Caller::service()), &named).await?;
        Ok(PurchaseView { purchase, refunds, version, reservation })
    }
}

impl PurchaseWatch {
    /// The purchase when it has changed. `None`: it has ended, and was sent as it is then.
    ///
    /// # Errors
    /// The store fails.
    pub async fn next(&mut self) -> Result<Option<PurchaseView>, Error> {
        while !self.ended {
            let stored = self.app.find_purchase(&self.which).await?;
            if self.sent != Some(stored.version) {
                (self.sent, self.ended) = (Some(stored.version), stored.purchase.has_ended());
                return self.app.view_purchase(stored).await.map(Some);
            }
            self.waiter.changed().await;
        }
        Ok(None)
    }
}

fn write_cursor((time, id): TimedCursor) -> Vec<u8> {
    let mut cursor = time.timestamp_micros().to_be_bytes().to_vec();
    cursor.extend_from_slice(id.as_bytes());
    cursor
}

fn read_cursor(cursor: &[u8]) -> Option<TimedCursor> {
    let (time, id) = cursor.split_at_checked(8)?;
    let time = DateTime::from_timestamp_micros(i64::from_be_bytes(time.try_into().ok()?))?;
    Some((time, Uuid::from_slice(id).ok()?))
}
