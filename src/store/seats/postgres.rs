//! The ledger's statements for Postgres: arrays in, one statement to write with.

use chrono::{DateTime, Utc};
use sea_orm::{FromQueryResult, Value};

use super::{MadeBefore, SeatBatch, Writes, expect, hex, kept, short};
use crate::store::{
    Error,
    planted::{self, Bug},
    reservations::{RESERVATION_COLUMNS, ReservationRow},
};

/// How the rows of a query are locked: in one order, so that nobody waits in a circle.
pub(super) fn locking() -> &'static str {
    if planted::has(Bug::NoLock) { "" } else { " ORDER BY s.showtime_id FOR NO KEY UPDATE" }
}

/// The time and, beside it, every reservation that was made under one of the request ids: at least one row.
#[derive(FromQueryResult)]
struct LookRow {
    now: DateTime<Utc>,
    request_id: Option<uuid::Uuid>,
    caller: Option<String>,
    fingerprint: Option<Vec<u8>>,
    #[sea_orm(nested)]
    reservation: Option<ReservationRow>,
}

pub(super) async fn look(batch: &SeatBatch, ids: Value) -> Result<(Option<DateTime<Utc>>, Vec<MadeBefore>), Error> {
    let clock = if planted::has(Bug::TimeBeforeLock) { "now" } else { "clock_timestamp" };
    let sql = format!(
        "SELECT {clock}() AS now, r.request_id, r.caller, r.fingerprint, {RESERVATION_COLUMNS} \
         FROM (VALUES (1)) AS once LEFT JOIN (reservations r JOIN showtimes s ON s.showtime_id = r.showtime_id) \
         ON r.request_id = ANY($1)"
    );
    let statement = batch.statement(sql, [ids]);
    let rows = batch.timed(LookRow::find_by_statement(statement).all(&batch.tx.inner)).await?;
    let now = rows.first().map(|row| row.now);
    let made = rows.into_iter().filter_map(|row| {
        let reservation = row.reservation?.reservation();
        let (request_id, caller) = (row.request_id?, row.caller.unwrap_or_default());
        let fingerprint = row.fingerprint.unwrap_or_default();
        Some(reservation.map(|reservation| MadeBefore { caller, request_id, fingerprint, reservation }))
    });
    Ok((now, made.collect::<Result<_, _>>()?))
}

/// Takes the claims of ended reservations away. It is a statement of its own, before the one that may claim the same seats.
const RELEASE: &str = "DELETE FROM seat_claims c USING \
    (SELECT r.showtime_id, s.seat::smallint AS seat, r.reservation_id \
        FROM unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::smallint[]) \
            AS r (showtime_id, reservation_id, first_seat, seat_count), \
        generate_series(r.first_seat, r.first_seat + r.seat_count - 1) AS s (seat)) AS gone \
    WHERE c.showtime_id = gone.showtime_id AND c.seat = gone.seat AND c.reservation_id = gone.reservation_id";

/// What one statement writes. Which parts it has depends on what there is to write; each text is prepared once for each
/// connection.
const STEPS: &str = "WITH steps AS (SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::integer[], \
        $5::timestamptz[], $6::timestamptz[], $7::bytea[]) \
        AS s (showtime_id, before, revision, available_count, next_lapse, decide_time, events)), \
    told AS (INSERT INTO outbox (aggregate, seq, last_seq, events, create_time) \
        SELECT showtime_id, before + 1, revision, events, decide_time FROM steps)";
const MADE: &str = ", new AS (SELECT * FROM unnest($8::uuid[], $9::uuid[], $10::text[], $11::smallint[], $12::smallint[], \
        $13::bigint[], $14::timestamptz[], $15::timestamptz[], $16::bigint[], $17::uuid[], $18::text[], $19::bytea[]) \
        AS n (reservation_id, showtime_id, customer_id, first_seat, seat_count, total_minor, create_time, expire_time, \
            revision, request_id, caller, fingerprint)), \
    made AS (INSERT INTO reservations (reservation_id, showtime_id, customer_id, first_seat, seat_count, total_minor, \
            create_time, first_expire_time, expire_time, first_revision, revision, state, request_id, caller, fingerprint) \
        SELECT reservation_id, showtime_id, customer_id, first_seat, seat_count, total_minor, \
            create_time, expire_time, expire_time, revision, revision, 'held', \
            nullif(request_id, '00000000-0000-0000-0000-000000000000'), caller, nullif(fingerprint, '') FROM new), \
    claimed AS (INSERT INTO seat_claims (showtime_id, seat, reservation_id) \
        SELECT n.showtime_id, s.seat, n.reservation_id \
        FROM new n, generate_series(n.first_seat, n.first_seat + n.seat_count - 1) AS s (seat))";
const UPDATE_STEPS: &str = " UPDATE showtimes s SET revision = n.revision, available_count = n.available_count, \
        next_lapse = nullif(n.next_lapse, 'epoch'), decide_time = n.decide_time \
    FROM steps n WHERE s.showtime_id = n.showtime_id AND s.revision = n.before";

/// Reservations as they are now. Few fields are filled, so they travel as JSON, which has room for what is not there.
const CHANGE: &str = "UPDATE reservations r SET state = n.state, revision = n.revision, expire_time = n.expire_time, \
        confirm_time = n.confirm_time, tender_method = n.tender_method, tender_transaction = n.tender_transaction, \
        cancel_time = n.cancel_time \
    FROM jsonb_to_recordset($1::jsonb) AS n (reservation_id uuid, state text, revision bigint, expire_time timestamptz, \
        confirm_time timestamptz, tender_method text, tender_transaction text, cancel_time timestamptz) \
    WHERE r.reservation_id = n.reservation_id";
