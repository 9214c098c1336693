//! What the model does with a reservation that is being paid for.

use std::time::Duration;

use boxoffice::domain::{
    ids::PurchaseId,
    reservation::{Paying, Phase, Record, Reservation, Sale, State, Tender},
    seating::{Command, Refusal},
};
use chrono::{DateTime, Utc};

use super::{Model, must_be_held, span};

pub(super) fn pending(paying: &Paying) -> Refusal {
    Refusal::PaymentPending { purchase_id: paying.purchase_id, until: paying.pay_until }
}

/// The payment that is under way.
pub(super) fn payment(record: &Record) -> Option<Paying> {
    if let State::Paying(paying) = record.state { Some(paying) } else { None }
}

impl Model {
    pub(super) fn execute_payment(&mut self, command: &Command, now: DateTime<Utc>) -> Result<Reservation, Refusal> {
        match command {
            Command::Pay { reservation_id, customer_id, purchase_id, span } => {
                let at = self.find(*reservation_id, customer_id.as_ref())?;
                self.pay(at, *purchase_id, *span, now)
            }
            Command::StopPayment { reservation_id, purchase_id } => {
                let at = self.find(*reservation_id, None)?;
                self.stop_payment(at, *purchase_id, now)
            }
            Command::Confirm { reservation_id, customer_id, tender, purchase_id: Some(purchase_id), .. } => {
                let at = self.find(*reservation_id, customer_id.as_ref())?;
                self.confirm_paid(at, tender.as_ref(), *purchase_id, now)
            }
            other => panic!("not about a payment: {other:?}"),
        }
    }

    fn pay(
        &mut self,
        at: usize,
        purchase_id: PurchaseId,
        time: Duration,
        now: DateTime<Utc>,
    ) -> Result<Reservation, Refusal> {
        let record = &self.reservations[at];
        let paying = Paying { purchase_id, pay_until: (now + span(time)).min(self.closes()) };
        let is_of_purchase = matches!(&record.state, State::Paying(current) if current.purchase_id == purchase_id);
        if !is_of_purchase {
            must_be_held(record, now)?;
            self.must_be_on_sale(now)?;
        }
        if record.state == State::Paying(paying) {
            return Ok(Reservation::restore(record.clone()));
        }
        Ok(self.change(at, |it| it.state = State::Paying(paying)))
    }

    fn stop_payment(&mut self, at: usize, purchase_id: PurchaseId, now: DateTime<Utc>) -> Result<Reservation, Refusal> {
        let record = &self.reservations[at];
        match record.state {
            State::Paying(paying) if paying.purchase_id == purchase_id => {
                self.cancelled_by_customer.push(record.reservation_id);
                Ok(self.change(at, |it| {
                    it.state = State::Cancelled { at: now, sale: None };
                    it.payment = Some(paying);
                }))
            }
            State::Paying(other) => Err(pending(&other)),
            State::Confirmed(_) => Err(Refusal::NotHeld { phase: Phase::Confirmed }),
            _ => Ok(Reservation::restore(record.clone())),
        }
    }

    fn confirm_paid(
        &mut self,
        at: usize,
        tender: Option<&Tender>,
        purchase_id: PurchaseId,
        now: DateTime<Utc>,
    ) -> Result<Reservation, Refusal> {
        let record = &self.reservations[at];
        let ours = record.payment.is_some_and(|payment| payment.purchase_id == purchase_id);
        match &record.state {
            State::Paying(paying) if paying.purchase_id == purchase_id => {
                let payment = *paying;
                Ok(self.change(at, |it| {
                    it.state =
                        State::Confirmed(Sale { at: now, tender: tender.cloned(), purchase_id: Some(purchase_id) });
                    it.payment = Some(payment);
                }))
            }
            State::Confirmed(sale) if ours && (tender.is_none() || tender == sale.tender.as_ref()) => {
                Ok(Reservation::restore(record.clone()))
            }
            State::Confirmed(_) if ours => Err(Refusal::TenderDiffers),
            State::Cancelled { at, .. } if self.cancelled == Some(*at) => Err(Refusal::ShowtimeCancelled { at: *at }),
            _ => Err(must_be_held(record, now).err().unwrap_or(Refusal::NotPaying)),
        }
    }
}
