-- Tickets: one for each seat that is sold, the keys that sign their codes, and what secrets of purchases are made of.

CREATE TABLE tickets (
    ticket_id       BLOB PRIMARY KEY,
    number          TEXT NOT NULL,          -- ten characters, of which the last one checks the others
    purchase_id     BLOB NOT NULL,
    payment_id      BLOB NOT NULL,
    reservation_id  BLOB NOT NULL,
    showtime_id     BLOB NOT NULL,
    customer_id     TEXT NOT NULL,
    seat            INTEGER NOT NULL,       -- its index in the auditorium
    seat_row        TEXT NOT NULL,
    seat_number     INTEGER NOT NULL,
    ticket_type     INTEGER NOT NULL,       -- its index in the price list of the showtime
    currency        TEXT NOT NULL,
    price_minor     INTEGER NOT NULL,
    code            BLOB NOT NULL,          -- signed, as in the QR code
    issue_time      TEXT NOT NULL,
    -- What changes.
    state           TEXT NOT NULL,          -- unpaid, issued, blocked, used, voided, exchanged, refunded
    use_time        TEXT,
    use_device      TEXT,
    use_nonce       TEXT,                   -- the device's name for the use, so that its repetition gets the same answer
    use_index       INTEGER                 -- the place of the ticket in its use, from 0
) STRICT;
CREATE UNIQUE INDEX tickets_by_number ON tickets (number);
CREATE INDEX tickets_by_seat ON tickets (showtime_id, seat);
CREATE INDEX tickets_by_purchase ON tickets (purchase_id, issue_time, ticket_id);
CREATE INDEX tickets_by_customer ON tickets (customer_id, issue_time, ticket_id);
-- A name for a use is used once.
CREATE UNIQUE INDEX tickets_by_use ON tickets (use_device, use_nonce, use_index) WHERE use_nonce IS NOT NULL;

-- The last one that is not retired signs. Tickets of a key that is retired are refused.
CREATE TABLE signing_keys (
    key_id          INTEGER PRIMARY KEY,
    seed            BLOB NOT NULL,          -- secret
    public_key      BLOB NOT NULL,
    create_time     TEXT NOT NULL,
    retire_time     TEXT
);

-- Whom devices have admitted without a network. A row is never updated.
CREATE TABLE scans (
    scan_id         BLOB NOT NULL,         -- made of the device, its nonce, the count and what was shown
    part            INTEGER NOT NULL,         -- counts the people of one scan
    device          TEXT NOT NULL,
    nonce           TEXT NOT NULL,
    shown           TEXT NOT NULL,         -- the code or the number
    scan_time       TEXT NOT NULL,
    upload_time     TEXT NOT NULL,
    ticket_id       BLOB,                  -- NULL: there is none
    why             TEXT NOT NULL,         -- what was in the way, as names with commas; may be empty
    is_double       INTEGER NOT NULL,         -- whether the ticket had been used already
    PRIMARY KEY (scan_id, part)
) STRICT;
CREATE INDEX scans_by_ticket ON scans (ticket_id);
