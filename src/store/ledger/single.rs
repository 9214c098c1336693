//! A reservation that has a batch to itself: it is written and committed in one message to Postgres.
//!
//! A single caller waits for every round trip, and this saves one. In larger batches it would save nothing: reading values as
//! text costs Postgres as much there.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use prost::Message as _;

use super::{
    text::hex,
    writes::{LedgerWrites, ShowtimeAdvance, stored_fingerprint},
};
use crate::{
    domain::reservation::Reservation,
    store::{request_key::RequestKey, rows::prices::StoredLines},
};

/// The statement. If the locked row has another revision after all, the statement divides by zero and fails, and the COMMIT in
/// the same message is skipped. The row of the outbox has one event, which is the default of `event_count`.
pub(super) const PREPARE: &str = "PREPARE reserve (uuid, uuid, bytea, smallint, smallint, bigint, timestamptz, timestamptz, \
        bigint, uuid, bytea, bytea, bigint, integer, timestamptz, bytea, bytea) AS \
    WITH made AS (INSERT INTO reservations (reservation_id, showtime_id, customer_id, first_seat, seat_count, \
            total_minor, create_time, first_expire_time, expire_time, first_revision, revision, state, request_id, \
            caller, fingerprint, lines) \
        VALUES ($1, $2, convert_from($3, 'UTF8'), $4, $5, $6, $7, $8, $8, $9, $9, 'held', $10, \
            convert_from($11, 'UTF8'), $12, $17)), \
    claimed AS (INSERT INTO seat_claims (showtime_id, seat, reservation_id) \
        SELECT $2, generate_series($4::integer, $4::integer + $5 - 1)::smallint, $1), \
    happened AS (INSERT INTO outbox (aggregate, seq, last_seq, events, create_time) VALUES ($2, $9, $9, $16, $7)) \
    UPDATE standings SET revision = $9 / (CASE WHEN revision = $13 THEN 1 ELSE 0 END), available_count = $14, \
        next_lapse = $15, decide_time = $7 WHERE showtime_id = $2";

/// The message that writes and commits this, if it is one new reservation and nothing else.
pub(super) fn message(writes: &LedgerWrites) -> Option<String> {
    let LedgerWrites { made, changed, freed, claimed, advances, answers, lapses, companions, .. } = writes;
    let ([(made, key)], [advance]) = (&made[..], &advances[..]) else { return None };
    let nothing_else = changed.is_empty()
        && freed.is_empty()
        && claimed.is_empty()
        && answers.is_empty()
        && lapses.is_empty()
        && companions.is_empty()
        && advance.cancel_time.is_none();
    nothing_else.then(|| reserve(made, key.as_ref(), advance))
}

/// The values as literals. They consist of digits, letters and hyphens that are written here, so nothing has to be quoted.
fn reserve(made: &Reservation, key: Option<&RequestKey>, advance: &ShowtimeAdvance) -> String {
    let Reservation {
        reservation_id,
        showtime_id,
        customer_id,
        first_block: block,
        first_lines: lines,
        create_time,
        ..
    } = made;
    let (id, showtime, customer) = (reservation_id.0, showtime_id.0, bytes(customer_id.as_str().as_bytes()));
    let (first, count, total) = (block.first, block.count, lines.total());
    let lines = StoredLines::of(lines).map_or_else(null, |lines| bytes(&lines.encode_to_vec()));
    let (create, expire) = (time(*create_time), time(made.expire_time()));
    let request = key.map_or_else(null, |key| format!("'{}'", key.scoped_id()));
    let caller = key.map_or_else(null, |key| bytes(key.caller.as_bytes()));
    let fingerprint = key.map_or_else(null, |key| bytes(&stored_fingerprint(&key.fingerprint)));
    let ShowtimeAdvance { before, revision, available_count, events, .. } = advance;
    let lapse = advance.next_lapse.map_or_else(null, time);
    let mut text = String::with_capacity(512 + 2 * events.len());
    let _written = write!(
        text,
        "EXECUTE reserve ('{id}', '{showtime}', {customer}, {first}, {count}, {total}, {create}, {expire}, {revision}, \
         {request}, {caller}, {fingerprint}, {before}, {available_count}, {lapse}, {}, {lines}); COMMIT",
        bytes(events)
    );
    text
}

fn null() -> String {
    "NULL".to_owned()
}

fn time(time: DateTime<Utc>) -> String {
    format!("'{}'", time.to_rfc3339_opts(SecondsFormat::Micros, true))
}

fn bytes(bytes: &[u8]) -> String {
    format!("'\\x{}'", hex(bytes))
}
