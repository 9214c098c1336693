//! Payments of reservations that are under way: how they begin, succeed and are given up.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};

use super::{Change, Decision, Refusal, Rules, Seating};
use crate::domain::{
    ids::PurchaseId,
    reservation::{Paying, Phase, Reservation, State, Tender},
    showtime,
};

impl Seating {
    /// Begins the payment of a hold. A payment that is under way for the same purchase is given another time, also when the one that
    /// it had is over: its seats were kept all along.
    pub(super) fn pay(
        &self,
        reservation: &Arc<Reservation>,
        purchase_id: PurchaseId,
        span: Duration,
        rules: &Rules,
        now: DateTime<Utc>,
    ) -> Result<Decision, Refusal> {
        let paying = Paying { purchase_id, pay_until: self.lapse(now, span, rules) };
        match reservation.state() {
            State::Paying(current) if *current == paying => return Ok(Decision::unchanged(reservation)),
            State::Paying(current) if current.purchase_id == purchase_id => {}
            _ => {
                reservation.check_held(now)?;
                self.check_on_sale(rules, now)?;
            }
        }
        let paid = (**reservation).clone().pay(paying, now, self.revision + 1)?;
        Ok(Decision::changed(paid, Change::Paying))
    }

    /// Gives up the payment of a purchase. Nothing is changed if it is not under way: it has not begun or the reservation has ended.
    pub(super) fn stop_payment(
        &self,
        reservation: &Arc<Reservation>,
        purchase_id: PurchaseId,
        now: DateTime<Utc>,
    ) -> Result<Decision, Refusal> {
        match reservation.state() {
            // The seats of a purchase that is given up are free. To become a hold again would be of no use: its time may be over.
            State::Paying(current) if current.purchase_id == purchase_id => {
                let revision = self.revision + 1;
                let ended = (**reservation).clone().stop_payment(now, revision).ok_or(Refusal::NotPaying)?;
                Ok(Decision::changed(ended, Change::Cancelled))
            }
            State::Paying(Paying { purchase_id, pay_until }) => {
                Err(Refusal::PaymentPending { purchase_id: *purchase_id, until: *pay_until })
            }
            State::Confirmed(_) => Err(Refusal::NotHeld { phase: Phase::Confirmed }),
            State::Held | State::Cancelled { .. } | State::Expired => Ok(Decision::unchanged(reservation)),
        }
    }

    /// Sells the seats that a purchase has paid for. Neither the end of the payment's time nor the close of the sale prevents it: the
    /// seats were promised when the payment began.
    pub(super) fn confirm_paid(
        &self,
        reservation: &Arc<Reservation>,
        tender: Option<&Tender>,
        purchase_id: PurchaseId,
        now: DateTime<Utc>,
    ) -> Result<Decision, Refusal> {
        let is_of_purchase = reservation.payment().is_some_and(|payment| payment.purchase_id == purchase_id);
        match reservation.state() {
            State::Paying(_) if is_of_purchase => {
                let sold = (**reservation).clone().confirm_paid(tender.cloned(), now, self.revision + 1);
                Ok(Decision::changed(sold.ok_or(Refusal::NotPaying)?, Change::Confirmed))
            }
            State::Confirmed(sale) if is_of_purchase => Self::confirmed_before(reservation, sale, tender),
            State::Cancelled { at, .. } if self.state == (showtime::State::Cancelled { at: *at }) => {
                Err(Refusal::ShowtimeCancelled { at: *at })
            }
            _ => {
                reservation.check_held(now)?;
                Err(Refusal::NotPaying)
            }
        }
    }
}
