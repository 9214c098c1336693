//! What the model does with a reservation after it was sold or has ended, and with blocked seats.

use boxoffice::domain::{
    ids::PurchaseId,
    layout::SeatKind,
    prices::Lines,
    reservation::{Amendment, Phase, Record, RefundDue, Reservation, ReservedSeat, Sale, State, Tender},
    seat_index::{BadKind, SeatName},
    seating::Refusal,
};
use chrono::{DateTime, Utc};

use super::{Asking, Model, bad, must_be_held, prices};

/// All seats of a reservation, also those that were given back, with its lines.
fn all(record: &Record) -> (Vec<ReservedSeat>, Lines) {
    if let Some(amendment) = &record.amendment {
        return (amendment.seats.to_vec(), amendment.lines.clone());
    }
    let seats = record.first_block.seats().map(|seat| ReservedSeat { seat, released: false });
    (seats.collect(), record.first_lines.clone())
}

/// The seats that a reservation has.
pub(crate) fn seats(record: &Record) -> Vec<u16> {
    all(record).0.into_iter().filter(|one| !one.released).map(|one| one.seat).collect()
}

fn amend(record: &mut Record, seats: Vec<ReservedSeat>, lines: Lines) {
    record.amendment = Some(Amendment { seats: seats.into(), lines });
}

/// Whether all seats of a sale were given back.
fn is_released(record: &Record) -> bool {
    seats(record).is_empty()
}

impl Model {
    /// The numbers of named seats in the order of the layout.
    fn numbers(&self, names: &[SeatName]) -> Result<Vec<u16>, Refusal> {
        let mut numbers = Vec::new();
        if names.is_empty() {
            return Err(bad(BadKind::Unknown));
        }
        for name in names {
            let found = (0..self.seat_count()).find(|seat| self.name(*seat) == *name);
            numbers.push(found.ok_or(bad(BadKind::Unknown))?);
        }
        numbers.sort_unstable();
        let mut once = numbers.clone();
        once.dedup();
        if once == numbers { Ok(numbers) } else { Err(bad(BadKind::Repeated)) }
    }

    fn must_not_be_over(&self, now: DateTime<Utc>) -> Result<(), Refusal> {
        if let Some(at) = self.cancelled {
            return Err(Refusal::ShowtimeCancelled { at });
        }
        if now >= self.facts.end_time {
            return Err(Refusal::ShowtimeOver { end: self.facts.end_time });
        }
        Ok(())
    }

    pub(super) fn release(
        &mut self,
        at: usize,
        names: &[SeatName],
        now: DateTime<Utc>,
    ) -> Result<Reservation, Refusal> {
        let record = &self.reservations[at];
        if is_released(record) {
            return Err(Refusal::Released);
        }
        let own = seats(record);
        let given_back = if names.is_empty() { own.clone() } else { self.numbers(names)? };
        let phase = match record.state {
            State::Held if now < record.expire_time => Phase::Held,
            State::Held | State::Expired => Phase::Expired,
            State::Cancelled { .. } => Phase::Cancelled,
            State::Paying(_) => Phase::Paying,
            State::Confirmed(_) => Phase::Confirmed,
        };
        if phase != Phase::Confirmed {
            return Err(Refusal::NotSold { seats: given_back, phase });
        }
        let others: Vec<_> = given_back.iter().copied().filter(|seat| !own.contains(seat)).collect();
        if !others.is_empty() {
            return Err(Refusal::NotSold { seats: others, phase });
        }
        Ok(self.change(at, |it| {
            let (mut places, lines) = all(it);
            for one in &mut places {
                one.released = one.released || given_back.contains(&one.seat);
            }
            amend(it, places, lines);
            if is_released(it)
                && let State::Confirmed(sale) = &it.state
            {
                it.state = State::Cancelled { at: now, sale: Some(sale.clone()) };
            }
        }))
    }

