//! The ledger's statements for Postgres: BEGIN, the locks and the time in one message, and one statement that writes, with
//! arrays as values.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use prost::Message as _;
use sea_orm::{
    DbBackend,
    sea_query::PostgresQueryBuilder,
    sqlx::{self, Row as _},
};

use super::{
    answers::encode,
    connection::{ConnectionSlot, LedgerConnector, PostgresTx, literal, query_error},
    lock::{LockWait, LockedShowtime, LockedShowtimes},
    single,
    sql::{Sql, Text},
    together,
    writes::{Claim, LedgerWrites, expect, expect_rows, stored_fingerprint},
};
use crate::{
    domain::ids::ShowtimeId,
    store::{
        dialect,
        errors::Error,
        planted::{self, Bug},
        request_key::RequestKey,
        rows::{blocked_seat::stored_reason, prices::StoredLines, reservation::ReservationRow},
    },
};

/// The statements that each connection prepares when it is made.
pub(super) static PREPARE: LazyLock<String> = LazyLock::new(|| {
    let lock = "SELECT n.showtime_id, n.revision FROM standings n WHERE n.showtime_id = ANY($1)";
    // All transactions lock in one order, so that none waits for another in a circle.
    let in_order = if planted::has(Bug::NoLock) { "" } else { "ORDER BY n.showtime_id FOR NO KEY UPDATE" };
    let no_wait = if planted::has(Bug::NoLock) { "" } else { "NOWAIT" };
    let clock = if planted::has(Bug::TimeBeforeLock) { "now" } else { "clock_timestamp" };
    format!(
        "PREPARE lock (uuid[]) AS {lock} {in_order}; PREPARE lock_nowait (uuid[]) AS {lock} {in_order} {no_wait}; \
         PREPARE read_time AS SELECT {clock}(); {}",
        single::PREPARE
    )
});

/// The message that commits a transaction in which nothing was written, but answers of earlier ones were found.
pub(super) static ACKNOWLEDGE: LazyLock<String> =
    LazyLock::new(|| format!("{}; COMMIT", dialect::commit_mark().to_string(PostgresQueryBuilder)));

/// Begins a transaction: takes the locks, and then reads the time.
pub(super) async fn begin(
    connector: &LedgerConnector,
    slot: &ConnectionSlot,
    ids: &[ShowtimeId],
    lock_wait: LockWait,
) -> Result<(PostgresTx, LockedShowtimes), Error> {
    let lock = match lock_wait {
        LockWait::Bounded => "lock",
        LockWait::NoWait => "lock_nowait",
    };
    let lock = format!("EXECUTE {lock} ({})", literal(ids.iter().map(|id| id.0)));
    let (tx, mut rows) = connector.begin(slot, &[&lock, "EXECUTE read_time"]).await?;
    let (times, rows) = (rows.pop().unwrap_or_default(), rows.pop().unwrap_or_default());
    let read = || {
        let locked = rows
            .iter()
            .map(|row| Ok(LockedShowtime { showtime_id: ShowtimeId(row.try_get(0)?), revision: row.try_get(1)? }));
        let now = times.first().map(|row| row.try_get::<DateTime<Utc>, _>(0)).transpose()?;
        Ok(LockedShowtimes { locked: locked.collect::<Result<_, sqlx::Error>>()?, now })
    };
    let locked = read().map_err(query_error)?;
    Ok((tx, locked))
}

static CANCEL: Text = Text::new();
static LAPSE: Text = Text::new();
static FREE: Text = Text::new();
static BLOCK: Text = Text::new();
static UNBLOCK: Text = Text::new();
static ANSWERS: Text = Text::new();
/// One text for each set of the parts that the statement may have.
static ADVANCE: [Text; 16] = [const { Text::new() }; 16];

/// Writes everything, and commits it.
pub(super) async fn commit(mut tx: PostgresTx, writes: &LedgerWrites) -> Result<(), Error> {
    if let Some(message) = single::message(writes) {
        return tx.commit(message).await;
    }
    match write(&mut tx, writes).await {
        Ok(()) => tx.commit("COMMIT".to_owned()).await,
        Err(error) => {
            tx.abandon(&error).await;
            Err(error)
        }
    }
}

