//! The ledger's statements for SQLite. Rows are bound as JSON, with bytes as hexadecimal digits.

use chrono::{DateTime, SecondsFormat, Utc};
use prost::Message as _;
use sea_orm::{ConnectionTrait as _, DbBackend, FromQueryResult, Statement, Value};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::{
    answers::encode,
    lock::{LockedShowtime, LockedShowtimes},
    text::hex,
    writes::{
        Claim, LedgerWrites, NewAnswer, NewBlockedSeat, ShowtimeAdvance, expect, expect_rows, stored_fingerprint,
    },
};
use crate::{
    domain::{ids::ShowtimeId, reservation::Reservation, seating::Blockage},
    store::{
        deadline::bounded,
        dialect::id_list,
        errors::Error,
        request_key::RequestKey,
        rows::{blocked_seat::stored_reason, prices::StoredLines, reservation::ReservationRow},
        transactions::Tx,
    },
};

#[derive(FromQueryResult)]
struct LockedRow {
    showtime_id: Uuid,
    revision: i64,
}

/// Reads the revisions of these showtimes. The transaction has the only lock there is.
pub(super) async fn read_revisions(tx: &Tx, ids: &[ShowtimeId]) -> Result<LockedShowtimes, Error> {
    let sql =
        "SELECT showtime_id, revision FROM standings WHERE showtime_id IN (SELECT unhex(value) FROM json_each($1))";
    let locked = statement(sql, [id_list(tx.backend, ids.iter().map(|id| id.0))]);
    let locked = bounded(tx.limit, LockedRow::find_by_statement(locked).all(&tx.inner)).await?.into_iter();
    let locked = locked
        .map(|LockedRow { showtime_id, revision }| LockedShowtime { showtime_id: ShowtimeId(showtime_id), revision });
    Ok(LockedShowtimes { locked: locked.collect(), now: None })
}

fn statement<const N: usize>(sql: &str, values: [Value; N]) -> Statement {
    Statement::from_sql_and_values(DbBackend::Sqlite, sql, values)
}

/// Executes a statement, and returns the number of rows that it affected.
async fn execute(tx: &Tx, statement: Statement) -> Result<u64, Error> {
    Ok(bounded(tx.limit, tx.inner.execute_raw(statement)).await?.rows_affected())
}

const FREE: &str = "DELETE FROM seat_claims WHERE (showtime_id, seat, reservation_id) IN \
    (SELECT unhex(value ->> 0), value ->> 1, unhex(value ->> 2) FROM json_each($1))";
const CHANGE: &str = "UPDATE reservations SET state = n.state, revision = n.revision, expire_time = n.expire_time, \
        confirm_time = n.confirm_time, tender_method = n.tender_method, tender_transaction = n.tender_transaction, \
        cancel_time = n.cancel_time, amendment = n.amendment, refund_due_time = n.refund_due_time, \
        pay_until = n.pay_until, purchase_id = COALESCE(n.purchase_id, reservations.purchase_id) \
    FROM (SELECT unhex(value ->> 0) AS reservation_id, value ->> 1 AS state, value ->> 2 AS revision, \
        value ->> 3 AS expire_time, value ->> 4 AS confirm_time, value ->> 5 AS tender_method, \
        value ->> 6 AS tender_transaction, value ->> 7 AS cancel_time, unhex(value ->> 8) AS amendment, \
        value ->> 9 AS refund_due_time, value ->> 10 AS pay_until, unhex(value ->> 11) AS purchase_id FROM json_each($1)) AS n \
    WHERE reservations.reservation_id = n.reservation_id";
const ANSWER: &str = "INSERT INTO requests (caller, method, request_id, fingerprint, answer, create_time) \
    SELECT value ->> 0, value ->> 1, unhex(value ->> 2), unhex(value ->> 3), value -> 4, value ->> 5 FROM json_each($1)";
const MAKE: &str = "INSERT INTO reservations (reservation_id, showtime_id, customer_id, first_seat, seat_count, \
        total_minor, create_time, first_expire_time, expire_time, first_revision, revision, state, request_id, caller, \
        fingerprint, lines) \
    SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, \
        value ->> 7, value ->> 7, value ->> 8, value ->> 8, 'held', unhex(value ->> 9), value ->> 10, unhex(value ->> 11), \
        unhex(value ->> 12) \
    FROM json_each($1)";
const CLAIM: &str = "INSERT INTO seat_claims (showtime_id, seat, reservation_id) \
    SELECT unhex(value ->> 0), value ->> 1, unhex(value ->> 2) FROM json_each($1)";
const BLOCK: &str = "INSERT INTO blocked_seats (showtime_id, seat, reason, note, create_time, revision) \
    SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each($1)";
const UNBLOCK: &str = "DELETE FROM blocked_seats WHERE (showtime_id, seat) IN \
    (SELECT unhex(value ->> 0), value ->> 1 FROM json_each($1))";
const OUTBOX: &str = "INSERT INTO outbox (aggregate, seq, last_seq, events, create_time, event_count) \
    SELECT unhex(value ->> 0), (value ->> 1) + 1, value ->> 2, unhex(value ->> 6), value ->> 5, value ->> 7 \
    FROM json_each($1)";
const ADVANCE: &str = "UPDATE standings SET revision = n.revision, available_count = n.available_count, \
        next_lapse = n.next_lapse, decide_time = n.decide_time \
    FROM (SELECT unhex(value ->> 0) AS showtime_id, value ->> 1 AS before, value ->> 2 AS revision, \
        value ->> 3 AS available_count, value ->> 4 AS next_lapse, value ->> 5 AS decide_time FROM json_each($1)) AS n \
    WHERE standings.showtime_id = n.showtime_id AND standings.revision = n.before";
