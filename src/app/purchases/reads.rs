//! Reads of purchases and payments.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::OwnedSemaphorePermit;

use super::{BuyersPurchase, NamedPurchase, PurchaseRef, PurchaseView, changes::Waiter};
use crate::{
    app::{
        App, Error, Origin, PageRequest, PurchaseRefusal, ReservationRef,
        pages::{read_timed, write_timed},
    },
    domain::{
        ids::{PaymentId, PurchaseId},
        receipt::Receipt,
        reservation::CustomerId,
    },
    store::{PurchaseFilter, StoredPayment, StoredPurchase},
};

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
    /// Reads a purchase, of this customer or of any.
    ///
    /// # Errors
    /// The purchase does not exist or belongs to another customer, its secret is wrong, or the store fails.
    pub async fn purchase(
        &self,
        _origin: &Origin,
        named: &NamedPurchase,
        customer_id: Option<CustomerId>,
    ) -> Result<BuyersPurchase, Error> {
        let stored = self.find_named(named, customer_id).await?;
        Ok(self.for_buyer(self.view_purchase(stored).await?))
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
        let after = self.0.pages.cursor(PURCHASES, &signed, &page.token)?.and_then(|cursor| read_timed(&cursor));
        let mut found = Box::pin(self.0.store.purchases(filter, after, limit as u64 + 1)).await?;
        let next = self.0.pages.cut((PURCHASES, &signed), &mut found, limit, |last| {
            write_timed(last.purchase.facts.create_time, last.purchase.facts.purchase_id.0)
        });
        let reservations: Vec<_> = found.iter().map(|found| found.purchase.facts.reservation_id).collect();
        let reservations = self.reservations_of(&reservations).await?.into_iter();
        let reservations: HashMap<_, _> = reservations.map(|view| (view.reservation.reservation_id, view)).collect();
        let with_reservation = |StoredPurchase { purchase, refunds, .. }: StoredPurchase| {
            let reservation = reservations.get(&purchase.facts.reservation_id)?.clone();
            Some(PurchaseView { purchase, refunds, reservation })
        };
        Ok(PurchasePage { purchases: found.into_iter().filter_map(with_reservation).collect(), next })
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
    pub async fn receipt(&self, _origin: &Origin, which: &PurchaseRef) -> Result<Receipt, Error> {
        let stored = self.find_purchase(which).await?;
        let PurchaseView { purchase, refunds, reservation } = self.view_purchase(stored).await?;
        let receipt = Receipt::of(&purchase, &refunds, &reservation.reservation, &reservation.plan);
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
        let after = self.0.pages.cursor(PAYMENTS, &signed, &page.token)?.and_then(|cursor| read_timed(&cursor));
        let mut payments = Box::pin(self.0.store.payments((customer, purchase), after, limit as u64 + 1)).await?;
        let next = self.0.pages.cut((PAYMENTS, &signed), &mut payments, limit, |last| {
            write_timed(last.payment.create_time, last.payment.payment_id.0)
        });
        Ok(PaymentPage { payments, next })
    }

    /// Reads the purchase from the store, if it exists and belongs to the customer.
    pub(super) async fn find_purchase(&self, which: &PurchaseRef) -> Result<StoredPurchase, Error> {
        let found = self.0.store.purchase(which.purchase_id).await?;
        let belongs = |found: &StoredPurchase| {
            which.customer_id.as_ref().is_none_or(|customer| found.purchase.facts.customer_id == *customer)
        };
        found.filter(belongs).ok_or_else(|| Error::no_purchase(&which.purchase_id))
    }

    /// A purchase together with its reservation as it is now.
    pub(super) async fn view_purchase(&self, stored: StoredPurchase) -> Result<PurchaseView, Error> {
        let StoredPurchase { purchase, refunds, .. } = stored;
        let named = ReservationRef { reservation_id: purchase.facts.reservation_id, customer_id: None };
        let reservation = self.reservation(&Origin::from(super::super::Caller::service()), &named).await?;
        Ok(PurchaseView { purchase, refunds, reservation })
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
