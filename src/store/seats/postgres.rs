//! The ledger's statements for Postgres: lock and look in one go, arrays in, one statement to write with.

use std::{fmt::Write as _, sync::LazyLock};

use chrono::{DateTime, Utc};
use sea_orm::{
    FromQueryResult,
    sqlx::{Arguments as _, Encode, Postgres, Type, postgres::PgArguments},
};

use super::{
    LockedRow, Looked, MadeBefore, Patience, Writes, expect, kept,
    line::{Lines, Open, Slot, literal, read},
    short,
};
use crate::{
    domain::ids::ShowtimeId,
    store::{
        Error, RequestKey,
        planted::{self, Bug},
        reservations::{RESERVATION_COLUMNS, ReservationRow},
    },
};

/// What each connection prepares when it is made. `look` answers with the time and, beside it, every reservation that was
/// made under one of the request ids: at least one row.
pub(in crate::store) static PREPARE: LazyLock<String> = LazyLock::new(|| {
    let lock = "SELECT s.showtime_id, s.state, s.cancel_time, s.available_count, s.revision, s.decide_time, s.next_lapse \
        FROM showtimes s WHERE s.showtime_id = ANY($1)";
    // In one order, so that nobody waits in a circle.
    let in_order = if planted::has(Bug::NoLock) { "" } else { "ORDER BY s.showtime_id FOR NO KEY UPDATE" };
    let or_not = if planted::has(Bug::NoLock) { "" } else { "NOWAIT" };
    let clock = if planted::has(Bug::TimeBeforeLock) { "now" } else { "clock_timestamp" };
    format!(
        "PREPARE lock (uuid[]) AS {lock} {in_order}; \
         PREPARE lock_now (uuid[]) AS {lock} {in_order} {or_not}; \
         PREPARE look AS SELECT {clock}() AS now; \
         PREPARE look_for (uuid[]) AS \
            SELECT {clock}() AS now, r.request_id, r.caller, r.fingerprint, {RESERVATION_COLUMNS} \
            FROM (VALUES (1)) AS once LEFT JOIN (reservations r JOIN showtimes s ON s.showtime_id = r.showtime_id) \
            ON r.request_id = ANY($1)"
    )
});

#[derive(FromQueryResult)]
struct NowRow {
    now: DateTime<Utc>,
}

#[derive(FromQueryResult)]
struct LookRow {
    now: DateTime<Utc>,
    request_id: Option<uuid::Uuid>,
    caller: Option<String>,
    fingerprint: Option<Vec<u8>>,
    #[sea_orm(nested)]
    reservation: Option<ReservationRow>,
}

pub(super) async fn begin(
    lines: &Lines,
    slot: &Slot,
    ids: &[ShowtimeId],
    keys: &[&RequestKey],
    patience: Patience,
) -> Result<(Open, Looked), Error> {
    let lock = match patience {
        Patience::Some => "lock",
        Patience::None => "lock_now",
    };
    let lock = format!("EXECUTE {lock} ({})", literal(ids.iter().map(|id| id.0)));
    let look = if keys.is_empty() {
        "EXECUTE look".to_owned()
    } else {
        format!("EXECUTE look_for ({})", literal(keys.iter().map(|key| key.request_id.0)))
    };
    let (open, mut answers) = lines.begin(slot, &[lock, look]).await?;
    let (looked, locked) = (answers.pop().unwrap_or_default(), answers.pop().unwrap_or_default());
    let locked = locked.into_iter().map(|row| read::<LockedRow>(row)?.locked()).collect::<Result<_, _>>()?;
    let mut looking = Looked { locked, now: None, made: Vec::new() };
    for row in looked {
        if keys.is_empty() {
            looking.now = Some(read::<NowRow>(row)?.now);
            continue;
        }
        let LookRow { now, request_id, caller, fingerprint, reservation } = read(row)?;
        looking.now = Some(now);
        if let (Some(request_id), Some(reservation)) = (request_id, reservation) {
            let reservation = reservation.reservation()?;
            let (caller, fingerprint) = (caller.unwrap_or_default(), fingerprint.unwrap_or_default());
            looking.made.push(MadeBefore { caller, request_id, fingerprint, reservation });
        }
    }
    Ok((open, looking))
}

/// A statement that is put together, and what it binds.
struct Sql {
    text: String,
    values: PgArguments,
}

impl Sql {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned(), values: PgArguments::default() }
    }

    fn add(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Another value.
    fn bind<'v>(&mut self, value: impl Encode<'v, Postgres> + Type<Postgres>) -> Result<&mut Self, Error> {
        let unbound = |error: Box<dyn std::error::Error + Send + Sync>| sea_orm::DbErr::Custom(error.to_string());
        self.values.add(value).map_err(unbound)?;
        let _written = write!(self.text, "${}", self.values.len());
        Ok(self)
    }

    /// Runs it, and answers how many rows it concerned.
    async fn run(self, open: &mut Open) -> Result<u64, Error> {
        open.run(self.text, self.values).await
    }
}

