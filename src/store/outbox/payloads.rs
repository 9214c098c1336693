//! The public events of a change.

use chrono::{DateTime, Utc};

use crate::{
    domain::{
        money::Money,
        prices::Line,
        reservation::{Reservation, Tender},
        seating::{Change, ShowtimePlan},
    },
    pb::{
        boxoffice::events::v1::{self as pb, event::Payload},
        google::r#type::Money as PbMoney,
    },
};

/// The public events of a change, in order.
pub(super) fn of(plan: &ShowtimePlan, change: &Change) -> impl Iterator<Item = Payload> {
    let (first, second) = match change {
        Change::Reserved(made) => (created(plan, made), None),
        Change::Paying(reservation) => (paying(plan, reservation), None),
        Change::Confirmed(sold) => (confirmed(plan, sold, false), None),
        Change::Recovered(sold) => (confirmed(plan, sold, true), None),
        Change::Extended(held) => {
            let extended = pb::ReservationExtended {
                reservation_id: held.reservation_id.to_string(),
                expire_time: Some(timestamp(held.expire_time())),
                seats: current(plan, held),
            };
            (Payload::ReservationExtended(extended), None)
        }
        Change::Cancelled(ended) => {
            let seats = current(plan, ended);
            let cancelled = cancelled(ended, seats.clone(), ended.remaining_total());
            (cancelled, Some(freed(ended, seats, pb::SeatsReleasedReason::Cancelled)))
        }
        Change::Expired(ended) => {
            let seats = current(plan, ended);
            let expired = pb::ReservationExpired {
                reservation_id: ended.reservation_id.to_string(),
                customer_id: ended.customer_id.to_string(),
                expire_time: Some(timestamp(ended.expire_time())),
                seats: seats.clone(),
                total_price: Some(money(ended.total())),
            };
            let freed = freed(ended, seats, pb::SeatsReleasedReason::Lapsed);
            (Payload::ReservationExpired(expired), Some(freed))
        }
        Change::Released { reservation, seats, lines, reason } => given_back(plan, reservation, (seats, lines), reason),
        Change::Exchanged { reservation, before } => (exchanged(plan, reservation, before), None),
        Change::RefundDue(ended) => {
            let due = pb::RefundDue {
                reservation_id: ended.reservation_id.to_string(),
                customer_id: ended.customer_id.to_string(),
                amount: Some(money(ended.remaining_total())),
                tender: ended.refund_due().map(|due| tender(&due.tender)),
            };
            (Payload::RefundDue(due), None)
        }
        Change::Blocked { seats, .. } => {
            (Payload::SeatsBlocked(pb::SeatsBlocked { seats: names(plan, seats.iter().copied()) }), None)
        }
        Change::Unblocked { seats } => {
            (Payload::SeatsUnblocked(pb::SeatsUnblocked { seats: names(plan, seats.iter().copied()) }), None)
        }
        Change::ShowtimeCancelled { confirmed_count, .. } => {
            let confirmed_count = *confirmed_count;
            (Payload::ShowtimeCancelled(pb::ShowtimeCancelled { confirmed_count }), None)
        }
    };
    [Some(first), second].into_iter().flatten()
}

fn created(plan: &ShowtimePlan, made: &Reservation) -> Payload {
    Payload::ReservationCreated(pb::ReservationCreated {
        reservation_id: made.reservation_id.to_string(),
        customer_id: made.customer_id.to_string(),
        seats: current(plan, made),
        total_price: Some(money(made.total())),
        expire_time: Some(timestamp(made.expire_time())),
    })
}

fn paying(plan: &ShowtimePlan, reservation: &Reservation) -> Payload {
    Payload::ReservationPaying(pb::ReservationPaying {
        reservation_id: reservation.reservation_id.to_string(),
        customer_id: reservation.customer_id.to_string(),
        purchase_id: reservation.purchase_id().map(|id| id.to_string()).unwrap_or_default(),
        seats: current(plan, reservation),
        pay_until: reservation.pay_until().map(timestamp),
    })
}

fn confirmed(plan: &ShowtimePlan, sold: &Reservation, recovered: bool) -> Payload {
    Payload::ReservationConfirmed(pb::ReservationConfirmed {
        reservation_id: sold.reservation_id.to_string(),
        customer_id: sold.customer_id.to_string(),
        seats: current(plan, sold),
        total_price: Some(money(sold.total())),
        tender: sold.sale().and_then(|sale| sale.tender.as_ref()).map(tender),
        lines: current_lines(plan, sold),
        recovered,
    })
}

