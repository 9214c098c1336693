//! The steps that instances replay, so that a change made by another instance does not need every seat to be read again.
//!
//! A row of the outbox has two parts. Field 1 has the public events. Field 2 has steps (`step.rs`), which only this service reads: one
//! for each revision. Replaying reads nothing else, so that public events can gain, lose or redact fields, and so that steps
//! can change without consumers noticing. The fields of a step are: the revision, the time of the decision, and of each change
//! the reservation's id and its seats; of a new hold also the customer's id, the prices and the expire time; of an extension, the
//! expire time; of a payment that began, the purchase and its time; of a sale, the tender; of a cancelled showtime, the number of confirmed reservations. Of an exchange there are the
//! seats before and the lines, of a sale that was given back or of blocked seats the seats, and of a hold that was recovered all
//! that it consists of, since other instances may not have it in memory. A refund that is due changes no seats.
//!
//! A row without steps, with steps of a later [`FORMAT`] or with steps that do not follow from what is in memory is not
//! replayed; the showtime is then read anew. That costs a query and is always right.

mod encode;
mod step;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use prost::Message as _;

use self::step::{Kind, NewHold, NewPayment, NewSale, NewSeats, Recovered, Row, Step, StepChange, StepTender};
use crate::{
    domain::{
        ids::{PurchaseId, ReservationId},
        reservation::{CustomerId, Hold, Paying, Record, Reservation, State, Tender},
        seat_index::{Block, SeatIndex},
        seat_map::{Delta, Status},
        seating::{BlockReason, Blockage, Change, Seating},
    },
    store::rows::{amendment, prices::StoredLines},
};

pub(super) use encode::add_step;

/// The latest format that this version reads.
///
/// An addition without which a step would be misread raises it, and is written with it. Instances of the version before then read the
/// showtime anew. Format 2 has the lines of new holds, where they are not plain. Format 3 has blocked seats and what becomes of a
/// sale. Format 4 has payments that began: an older instance would let their holds lapse by the clock.
const FORMAT: u32 = 4;

/// Replays the steps of a row that another instance has written.
///
/// `false`: the row cannot be replayed on this seating, which may be incomplete now and must be dropped.
pub fn replay(seating: &mut Seating, row: &[u8]) -> bool {
    let Some(steps) = read(row) else { return false };
    for step in steps {
        let next = seating.revision() + 1;
        if step.revision != next {
            return false;
        }
        let Some(now) = time(step.decide_time) else { return false };
        let about_seats = step.changes.iter().filter(|change| change.kind != Some(Kind::RefundDue(())));
        let changes = about_seats.map(|change| decode(seating, change, next, now));
        let Some(changes) = changes.collect::<Option<Vec<_>>>() else { return false };
        seating.replay(&changes, now);
        for change in step.changes.iter().filter(|change| change.kind == Some(Kind::RefundDue(()))) {
            let Ok(id) = uuid::Uuid::from_slice(&change.reservation_id) else { return false };
            seating.forget_ended(ReservationId(id));
        }
        if seating.revision() != next {
            return false;
        }
    }
    true
}

/// What a row of another instance changes in a seat map. `None`: the row cannot be replayed, and the map must be read
/// anew.
#[must_use]
pub fn delta(seat_index: &SeatIndex, row: &[u8]) -> Option<Delta> {
    let steps = read(row)?;
    let mut delta = Delta::from(steps.first()?.revision - 1);
    for Step { revision, decide_time, changes, .. } in steps {
        if revision != delta.revision + 1 {
            return None;
        }
        delta.revision = revision;
        for change in changes {
            note(&mut delta, seat_index, &change, time(decide_time)?)?;
        }
    }
    delta.settle();
    Some(delta)
}

