//! Reads the tables about seats in one snapshot.

use std::collections::BTreeMap;

use boxoffice::pb::boxoffice::{
    events::v1::{Event, Events},
    v1::ReservationState,
};
use chrono::{DateTime, Utc};
use prost::Message as _;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, FromQueryResult, Statement, prelude::Uuid};

#[derive(Debug, FromQueryResult)]
pub(super) struct ShowtimeRow {
    pub(super) showtime_id: Uuid,
    pub(super) state: String,
    pub(super) available_count: i32,
    pub(super) revision: i64,
    pub(super) next_lapse: Option<DateTime<Utc>>,
    pub(super) decide_time: Option<DateTime<Utc>>,
}

#[derive(Debug, FromQueryResult)]
pub(super) struct ReservationRow {
    pub(super) reservation_id: Uuid,
    pub(super) showtime_id: Uuid,
    pub(super) customer_id: String,
    pub(super) first_seat: i16,
    pub(super) seat_count: i16,
    pub(super) total_minor: i64,
    pub(super) create_time: DateTime<Utc>,
    pub(super) first_expire_time: DateTime<Utc>,
    pub(super) expire_time: DateTime<Utc>,
    pub(super) first_revision: i64,
    pub(super) request_id: Option<Uuid>,
    pub(super) state: String,
    pub(super) tender_method: Option<String>,
    pub(super) revision: i64,
    pub(super) confirm_time: Option<DateTime<Utc>>,
    pub(super) cancel_time: Option<DateTime<Utc>>,
    pub(super) amendment: Option<Vec<u8>>,
    pub(super) refund_due_time: Option<DateTime<Utc>>,
}

#[derive(Debug, FromQueryResult)]
pub(super) struct BlockedRow {
    pub(super) showtime_id: Uuid,
    pub(super) seat: i16,
    pub(super) reason: String,
    pub(super) note: String,
    pub(super) create_time: DateTime<Utc>,
    pub(super) revision: i64,
}

#[derive(Debug, FromQueryResult)]
pub(super) struct ClaimRow {
    pub(super) showtime_id: Uuid,
    pub(super) seat: i16,
    pub(super) reservation_id: Uuid,
}

#[derive(Debug, FromQueryResult)]
struct OutboxRow {
    aggregate: Uuid,
    seq: i64,
    last_seq: i64,
    events: Vec<u8>,
}

/// The rows of all tables about seats.
pub(super) struct Records {
    pub(super) showtimes: Vec<ShowtimeRow>,
    pub(super) reservations: Vec<ReservationRow>,
    pub(super) claims: Vec<ClaimRow>,
    pub(super) blocked: Vec<BlockedRow>,
    outbox: Vec<OutboxRow>,
}

impl Records {
    pub(super) async fn read(connection: &DatabaseConnection) -> Self {
        let begin = match connection.get_database_backend() {
            DbBackend::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            _ => "BEGIN",
        };
        connection.execute_unprepared(begin).await.expect("a snapshot");
        let records = Self {
            showtimes: rows(connection, "SELECT * FROM showtimes JOIN standings USING (showtime_id)").await,
            reservations: rows(connection, "SELECT * FROM reservations ORDER BY first_revision").await,
            claims: rows(connection, "SELECT * FROM seat_claims").await,
            blocked: rows(connection, "SELECT * FROM blocked_seats").await,
            outbox: rows(connection, "SELECT * FROM outbox ORDER BY aggregate, seq").await,
        };
        connection.execute_unprepared("COMMIT").await.expect("the snapshot ends");
        records
    }

    /// Returns a showtime's events by revision, and the anomalies among them. Revisions start with 1 and have no gap.
    pub(super) fn events(&self, showtime_id: Uuid) -> (BTreeMap<i64, Vec<Event>>, Vec<String>) {
        let (mut events_by_revision, mut anomalies) = (BTreeMap::<i64, Vec<Event>>::new(), Vec::new());
        let mut next = 1;
        for row in self.outbox.iter().filter(|row| row.aggregate == showtime_id) {
            if row.seq != next {
                anomalies.push(format!("the next event after revision {} has revision {}", next - 1, row.seq));
            }
            next = row.last_seq + 1;
            let events = Events::decode(&*row.events).expect("the outbox has events").events;
            let mut revisions: Vec<i64> = events.iter().map(|event| event.revision).collect();
            revisions.dedup();
            if !revisions.iter().copied().eq(row.seq..=row.last_seq) {
                anomalies
                    .push(format!("the row of revisions {} to {} has events of {revisions:?}", row.seq, row.last_seq));
            }
            for event in events {
                if event.showtime_id != showtime_id.to_string() {
                    anomalies.push(format!("an event of another showtime: {event:?}"));
                }
                events_by_revision.entry(event.revision).or_default().push(event);
            }
        }
        (events_by_revision, anomalies)
    }
}

/// Converts the state from the tables' word to the contract's.
pub(super) fn state(word: &str) -> ReservationState {
    match word {
        "held" => ReservationState::Held,
        "paying" => ReservationState::Paying,
        "confirmed" => ReservationState::Confirmed,
        "cancelled" => ReservationState::Cancelled,
        "expired" => ReservationState::Expired,
        other => panic!("{other} is not a state"),
    }
}

async fn rows<T: FromQueryResult>(connection: &DatabaseConnection, sql: &str) -> Vec<T> {
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    T::find_by_statement(statement).all(connection).await.expect("the tables can be read")
}