pub(super) async fn write(open: &mut Open, writes: &Writes) -> Result<(), Error> {
    if !writes.released.is_empty() {
        release(open, writes).await?;
    }
    for step in writes.steps.iter().filter(|step| step.cancel_time.is_some()) {
        let mut sql = Sql::new("UPDATE showtimes SET state = 'cancelled', cancel_time = ");
        sql.bind(step.cancel_time)?.add(" WHERE showtime_id = ").bind(step.showtime_id.0)?;
        sql.run(open).await?;
    }
    if !writes.lapses.is_empty() {
        let mut sql = Sql::new("UPDATE showtimes s SET next_lapse = n.next_lapse FROM unnest(");
        sql.bind(column(&writes.lapses, |(id, _)| id.0))?.add(", ");
        sql.bind(column(&writes.lapses, |(_, lapse)| *lapse))?;
        sql.add(") AS n (showtime_id, next_lapse) WHERE s.showtime_id = n.showtime_id");
        sql.run(open).await?;
    }
    if writes.steps.is_empty() {
        return Ok(());
    }
    let mut sql = steps(writes)?;
    if !writes.made.is_empty() {
        make(&mut sql, writes)?;
    }
    if !writes.changed.is_empty() {
        change(&mut sql, writes)?;
    }
    if !writes.answers.is_empty() {
        keep(&mut sql, writes)?;
    }
    sql.add(
        " UPDATE showtimes s SET revision = n.revision, available_count = n.available_count, \
            next_lapse = n.next_lapse, decide_time = n.decide_time \
        FROM steps n WHERE s.showtime_id = n.showtime_id AND s.revision = n.before",
    );
    if !writes.changed.is_empty() {
        // If one of them was not there, nothing was.
        sql.add(" AND (SELECT count(*) FROM changed) = ").bind(writes.changed.len() as i64)?;
    }
    expect(sql.run(open).await?, writes.steps.len(), "a showtime")
}

/// Takes the claims of ended reservations away. It is a statement of its own, before the one that may claim the same seats.
async fn release(open: &mut Open, writes: &Writes) -> Result<(), Error> {
    let gone = &writes.released;
    let mut sql = Sql::new(
        "DELETE FROM seat_claims c USING \
        (SELECT r.showtime_id, s.seat::smallint AS seat, r.reservation_id FROM unnest(",
    );
    sql.bind(column(gone, |reservation| reservation.showtime_id.0))?.add(", ");
    sql.bind(column(gone, |reservation| reservation.reservation_id.0))?.add(", ");
    sql.bind(column(gone, |reservation| reservation.block.first as i16))?.add(", ");
    sql.bind(column(gone, |reservation| reservation.block.count as i16))?;
    sql.add(
        ") AS r (showtime_id, reservation_id, first_seat, seat_count), \
            generate_series(r.first_seat, r.first_seat + r.seat_count - 1) AS s (seat)) AS gone \
        WHERE c.showtime_id = gone.showtime_id AND c.seat = gone.seat AND c.reservation_id = gone.reservation_id",
    );
    let seats: usize = gone.iter().map(|reservation| usize::from(reservation.block.count)).sum();
    expect(sql.run(open).await?, seats, "a claim")
}

/// What every statement that writes begins with: where showtimes get to, and what others are told.
fn steps(writes: &Writes) -> Result<Sql, Error> {
    let steps = &writes.steps;
    let mut sql = Sql::new("WITH steps AS (SELECT * FROM unnest(");
    sql.bind(column(steps, |step| step.showtime_id.0))?.add(", ");
    sql.bind(column(steps, |step| step.before))?.add(", ");
    sql.bind(column(steps, |step| step.revision))?.add(", ");
    sql.bind(column(steps, |step| step.available_count))?.add(", ");
    sql.bind(column(steps, |step| step.next_lapse))?.add(", ");
    sql.bind(column(steps, |step| step.decide_time))?.add(", ");
    sql.bind(column(steps, |step| &*step.events))?;
    sql.add(
        ") AS s (showtime_id, before, revision, available_count, next_lapse, decide_time, events)), \
        told AS (INSERT INTO outbox (aggregate, seq, last_seq, events, create_time) \
            SELECT showtime_id, before + 1, revision, events, decide_time FROM steps)",
    );
    Ok(sql)
}

