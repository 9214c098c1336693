//! Rows of the outbox: the public events of a commit, written in the transaction of the changes that they describe.
//!
//! Events are encoded here in their public form, `boxoffice.events.v1`, so that whatever delivers them needs no knowledge
//! of seats. The service reads them back only to deliver them: a row has a second part, the steps that other instances replay (see
//! `replay.rs`).

mod replay;

use chrono::{DateTime, Utc};
use sea_orm::{EntityTrait as _, NotSet, Set};

use super::{entities::outbox, errors::Error, transactions::Tx};
use crate::{
    domain::{
        ids::ShowtimeId,
        money::Money,
        prices::Line,
        reservation::{Reservation, Tender},
        seat_index::{Block, SeatIndex},
        seating::{Change, ShowtimePlan},
        showtime::Showtime,
    },
    pb::{
        boxoffice::events::v1::{self as pb, event::Payload},
        google::r#type::Money as PbMoney,
    },
    telemetry::trace_parent::TraceParent,
};

pub use replay::{delta, replay};

/// Adds the changes of one revision of a showtime to the row of its commit. Returns the number of public events.
pub fn add_changes(
    row: &mut Vec<u8>,
    plan: &ShowtimePlan,
    revision: i64,
    now: DateTime<Utc>,
    trace: Option<TraceParent>,
    changes: &[Change],
) -> i32 {
    replay::add_step(row, revision, now, changes);
    let mut events = PublicEvents {
        row,
        showtime_id: plan.facts.showtime_id,
        revision,
        now,
        traceparent: trace.map(|trace| trace.to_string()).unwrap_or_default(),
        ordinal: 0,
    };
    let seat_index = plan.seat_index.as_ref();
    for change in changes {
        match change {
            Change::Reserved(made) => events.add(Payload::ReservationCreated(pb::ReservationCreated {
                reservation_id: made.reservation_id.to_string(),
                customer_id: made.customer_id.to_string(),
                seats: seats(seat_index, made.block),
                total_price: Some(money(made.total())),
                expire_time: Some(timestamp(made.expire_time())),
            })),
            Change::Confirmed(sold) => events.add(Payload::ReservationConfirmed(pb::ReservationConfirmed {
                reservation_id: sold.reservation_id.to_string(),
                customer_id: sold.customer_id.to_string(),
                seats: seats(seat_index, sold.block),
                total_price: Some(money(sold.total())),
                tender: tender(sold),
                lines: lines(plan, sold),
            })),
            Change::Extended(held) => events.add(Payload::ReservationExtended(pb::ReservationExtended {
                reservation_id: held.reservation_id.to_string(),
                expire_time: Some(timestamp(held.expire_time())),
                seats: seats(seat_index, held.block),
            })),
            Change::Cancelled(ended) => {
                events.add(Payload::ReservationCancelled(pb::ReservationCancelled {
                    reservation_id: ended.reservation_id.to_string(),
                    customer_id: ended.customer_id.to_string(),
                    was_confirmed: ended.sale().is_some(),
                    seats: seats(seat_index, ended.block),
                    total_price: Some(money(ended.total())),
                }));
                events.add(released(seat_index, ended, pb::SeatsReleasedReason::Cancelled));
            }
            Change::Expired(ended) => {
                events.add(Payload::ReservationExpired(pb::ReservationExpired {
                    reservation_id: ended.reservation_id.to_string(),
                    customer_id: ended.customer_id.to_string(),
                    expire_time: Some(timestamp(ended.expire_time())),
                    seats: seats(seat_index, ended.block),
                    total_price: Some(money(ended.total())),
                }));
                events.add(released(seat_index, ended, pb::SeatsReleasedReason::Lapsed));
            }
            Change::ShowtimeCancelled { confirmed_count, .. } => {
                let confirmed_count = *confirmed_count;
                events.add(Payload::ShowtimeCancelled(pb::ShowtimeCancelled { confirmed_count }));
            }
        }
    }
    events.ordinal
}

