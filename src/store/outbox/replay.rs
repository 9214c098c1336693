//! Events read back: how an instance follows what others did, without reading every seat again.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use prost::Message as _;

use crate::{
    domain::{
        ids::ReservationId,
        money::{Currency, Money},
        reservation::{CustomerId, Hold, Reservation, Tender},
        seat_index::{Block, RowLabel, SeatIndex, SeatName},
        seat_map::{Delta, Status},
        seating::{Change, Seating},
    },
    pb::{
        boxoffice::events::v1::{self as pb, event::Payload},
        google::r#type::Money as PbMoney,
    },
};

/// Makes the changes that these events tell of. `false` says that they do not follow on what is known, and that it is to be
/// forgotten.
pub fn catch_up(seating: &mut Seating, events: &[u8]) -> bool {
    let Ok(pb::Events { events }) = pb::Events::decode(events) else { return false };
    // An event of a revision follows the others of it; a revision follows the one before.
    for step in events.chunk_by(|one, next| one.revision == next.revision) {
        let next = seating.revision() + 1;
        let Some(now) = step.first().filter(|first| first.revision == next).and_then(|first| time(first.time)) else {
            return false;
        };
        let mut changes = Vec::with_capacity(step.len());
        for event in step {
            match event.payload.as_ref().map(|payload| change(seating, payload, event.revision, now)) {
                Some(Some(Told::Change(change))) => changes.push(change),
                Some(Some(Told::Besides)) => {}
                Some(None) | None => return false,
            }
        }
        seating.apply(&changes, now);
        if seating.revision() != next {
            return false;
        }
    }
    true
}

/// What these events of one commit change of a seat map. `None`: it is not to be seen from them, and the map is to be read
/// anew.
#[must_use]
pub fn delta(seat_index: &SeatIndex, events: &[u8]) -> Option<Delta> {
    let pb::Events { events } = pb::Events::decode(events).ok()?;
    let mut delta = Delta::from(events.first()?.revision - 1);
    for event in &events {
        if !(delta.revision..=delta.revision + 1).contains(&event.revision) {
            return None;
        }
        delta.revision = event.revision;
        match event.payload.as_ref()? {
            Payload::ReservationCreated(made) => {
                delta.set(block(seat_index, &made.seats)?, Status::Held { until: time(made.expire_time)? });
            }
            Payload::ReservationExtended(held) => {
                delta.set(block(seat_index, &held.seats)?, Status::Held { until: time(held.expire_time)? });
            }
            Payload::ReservationConfirmed(sold) => delta.set(block(seat_index, &sold.seats)?, Status::Sold),
            Payload::SeatsReleased(gone) => delta.set(block(seat_index, &gone.seats)?, Status::Free),
            Payload::ShowtimeCancelled(_) => delta.cancelled = Some(time(event.time)?),
            // Their seats are released beside them.
            Payload::ReservationCancelled(_) | Payload::ReservationExpired(_) => {}
            Payload::ShowtimeCreated(_) => return None,
        }
    }
    delta.settle();
    Some(delta)
}

enum Told {
    Change(Change),
    /// It goes with another event.
    Besides,
}

fn change(seating: &Seating, payload: &Payload, revision: i64, now: DateTime<Utc>) -> Option<Told> {
    let known = |id: &str| seating.reservation(id_of(id)?).map(|known| (**known).clone());
    Some(Told::Change(match payload {
        Payload::ReservationCreated(made) => Change::Reserved(Arc::new(created(seating, made, revision, now)?)),
        Payload::ReservationConfirmed(sold) => {
            let tender = sold
                .tender
                .as_ref()
                .map(|tender| Tender { method: tender.method.clone(), transaction_id: tender.transaction_id.clone() });
            Change::Confirmed(Arc::new(known(&sold.reservation_id)?.confirm(tender, now, revision).ok()?))
        }
        Payload::ReservationExtended(held) => {
            let expire_time = time(held.expire_time)?;
            Change::Extended(Arc::new(known(&held.reservation_id)?.extend(expire_time, now, revision).ok()?))
        }
        // By its customer, or with its showtime: it comes to the same.
        Payload::ReservationCancelled(gone) => {
            Change::Cancelled(Arc::new(known(&gone.reservation_id)?.cancel_with_showtime(now, revision)?))
        }
        Payload::ReservationExpired(gone) => {
            Change::Expired(Arc::new(known(&gone.reservation_id)?.expire(now, revision)?))
        }
        Payload::ShowtimeCancelled(cancelled) => {
            Change::ShowtimeCancelled { at: now, confirmed_count: cancelled.confirmed_count }
        }
        Payload::SeatsReleased(_) => return Some(Told::Besides),
        Payload::ShowtimeCreated(_) => return None,
    }))
}

fn created(seating: &Seating, made: &pb::ReservationCreated, revision: i64, now: DateTime<Utc>) -> Option<Reservation> {
    let hold = Hold {
        reservation_id: id_of(&made.reservation_id)?,
        showtime_id: seating.plan().facts.showtime_id,
        customer_id: CustomerId::parse(&made.customer_id).ok()?,
        block: block(&seating.plan().seat_index, &made.seats)?,
        total: money(made.total_price.as_ref()?)?,
        create_time: now,
        expire_time: time(made.expire_time)?,
    };
    Some(Reservation::hold(hold, revision))
}

fn block(seat_index: &SeatIndex, seats: &[pb::Seat]) -> Option<Block> {
    let name = |seat: &pb::Seat| Some(SeatName { row: RowLabel::parse(&seat.row).ok()?, number: seat.number });
    let names = seats.iter().map(name).collect::<Option<Vec<_>>>()?;
    seat_index.block(&names, u16::MAX).ok()
}

fn id_of(text: &str) -> Option<ReservationId> {
    ReservationId::parse(text).ok()
}

fn money(money: &PbMoney) -> Option<Money> {
    let currency = Currency::parse(&money.currency_code)?;
    let per_unit = currency.minor_per_unit();
    Some(Money { currency, minor: money.units * per_unit + i64::from(money.nanos) * per_unit / 1_000_000_000 })
}

fn time(time: Option<prost_types::Timestamp>) -> Option<DateTime<Utc>> {
    let prost_types::Timestamp { seconds, nanos } = time?;
    DateTime::from_timestamp(seconds, nanos.unsigned_abs())
}