fn cancelled(ended: &Reservation, seats: Vec<pb::Seat>, total: Money) -> Payload {
    Payload::ReservationCancelled(pb::ReservationCancelled {
        reservation_id: ended.reservation_id.to_string(),
        customer_id: ended.customer_id.to_string(),
        was_confirmed: ended.sale().is_some(),
        seats,
        total_price: Some(money(total)),
    })
}

fn freed(ended: &Reservation, seats: Vec<pb::Seat>, reason: pb::SeatsReleasedReason) -> Payload {
    Payload::SeatsReleased(pb::SeatsReleased {
        reservation_id: ended.reservation_id.to_string(),
        seats,
        reason: reason.into(),
        ..pb::SeatsReleased::default()
    })
}

/// Seats of a sale were given back. If they were the last ones, the sale is cancelled first.
fn given_back(
    plan: &ShowtimePlan,
    sale: &Reservation,
    (seats, of_seats): (&[u16], &[Line]),
    why: &str,
) -> (Payload, Option<Payload>) {
    let amount = Money { currency: sale.currency, minor: of_seats.iter().map(Line::total).sum() };
    let names = names(plan, seats.iter().copied());
    let released = Payload::SeatsReleased(pb::SeatsReleased {
        reservation_id: sale.reservation_id.to_string(),
        seats: names.clone(),
        reason: pb::SeatsReleasedReason::GivenBack.into(),
        note: why.to_owned(),
        lines: lines(plan, seats.iter().copied().zip(of_seats.iter().copied())),
        amount: Some(money(amount)),
        customer_id: sale.customer_id.to_string(),
    });
    if sale.is_released() { (cancelled(sale, names, amount), Some(released)) } else { (released, None) }
}

fn exchanged(plan: &ShowtimePlan, reservation: &Reservation, before: &[u16]) -> Payload {
    Payload::SeatsExchanged(pb::SeatsExchanged {
        reservation_id: reservation.reservation_id.to_string(),
        customer_id: reservation.customer_id.to_string(),
        seats: current(plan, reservation),
        previous_seats: names(plan, before.iter().copied()),
        was_confirmed: reservation.sale().is_some(),
        lines: current_lines(plan, reservation),
        total_price: Some(money(reservation.remaining_total())),
    })
}

fn tender(Tender { method, transaction_id }: &Tender) -> pb::Tender {
    pb::Tender { method: method.clone(), transaction_id: transaction_id.clone() }
}

/// The seats that were not given back.
fn current(plan: &ShowtimePlan, reservation: &Reservation) -> Vec<pb::Seat> {
    names(plan, reservation.seats())
}

fn names(plan: &ShowtimePlan, seats: impl Iterator<Item = u16>) -> Vec<pb::Seat> {
    seats.map(|seat| name(plan, seat)).collect()
}

fn name(plan: &ShowtimePlan, seat: u16) -> pb::Seat {
    let name = plan.seat_index.name(seat);
    pb::Seat { row: name.row.to_string(), number: name.number }
}

/// What each of the seats that were not given back costs.
fn current_lines(plan: &ShowtimePlan, reservation: &Reservation) -> Vec<pb::Line> {
    lines(plan, reservation.all_lines().filter(|(one, _)| !one.released).map(|(one, line)| (one.seat, line)))
}

/// What each of these seats costs.
fn lines(plan: &ShowtimePlan, lines: impl Iterator<Item = (u16, Line)>) -> Vec<pb::Line> {
    let prices = &plan.facts.prices;
    let amount = |minor| (minor != 0).then(|| money(prices.money(minor)));
    let line = |(seat, line): (u16, Line)| pb::Line {
        seat: Some(name(plan, seat)),
        ticket_type: prices.code(line.ticket_type).to_owned(),
        price: Some(money(prices.money(line.price))),
        supplement: amount(line.supplement),
        fee: amount(line.fee),
        tax: amount(line.tax),
        total: Some(money(prices.money(line.total()))),
    };
    lines.map(line).collect()
}

pub(super) fn money(money: Money) -> PbMoney {
    let (units, nanos) = money.units_and_nanos();
    PbMoney { currency_code: money.currency.code().to_owned(), units, nanos }
}

pub(super) fn timestamp(time: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.timestamp(), nanos: time.timestamp_subsec_nanos() as i32 }
}
