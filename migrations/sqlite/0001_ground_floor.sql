-- The ground floor: what a deployment knows of itself, auditoriums, showtimes, and the answers kept for retries.
--
-- Ids are blobs of 16 bytes. Times are text in UTC as RFC 3339 with the same offset throughout, so that they sort.

-- What a deployment knows of itself, such as the key that signs page tokens.
CREATE TABLE settings (
    name        TEXT PRIMARY KEY NOT NULL,
    value       BLOB NOT NULL
) STRICT;

CREATE TABLE auditoriums (
    auditorium_id   BLOB PRIMARY KEY NOT NULL,
    name            TEXT NOT NULL,
    cinema          TEXT NOT NULL,
    time_zone       TEXT NOT NULL,
    layout          TEXT NOT NULL,          -- JSON: rows as they were written; never updated
    seat_count      INTEGER NOT NULL CHECK (seat_count > 0),
    create_time     TEXT NOT NULL
) STRICT;
-- The order of the list, and its only filter.
CREATE INDEX auditoriums_by_name ON auditoriums (cinema, name, auditorium_id);

CREATE TABLE showtimes (
    showtime_id     BLOB PRIMARY KEY NOT NULL,
    auditorium_id   BLOB NOT NULL REFERENCES auditoriums,
    movie_id        TEXT NOT NULL,
    movie           TEXT NOT NULL,          -- JSON: the movie as it was when the showtime was scheduled
    start_time      TEXT NOT NULL,
    end_time        TEXT NOT NULL CHECK (end_time > start_time),
    free_again      TEXT NOT NULL CHECK (free_again >= end_time),   -- the end, and the turnaround
    local_date      TEXT NOT NULL,          -- of the start, in the auditorium's time zone
    currency        TEXT NOT NULL,
    price_minor     INTEGER NOT NULL CHECK (price_minor >= 0),
    hold_us         INTEGER NOT NULL CHECK (hold_us > 0),
    create_time     TEXT NOT NULL,
    -- What changes.
    state           TEXT NOT NULL CHECK (state IN ('scheduled', 'cancelled')),
    cancel_time     TEXT,
    available_count INTEGER NOT NULL CHECK (available_count >= 0),
    revision        INTEGER NOT NULL CHECK (revision > 0),
    CHECK ((state = 'cancelled') = (cancel_time IS NOT NULL))
) STRICT;
-- Every filter has an index that ends in the list's order.
CREATE INDEX showtimes_by_start ON showtimes (start_time, showtime_id);
CREATE INDEX showtimes_by_auditorium ON showtimes (auditorium_id, start_time, showtime_id);
CREATE INDEX showtimes_by_movie ON showtimes (movie_id, start_time, showtime_id);
CREATE INDEX showtimes_by_date ON showtimes (local_date, start_time, showtime_id);

-- Stands behind the check that the service makes as the only writer.
CREATE TRIGGER showtimes_do_not_overlap BEFORE INSERT ON showtimes WHEN NEW.state = 'scheduled'
BEGIN
    SELECT RAISE(ABORT, 'showtimes_do_not_overlap') WHERE EXISTS (
        SELECT 1 FROM showtimes
        WHERE auditorium_id = NEW.auditorium_id AND state = 'scheduled'
            AND start_time < NEW.free_again AND free_again > NEW.start_time
            -- No slot is longer than two days: the search stays near.
            AND start_time > strftime('%Y-%m-%dT%H:%M:%S', NEW.start_time, '-2 days', '-1 second')
    );
END;

-- One row for each mutation that came with a request id: what was asked, in short, and what was answered.
CREATE TABLE requests (
    caller          TEXT NOT NULL,
    method          TEXT NOT NULL,
    request_id      BLOB NOT NULL,
    fingerprint     BLOB NOT NULL,
    answer          TEXT,                   -- JSON; NULL only inside the transaction that is making it
    create_time     TEXT NOT NULL,
    PRIMARY KEY (caller, method, request_id)
) STRICT;
-- For the sweep that forgets old answers.
CREATE INDEX requests_by_age ON requests (create_time);
