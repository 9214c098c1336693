//! Tickets of sales that have none, because an instance of a release without tickets has made them.

use std::{error::Error as StdError, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::of_sale;
use crate::{
    app::{App, Error},
    background::{NextRun, Task},
    domain::{
        ids::{PurchaseId, ReservationId, TicketId},
        refund::blocked,
        reservation::{Reservation, State},
        ticket::Ticket,
    },
    store::TicketFilter,
};

/// How often such sales are looked for, and how many purchases are looked at at once.
const PERIOD: Duration = Duration::from_mins(1);
const PAGE: u64 = 500;
/// The most payments of one purchase that are read.
const MAX_PAYMENTS: u64 = 100;
/// Purchases that began within this time are looked at again, since they may have been completed meanwhile.
const AGAIN: TimeDelta = TimeDelta::hours(2);

impl App {
    /// Looks for sales that have no tickets, and makes their tickets, until the shutdown. It begins with the oldest purchase.
    pub async fn ticket_earlier_sales(self, shutdown: CancellationToken) {
        let task = Task::new("tickets of earlier sales", PERIOD).shutdown(shutdown);
        let mut after = None;
        task.run(async move || {
            let (app, from) = (self.clone(), after);
            let last = Box::pin(async move { app.ticket_some_sales(from).await }).await?;
            let (next, run) = match last {
                Some(last) => (last, NextRun::Now),
                None => (first_since(self.0.clock.now() - AGAIN), NextRun::Period),
            };
            after = Some(next);
            Ok::<_, Error>(run)
        })
        .await;
    }

    /// Makes the tickets of a page of purchases. Returns the last purchase of the page, if others follow.
    async fn ticket_some_sales(&self, after: Option<PurchaseId>) -> Result<Option<PurchaseId>, Error> {
        let page = self.0.store.sales_without_tickets(after, PAGE).await?;
        let now = self.0.clock.now();
        for purchase_id in page.unpaid {
            self.0.store.issue_paid_tickets(purchase_id).await?;
        }
        for sale in self.0.store.reservations_of(&page.reservations, now).await? {
            self.ticket_sale_or_log(&sale.reservation).await;
        }
        Ok(page.next)
    }

    /// Makes the tickets of a sale. One that gets none now does not keep the others waiting.
    pub(in crate::app) async fn ticket_sale_or_log(&self, sale: &Reservation) {
        match self.ticket_sale(sale).await {
            // Another instance was faster, or the sale has changed.
            Ok(_) => {}
            Err(error) if error.is_taken_key() => {}
            Err(error) => {
                let reservation_id = sale.reservation_id;
                tracing::error!(error = &error as &dyn StdError, %reservation_id, "a sale gets no tickets");
            }
        }
    }

    /// Makes the tickets of a sale that has none, unless it has changed since it was read. While a refund is to give up seats of it, it gets
    /// none.
    pub(in crate::app) async fn ticket_sale(&self, sale: &Reservation) -> Result<bool, Error> {
        let Some(plan) = self.0.store.plan(sale.showtime_id).await? else { return Ok(false) };
        if !matches!(sale.state(), State::Confirmed(_)) {
            return Ok(false);
        }
        // The sale was read before its tickets: an exchange in between raises its revision.
        let purchase_id = sale.purchase_id().unwrap_or(PurchaseId::at_till(sale.reservation_id));
        let of_purchase = TicketFilter { purchase_id: Some(purchase_id), ..TicketFilter::default() };
        let payments = self.0.store.payments((None, Some(purchase_id)), None, MAX_PAYMENTS).await?;
        let is_refunding = payments.iter().any(|payment| blocked(&payment.refunds).next().is_some());
        if is_refunding || !self.0.store.tickets(&of_purchase, None, 1).await?.is_empty() {
            return Ok(false);
        }
        let key = self.0.keys.signing();
        let tickets = of_sale(&plan, sale, (&self.0.clock, &key), self.0.clock.now()).into_iter();
        // Two instances make the same ids, so that one of them fails.
        let named = |ticket: Ticket| Ticket { ticket_id: id_of(sale.reservation_id, ticket.seat), ..ticket };
        Ok(self.0.store.complete_tickets(sale, &tickets.map(named).collect::<Vec<_>>()).await?)
    }
}

fn id_of(reservation_id: ReservationId, seat: u16) -> TicketId {
    TicketId(Uuid::new_v5(&reservation_id.0, &seat.to_be_bytes()))
}

/// An id before that of each purchase that begins since this time.
fn first_since(time: DateTime<Utc>) -> PurchaseId {
    let millis = u128::try_from(time.timestamp_millis()).unwrap_or_default();
    PurchaseId(Uuid::from_u128(millis << 80))
}
