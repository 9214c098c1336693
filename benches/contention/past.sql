-- Writes past reservations, as many as the setting bench.past says, as the service would have written them: two seats
-- each, a thousand to a showtime.

-- The other columns of a showtime are copied from an existing one.
CREATE TEMPORARY TABLE past AS
    SELECT nth, showtimes.* FROM (SELECT * FROM showtimes ORDER BY showtime_id LIMIT 1) showtimes,
        generate_series(0, (current_setting('bench.past')::integer - 1) / 1000) nth;
UPDATE past SET
    showtime_id = gen_random_uuid(),
    start_time = start_time - (2 + nth / 6) * interval '1 day' - nth % 6 * interval '4 hours' - interval '60 days';
UPDATE past SET
    end_time = start_time + interval '2 hours',
    free_again = start_time + interval '3 hours',
    create_time = start_time - interval '30 days',
    local_date = start_time::date;
CREATE TEMPORARY TABLE sold AS
    SELECT number, showtime_id, start_time - interval '10 days' + number % 1000 * interval '1 second' AS time
    FROM generate_series(0, current_setting('bench.past')::integer - 1) number JOIN past ON nth = number / 1000;

INSERT INTO reservations (reservation_id, showtime_id, customer_id, first_seat, seat_count, total_minor, create_time,
        first_expire_time, expire_time, first_revision, request_id, caller, fingerprint, state, revision, confirm_time)
    SELECT format('01900000-0000-7000-8000-%s', lpad(to_hex(number), 12, '0'))::uuid, showtime_id,
        'customer-' || left(md5(number::text), 12), number % 1000 * 2, 2, 1900, time,
        time + interval '10 minutes', time + interval '10 minutes', 2 + number % 1000 * 2,
        gen_random_uuid(), '', sha256(number::text::bytea), 'confirmed', 3 + number % 1000 * 2, time + interval '1 minute'
    FROM sold;
INSERT INTO seat_claims (showtime_id, seat, reservation_id)
    SELECT showtime_id, first_seat + place, reservation_id
    FROM reservations JOIN past USING (showtime_id), generate_series(0, 1) place;
INSERT INTO outbox (aggregate, seq, last_seq, events, create_time, publish_time, attempts)
    SELECT showtime_id, 2 + number % 1000 * 2, 3 + number % 1000 * 2, decode(repeat('07', 150), 'hex'), time, time, 1
    FROM sold;
ALTER TABLE past DROP COLUMN nth;
INSERT INTO showtimes SELECT * FROM past;
INSERT INTO standings SELECT showtime_id, 0, 2001, NULL, start_time FROM past;
DROP TABLE past, sold;
