//! What becomes of a reservation after it was sold or has ended: seats are given back or exchanged, and money comes too late.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Change, Decision, Refusal, Rules, Seating};
use crate::domain::{
    reservation::{Phase, Reservation, State, Tender},
    seat_index::{BadChoice, SeatName},
};

impl Seating {
    pub(super) fn release(
        &self,
        reservation: &Arc<Reservation>,
        names: &[SeatName],
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<Decision, Refusal> {
        if reservation.is_released() {
            return Err(Refusal::Released);
        }
        let seats = if names.is_empty() {
            reservation.seats().collect()
        } else {
            self.plan.seat_index.numbers(names).map_err(Refusal::BadChoice)?
        };
        let phase = reservation.phase(now);
        if phase != Phase::Confirmed {
            return Err(Refusal::NotSold { seats, phase });
        }
        let others: Vec<_> =
            seats.iter().copied().filter(|seat| !reservation.seats().any(|own| own == *seat)).collect();
        if !others.is_empty() {
            return Err(Refusal::NotSold { seats: others, phase });
        }
        let (seats, lines) = reservation.sold_lines(&seats);
        let rest = (**reservation).clone().release(&seats, now, self.revision + 1).ok_or(Refusal::NoReservation)?;
        let reason = reason.to_owned();
        Ok(Decision::changed(rest, |reservation| Change::Released { reservation, seats, lines, reason }))
    }

    /// Exchanges all seats of a reservation for others in one decision: its own seats are free for it.
    pub(super) fn exchange(
        &self,
        reservation: &Arc<Reservation>,
        names: &[SeatName],
        rules: &Rules,
        now: DateTime<Utc>,
    ) -> Result<Decision, Refusal> {
        if reservation.is_released() {
            return Err(Refusal::Released);
        }
        if let State::Confirmed(_) = reservation.state() {
            self.check_not_over(now)?;
        } else {
            reservation.check_held(now)?;
            self.check_on_sale(rules, now)?;
        }
        let (has, seat_index) = (reservation.seat_count(), &self.plan.seat_index);
        let block = seat_index.block(names, u16::MAX).map_err(Refusal::BadChoice)?;
        if block.count != has {
            return Err(Refusal::BadChoice(BadChoice::differ(has, block.count)));
        }
        if reservation.seats().eq(block.seats()) {
            return Ok(Decision::unchanged(reservation));
        }
        let before: Vec<_> = reservation.seats().collect();
        self.check_free(block, &before, self.access_like(reservation, rules, now), rules, now)?;
        let (current, revision) = ((**reservation).clone(), self.revision + 1);
        let exchanged = match reservation.state() {
            State::Held => {
                let lines = self.plan.facts.prices.lines_like(reservation.lines(), seat_index.kinds(block));
                current.exchange_held(block, lines, now, revision)?
            }
            _ => current.exchange_sold(block, revision).ok_or(Refusal::NoReservation)?,
        };
        let others = block.seats().filter(|seat| !before.contains(seat));
        let changes = self.lapsed_in(others, now);
        Ok(Decision::also(changes, exchanged, |reservation| Change::Exchanged { reservation, before }))
    }

    /// Money was taken for a reservation that has ended. If its hold had lapsed and its seats can still be had, they are sold after
    /// all; if not, the money is to be given back.
    pub(super) fn confirm_late(
        &self,
        reservation: &Arc<Reservation>,
        tender: &Tender,
        rules: &Rules,
        now: DateTime<Utc>,
    ) -> Result<Decision, Refusal> {
        let taken = reservation.refund_due().map(|due| &due.tender);
        if let Some(taken) = taken.or(reservation.sale().and_then(|sale| sale.tender.as_ref())) {
            if taken != tender {
                return Err(Refusal::TenderDiffers);
            }
            if reservation.refund_due().is_some() {
                return Ok(Decision::unchanged(reservation));
            }
        }
        if reservation.is_released() {
            return Err(Refusal::Released);
        }
        let revision = self.revision + 1;
        let expired = (**reservation).clone().expire(now, revision);
        let ended = expired.clone().unwrap_or_else(|| (**reservation).clone());
        if self.can_recover(reservation, rules, now)
            && let Some(sold) = ended.clone().recover(tender.clone(), now, revision)
        {
            // If its lapse was not recorded before, it is the hold that has these seats.
            return Ok(Decision::also(self.lapsed_in(reservation.seats(), now), sold, Change::Recovered));
        }
        let changes = expired.map(|expired| Change::Expired(Arc::new(expired)));
        let owed = ended.owe_refund(tender.clone(), now, revision).ok_or(Refusal::NoReservation)?;
        Ok(Decision::also(changes.into_iter().collect(), owed, Change::RefundDue))
    }

    /// Whether the seats of a hold that has lapsed can still be sold to its customer. Whether they leave an orphan was asked when
    /// they were chosen.
    fn can_recover(&self, reservation: &Reservation, rules: &Rules, now: DateTime<Utc>) -> bool {
        let (has, _) = self.customer_seats(&reservation.customer_id, now);
        reservation.phase(now) == Phase::Expired
            && self.check_on_sale(rules, now).is_ok()
            && has + reservation.seat_count() <= rules.max_customer_seats
            && reservation.seats().all(|seat| self.is_free(seat, now))
    }
}