/// Adds a change to a delta.
fn note(delta: &mut Delta, seat_index: &SeatIndex, change: &StepChange, decide_time: DateTime<Utc>) -> Option<()> {
    let status = match change.kind.as_ref()? {
        Kind::Held(hold) => Status::Held { until: time(hold.expire_time)? },
        Kind::Extended(expire_time) => Status::Held { until: time(*expire_time)? },
        Kind::Paying(payment) => Status::Paying { until: time(payment.pay_until)? },
        Kind::Confirmed(_) | Kind::Recovered(_) => Status::Sold,
        Kind::Cancelled(()) | Kind::Expired(()) => Status::Free,
        Kind::Exchanged(NewSeats { before, expire_time, .. }) => {
            delta.set(seats(seat_index, before)?.into_iter(), Status::Free);
            match expire_time {
                None => Status::Sold,
                Some(expire_time) => Status::Held { until: time(*expire_time)? },
            }
        }
        Kind::Released(list) | Kind::Unblocked(list) => {
            delta.set(seats(seat_index, &list.seats)?.into_iter(), Status::Free);
            return Some(());
        }
        Kind::Blocked(list) => {
            delta.set(seats(seat_index, &list.seats)?.into_iter(), Status::Blocked);
            return Some(());
        }
        Kind::RefundDue(()) => return Some(()),
        Kind::ShowtimeCancelled(_) => {
            delta.cancelled = Some(decide_time);
            return Some(());
        }
    };
    delta.set(seats_of(seat_index, change)?.into_iter(), status);
    Some(())
}

/// The steps of a row. `None`: there are none, or not all of them can be read.
fn read(row: &[u8]) -> Option<Vec<Step>> {
    let Row { steps } = Row::decode(row).ok()?;
    let readable = !steps.is_empty() && steps.iter().all(|step| (1..=FORMAT).contains(&step.format));
    readable.then_some(steps)
}

impl StepTender {
    fn read(&self) -> Tender {
        Tender { method: self.method.clone(), transaction_id: self.transaction_id.clone() }
    }
}

/// The change as it was decided, if it is possible on this seating.
fn decode(seating: &Seating, change: &StepChange, revision: i64, now: DateTime<Utc>) -> Option<Change> {
    let id = || Some(ReservationId(uuid::Uuid::from_slice(&change.reservation_id).ok()?));
    let live = || seating.reservation(id()?).map(|reservation| (**reservation).clone());
    let seat_index = &seating.plan().seat_index;
    Some(match change.kind.as_ref()? {
        Kind::Held(hold) => {
            let (first_seat, seat_count) = (change.first_seat, change.seat_count);
            Change::Reserved(Arc::new(hold.read(seating, id()?, (first_seat, seat_count), now, revision)?))
        }
        Kind::Confirmed(NewSale { tender }) => {
            let tender = tender.as_ref().map(StepTender::read);
            let live = live()?;
            let sold = match live.state() {
                State::Paying(_) => live.confirm_paid(tender, now, revision)?,
                _ => live.confirm(tender, now, revision).ok()?,
            };
            Change::Confirmed(Arc::new(sold))
        }
        Kind::Paying(payment) => Change::Paying(Arc::new(live()?.pay(payment.read()?, now, revision).ok()?)),
        Kind::Recovered(recovered) => Change::Recovered(Arc::new(recovered.read(seating, id()?, now, revision)?)),
        Kind::Extended(expire_time) => {
            Change::Extended(Arc::new(live()?.extend(time(*expire_time)?, now, revision).ok()?))
        }
        // A hold comes to the same state whether its customer cancelled it, its payment was given up or its showtime was cancelled.
        Kind::Cancelled(()) => Change::Cancelled(Arc::new(live()?.cancel_with_showtime(now, revision)?)),
        Kind::Expired(()) => Change::Expired(Arc::new(live()?.expire(now, revision)?)),
        Kind::Exchanged(NewSeats { before, total_minor, lines, expire_time }) => {
            let seats = seats_of(seat_index, change)?;
            let block = Block { first: *seats.first()?, count: seats.len() as u16 };
            let exchanged = if expire_time.is_some() {
                let lines = StoredLines::read(lines.as_ref(), block.count, *total_minor)?;
                live()?.exchange_held(block, lines, now, revision).ok()?
            } else {
                live()?.exchange_sold(block, revision)?
            };
            Change::Exchanged { reservation: Arc::new(exchanged), before: self::seats(seat_index, before)? }
        }
        Kind::Released(given_back) => {
            let live = live()?;
            let (seats, lines) = live.sold_lines(&seats(seat_index, &given_back.seats)?);
            let reservation = Arc::new(live.release(&seats, now, revision)?);
            Change::Released { reservation, seats, lines, reason: String::new() }
        }
        Kind::RefundDue(()) => return None,
        Kind::Blocked(list) => {
            // Why is not needed to decide.
            let blockage = Blockage { reason: BlockReason::House, note: String::new() };
            Change::Blocked { seats: seats(seat_index, &list.seats)?, blockage }
        }
        Kind::Unblocked(list) => Change::Unblocked { seats: seats(seat_index, &list.seats)? },
        Kind::ShowtimeCancelled(confirmed_count) => {
            Change::ShowtimeCancelled { at: now, confirmed_count: *confirmed_count }
        }
    })
}

