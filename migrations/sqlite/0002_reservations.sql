-- Reservations: who holds or has bought which seats, and what others are told of it.
--
-- A showtime's seats change only in transactions of the one writer, and its revision counts the changes.

ALTER TABLE showtimes ADD COLUMN next_lapse TEXT;       -- no hold ends before this; NULL: there is none
ALTER TABLE showtimes ADD COLUMN decide_time TEXT;      -- when its seats last changed; no decision is made at an earlier time
-- For the sweep that writes down holds that are over.
CREATE INDEX showtimes_by_lapse ON showtimes (next_lapse) WHERE next_lapse IS NOT NULL;

CREATE TABLE reservations (
    reservation_id  BLOB PRIMARY KEY NOT NULL,
    showtime_id     BLOB NOT NULL,
    customer_id     TEXT NOT NULL,
    first_seat      INTEGER NOT NULL CHECK (first_seat >= 0),       -- counted through the layout, from 0
    seat_count      INTEGER NOT NULL CHECK (seat_count > 0),        -- neighbours
    total_minor     INTEGER NOT NULL CHECK (total_minor >= 0),      -- in the showtime's currency
    create_time     TEXT NOT NULL,
    first_expire_time TEXT NOT NULL,                                -- as it was first promised
    expire_time     TEXT NOT NULL,
    first_revision  INTEGER NOT NULL,
    -- The request that made it, so that its retry finds it.
    request_id      BLOB,
    caller          TEXT,
    fingerprint     BLOB,
    -- What changes.
    state           TEXT NOT NULL CHECK (state IN ('held', 'confirmed', 'cancelled', 'expired')),
    revision        INTEGER NOT NULL,
    confirm_time    TEXT,
    tender_method   TEXT,
    tender_transaction TEXT,
    cancel_time     TEXT,
    CHECK (state <> 'confirmed' OR confirm_time IS NOT NULL),
    CHECK ((state = 'cancelled') = (cancel_time IS NOT NULL))
) STRICT, WITHOUT ROWID;
-- The lists, the newest last.
CREATE INDEX reservations_by_customer ON reservations (customer_id, create_time, reservation_id);
CREATE INDEX reservations_by_showtime ON reservations (showtime_id, create_time, reservation_id);
CREATE UNIQUE INDEX reservations_by_request ON reservations (request_id, caller) WHERE request_id IS NOT NULL;

-- One row for each seat that is held or sold. Its key alone keeps a seat from being had twice.
CREATE TABLE seat_claims (
    showtime_id     BLOB NOT NULL,
    seat            INTEGER NOT NULL,       -- counted through the layout, from 0
    reservation_id  BLOB NOT NULL,
    PRIMARY KEY (showtime_id, seat)
) STRICT, WITHOUT ROWID;

-- What others are told, written in the transaction of the change. One row has the events of one aggregate that were committed
-- together: those of the revisions seq to last_seq. The next row begins at last_seq + 1.
CREATE TABLE outbox (
    aggregate       BLOB NOT NULL,
    seq             INTEGER NOT NULL,
    last_seq        INTEGER NOT NULL CHECK (last_seq >= seq),
    events          BLOB NOT NULL,          -- a boxoffice.events.v1.Events
    create_time     TEXT NOT NULL,
    publish_time    TEXT,
    attempts        INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (aggregate, seq)
) STRICT;