/// Writes the row of a new showtime, in the transaction that schedules it.
pub(super) async fn showtime_created(tx: &Tx, showtime: &Showtime, trace: Option<TraceParent>) -> Result<(), Error> {
    let (facts, standing) = (&showtime.facts, showtime.standing);
    let mut row = Vec::new();
    let mut events = PublicEvents {
        row: &mut row,
        showtime_id: facts.showtime_id,
        revision: standing.revision,
        now: facts.create_time,
        traceparent: trace.map(|trace| trace.to_string()).unwrap_or_default(),
        ordinal: 0,
    };
    events.add(Payload::ShowtimeCreated(pb::ShowtimeCreated {
        auditorium_id: facts.auditorium.auditorium_id.to_string(),
        movie_id: facts.movie.value.movie_id.to_string(),
        movie_title: facts.movie.value.title.clone(),
        start_time: Some(timestamp(facts.start_time)),
        end_time: Some(timestamp(facts.end_time)),
        price: Some(money(facts.prices.price())),
        seat_count: facts.auditorium.seat_count,
        cinema: facts.auditorium.cinema.clone(),
        time_zone: facts.auditorium.time_zone.name().to_owned(),
        local_date: facts.local_date.to_string(),
        auditorium_name: facts.auditorium.name.clone(),
    }));
    let event_count = events.ordinal;
    let insert = outbox::Entity::insert(outbox::ActiveModel {
        aggregate: Set(facts.showtime_id.0),
        seq: Set(standing.revision),
        last_seq: Set(standing.revision),
        events: Set(row),
        create_time: Set(facts.create_time),
        publish_time: NotSet,
        attempts: NotSet,
        event_count: Set(event_count),
    });
    insert.exec_without_returning(&tx.inner).await?;
    Ok(())
}

/// The public events of one revision.
struct PublicEvents<'a> {
    row: &'a mut Vec<u8>,
    showtime_id: ShowtimeId,
    revision: i64,
    now: DateTime<Utc>,
    traceparent: String,
    ordinal: i32,
}

impl PublicEvents<'_> {
    fn add(&mut self, payload: Payload) {
        let event = pb::Event {
            showtime_id: self.showtime_id.to_string(),
            revision: self.revision,
            ordinal: self.ordinal,
            time: Some(timestamp(self.now)),
            traceparent: self.traceparent.clone(),
            payload: Some(payload),
            ..pb::Event::default()
        };
        self.ordinal += 1;
        // Repeated fields of concatenated messages are joined, so `Events.events` grows event by event.
        prost::encoding::message::encode(1, &event, self.row);
    }
}

fn released(seat_index: &SeatIndex, ended: &Reservation, reason: pb::SeatsReleasedReason) -> Payload {
    Payload::SeatsReleased(pb::SeatsReleased {
        reservation_id: ended.reservation_id.to_string(),
        seats: seats(seat_index, ended.block),
        reason: reason.into(),
    })
}

fn tender(sold: &Reservation) -> Option<pb::Tender> {
    let Tender { method, transaction_id } = sold.sale()?.tender.clone()?;
    Some(pb::Tender { method, transaction_id })
}

fn seats(seat_index: &SeatIndex, block: Block) -> Vec<pb::Seat> {
    seat_index.names(block).map(|name| pb::Seat { row: name.row.to_string(), number: name.number }).collect()
}

/// What each seat was sold for.
fn lines(plan: &ShowtimePlan, sold: &Reservation) -> Vec<pb::Line> {
    let prices = &plan.facts.prices;
    let amount = |minor| (minor != 0).then(|| money(prices.money(minor)));
    let line = |(seat, line): (pb::Seat, Line)| pb::Line {
        seat: Some(seat),
        ticket_type: prices.code(line.ticket_type).to_owned(),
        price: Some(money(prices.money(line.price))),
        supplement: amount(line.supplement),
        fee: amount(line.fee),
        tax: amount(line.tax),
        total: Some(money(prices.money(line.total()))),
    };
    seats(&plan.seat_index, sold.block).into_iter().zip(sold.lines.iter()).map(line).collect()
}

fn money(money: Money) -> PbMoney {
    let (units, nanos) = money.units_and_nanos();
    PbMoney { currency_code: money.currency.code().to_owned(), units, nanos }
}

fn timestamp(time: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.timestamp(), nanos: time.timestamp_subsec_nanos() as i32 }
}
