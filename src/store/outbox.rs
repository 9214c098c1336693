//! Rows of the outbox: the public events of a commit, written in the transaction of the changes that they describe.
//!
//! Events are encoded here in their public form, `boxoffice.events.v1`, so that whatever delivers them needs no knowledge
//! of seats. The service reads them back only to deliver them: a row has a second part, the steps that other instances replay (see
//! `replay.rs`).

mod payloads;
mod purchases;
mod refunds;
mod replay;

use chrono::{DateTime, Utc};
use sea_orm::{EntityTrait as _, NotSet, Set, prelude::Uuid};

use super::{entities::outbox, errors::Error, transactions::Tx};
use crate::{
    domain::{
        ids::ShowtimeId,
        seating::{Change, ShowtimePlan},
        showtime::Showtime,
    },
    pb::boxoffice::events::v1::{self as pb, AggregateType, event::Payload},
    telemetry::trace_parent::TraceParent,
};

pub use purchases::{LastRevision, PurchaseEvents};
pub(super) use refunds::{refund_ended, refunds_started};
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
    let mut events = PublicEvents::new(row, plan.facts.showtime_id, revision, now, trace);
    for change in changes {
        for payload in payloads::of(plan, change) {
            events.add(payload);
        }
    }
    events.ordinal
}

/// Writes the row of a new showtime, in the transaction that schedules it.
pub(super) async fn showtime_created(tx: &Tx, showtime: &Showtime, trace: Option<TraceParent>) -> Result<(), Error> {
    let (facts, standing) = (&showtime.facts, showtime.standing);
    let mut row = Vec::new();
    let mut events = PublicEvents::new(&mut row, facts.showtime_id, standing.revision, facts.create_time, trace);
    events.add(Payload::ShowtimeCreated(pb::ShowtimeCreated {
        auditorium_id: facts.auditorium.auditorium_id.to_string(),
        movie_id: facts.movie.value.movie_id.to_string(),
        movie_title: facts.movie.value.title.clone(),
        start_time: Some(payloads::timestamp(facts.start_time)),
        end_time: Some(payloads::timestamp(facts.end_time)),
        price: Some(payloads::money(facts.prices.price())),
        seat_count: facts.auditorium.seat_count,
        cinema: facts.auditorium.cinema.clone(),
        time_zone: facts.auditorium.time_zone.name().to_owned(),
        local_date: facts.local_date.to_string(),
        auditorium_name: facts.auditorium.name.clone(),
    }));
    let event_count = events.ordinal;
    let row = self::row(facts.showtime_id.0, standing.revision, facts.create_time, (row, event_count));
    outbox::Entity::insert(row).exec_without_returning(&tx.inner).await?;
    Ok(())
}

/// The row of one revision of an aggregate.
pub(in crate::store) fn row(
    aggregate: Uuid,
    revision: i64,
    time: DateTime<Utc>,
    (events, event_count): (Vec<u8>, i32),
) -> outbox::ActiveModel {
    outbox::ActiveModel {
        aggregate: Set(aggregate),
        seq: Set(revision),
        last_seq: Set(revision),
        events: Set(events),
        create_time: Set(time),
        publish_time: NotSet,
        attempts: NotSet,
        event_count: Set(event_count),
    }
}

/// The public events of one revision.
struct PublicEvents<'a> {
    row: &'a mut Vec<u8>,
    /// Not stored for a showtime, where it is added when the row is read. The row has the id of the aggregate.
    aggregate_type: AggregateType,
    showtime_id: ShowtimeId,
    revision: i64,
    now: DateTime<Utc>,
    traceparent: String,
    ordinal: i32,
}

impl<'a> PublicEvents<'a> {
    /// The events of a showtime.
    fn new(
        row: &'a mut Vec<u8>,
        showtime_id: ShowtimeId,
        revision: i64,
        now: DateTime<Utc>,
        trace: Option<TraceParent>,
    ) -> Self {
        let traceparent = trace.map(|trace| trace.to_string()).unwrap_or_default();
        let aggregate_type = AggregateType::Unspecified;
        Self { row, aggregate_type, showtime_id, revision, now, traceparent, ordinal: 0 }
    }

    fn add(&mut self, payload: Payload) {
        let event = pb::Event {
            showtime_id: self.showtime_id.to_string(),
            revision: self.revision,
            ordinal: self.ordinal,
            time: Some(payloads::timestamp(self.now)),
            aggregate_type: self.aggregate_type.into(),
            traceparent: self.traceparent.clone(),
            payload: Some(payload),
            ..pb::Event::default()
        };
        self.ordinal += 1;
        // Repeated fields of concatenated messages are joined, so `Events.events` grows event by event.
        prost::encoding::message::encode(1, &event, self.row);
    }
}
