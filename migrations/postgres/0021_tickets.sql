-- Tickets: one for each seat that is sold, the keys that sign their codes, and what secrets of purchases are made of.

CREATE TABLE tickets (
    ticket_id       uuid PRIMARY KEY,
    number          text NOT NULL,          -- ten characters, of which the last one checks the others
    purchase_id     uuid NOT NULL,
    payment_id      uuid NOT NULL,
    reservation_id  uuid NOT NULL,
    showtime_id     uuid NOT NULL,
    customer_id     text NOT NULL,
    seat            integer NOT NULL,       -- its index in the auditorium
    seat_row        text NOT NULL,
    seat_number     integer NOT NULL,
    ticket_type     integer NOT NULL,       -- its index in the price list of the showtime
    currency        text NOT NULL,
    price_minor     bigint NOT NULL,
    code            bytea NOT NULL,          -- signed, as in the QR code
    issue_time      timestamptz NOT NULL,
    -- What changes.
    state           text NOT NULL,          -- unpaid, issued, blocked, used, voided, exchanged, refunded
    use_time        timestamptz,
    use_device      text,
    use_nonce       text,                   -- the device's name for the use, so that its repetition gets the same answer
    use_index       smallint                -- the place of the ticket in its use, from 0
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX tickets_by_number ON tickets (number);
CREATE INDEX tickets_by_seat ON tickets (showtime_id, seat);
CREATE INDEX tickets_by_purchase ON tickets (purchase_id, issue_time, ticket_id);
CREATE INDEX tickets_by_customer ON tickets (hashtextextended(customer_id, 0), issue_time, ticket_id);
-- A name for a use is used once.
CREATE UNIQUE INDEX tickets_by_use ON tickets (use_device, use_nonce, use_index) WHERE use_nonce IS NOT NULL;

-- The last one that is not retired signs. Tickets of a key that is retired are refused.
CREATE TABLE signing_keys (
    key_id          integer PRIMARY KEY,
    seed            bytea NOT NULL,          -- secret
    public_key      bytea NOT NULL,
    create_time     timestamptz NOT NULL,
    retire_time     timestamptz
);

-- Whom devices have admitted without a network. A row is never updated.
CREATE TABLE scans (
    scan_id         uuid NOT NULL,         -- made of the device, its nonce, the count and what was shown
    part            smallint NOT NULL,         -- counts the people of one scan
    device          text NOT NULL,
    nonce           text NOT NULL,
    shown           text NOT NULL,         -- the code or the number
    scan_time       timestamptz NOT NULL,
    upload_time     timestamptz NOT NULL,
    ticket_id       uuid,                  -- NULL: there is none
    why             text NOT NULL,         -- what was in the way, as names with commas; may be empty
    is_double       boolean NOT NULL,         -- whether the ticket had been used already
    PRIMARY KEY (scan_id, part)
);
CREATE INDEX scans_by_ticket ON scans (ticket_id);
