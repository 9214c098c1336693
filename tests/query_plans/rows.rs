//! A database with many rows.

use chrono::{DateTime, Utc};
use sea_orm::prelude::Uuid;

use crate::harness::{Store, World, create_auditorium, in_hours, new_showtime};

/// The number of auditoriums. There are ten in a cinema, with five showtimes each, of fifty movies. One showtime in ten is
/// cancelled. With fewer auditoriums Postgres rightly reads all of them for a join.
const AUDITORIUMS: i64 = 4_000;
pub(super) const SHOWTIMES: i64 = 20_000;
/// The number of reservations, made one second after the other. Each customer and each showtime has ten. Two in five are not
/// held any more, and a refund is due for one in fifty.
const RESERVATIONS: i64 = 40_000;
/// The id of the first of these showtimes.
pub(super) const FIRST: i64 = 1_000_000;

/// Returns a stopped server with many rows in its database, and the id of the auditorium that the server has made.
pub(super) async fn with_many_rows(store: Store) -> (World, String) {
    let world = World::start(store).await;
    let auditorium = create_auditorium(world.auditoriums()).await.auditorium_id;
    world.showtimes().create_showtime(new_showtime(&auditorium, in_hours(0))).await.expect("the slot is free");
    world.stop().await;
    let begin = beginning().format("%Y-%m-%d %H:%M:%S");
    let id = |number: &str| id_of(store, number);
    let minute = |minute: &str| match store {
        Store::Sqlite => format!("strftime('%Y-%m-%dT%H:%M:%S', '{begin}', ({minute}) || ' minutes') || '+00:00'"),
        Store::Postgres => format!("timestamptz '{begin}+00' + ({minute}) * interval '1 minute'"),
    };
    let date = match store {
        Store::Sqlite => format!("substr({}, 1, 10)", minute("m")),
        Store::Postgres => format!("(timestamp '{begin}' + m * interval '1 minute')::date"),
    };
    let auditoriums = format!(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {AUDITORIUMS} - 1) \
         INSERT INTO auditoriums SELECT {}, 'Screen ' || (i % 10), 'Cinema ' || (i / 10), time_zone, layout, seat_count, \
         create_time FROM n, auditoriums",
        id("i")
    );
    let showtimes = format!(
        "WITH RECURSIVE n(i, m) AS (SELECT 0, 0 UNION ALL \
             SELECT i + 1, (i + 1) / {AUDITORIUMS} * 60 FROM n WHERE i < {SHOWTIMES} - 1) \
         INSERT INTO showtimes SELECT {}, {}, 'tt' || (i % 50), movie, {}, {}, {}, {date}, currency, price_minor, hold_us, \
         create_time, CASE i % 10 WHEN 0 THEN 'cancelled' ELSE 'scheduled' END, \
         CASE i % 10 WHEN 0 THEN create_time END, 'Cinema ' || (i % {AUDITORIUMS} / 10), NULL FROM n, showtimes",
        id(&format!("{FIRST} + i")),
        id(&format!("i % {AUDITORIUMS}")),
        minute("m"),
        minute("m + 30"),
        minute("m + 45"),
    );
    let standings = "INSERT INTO standings SELECT showtime_id, 10, 2, NULL, NULL FROM showtimes \
         WHERE showtime_id NOT IN (SELECT showtime_id FROM standings)";
    let outbox = "INSERT INTO outbox (aggregate, seq, last_seq, events, create_time) \
         SELECT s.showtime_id, 2, 2, o.events, o.create_time FROM showtimes s, (SELECT * FROM outbox LIMIT 1) o";
    let lapses = format!("UPDATE standings SET next_lapse = {} WHERE showtime_id < {}", minute("1"), id("1000500"));
    for statement in [
        &*auditoriums,
        &*showtimes,
        standings,
        outbox,
        positions(store),
        &*reservations(store),
        CLAIMS,
        BLOCKED,
        &*purchases(store),
        PAYMENTS,
        &*refunds(store),
        &*tickets(store),
        NOTES,
        REFUND_NOTES,
        ENTRIES,
        &*lapses,
        "ANALYZE",
    ] {
        world.storage.sql(statement).await.unwrap_or_else(|error| panic!("{error}: {statement}"));
    }
    (world, auditorium)
}

