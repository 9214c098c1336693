-- Reservations: who holds or has bought which seats, and what others are told of it.
--
-- A showtime's seats change only under its row's lock, and its revision counts the changes. No foreign keys point from here
-- to showtimes: they would cost as much as the rows themselves, and nothing deletes a showtime. Nor are there CHECKs on the
-- tables that every reservation writes to: Postgres prepares each of them anew for every statement, which took a fifth of
-- the time of a reservation by itself. What they would check is checked where rows are read, and on SQLite, where it costs
-- nothing. What keeps a seat from being had twice is a key.

ALTER TABLE showtimes
    DROP CONSTRAINT showtimes_check, DROP CONSTRAINT showtimes_check1, DROP CONSTRAINT showtimes_check2,
    DROP CONSTRAINT showtimes_price_minor_check, DROP CONSTRAINT showtimes_hold_us_check,
    DROP CONSTRAINT showtimes_state_check, DROP CONSTRAINT showtimes_available_count_check,
    DROP CONSTRAINT showtimes_revision_check,
    ADD COLUMN next_lapse  timestamptz,     -- no hold ends before this; NULL: there is none
    ADD COLUMN decide_time timestamptz;     -- when its seats last changed; no decision is made at an earlier time
-- Room beside each row for its next version: no index has to learn of a new revision.
ALTER TABLE showtimes SET (fillfactor = 50);
-- For the sweep that writes down holds that are over.
CREATE INDEX showtimes_by_lapse ON showtimes (next_lapse) WHERE next_lapse IS NOT NULL;

CREATE TABLE reservations (
    reservation_id  uuid PRIMARY KEY,
    showtime_id     uuid NOT NULL,
    customer_id     text NOT NULL,
    first_seat      smallint NOT NULL,      -- counted through the layout, from 0
    seat_count      smallint NOT NULL,       -- neighbours
    total_minor     bigint NOT NULL,       -- in the showtime's currency
    create_time     timestamptz NOT NULL,
    first_expire_time timestamptz NOT NULL,                         -- as it was first promised
    expire_time     timestamptz NOT NULL,
    first_revision  bigint NOT NULL,
    -- The request that made it, so that its retry finds it.
    request_id      uuid,
    caller          text,
    fingerprint     bytea,
    -- What changes.
    state           text NOT NULL,          -- held, confirmed, cancelled, expired
    revision        bigint NOT NULL,
    confirm_time    timestamptz,
    tender_method   text,
    tender_transaction text,
    cancel_time     timestamptz
) WITH (fillfactor = 85);
-- The lists, the newest last.
CREATE INDEX reservations_by_customer ON reservations (customer_id, create_time, reservation_id);
CREATE INDEX reservations_by_showtime ON reservations (showtime_id, create_time, reservation_id);
CREATE UNIQUE INDEX reservations_by_request ON reservations (request_id, caller) WHERE request_id IS NOT NULL;

-- One row for each seat that is held or sold. Its key alone keeps a seat from being had twice.
CREATE TABLE seat_claims (
    showtime_id     uuid NOT NULL,
    seat            smallint NOT NULL,      -- counted through the layout, from 0
    reservation_id  uuid NOT NULL,
    PRIMARY KEY (showtime_id, seat)
);

-- What others are told, written in the transaction of the change. One row has the events of one aggregate that were committed
-- together: those of the revisions seq to last_seq. The next row begins at last_seq + 1.
CREATE TABLE outbox (
    aggregate       uuid NOT NULL,
    seq             bigint NOT NULL,
    last_seq        bigint NOT NULL,
    events          bytea NOT NULL,         -- a boxoffice.events.v1.Events
    create_time     timestamptz NOT NULL,
    publish_time    timestamptz,
    attempts        integer NOT NULL DEFAULT 0,
    PRIMARY KEY (aggregate, seq)
);
