//! The steps that instances replay, so that a change made by another instance does not need every seat to be read again.
//!
//! A row of the outbox has two parts. Field 1 has the public events. Field 2 has [`Step`], which only this service reads: one
//! for each revision. Replaying reads nothing else, so that public events can gain, lose or redact fields, and so that steps
//! can change without consumers noticing. The fields of a step are: the revision, the time of the decision, and of each change
//! the reservation's id and its seats; of a new hold also the customer's id, the prices and the expire time; of an extension, the
//! expire time; of a sale, the tender; of a cancelled showtime, the number of confirmed reservations.
//!
//! A row without steps, with steps of a later [`FORMAT`] or with steps that do not follow from what is in memory is not
//! replayed; the showtime is then read anew. That costs a query and is always right.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use prost::Message as _;

use crate::{
    domain::{
        ids::ReservationId,
        prices::Lines,
        reservation::{CustomerId, Hold, Reservation, Tender},
        seat_index::{Block, SeatIndex},
        seat_map::{Delta, Status},
        seating::{Change, Seating},
    },
    store::rows::prices::StoredLines,
};

/// The latest format that this version reads.
///
/// An addition without which a step would be misread raises it, and is written with it. Instances of the version before then read the
/// showtime anew. Format 2 has the lines of new holds, where they are not plain.
const FORMAT: u32 = 2;

/// A row of the outbox, without the public events.
#[derive(Clone, PartialEq, prost::Message)]
struct Row {
    #[prost(message, repeated, tag = "2")]
    steps: Vec<Step>,
}

/// The changes of one revision of a showtime.
#[derive(Clone, PartialEq, prost::Message)]
struct Step {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(int64, tag = "2")]
    revision: i64,
    /// When the changes were decided, in microseconds since 1970.
    #[prost(int64, tag = "3")]
    decide_time: i64,
    #[prost(message, repeated, tag = "4")]
    changes: Vec<StepChange>,
}

/// A change of one reservation, or of the showtime.
#[derive(Clone, PartialEq, prost::Message)]
struct StepChange {
    /// 16 bytes; empty if the showtime changed.
    #[prost(bytes = "vec", tag = "1")]
    reservation_id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    first_seat: u32,
    #[prost(uint32, tag = "3")]
    seat_count: u32,
    #[prost(oneof = "Kind", tags = "4, 5, 6, 7, 8, 9")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "4")]
    Held(NewHold),
    #[prost(message, tag = "5")]
    Confirmed(NewSale),
    /// The new `expire_time`, in microseconds since 1970.
    #[prost(int64, tag = "6")]
    Extended(i64),
    #[prost(message, tag = "7")]
    Cancelled(()),
    #[prost(message, tag = "8")]
    Expired(()),
    /// The number of confirmed reservations that were cancelled.
    #[prost(int32, tag = "9")]
    ShowtimeCancelled(i32),
}

#[derive(Clone, PartialEq, prost::Message)]
struct NewHold {
    #[prost(string, tag = "1")]
    customer_id: String,
    /// The total price in the minor unit of the showtime's currency.
    #[prost(int64, tag = "2")]
    total_minor: i64,
    /// When the hold lapses, in microseconds since 1970.
    #[prost(int64, tag = "3")]
    expire_time: i64,
    /// `None`: all lines are plain.
    #[prost(message, optional, tag = "4")]
    lines: Option<StoredLines>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NewSale {
    #[prost(message, optional, tag = "1")]
    tender: Option<StepTender>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StepTender {
    #[prost(string, tag = "1")]
    method: String,
    #[prost(string, tag = "2")]
    transaction_id: String,
}

/// Adds the changes of one revision to a row.
pub(super) fn add_step(row: &mut Vec<u8>, revision: i64, now: DateTime<Utc>, changes: &[Change]) {
    let changes: Vec<_> = changes.iter().map(encode).collect();
    let has_lines = |change: &StepChange| matches!(&change.kind, Some(Kind::Held(NewHold { lines: Some(_), .. })));
    let format = if changes.iter().any(has_lines) { 2 } else { 1 };
    let step = Step { format, revision, decide_time: now.timestamp_micros(), changes };
    // Repeated fields of concatenated messages are joined, so a row grows step by step.
    prost::encoding::message::encode(2, &step, row);
}

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
        let changes = step.changes.iter().map(|change| decode(seating, change, next, now));
        let Some(changes) = changes.collect::<Option<Vec<_>>>() else { return false };
        seating.apply(&changes, now);
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
            let status = match change.kind.as_ref()? {
                Kind::Held(hold) => Status::Held { until: time(hold.expire_time)? },
                Kind::Extended(expire_time) => Status::Held { until: time(*expire_time)? },
                Kind::Confirmed(_) => Status::Sold,
                Kind::Cancelled(()) | Kind::Expired(()) => Status::Free,
                Kind::ShowtimeCancelled(_) => {
                    delta.cancelled = Some(time(decide_time)?);
                    continue;
                }
            };
            delta.set(block(seat_index, &change)?, status);
        }
    }
    delta.settle();
    Some(delta)
}