/// The id of a row with this number, as the database makes it.
fn id_of(store: Store, number: &str) -> String {
    match store {
        Store::Sqlite => format!("unhex(printf('%032d', {number}))"),
        Store::Postgres => format!("lpad(({number})::text, 32, '0')::uuid"),
    }
}

const CLAIMS: &str = "INSERT INTO seat_claims (showtime_id, seat, reservation_id) \
     SELECT showtime_id, first_seat, reservation_id FROM reservations";
/// As many blocked seats as reservations.
const BLOCKED: &str = "INSERT INTO blocked_seats (showtime_id, seat, reason, note, create_time, revision) \
     SELECT showtime_id, 10 + first_seat, 'house', '', create_time, 2 FROM reservations";

const PAYMENTS: &str = "INSERT INTO payments (payment_id, purchase_id, ordinal, customer_id, reservation_id, method, currency, \
     amount_minor, create_time, refunded_minor, state, token, decline_code, process_time, refund_version, \
     tender, transaction_id, till, local_date) \
     SELECT purchase_id, purchase_id, 0, customer_id, reservation_id, 'credit_card', 'EUR', 950, create_time, 0, 'completed', \
     '', '', create_time, 1, 'cash', '', 'till ' || substr(number, 1, 2), date(create_time) FROM purchases";

/// Makes the entries of each payment.
const ENTRIES: &str = "INSERT INTO money_entries (payment_id, operation, account, currency, minor, create_time) \
     SELECT payment_id, 'capture', account, 'EUR', minor, create_time FROM payments, \
     (SELECT 'gateway' AS account, 950 AS minor UNION ALL SELECT 'sales', -950) AS accounts";

/// Makes a note of each purchase.
const NOTES: &str = "INSERT INTO purchase_notes (purchase_id, note_id, create_time, caller, action, note) \
     SELECT purchase_id, purchase_id, create_time, '', 'resumed', 'a note' FROM purchases";

/// Makes a note of each refund.
const REFUND_NOTES: &str = "INSERT INTO refund_notes (refund_id, note_id, create_time, caller, action, note) \
     SELECT refund_id, refund_id, create_time, '', 'resumed', 'a note' FROM refunds";

/// Makes a ticket of each reservation, of which one in ten was used.
fn tickets(store: Store) -> String {
    let no_bytes = no_bytes(store);
    format!(
        "INSERT INTO tickets (ticket_id, number, purchase_id, payment_id, reservation_id, showtime_id, customer_id, seat, \
         seat_row, seat_number, ticket_type, currency, price_minor, code, issue_time, state, use_time, use_device, use_nonce, use_index) \
         SELECT purchase_id, number, purchase_id, purchase_id, reservation_id, showtime_id, customer_id, 7, 'A', 8, 0, 'EUR', 950, \
         {no_bytes}, create_time, 'issued', CASE WHEN number LIKE '%0' THEN create_time END, \
         CASE WHEN number LIKE '%0' THEN 'door 7' END, CASE WHEN number LIKE '%0' THEN number END, \
         CASE WHEN number LIKE '%0' THEN 0 END FROM purchases"
    )
}

/// Makes a purchase for each reservation, of which one in a hundred is due, every second one is running, and one in a thousand
/// is stuck.
fn purchases(store: Store) -> String {
    let no_bytes = no_bytes(store);
    format!(
        "INSERT INTO purchases (purchase_id, number, customer_id, showtime_id, reservation_id, currency, total_minor, \
         create_time, request_id, caller, fingerprint, state, fence, version, due_time, detail) \
         SELECT reservation_id, CAST(n AS text), customer_id, showtime_id, reservation_id, 'EUR', 950, create_time, \
         reservation_id, '', {no_bytes}, CASE WHEN n % 1000 = 0 THEN 'stuck' WHEN n % 2 = 0 THEN 'running' ELSE 'completed' END, 1, 1, \
         CASE n % 100 WHEN 1 THEN create_time END, {no_bytes} \
         FROM (SELECT *, row_number() OVER (ORDER BY reservation_id) AS n FROM reservations) AS numbered"
    )
}