async fn write(tx: &mut PostgresTx, writes: &LedgerWrites) -> Result<(), Error> {
    if !writes.freed.is_empty() {
        free(tx, &writes.freed).await?;
    }
    if !writes.unblocked.is_empty() {
        unblock(tx, writes).await?;
    }
    if !writes.blocked.is_empty() {
        block(tx, writes).await?;
    }
    for advance in writes.advances.iter().filter(|advance| advance.cancel_time.is_some()) {
        let mut sql = Sql::new(&CANCEL);
        let (time, id) = (sql.bind(advance.cancel_time)?, sql.bind(advance.showtime_id.0)?);
        sql.add(format_args!(
            "UPDATE showtimes SET state = 'cancelled', cancel_time = {time} WHERE showtime_id = {id}"
        ));
        sql.execute(tx).await?;
    }
    if !writes.lapses.is_empty() {
        let mut sql = Sql::new(&LAPSE);
        let ids = sql.column(&writes.lapses, |(id, _)| id.0)?;
        let lapses = sql.column(&writes.lapses, |(_, lapse)| *lapse)?;
        sql.add(format_args!(
            "UPDATE standings s SET next_lapse = n.next_lapse \
            FROM (SELECT {ids} AS showtime_id, {lapses} AS next_lapse) n WHERE s.showtime_id = n.showtime_id"
        ));
        sql.execute(tx).await?;
    }
    if !writes.advances.is_empty() {
        write_advances(tx, writes).await?;
    } else if !writes.answers.is_empty() {
        write_answers(tx, writes).await?;
    }
    for companion in together::write(tx, &writes.companions).await? {
        let rows = tx.execute(companion.statement(DbBackend::Postgres)).await?;
        expect(companion.expects(rows), "a row that goes with a change")?;
    }
    Ok(())
}

async fn write_advances(tx: &mut PostgresTx, writes: &LedgerWrites) -> Result<(), Error> {
    let (made, changed) = (!writes.made.is_empty(), !writes.changed.is_empty());
    let (answers, claims) = (!writes.answers.is_empty(), made || !writes.claimed.is_empty());
    let parts = [made, changed, answers, claims];
    let parts = parts.iter().rev().fold(0, |parts, part| parts << 1 | usize::from(*part));
    let mut sql = Sql::new(&ADVANCE[parts]);
    if made {
        make(&mut sql, writes)?;
    }
    if claims {
        claim(&mut sql, writes)?;
    }
    if changed {
        change(&mut sql, writes)?;
    }
    if answers {
        store_answers(&mut sql, writes)?;
    }
    advances(&mut sql, writes)?;
    if changed {
        // If one of the reservations was not there, no showtime is updated.
        let count = sql.bind(writes.changed.len() as i64)?;
        sql.add(format_args!(" AND (SELECT count(*) FROM changed) = {count}"));
    }
    expect_rows(sql.execute(tx).await?, writes.advances.len() as u64, "a showtime")
}

/// Stores the answers of a batch in which nothing was changed.
async fn write_answers(tx: &mut PostgresTx, writes: &LedgerWrites) -> Result<(), Error> {
    let mut sql = Sql::new(&ANSWERS);
    store_answers(&mut sql, writes)?;
    sql.add(format_args!(" SELECT 1"));
    sql.execute(tx).await.map(drop)
}

/// Deletes claims. It is a statement of its own, before the one that may claim the same seats.
async fn free(tx: &mut PostgresTx, claims: &[Claim]) -> Result<(), Error> {
    let mut sql = Sql::new(&FREE);
    let showtime = sql.column(claims, |claim| claim.showtime_id.0)?;
    let seat = sql.column(claims, |claim| claim.seat as i16)?;
    let reservation = sql.column(claims, Claim::stored_reservation_id)?;
    sql.add(format_args!(
        "DELETE FROM seat_claims c \
        USING (SELECT {showtime} AS showtime_id, {seat} AS seat, {reservation} AS reservation_id) AS ended \
        WHERE c.showtime_id = ended.showtime_id AND c.seat = ended.seat AND c.reservation_id = ended.reservation_id"
    ));
    expect_rows(sql.execute(tx).await?, claims.len() as u64, "a claim")
}