const CANCEL_SHOWTIME: &str = "UPDATE showtimes SET state = 'cancelled', cancel_time = $2 WHERE showtime_id = $1";
const SET_LAPSE: &str = "UPDATE standings SET next_lapse = $2 WHERE showtime_id = $1";

/// Writes everything but the commit.
pub(super) async fn write(tx: &Tx, writes: &LedgerWrites) -> Result<(), Error> {
    if !writes.freed.is_empty() {
        let freed = writes.freed.iter().copied().map(claim).collect();
        expect_rows(execute_rows(tx, FREE, freed).await?, writes.freed.len() as u64, "a claim")?;
    }
    if !writes.unblocked.is_empty() {
        let seats = writes.unblocked.iter().map(|(id, seat)| json!([id.0.simple(), seat])).collect();
        let count = writes.unblocked.len() as u64;
        expect_rows(execute_rows(tx, UNBLOCK, seats).await?, count, "a blocked seat")?;
    }
    if !writes.blocked.is_empty() {
        execute_rows(tx, BLOCK, writes.blocked.iter().map(blocked).collect()).await?;
    }
    if !writes.changed.is_empty() {
        let changed: Vec<_> = writes.changed.values().map(|reservation| changed(reservation)).collect();
        let count = changed.len() as u64;
        expect_rows(execute_rows(tx, CHANGE, changed).await?, count, "a reservation")?;
    }
    for advance in writes.advances.iter().filter(|advance| advance.cancel_time.is_some()) {
        execute(tx, statement(CANCEL_SHOWTIME, [advance.showtime_id.0.into(), advance.cancel_time.into()])).await?;
    }
    for (id, lapse) in &writes.lapses {
        execute(tx, statement(SET_LAPSE, [id.0.into(), (*lapse).into()])).await?;
    }
    if !writes.answers.is_empty() {
        let answers = writes.answers.iter().map(|NewAnswer { key, revision, reservation, decide_time }| {
            let answer = encode(*revision, reservation.as_deref());
            let time = text(*decide_time);
            json!([key.caller, key.method, key.request_id.0.simple(), hex(&key.fingerprint), answer, time])
        });
        execute_rows(tx, ANSWER, answers.collect()).await?;
    }
    if !writes.advances.is_empty() {
        write_advances(tx, writes).await?;
    }
    for companion in &writes.companions {
        let rows = execute(tx, companion.statement(tx.backend)).await?;
        expect(companion.expects(rows), "a row that goes with a change")?;
    }
    Ok(())
}

async fn write_advances(tx: &Tx, writes: &LedgerWrites) -> Result<(), Error> {
    if !writes.made.is_empty() {
        let made = writes.made.iter().map(|(reservation, key)| made(reservation, key.as_ref()));
        execute_rows(tx, MAKE, made.collect()).await?;
    }
    let claims: Vec<_> = writes.new_claims().map(claim).collect();
    if !claims.is_empty() {
        execute_rows(tx, CLAIM, claims).await?;
    }
    let advances: Vec<_> = writes.advances.iter().map(advance).collect();
    let count = advances.len() as u64;
    execute_rows(tx, OUTBOX, advances.clone()).await?;
    expect_rows(execute_rows(tx, ADVANCE, advances).await?, count, "a showtime")
}

/// Executes a statement that unfolds these rows.
async fn execute_rows(tx: &Tx, sql: &str, rows: Vec<Json>) -> Result<u64, Error> {
    execute(tx, statement(sql, [Value::from(Json::from(rows).to_string())])).await
}

fn claim(claim: Claim) -> Json {
    json!([claim.showtime_id.0.simple(), claim.seat, claim.stored_reservation_id().simple()])
}

fn blocked(blocked: &NewBlockedSeat) -> Json {
    let NewBlockedSeat { showtime_id, seat, blockage, create_time, revision } = blocked;
    let Blockage { reason, note } = blockage;
    json!([showtime_id.0.simple(), seat, stored_reason(*reason), note, text(*create_time), revision])
}

fn changed(reservation: &Reservation) -> Json {
    let row = ReservationRow::of(reservation);
    json!([
        row.reservation_id.simple(),
        row.state,
        row.revision,
        text(row.expire_time),
        row.confirm_time.map(text),
        row.tender_method,
        row.tender_transaction,
        row.cancel_time.map(text),
        row.amendment.map(|amendment| hex(&amendment)),
        row.refund_due_time.map(text),
        row.pay_until.map(text),
        row.purchase_id.map(|id| id.simple().to_string())
    ])
}

fn made(reservation: &Reservation, key: Option<&RequestKey>) -> Json {
    json!([
        reservation.reservation_id.0.simple(),
        reservation.showtime_id.0.simple(),
        reservation.customer_id.as_str(),
        reservation.first_block.first,
        reservation.first_block.count,
        reservation.first_lines.total(),
        text(reservation.create_time),
        text(reservation.expire_time()),
        reservation.revision(),
        key.map(|key| key.scoped_id().simple()),
        key.map(|key| key.caller.as_str()),
        key.map(|key| hex(&stored_fingerprint(&key.fingerprint))),
        StoredLines::of(&reservation.first_lines).map(|lines| hex(&lines.encode_to_vec()))
    ])
}

fn advance(advance: &ShowtimeAdvance) -> Json {
    json!([
        advance.showtime_id.0.simple(),
        advance.before,
        advance.revision,
        advance.available_count,
        advance.next_lapse.map(text),
        text(advance.decide_time),
        hex(&advance.events),
        advance.event_count
    ])
}

/// A time as the driver writes it.
fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, false)
}