impl NewPayment {
    fn read(&self) -> Option<Paying> {
        let purchase_id = PurchaseId(uuid::Uuid::from_slice(&self.purchase_id).ok()?);
        Some(Paying { purchase_id, pay_until: time(self.pay_until)? })
    }
}

impl NewHold {
    fn read(
        &self,
        seating: &Seating,
        reservation_id: ReservationId,
        seats: (u32, u32),
        create_time: DateTime<Utc>,
        revision: i64,
    ) -> Option<Reservation> {
        let facts = &seating.plan().facts;
        let block = block(&seating.plan().seat_index, seats)?;
        let hold = Hold {
            reservation_id,
            showtime_id: facts.showtime_id,
            customer_id: CustomerId::restore(&self.customer_id),
            block,
            currency: facts.prices.currency,
            lines: StoredLines::read(self.lines.as_ref(), block.count, self.total_minor)?,
            create_time,
            expire_time: time(self.expire_time)?,
        };
        Some(Reservation::hold(hold, revision))
    }
}

impl Recovered {
    fn read(&self, seating: &Seating, id: ReservationId, now: DateTime<Utc>, revision: i64) -> Option<Reservation> {
        let hold = self.hold.as_ref()?;
        let seats = (self.first_seat, self.seat_count);
        let made = hold.read(seating, id, seats, time(self.create_time)?, self.first_revision)?;
        let amendment = match &self.amendment {
            None => None,
            Some(stored) => Some(amendment::decode(stored)?),
        };
        let expired = Reservation::restore(Record {
            reservation_id: id,
            showtime_id: made.showtime_id,
            customer_id: made.customer_id,
            first_block: made.first_block,
            currency: made.currency,
            first_lines: made.first_lines,
            amendment,
            create_time: made.create_time,
            first_expire_time: time(self.first_expire_time)?,
            expire_time: time(hold.expire_time)?,
            state: State::Expired,
            payment: None,
            refund_due: None,
            first_revision: self.first_revision,
            revision,
        });
        expired.recover(self.tender.as_ref()?.read(), now, revision)
    }
}

/// The seats of a change of a reservation, if the auditorium has all of them.
fn seats_of(seat_index: &SeatIndex, change: &StepChange) -> Option<Vec<u16>> {
    if change.seats.is_empty() {
        return Some(block(seat_index, (change.first_seat, change.seat_count))?.seats().collect());
    }
    seats(seat_index, &change.seats)
}

/// These seats, if the auditorium has all of them.
fn seats(seat_index: &SeatIndex, seats: &[u32]) -> Option<Vec<u16>> {
    let seat = |seat: &u32| u16::try_from(*seat).ok().filter(|seat| *seat < seat_index.seat_count());
    seats.iter().map(seat).collect()
}

/// The block, if the auditorium has all of its seats.
fn block(seat_index: &SeatIndex, (first, count): (u32, u32)) -> Option<Block> {
    let (first, count) = (u16::try_from(first).ok()?, u16::try_from(count).ok()?);
    let end = first.checked_add(count)?;
    (count > 0 && end <= seat_index.seat_count()).then_some(Block { first, count })
}

fn time(micros: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
}