async fn unblock(tx: &mut PostgresTx, writes: &LedgerWrites) -> Result<(), Error> {
    let mut sql = Sql::new(&UNBLOCK);
    let showtime = sql.column(&writes.unblocked, |(id, _)| id.0)?;
    let seat = sql.column(&writes.unblocked, |(_, seat)| *seat as i16)?;
    sql.add(format_args!(
        "DELETE FROM blocked_seats b USING (SELECT {showtime} AS showtime_id, {seat} AS seat) AS freed \
        WHERE b.showtime_id = freed.showtime_id AND b.seat = freed.seat"
    ));
    expect_rows(sql.execute(tx).await?, writes.unblocked.len() as u64, "a blocked seat")
}

async fn block(tx: &mut PostgresTx, writes: &LedgerWrites) -> Result<(), Error> {
    let blocked = &writes.blocked;
    let mut sql = Sql::new(&BLOCK);
    let showtime = sql.column(blocked, |blocked| blocked.showtime_id.0)?;
    let seat = sql.column(blocked, |blocked| blocked.seat as i16)?;
    let reason = sql.column(blocked, |blocked| stored_reason(blocked.blockage.reason))?;
    let note = sql.column(blocked, |blocked| blocked.blockage.note.as_str())?;
    let time = sql.column(blocked, |blocked| blocked.create_time)?;
    let revision = sql.column(blocked, |blocked| blocked.revision)?;
    sql.add(format_args!(
        "INSERT INTO blocked_seats (showtime_id, seat, reason, note, create_time, revision) \
        SELECT {showtime}, {seat}, {reason}, {note}, {time}, {revision}"
    ));
    sql.execute(tx).await.map(drop)
}

/// Adds the rows of the outbox, and the update of the standings, which is the statement itself.
fn advances(sql: &mut Sql, writes: &LedgerWrites) -> Result<(), Error> {
    let advances = &writes.advances;
    let id = sql.column(advances, |advance| advance.showtime_id.0)?;
    let before = sql.column(advances, |advance| advance.before)?;
    let first = sql.column(advances, |advance| advance.before + 1)?;
    let revision = sql.column(advances, |advance| advance.revision)?;
    let count = sql.column(advances, |advance| advance.available_count)?;
    let lapse = sql.column(advances, |advance| advance.next_lapse)?;
    let time = sql.column(advances, |advance| advance.decide_time)?;
    let events = sql.column(advances, |advance| &*advance.events)?;
    let event_count = sql.column(advances, |advance| advance.event_count)?;
    sql.with(format_args!(
        "happened AS (INSERT INTO outbox (aggregate, seq, last_seq, events, create_time, event_count) \
            SELECT {id}, {first}, {revision}, {events}, {time}, {event_count})"
    ));
    sql.add(format_args!(
        " UPDATE standings s SET revision = n.revision, available_count = n.available_count, \
            next_lapse = n.next_lapse, decide_time = n.decide_time \
        FROM (SELECT {id} AS showtime_id, {before} AS before, {revision} AS revision, {count} AS available_count, \
            {lapse} AS next_lapse, {time} AS decide_time) AS n \
        WHERE s.showtime_id = n.showtime_id AND s.revision = n.before"
    ));
    Ok(())
}

/// Adds new reservations.
fn make(sql: &mut Sql, writes: &LedgerWrites) -> Result<(), Error> {
    let made = &writes.made;
    let id = sql.column(made, |(made, _)| made.reservation_id.0)?;
    let showtime = sql.column(made, |(made, _)| made.showtime_id.0)?;
    let customer = sql.column(made, |(made, _)| made.customer_id.as_str())?;
    let first = sql.column(made, |(made, _)| made.first_block.first as i16)?;
    let count = sql.column(made, |(made, _)| made.first_block.count as i16)?;
    let total = sql.column(made, |(made, _)| made.first_lines.total())?;
    let create = sql.column(made, |(made, _)| made.create_time)?;
    let expire = sql.column(made, |(made, _)| made.expire_time())?;
    let revision = sql.column(made, |(made, _)| made.revision())?;
    let request = sql.column(made, |(_, key)| key.as_ref().map(RequestKey::scoped_id))?;
    let caller = sql.column(made, |(_, key)| key.as_ref().map(|key| key.caller.as_str()))?;
    let fingerprint = sql.column(made, |(_, key)| key.as_ref().map(|key| stored_fingerprint(&key.fingerprint)))?;
    let lines = sql.column(made, |(made, _)| StoredLines::of(&made.first_lines).map(|lines| lines.encode_to_vec()))?;
    sql.with(format_args!(
        "made AS (INSERT INTO reservations (reservation_id, showtime_id, customer_id, first_seat, seat_count, \
                total_minor, create_time, first_expire_time, expire_time, first_revision, revision, state, request_id, \
                caller, fingerprint, lines) \
            SELECT {id}, {showtime}, {customer}, {first}, {count}, {total}, {create}, {expire}, {expire}, {revision}, \
                {revision}, 'held', {request}, {caller}, {fingerprint}, {lines})"
    ));
    Ok(())
}