    pub(super) fn exchange(
        &mut self,
        at: usize,
        names: &[SeatName],
        now: DateTime<Utc>,
    ) -> Result<Reservation, Refusal> {
        let record = self.reservations[at].clone();
        if is_released(&record) {
            return Err(Refusal::Released);
        }
        let is_sold = matches!(record.state, State::Confirmed(_));
        if is_sold {
            self.must_not_be_over(now)?;
        } else {
            must_be_held(&record, now)?;
            self.must_be_on_sale(now)?;
        }
        let block = self.seat_plan.block(names).map_err(bad)?;
        let own = seats(&record);
        if usize::from(block.count) != own.len() {
            return Err(bad(BadKind::SeatsDiffer));
        }
        if own == block.seats().collect::<Vec<_>>() {
            return Ok(Reservation::restore(record));
        }
        let accessible = own.iter().any(|seat| self.seat_plan.kind(*seat) == SeatKind::Accessible);
        self.named(names, &Asking { accessible, own: own.clone() }, now)?;
        let (mut places, mut lines) = all(&record);
        let mut others = block.seats();
        for one in places.iter_mut().filter(|one| !one.released) {
            one.seat = others.next().expect("as many seats");
        }
        if !is_sold {
            let types: Vec<_> = lines.iter().map(|line| usize::from(line.ticket_type)).collect();
            lines = prices::lines(&self.facts.prices, &types, block.seats().map(|seat| self.seat_plan.kind(seat)));
        }
        let exchanged = self.change(at, |it| amend(it, places, lines));
        let taken = |it: &Record| seats(it).iter().any(|seat| block.seats().contains(seat) && !own.contains(seat));
        self.record_lapses(now, |it| it.reservation_id != record.reservation_id && taken(it));
        Ok(exchanged)
    }

    pub(super) fn block(&mut self, names: &[SeatName], now: DateTime<Utc>) -> Result<(), Refusal> {
        self.must_not_be_over(now)?;
        let chosen = self.numbers(names)?;
        let taken: Vec<_> = chosen.iter().filter_map(|seat| Some((*seat, self.obstacle(*seat, now)?))).collect();
        if !taken.is_empty() {
            return Err(Refusal::Unavailable(boxoffice::domain::seating::Unavailable {
                seats: taken,
                offers: Vec::new(),
            }));
        }
        self.revision += 1;
        self.record_lapses(now, |it| seats(it).iter().any(|seat| chosen.contains(seat)));
        self.blocked.extend(chosen);
        Ok(())
    }

    pub(super) fn unblock(&mut self, names: &[SeatName], now: DateTime<Utc>) -> Result<(), Refusal> {
        self.must_not_be_over(now)?;
        let chosen = self.numbers(names)?;
        let others: Vec<_> = chosen.iter().copied().filter(|seat| !self.blocked.contains(seat)).collect();
        if !others.is_empty() {
            return Err(Refusal::NotBlocked { seats: others });
        }
        self.revision += 1;
        self.blocked.retain(|seat| !chosen.contains(seat));
        Ok(())
    }

    /// Money comes for a reservation that has ended.
    pub(super) fn confirm_late(
        &mut self,
        at: usize,
        tender: &Tender,
        now: DateTime<Utc>,
    ) -> Result<Reservation, Refusal> {
        let record = self.reservations[at].clone();
        if let Some(due) = &record.refund_due {
            return if due.tender == *tender { Ok(Reservation::restore(record)) } else { Err(Refusal::TenderDiffers) };
        }
        if let State::Cancelled { sale: Some(Sale { tender: Some(other), .. }), .. } = &record.state
            && other != tender
        {
            return Err(Refusal::TenderDiffers);
        }
        if is_released(&record) {
            return Err(Refusal::Released);
        }
        let had_lapsed = matches!(record.state, State::Held | State::Expired);
        let own = seats(&record);
        let all_free = own.iter().all(|seat| self.obstacle(*seat, now).is_none());
        let customers = self.live(now).filter(|it| it.customer_id == record.customer_id);
        let owned: usize = customers.map(|it| seats(it).len()).sum();
        let within_limit = owned + own.len() <= usize::from(self.rules.max_customer_seats);
        if had_lapsed && all_free && within_limit && self.must_be_on_sale(now).is_ok() {
            let purchase_id = Some(PurchaseId::at_till(record.reservation_id));
            let sale = Sale { at: now, tender: Some(tender.clone()), purchase_id };
            let sold = self.change(at, |it| it.state = State::Confirmed(sale));
            self.record_lapses(now, |it| seats(it).iter().any(|seat| own.contains(seat)));
            return Ok(sold);
        }
        Ok(self.change(at, |it| {
            match &mut it.state {
                State::Cancelled { sale: Some(sale), .. } => sale.tender = Some(tender.clone()),
                State::Cancelled { sale: None, .. } => {}
                State::Held | State::Expired | State::Paying(_) | State::Confirmed(_) => it.state = State::Expired,
            }
            it.refund_due = Some(RefundDue { at: now, tender: tender.clone() });
        }))
    }
}
