//! How callers wait for a purchase, and what they get then.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::time;

use super::{PurchaseView, changes::Waiter};
use crate::{
    app::{App, Error, ReservationView},
    domain::{purchase::PurchaseState, reservation::Reservation},
    store::StoredPurchase,
};

/// How long `PurchaseTickets` and `ContinuePurchase` wait for a purchase that is running.
const WAIT: Duration = Duration::from_secs(3);

impl App {
    /// Waits until a purchase is not running any more, or for some seconds.
    pub(super) async fn settled(&self, stored: StoredPurchase) -> Result<PurchaseView, Error> {
        let id = stored.purchase.facts.purchase_id;
        let changes = self.0.purchases.changes.subscribe(id);
        let stored = Box::pin(self.0.store.purchase(id)).await?.unwrap_or(stored);
        self.settled_since(stored, changes).await
    }

    /// The same for a purchase of which every change since it was stored so has been noted.
    pub(super) async fn settled_since(
        &self,
        mut stored: StoredPurchase,
        mut changes: Waiter,
    ) -> Result<PurchaseView, Error> {
        let id = stored.purchase.facts.purchase_id;
        let deadline = time::sleep(WAIT);
        tokio::pin!(deadline);
        let mut reservation = None;
        while stored.purchase.state() == PurchaseState::Running {
            let seen = tokio::select! {
                () = &mut deadline => break,
                seen = changes.next(stored.fence) => seen,
            };
            if let Some(seen) = seen {
                (stored.purchase, reservation) = (Arc::unwrap_or_clone(seen.purchase), seen.reservation);
            } else {
                (stored, reservation) = (Box::pin(self.0.store.purchase(id)).await?.unwrap_or(stored), None);
            }
        }
        match reservation {
            Some(reservation) => self.view_decided(stored, reservation).await,
            None => self.view_purchase(stored).await,
        }
    }

    /// A purchase with its reservation as it was decided here.
    async fn view_decided(
        &self,
        StoredPurchase { purchase, refunds, .. }: StoredPurchase,
        (reservation, as_of): (Arc<Reservation>, DateTime<Utc>),
    ) -> Result<PurchaseView, Error> {
        let showtime_id = purchase.facts.showtime_id;
        let plan = self.plan_of(showtime_id).await?;
        let reservation = ReservationView { phase: reservation.phase(as_of), reservation, plan, as_of };
        Ok(PurchaseView { purchase, refunds, reservation })
    }
}