/// Adds new claims.
fn claim(sql: &mut Sql, writes: &LedgerWrites) -> Result<(), Error> {
    let claims: Vec<_> = writes.new_claims().collect();
    let showtime = sql.column(&claims, |claim| claim.showtime_id.0)?;
    let seat = sql.column(&claims, |claim| claim.seat as i16)?;
    let by = sql.column(&claims, Claim::stored_reservation_id)?;
    sql.with(format_args!(
        "claimed AS (INSERT INTO seat_claims (showtime_id, seat, reservation_id) SELECT {showtime}, {seat}, {by})"
    ));
    Ok(())
}

/// Adds changes of reservations.
fn change(sql: &mut Sql, writes: &LedgerWrites) -> Result<(), Error> {
    let rows: Vec<_> = writes.changed.values().map(|reservation| ReservationRow::of(reservation)).collect();
    let id = sql.column(&rows, |row| row.reservation_id)?;
    let state = sql.column(&rows, |row| row.state.as_str())?;
    let revision = sql.column(&rows, |row| row.revision)?;
    let expire = sql.column(&rows, |row| row.expire_time)?;
    let confirm = sql.column(&rows, |row| row.confirm_time)?;
    let method = sql.column(&rows, |row| row.tender_method.as_deref())?;
    let transaction = sql.column(&rows, |row| row.tender_transaction.as_deref())?;
    let cancel = sql.column(&rows, |row| row.cancel_time)?;
    let amendment = sql.column(&rows, |row| row.amendment.as_deref())?;
    let due = sql.column(&rows, |row| row.refund_due_time)?;
    let pay_until = sql.column(&rows, |row| row.pay_until)?;
    let purchase = sql.column(&rows, |row| row.purchase_id)?;
    sql.with(format_args!(
        "changed AS (UPDATE reservations r SET state = n.state, revision = n.revision, expire_time = n.expire_time, \
            confirm_time = n.confirm_time, tender_method = n.tender_method, tender_transaction = n.tender_transaction, \
            cancel_time = n.cancel_time, amendment = n.amendment, refund_due_time = n.refund_due_time, \
            pay_until = n.pay_until, purchase_id = COALESCE(n.purchase_id, r.purchase_id) \
        FROM (SELECT {id} AS reservation_id, {state} AS state, {revision} AS revision, {expire} AS expire_time, \
            {confirm} AS confirm_time, {method} AS tender_method, {transaction} AS tender_transaction, \
            {cancel} AS cancel_time, {amendment} AS amendment, {due} AS refund_due_time, \
            {pay_until} AS pay_until, {purchase} AS purchase_id) AS n \
        WHERE r.reservation_id = n.reservation_id RETURNING r.reservation_id)"
    ));
    Ok(())
}

/// Adds stored answers.
fn store_answers(sql: &mut Sql, writes: &LedgerWrites) -> Result<(), Error> {
    let answers = &writes.answers;
    let caller = sql.column(answers, |answer| answer.key.caller.as_str())?;
    let method = sql.column(answers, |answer| answer.key.method)?;
    let request = sql.column(answers, |answer| answer.key.request_id.0)?;
    let fingerprint = sql.column(answers, |answer| &answer.key.fingerprint[..])?;
    let answer = sql.column(answers, |answer| encode(answer.revision, answer.reservation.as_deref()).to_string())?;
    sql.with(format_args!(
        "answered AS (INSERT INTO requests (caller, method, request_id, fingerprint, answer, create_time) \
        SELECT {caller}, {method}, {request}, {fingerprint}, {answer}::jsonb, clock_timestamp())"
    ));
    Ok(())
}
