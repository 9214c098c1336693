//! What a purchase asks of the ledger. The rows of the purchase commit with the change of seats.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};

use super::{gateway::method_name, held::Held};
use crate::{
    app::{
        App, Error,
        decisions::{Accepted, Decided},
    },
    domain::{
        ids::{ReservationId, ShowtimeId},
        purchase::{Payment, Purchase},
        reservation::{Reservation, Tender},
        seating::{Command, Refusal},
    },
    ledger::Request,
    store::{Companion, MoneyEntry, insert_entries},
};

/// Why the ledger has given seats back that were sold by a purchase.
pub(super) const NOT_PAID: &str = "the purchase has failed";

impl App {
    /// Submits a command about the reservation of a purchase.
    pub(in crate::app) async fn decided(
        &self,
        request: Request,
        named: Option<ReservationId>,
    ) -> Result<Decided, Error> {
        let showtime_id = request.showtime_id;
        let reply = self.decide(request).await?.ok_or_else(|| Error::no_showtime(showtime_id))?;
        let accepted = Accepted::read(reply, named).map_err(|error| match (error, named) {
            (Error::Refused(refused), Some(id)) if *refused.why == Refusal::NoReservation => Error::no_reservation(id),
            (error, _) => error,
        })?;
        let missing = || Error::Lost("the ledger's reply has no reservation".to_owned());
        let Accepted { now, changed, reservation, .. } = accepted;
        Ok(Decided { reservation: reservation.ok_or_else(missing)?, now, changed })
    }

    /// The command by which the payment of a purchase begins, or gets another time.
    pub(super) fn pay(purchase: &Purchase, span: Duration) -> Command {
        Command::Pay {
            reservation_id: purchase.facts.reservation_id,
            customer_id: Some(purchase.facts.customer_id.clone()),
            purchase_id: purchase.facts.purchase_id,
            span,
        }
    }

    /// The command that sells the seats of a purchase.
    pub(super) fn confirm_paid(purchase: &Purchase) -> Command {
        let tender = purchase.payment().map(|payment| match &payment.at_till {
            Some(paid) => Tender { method: paid.tender.clone(), transaction_id: paid.transaction_id.clone() },
            None => Tender { method: method_name(payment.method).to_lowercase(), transaction_id: payment.key() },
        });
        Command::Confirm {
            reservation_id: purchase.facts.reservation_id,
            customer_id: None,
            tender,
            purchase_id: Some(purchase.facts.purchase_id),
            late: false,
        }
    }

    /// The command that gives up the seats of a purchase.
    pub(super) fn give_up(purchase: &Purchase) -> Command {
        let reservation_id = purchase.facts.reservation_id;
        if purchase.is_sold() {
            return Command::Release { reservation_id, seats: Vec::new(), reason: NOT_PAID.to_owned() };
        }
        Command::StopPayment { reservation_id, purchase_id: purchase.facts.purchase_id }
    }

    /// Until when a payment may be decided that begins now and may take this long: never past the close of the sale.
    pub(super) async fn pay_until(
        &self,
        showtime_id: ShowtimeId,
        span: Duration,
        now: DateTime<Utc>,
    ) -> Result<DateTime<Utc>, Error> {
        let plan = self.plan_of(showtime_id).await?;
        let delta = |span| TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX);
        let closes = plan.facts.start_time.checked_sub_signed(delta(self.0.rules.seating.closing));
        let until = now.checked_add_signed(delta(span));
        let never = DateTime::<Utc>::MIN_UTC;
        Ok(until.unwrap_or(never).min(closes.unwrap_or(never)))
    }

    /// The reservation of a purchase, as it was decided here last, or as it is stored.
    pub(super) async fn reservation_of(&self, held: &Held, now: DateTime<Utc>) -> Result<Arc<Reservation>, Error> {
        if let Some(decided) = &held.reservation {
            return Ok(Arc::clone(&decided.reservation));
        }
        let id = held.purchase.facts.reservation_id;
        let found = self.0.store.reservation(id, now).await?;
        Ok(Arc::new(found.ok_or_else(|| Error::no_reservation(id))?.reservation))
    }

    /// What the sale of a purchase adds to the books.
    pub(super) async fn entries(&self, held: &Held) -> Result<Vec<Companion>, Error> {
        let Some(payment) = held.purchase.payment() else { return Ok(Vec::new()) };
        let now = self.0.clock.now();
        let sold = self.reservation_of(held, now).await?;
        Ok(captured(payment, payment.sale_entries(sold.lines().split()), now))
    }
}

/// The rows of money that was taken.
pub(super) fn captured(payment: &Payment, entries: Vec<(&'static str, i64)>, now: DateTime<Utc>) -> Vec<Companion> {
    let entries =
        entries.into_iter().map(|(account, minor)| (payment.payment_id, "capture", MoneyEntry { account, minor }));
    insert_entries(payment.amount.currency, &entries.collect::<Vec<_>>(), now).into_iter().collect()
}