/// The steps of a row. `None`: there are none, or not all of them can be read.
fn read(row: &[u8]) -> Option<Vec<Step>> {
    let Row { steps } = Row::decode(row).ok()?;
    let readable = !steps.is_empty() && steps.iter().all(|step| (1..=FORMAT).contains(&step.format));
    readable.then_some(steps)
}

fn encode(change: &Change) -> StepChange {
    let (reservation, kind) = match change {
        Change::Reserved(held) => {
            let new_hold = NewHold {
                customer_id: held.customer_id.to_string(),
                total_minor: held.lines.total(),
                expire_time: held.expire_time().timestamp_micros(),
                lines: StoredLines::of(&held.lines),
            };
            (held, Kind::Held(new_hold))
        }
        Change::Confirmed(sold) => {
            let tender = sold.sale().and_then(|sale| sale.tender.clone());
            let tender = tender.map(|Tender { method, transaction_id }| StepTender { method, transaction_id });
            (sold, Kind::Confirmed(NewSale { tender }))
        }
        Change::Extended(held) => (held, Kind::Extended(held.expire_time().timestamp_micros())),
        Change::Cancelled(ended) => (ended, Kind::Cancelled(())),
        Change::Expired(ended) => (ended, Kind::Expired(())),
        Change::ShowtimeCancelled { confirmed_count, .. } => {
            return StepChange { kind: Some(Kind::ShowtimeCancelled(*confirmed_count)), ..StepChange::default() };
        }
    };
    StepChange {
        reservation_id: reservation.reservation_id.0.as_bytes().to_vec(),
        first_seat: reservation.block.first.into(),
        seat_count: reservation.block.count.into(),
        kind: Some(kind),
    }
}

/// The change as it was decided, if it is possible on this seating.
fn decode(seating: &Seating, change: &StepChange, revision: i64, now: DateTime<Utc>) -> Option<Change> {
    let id = || Some(ReservationId(uuid::Uuid::from_slice(&change.reservation_id).ok()?));
    let live = || seating.reservation(id()?).map(|reservation| (**reservation).clone());
    Some(match change.kind.as_ref()? {
        Kind::Held(NewHold { customer_id, total_minor, expire_time, lines }) => {
            let facts = &seating.plan().facts;
            let block = block(&seating.plan().seat_index, change)?;
            let lines = match lines {
                None => Lines::plain(block.count, *total_minor),
                Some(stored) => stored.lines(block.count)?,
            };
            let hold = Hold {
                reservation_id: id()?,
                showtime_id: facts.showtime_id,
                customer_id: CustomerId::restore(customer_id),
                block,
                currency: facts.prices.currency,
                lines,
                create_time: now,
                expire_time: time(*expire_time)?,
            };
            Change::Reserved(Arc::new(Reservation::hold(hold, revision)))
        }
        Kind::Confirmed(NewSale { tender }) => {
            let tender = tender.clone();
            let tender = tender.map(|StepTender { method, transaction_id }| Tender { method, transaction_id });
            Change::Confirmed(Arc::new(live()?.confirm(tender, now, revision).ok()?))
        }
        Kind::Extended(expire_time) => {
            Change::Extended(Arc::new(live()?.extend(time(*expire_time)?, now, revision).ok()?))
        }
        // A hold comes to the same state whether its customer cancelled it or its showtime was cancelled.
        Kind::Cancelled(()) => Change::Cancelled(Arc::new(live()?.cancel_with_showtime(now, revision)?)),
        Kind::Expired(()) => Change::Expired(Arc::new(live()?.expire(now, revision)?)),
        Kind::ShowtimeCancelled(confirmed_count) => {
            Change::ShowtimeCancelled { at: now, confirmed_count: *confirmed_count }
        }
    })
}

/// The block, if the auditorium has all of its seats.
fn block(seat_index: &SeatIndex, change: &StepChange) -> Option<Block> {
    let (first, count) = (u16::try_from(change.first_seat).ok()?, u16::try_from(change.seat_count).ok()?);
    let end = first.checked_add(count)?;
    (count > 0 && end <= seat_index.seat_count()).then_some(Block { first, count })
}

fn time(micros: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
}
