//! What becomes of a reservation after it was sold or has ended, from the events alone: seats are given back or exchanged, and
//! money comes too late.

use boxoffice::pb::boxoffice::{
    events::v1::{Line, RefundDue, ReservationConfirmed, SeatsExchanged, SeatsReleased},
    v1::ReservationState,
};

use super::{
    MOST_SEATS, ReplayedReservation, ReplayedShowtime, SeatName, check, event_seat_names, nanos,
    prices::{sum, without_seat},
    reservation::ReplayedRefund,
};

impl ReplayedShowtime {
    /// Seats of a sale are given back and become free. If they are the last ones, the same revision has cancelled the sale.
    pub(super) fn give_back(&mut self, released: &SeatsReleased) -> Result<(), String> {
        let (id, revision) = (&released.reservation_id, self.revision);
        let seats = event_seat_names(&released.seats);
        let before = self.reservations.get(id).ok_or_else(|| format!("{id} was never created"))?.clone();
        let reservation = self.changing(id)?;
        let all = before.all_seats.iter().map(|(seat, gone)| (seat.clone(), *gone || seats.contains(seat)));
        reservation.set_seats(all.collect());
        let of_seats = before.remaining_lines().into_iter().zip(&before.seats);
        let sold_for: Vec<&Line> = of_seats.filter(|(_, seat)| seats.contains(seat)).map(|(line, _)| line).collect();
        let was_sold = if reservation.seats.is_empty() {
            before.state == ReservationState::Cancelled && before.revision == revision
        } else {
            before.state == ReservationState::Confirmed
        };
        let right = was_sold
            && before.confirm_time.is_some()
            && !seats.is_empty()
            && before.seats.iter().filter(|seat| seats.contains(seat)).eq(&seats)
            && released.lines.iter().eq(sold_for)
            && released.amount.as_ref().map(nanos) == Some(sum(&released.lines))
            && released.customer_id == before.customer_id
            && !released.note.is_empty();
        check(right, || format!("{released:?} gives back what was not sold like this: {before:?}"))?;
        self.disclaim(id, &seats)
    }

    /// All seats of a reservation are exchanged for others. The lines of a sale stay as they are, a hold is priced anew.
    pub(super) fn exchange(&mut self, exchanged: &SeatsExchanged) -> Result<(), String> {
        let id = &exchanged.reservation_id;
        let seats = event_seat_names(&exchanged.seats);
        check(self.seats.is_block(&seats), || format!("the seats of {id} are not a block: {seats:?}"))?;
        let reservation = if exchanged.was_confirmed { self.changing(id)? } else { self.live_hold(id)? };
        let before = reservation.clone();
        let state = if exchanged.was_confirmed { ReservationState::Confirmed } else { ReservationState::Held };
        let right = before.state == state
            && seats.len() == before.seats.len()
            && event_seat_names(&exchanged.previous_seats) == before.seats
            && exchanged.customer_id == before.customer_id
            && keeps_lines(exchanged, &before);
        check(right, || format!("{exchanged:?} is not an exchange of {before:?}"))?;
        let mut others = seats.iter().cloned().peekable();
        let all = before.all_seats.iter().map(|(seat, gone)| match others.next_if(|_| !gone) {
            Some(other) => (other, false),
            None => (seat.clone(), *gone),
        });
        reservation.set_seats(all.collect());
        if exchanged.was_confirmed {
            reservation.take_lines(&exchanged.lines);
        } else {
            reservation.lines = Some(exchanged.lines.clone());
            reservation.total = exchanged.total_price.clone().unwrap_or_default();
        }
        self.disclaim(id, &before.seats)?;
        self.claim(id, &seats)?;
        if exchanged.was_confirmed {
            let total = exchanged.total_price.as_ref().map(nanos);
            return check(total == Some(sum(&exchanged.lines)), || format!("it does not add up: {exchanged:?}"));
        }
        self.check_lines(&exchanged.lines, &exchanged.seats, exchanged.total_price.as_ref())
    }

    /// The seats of a hold that has lapsed are sold after all. They must be free, and the customer may have so many.
    pub(super) fn recover(&mut self, sold: &ReservationConfirmed) -> Result<(), String> {
        let id = &sold.reservation_id;
        let reservation = self.reservations.get(id).ok_or_else(|| format!("{id} was never created"))?;
        let (seats, has) = (reservation.seats.clone(), self.customer_seats(&reservation.customer_id, self.time));
        let lapsed = reservation.state == ReservationState::Expired && reservation.refund_due.is_none();
        check(lapsed && sold.tender.is_some(), || format!("{sold:?} is late, but it was {reservation:?}"))?;
        self.claim(id, &seats)?;
        check(has + seats.len() <= MOST_SEATS, || format!("the customer of {id} had {has} seats"))
    }

    /// Money came too late for a reservation that has ended. It could not be sold any more.
    pub(super) fn owe_refund(&mut self, due: &RefundDue) -> Result<(), String> {
        let (id, time) = (&due.reservation_id, self.time);
        let known = self.reservations.get(id).ok_or_else(|| format!("{id} was never created"))?;
        check(!self.could_be_sold(known), || format!("{due:?}, although its seats were free: {known:?}"))?;
        let reservation = self.changing(id)?;
        let before = reservation.clone();
        let method = due.tender.as_ref().map_or_else(String::new, |tender| tender.method.clone());
        let amount = due.amount.clone().unwrap_or_default();
        let right = matches!(before.state, ReservationState::Expired | ReservationState::Cancelled)
            && before.refund_due.is_none()
            && !before.is_released()
            && !method.is_empty()
            && nanos(&amount) == before.remaining()
            && due.customer_id == before.customer_id
            && (before.tender_method.is_empty() || before.tender_method == method);
        if before.confirm_time.is_some() {
            reservation.tender_method.clone_from(&method);
        }
        reservation.refund_due = Some(ReplayedRefund { amount, tender_method: method, time });
        check(right, || format!("{due:?}, but it was {before:?}"))
    }

    /// Whether the seats of a hold that has lapsed can be sold to its customer now.
    fn could_be_sold(&self, reservation: &ReplayedReservation) -> bool {
        let is_free = |seat: &SeatName| {
            !self.blocked.contains_key(seat) && self.owner(seat).is_none_or(|owner| owner.has_ended(self.time))
        };
        let has = self.customer_seats(&reservation.customer_id, self.time);
        !self.cancelled
            && reservation.state == ReservationState::Expired
            && has + reservation.seats.len() <= MOST_SEATS
            && reservation.seats.iter().all(is_free)
    }
}

/// Whether the lines of a sale are as before, and those of a hold have the same ticket types, as far as these are known.
fn keeps_lines(exchanged: &SeatsExchanged, before: &ReplayedReservation) -> bool {
    let known = before.remaining_lines();
    if exchanged.was_confirmed {
        return exchanged.lines.iter().map(without_seat).eq(known.into_iter().map(without_seat));
    }
    let types = exchanged.lines.iter().map(|line| &line.ticket_type);
    before.lines.is_none() || types.eq(known.into_iter().map(|line| &line.ticket_type))
}

impl ReplayedReservation {
    /// Takes the lines of the seats that were not given back from an exchange of a sale.
    fn take_lines(&mut self, lines: &[Line]) {
        let kept = self.lines.iter_mut().flatten().zip(&self.all_seats).filter(|(_, (_, released))| !released);
        for ((line, _), new) in kept.zip(lines) {
            line.clone_from(new);
        }
    }
}
