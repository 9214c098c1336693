-- The ground floor: what a deployment knows of itself, auditoriums, showtimes, and the answers kept for retries.

-- Needed to put a plain column beside a range in the exclusion constraint below. Trusted: the database's owner may.
CREATE EXTENSION IF NOT EXISTS btree_gist;

-- What all instances of one deployment share, such as the key that signs page tokens.
CREATE TABLE settings (
    name        text PRIMARY KEY,
    value       bytea NOT NULL
);

CREATE TABLE auditoriums (
    auditorium_id   uuid PRIMARY KEY,
    name            text NOT NULL,
    cinema          text NOT NULL,
    time_zone       text NOT NULL,
    layout          jsonb NOT NULL,         -- rows as they were written; never updated
    seat_count      integer NOT NULL CHECK (seat_count > 0),
    create_time     timestamptz NOT NULL
);
-- The order of the list, and its only filter.
CREATE INDEX auditoriums_by_name ON auditoriums (cinema, name, auditorium_id);

CREATE TABLE showtimes (
    showtime_id     uuid PRIMARY KEY,
    auditorium_id   uuid NOT NULL REFERENCES auditoriums,
    movie_id        text NOT NULL,
    movie           jsonb NOT NULL,         -- the movie as it was when the showtime was scheduled
    start_time      timestamptz NOT NULL,
    end_time        timestamptz NOT NULL CHECK (end_time > start_time),
    free_again      timestamptz NOT NULL CHECK (free_again >= end_time),   -- the end, and the turnaround
    local_date      date NOT NULL,          -- of the start, in the auditorium's time zone
    currency        text NOT NULL,
    price_minor     bigint NOT NULL CHECK (price_minor >= 0),
    hold_us         bigint NOT NULL CHECK (hold_us > 0),
    create_time     timestamptz NOT NULL,
    -- What changes.
    state           text NOT NULL CHECK (state IN ('scheduled', 'cancelled')),
    cancel_time     timestamptz,
    available_count integer NOT NULL CHECK (available_count >= 0),
    revision        bigint NOT NULL CHECK (revision > 0),
    CHECK ((state = 'cancelled') = (cancel_time IS NOT NULL)),
    -- Stands behind the check that the service makes under the auditorium's lock.
    CONSTRAINT showtimes_do_not_overlap EXCLUDE USING gist
        (auditorium_id WITH =, tstzrange(start_time, free_again) WITH &&) WHERE (state = 'scheduled')
);
-- Every filter has an index that ends in the list's order.
CREATE INDEX showtimes_by_start ON showtimes (start_time, showtime_id);
CREATE INDEX showtimes_by_auditorium ON showtimes (auditorium_id, start_time, showtime_id);
CREATE INDEX showtimes_by_movie ON showtimes (movie_id, start_time, showtime_id);
CREATE INDEX showtimes_by_date ON showtimes (local_date, start_time, showtime_id);

-- One row for each mutation that came with a request id: what was asked, in short, and what was answered.
CREATE TABLE requests (
    caller          text NOT NULL,
    method          text NOT NULL,
    request_id      uuid NOT NULL,
    fingerprint     bytea NOT NULL,
    answer          jsonb,                  -- NULL only inside the transaction that is making it
    create_time     timestamptz NOT NULL,
    PRIMARY KEY (caller, method, request_id)
);
-- For the sweep that forgets old answers.
CREATE INDEX requests_by_age ON requests (create_time);