/// Makes a refund of each payment, of which one in a hundred is due, and one in a thousand is stuck.
fn refunds(store: Store) -> String {
    let no_bytes = no_bytes(store);
    format!(
        "INSERT INTO refunds (refund_id, payment_id, purchase_id, reservation_id, showtime_id, currency, amount_minor, \
         reason, create_time, request_id, caller, fingerprint, detail, state, fence, due_time, attempts, failed_attempts, \
         message, till, local_date) SELECT purchase_id, purchase_id, purchase_id, reservation_id, showtime_id, 'EUR', 950, '', create_time, \
         purchase_id, '', {no_bytes}, {no_bytes}, CASE WHEN state = 'stuck' THEN 'stuck' ELSE 'pending' END, 0, due_time, 0, 0, '', 'till ' || substr(number, 1, 2), date(create_time) FROM purchases"
    )
}

fn no_bytes(store: Store) -> &'static str {
    if store == Store::Sqlite { "x''" } else { "''::bytea" }
}

/// Makes the reservations.
fn reservations(store: Store) -> String {
    let begin = beginning().format("%Y-%m-%d %H:%M:%S");
    let id = |number: &str| id_of(store, number);
    let second = match store {
        Store::Sqlite => format!("strftime('%Y-%m-%dT%H:%M:%S', '{begin}', i || ' seconds') || '+00:00'"),
        Store::Postgres => format!("timestamptz '{begin}+00' + i * interval '1 second'"),
    };
    format!(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {RESERVATIONS} - 1) \
         INSERT INTO reservations (reservation_id, showtime_id, customer_id, first_seat, seat_count, total_minor, create_time, \
         first_expire_time, expire_time, first_revision, state, revision, confirm_time, refund_due_time, tender_method, \
         tender_transaction) \
         SELECT {}, {}, 'customer ' || (i % {}), i % 10, 1, 950, {second}, {second}, {second}, 2, \
         CASE i % 5 WHEN 0 THEN 'confirmed' WHEN 1 THEN 'expired' ELSE 'held' END, 2, \
         CASE i % 5 WHEN 0 THEN {second} END, CASE i % 50 WHEN 1 THEN {second} END, CASE i % 50 WHEN 1 THEN 'card' END, \
         CASE i % 50 WHEN 1 THEN '' END FROM n",
        id("i"),
        id(&format!("{FIRST} + i / 10")),
        RESERVATIONS / 10,
    )
}

/// Gives positions to all rows of the outbox. On `SQLite` a trigger has done so.
fn positions(store: Store) -> &'static str {
    let rows = "WITH given AS (INSERT INTO feed_segments SELECT min(p), max(p), array_agg(aggregate), array_agg(seq), array_agg(1), max(p) \
             FROM (SELECT (SELECT position FROM feed_head) + row_number() OVER () AS p, aggregate, seq FROM outbox \
             WHERE (aggregate, seq) NOT IN (SELECT aggregate, seq FROM feed)) AS fresh GROUP BY p / 100 RETURNING last) \
         UPDATE feed_head SET position = (SELECT max(last) FROM given), seen = pg_current_snapshot()";
    if store == Store::Postgres { rows } else { "SELECT 1" }
}

/// The start of the first of the many showtimes.
pub(super) fn beginning() -> DateTime<Utc> {
    in_hours(24 * 30)
}

/// Returns the id whose hexadecimal digits are the decimal digits of this number.
pub(super) fn id(number: i64) -> Uuid {
    Uuid::parse_str(&format!("{number:032}")).expect("digits are hexadecimal, too")
}