/// Reservations that are new, and their claims.
fn make(sql: &mut Sql, writes: &Writes) -> Result<(), Error> {
    let made = &writes.made;
    sql.add(", new AS (SELECT * FROM unnest(");
    sql.bind(column(made, |(made, _)| made.reservation_id.0))?.add(", ");
    sql.bind(column(made, |(made, _)| made.showtime_id.0))?.add(", ");
    sql.bind(column(made, |(made, _)| made.customer_id.as_str()))?.add(", ");
    sql.bind(column(made, |(made, _)| made.block.first as i16))?.add(", ");
    sql.bind(column(made, |(made, _)| made.block.count as i16))?.add(", ");
    sql.bind(column(made, |(made, _)| made.total.minor))?.add(", ");
    sql.bind(column(made, |(made, _)| made.create_time))?.add(", ");
    sql.bind(column(made, |(made, _)| made.expire_time))?.add(", ");
    sql.bind(column(made, |(made, _)| made.revision))?.add(", ");
    sql.bind(column(made, |(_, key)| key.as_ref().map(|key| key.request_id.0)))?.add(", ");
    sql.bind(column(made, |(_, key)| key.as_ref().map(|key| key.caller.as_str())))?.add(", ");
    sql.bind(column(made, |(_, key)| key.as_ref().map(|key| short(&key.fingerprint))))?;
    sql.add(
        ") AS n (reservation_id, showtime_id, customer_id, first_seat, seat_count, total_minor, create_time, expire_time, \
            revision, request_id, caller, fingerprint)), \
        made AS (INSERT INTO reservations (reservation_id, showtime_id, customer_id, first_seat, seat_count, total_minor, \
                create_time, first_expire_time, expire_time, first_revision, revision, state, request_id, caller, fingerprint) \
            SELECT reservation_id, showtime_id, customer_id, first_seat, seat_count, total_minor, \
                create_time, expire_time, expire_time, revision, revision, 'held', request_id, caller, fingerprint FROM new), \
        claimed AS (INSERT INTO seat_claims (showtime_id, seat, reservation_id) \
            SELECT n.showtime_id, s.seat, n.reservation_id \
            FROM new n, generate_series(n.first_seat, n.first_seat + n.seat_count - 1) AS s (seat))",
    );
    Ok(())
}

/// Reservations as they are now.
fn change(sql: &mut Sql, writes: &Writes) -> Result<(), Error> {
    let rows: Vec<_> = writes.changed.values().map(|reservation| ReservationRow::of(reservation)).collect();
    sql.add(", changed AS (UPDATE reservations r SET state = n.state, revision = n.revision, \
        expire_time = n.expire_time, confirm_time = n.confirm_time, tender_method = n.tender_method, \
        tender_transaction = n.tender_transaction, cancel_time = n.cancel_time FROM unnest(");
    sql.bind(column(&rows, |row| row.reservation_id))?.add(", ");
    sql.bind(column(&rows, |row| row.state.as_str()))?.add(", ");
    sql.bind(column(&rows, |row| row.revision))?.add(", ");
    sql.bind(column(&rows, |row| row.expire_time))?.add(", ");
    sql.bind(column(&rows, |row| row.confirm_time))?.add(", ");
    sql.bind(column(&rows, |row| row.tender_method.as_deref()))?.add(", ");
    sql.bind(column(&rows, |row| row.tender_transaction.as_deref()))?.add(", ");
    sql.bind(column(&rows, |row| row.cancel_time))?;
    sql.add(
        ") AS n (reservation_id, state, revision, expire_time, confirm_time, tender_method, tender_transaction, \
            cancel_time) \
        WHERE r.reservation_id = n.reservation_id RETURNING r.reservation_id)",
    );
    Ok(())
}

/// Answers, for those who ask again.
fn keep(sql: &mut Sql, writes: &Writes) -> Result<(), Error> {
    let answers = &writes.answers;
    let json: Vec<_> =
        answers.iter().map(|(_, revision, reservation)| kept(*revision, reservation.as_deref()).to_string()).collect();
    sql.add(", kept AS (INSERT INTO requests (caller, method, request_id, fingerprint, answer, create_time) \
        SELECT n.caller, n.method, n.request_id, n.fingerprint, n.answer::jsonb, clock_timestamp() FROM unnest(");
    sql.bind(column(answers, |(key, ..)| key.caller.as_str()))?.add(", ");
    sql.bind(column(answers, |(key, ..)| key.method))?.add(", ");
    sql.bind(column(answers, |(key, ..)| key.request_id.0))?.add(", ");
    sql.bind(column(answers, |(key, ..)| &key.fingerprint[..]))?.add(", ");
    sql.bind(json)?;
    sql.add(") AS n (caller, method, request_id, fingerprint, answer))");
    Ok(())
}

fn column<'r, R, V>(rows: &'r [R], value: impl FnMut(&'r R) -> V) -> Vec<V> {
    rows.iter().map(value).collect()
}