const KEEP: &str = "INSERT INTO requests (caller, method, request_id, fingerprint, answer, create_time) \
    SELECT n.caller, n.method, n.request_id, decode(n.fingerprint, 'hex'), n.answer, clock_timestamp() \
    FROM jsonb_to_recordset($1::jsonb) AS n (caller text, method text, request_id uuid, fingerprint text, answer jsonb)";
const CANCEL_SHOWTIME: &str = "UPDATE showtimes SET state = 'cancelled', cancel_time = $2 WHERE showtime_id = $1";
const SET_LAPSES: &str = "UPDATE showtimes s SET next_lapse = nullif(n.next_lapse, 'epoch') \
    FROM unnest($1::uuid[], $2::timestamptz[]) AS n (showtime_id, next_lapse) WHERE s.showtime_id = n.showtime_id";

pub(super) async fn write(batch: &SeatBatch, writes: &Writes) -> Result<(), Error> {
    if !writes.released.is_empty() {
        release(batch, writes).await?;
    }
    if !writes.changed.is_empty() {
        let rows: Vec<_> = writes.changed.values().map(|reservation| ReservationRow::of(reservation)).collect();
        let json = serde_json::to_value(rows).unwrap_or_default();
        let changed = batch.run(batch.statement(CHANGE, [Value::from(json)])).await?;
        expect(changed, writes.changed.len(), "a reservation")?;
    }
    if !writes.answers.is_empty() {
        let rows = writes.answers.iter().map(|(key, revision, reservation)| {
            serde_json::json!({
                "caller": key.caller, "method": key.method, "request_id": key.request_id.0,
                "fingerprint": hex(&key.fingerprint), "answer": kept(*revision, reservation.as_deref()),
            })
        });
        batch.run(batch.statement(KEEP, [Value::from(rows.collect::<serde_json::Value>())])).await?;
    }
    for step in writes.steps.iter().filter(|step| step.cancel_time.is_some()) {
        let values = [step.showtime_id.0.into(), step.cancel_time.into()];
        batch.run(batch.statement(CANCEL_SHOWTIME, values)).await?;
    }
    if !writes.lapses.is_empty() {
        let values = [
            column(writes.lapses.iter(), |(id, _)| id.0),
            column(writes.lapses.iter(), |(_, lapse)| lapse.unwrap_or(DateTime::UNIX_EPOCH)),
        ];
        batch.run(batch.statement(SET_LAPSES, values)).await?;
    }
    if writes.steps.is_empty() {
        return Ok(());
    }
    let mut values = steps(writes);
    let sql = if writes.made.is_empty() {
        format!("{STEPS}{UPDATE_STEPS}")
    } else {
        values.extend(made(writes));
        format!("{STEPS}{MADE}{UPDATE_STEPS}")
    };
    let statement = sea_orm::Statement::from_sql_and_values(batch.tx.backend, sql, values);
    expect(batch.run(statement).await?, writes.steps.len(), "a showtime")
}

async fn release(batch: &SeatBatch, writes: &Writes) -> Result<(), Error> {
    let gone = &writes.released;
    let values = [
        column(gone.iter(), |reservation| reservation.showtime_id.0),
        column(gone.iter(), |reservation| reservation.reservation_id.0),
        column(gone.iter(), |reservation| reservation.block.first as i16),
        column(gone.iter(), |reservation| reservation.block.count as i16),
    ];
    let seats: usize = gone.iter().map(|reservation| usize::from(reservation.block.count)).sum();
    expect(batch.run(batch.statement(RELEASE, values)).await?, seats, "a claim")
}

fn steps(writes: &Writes) -> Vec<Value> {
    let steps = || writes.steps.iter();
    vec![
        column(steps(), |step| step.showtime_id.0),
        column(steps(), |step| step.before),
        column(steps(), |step| step.revision),
        column(steps(), |step| step.available_count),
        column(steps(), |step| step.next_lapse.unwrap_or(DateTime::UNIX_EPOCH)),
        column(steps(), |step| step.decide_time),
        column(steps(), |step| step.events.clone()),
    ]
}

fn made(writes: &Writes) -> [Value; 12] {
    let made = || writes.made.iter().map(|(reservation, _)| reservation);
    let keys = || writes.made.iter().map(|(_, key)| key.as_ref());
    [
        column(made(), |reservation| reservation.reservation_id.0),
        column(made(), |reservation| reservation.showtime_id.0),
        column(made(), |reservation| reservation.customer_id.as_str().to_owned()),
        column(made(), |reservation| reservation.block.first as i16),
        column(made(), |reservation| reservation.block.count as i16),
        column(made(), |reservation| reservation.total.minor),
        column(made(), |reservation| reservation.create_time),
        column(made(), |reservation| reservation.expire_time),
        column(made(), |reservation| reservation.revision),
        column(keys(), |key| key.map_or(uuid::Uuid::nil(), |key| key.request_id.0)),
        column(keys(), |key| key.map(|key| key.caller.clone()).unwrap_or_default()),
        column(keys(), |key| key.map(|key| short(&key.fingerprint)).unwrap_or_default()),
    ]
}

fn column<T, V>(rows: impl Iterator<Item = T>, value: impl FnMut(T) -> V) -> Value
where
    Vec<V>: Into<Value>,
{
    rows.map(value).collect::<Vec<V>>().into()
}
