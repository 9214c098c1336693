//! Tickets of sales that have none, because an instance of a release without tickets has made them.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::of_sale;
use crate::{
    app::{App, Error},
    background::{NextRun, Task},
    domain::{
        ids::{PurchaseId, ReservationId, TicketId},
        reservation::{Reservation, State},
        ticket::Ticket,
    },
};

/// How often such sales are looked for, and how many purchases are looked at at once.
const PERIOD: Duration = Duration::from_mins(1);
const PAGE: u64 = 500;
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
        for sale in self.0.store.reservations_of(&page.reservations, now).await? {
            match self.ticket_sale(&sale.reservation).await {
                // Another instance was faster, or the sale has changed.
                Ok(_) => {}
                Err(error) if error.is_taken_key() => {}
                Err(error) => return Err(error),
            }
        }
        for purchase_id in page.unpaid {
            self.0.store.issue_paid_tickets(purchase_id).await?;
        }
        Ok(page.next)
    }

    /// Makes the tickets of a sale that has none, unless it has changed since it was read.
    pub(in crate::app) async fn ticket_sale(&self, sale: &Reservation) -> Result<bool, Error> {
        let Some(plan) = self.0.store.plan(sale.showtime_id).await? else { return Ok(false) };
        if !matches!(sale.state(), State::Confirmed(_)) {
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
