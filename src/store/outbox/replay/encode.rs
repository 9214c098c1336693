//! Writes changes as steps.

use chrono::{DateTime, Utc};

use super::step::{Kind, NewHold, NewPayment, NewSale, NewSeats, Recovered, SeatList, Step, StepChange, StepTender};
use crate::{
    domain::{
        reservation::{Reservation, State, Tender},
        seat_index::Block,
        seating::Change,
    },
    store::rows::{amendment, prices::StoredLines},
};

/// Adds the changes of one revision to a row.
pub(in crate::store::outbox) fn add_step(row: &mut Vec<u8>, revision: i64, now: DateTime<Utc>, changes: &[Change]) {
    let changes: Vec<_> = changes.iter().map(encode).collect();
    let format = changes.iter().map(format_of).max().unwrap_or(1);
    let step = Step { format, revision, decide_time: now.timestamp_micros(), changes };
    // Repeated fields of concatenated messages are joined, so a row grows step by step.
    prost::encoding::message::encode(2, &step, row);
}

/// The first format that has such a change.
fn format_of(change: &StepChange) -> u32 {
    let of_seats = if change.seats.is_empty() { 1 } else { 3 };
    let of_kind = match &change.kind {
        Some(Kind::Paying(_)) => 4,
        Some(Kind::Held(NewHold { lines: Some(_), .. })) => 2,
        Some(
            Kind::Held(_)
            | Kind::Confirmed(_)
            | Kind::Extended(_)
            | Kind::Cancelled(())
            | Kind::Expired(())
            | Kind::ShowtimeCancelled(_),
        )
        | None => 1,
        Some(
            Kind::Exchanged(_)
            | Kind::Released(_)
            | Kind::Recovered(_)
            | Kind::RefundDue(())
            | Kind::Blocked(_)
            | Kind::Unblocked(_),
        ) => 3,
    };
    of_kind.max(of_seats)
}

fn encode(change: &Change) -> StepChange {
    let (reservation, kind) = match change {
        Change::Reserved(held) => (held, Kind::Held(new_hold(held))),
        Change::Paying(paying) => {
            let payment = paying.payment().map(|payment| NewPayment {
                purchase_id: payment.purchase_id.0.as_bytes().to_vec(),
                pay_until: payment.pay_until.timestamp_micros(),
            });
            (paying, Kind::Paying(payment.unwrap_or_default()))
        }
        Change::Confirmed(sold) => {
            let tender = sold.sale().and_then(|sale| sale.tender.as_ref());
            (sold, Kind::Confirmed(NewSale { tender: tender.map(step_tender) }))
        }
        Change::Recovered(sold) => {
            let recovered = Recovered {
                hold: Some(new_hold(sold)),
                first_seat: sold.first_block.first.into(),
                seat_count: sold.first_block.count.into(),
                amendment: sold.amendment().map(amendment::encode),
                create_time: sold.create_time.timestamp_micros(),
                first_expire_time: sold.first_expire_time.timestamp_micros(),
                first_revision: sold.first_revision,
                tender: sold.sale().and_then(|sale| sale.tender.as_ref()).map(step_tender),
            };
            (sold, Kind::Recovered(recovered))
        }
        Change::Extended(held) => (held, Kind::Extended(held.expire_time().timestamp_micros())),
        Change::Cancelled(ended) => (ended, Kind::Cancelled(())),
        Change::Expired(ended) => (ended, Kind::Expired(())),
        Change::Exchanged { reservation, before } => {
            let lines = StoredLines::of(reservation.lines());
            let expire_time = matches!(reservation.state(), State::Held).then(|| reservation.expire_time());
            let new_seats = NewSeats {
                before: list(before.iter().copied()),
                total_minor: if lines.is_some() { 0 } else { reservation.lines().total() },
                lines,
                expire_time: expire_time.map(|time| time.timestamp_micros()),
            };
            (reservation, Kind::Exchanged(new_seats))
        }
        Change::Released { reservation, seats, .. } => {
            (reservation, Kind::Released(SeatList { seats: list(seats.iter().copied()) }))
        }
        Change::RefundDue(ended) => (ended, Kind::RefundDue(())),
        Change::Blocked { seats, .. } => {
            return about_showtime(Kind::Blocked(SeatList { seats: list(seats.iter().copied()) }));
        }
        Change::Unblocked { seats } => {
            return about_showtime(Kind::Unblocked(SeatList { seats: list(seats.iter().copied()) }));
        }
        Change::ShowtimeCancelled { confirmed_count, .. } => {
            return about_showtime(Kind::ShowtimeCancelled(*confirmed_count));
        }
    };
    let reservation_id = reservation.reservation_id.0.as_bytes().to_vec();
    let Block { first, count } = reservation.first_block;
    if reservation.amendment().is_none() {
        let (first_seat, seat_count) = (first.into(), count.into());
        return StepChange { reservation_id, first_seat, seat_count, seats: Vec::new(), kind: Some(kind) };
    }
    StepChange { reservation_id, seats: list(reservation.seats()), kind: Some(kind), ..StepChange::default() }
}

fn about_showtime(kind: Kind) -> StepChange {
    StepChange { kind: Some(kind), ..StepChange::default() }
}

fn new_hold(held: &Reservation) -> NewHold {
    NewHold {
        customer_id: held.customer_id.to_string(),
        total_minor: held.first_lines.total(),
        expire_time: held.expire_time().timestamp_micros(),
        lines: StoredLines::of(&held.first_lines),
    }
}

fn step_tender(Tender { method, transaction_id }: &Tender) -> StepTender {
    StepTender { method: method.clone(), transaction_id: transaction_id.clone() }
}

fn list(seats: impl Iterator<Item = u16>) -> Vec<u32> {
    seats.map(u32::from).collect()
}
