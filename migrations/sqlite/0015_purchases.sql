-- Purchases, their payments, and the money that moved.

CREATE TABLE purchases (
    purchase_id     BLOB PRIMARY KEY,
    number          TEXT NOT NULL,
    customer_id     TEXT NOT NULL,
    showtime_id     BLOB NOT NULL,
    reservation_id  BLOB NOT NULL,
    currency        TEXT NOT NULL,
    total_minor     INTEGER NOT NULL,
    create_time     TEXT NOT NULL,
    -- The request that began it, so that its repetition finds it.
    request_id      BLOB NOT NULL,
    caller          TEXT NOT NULL,
    fingerprint     BLOB NOT NULL,
    -- What changes.
    state           TEXT NOT NULL,          -- running, awaiting_customer, completed, compensated, stuck
    fence           INTEGER NOT NULL,        -- grows when another instance goes on with it; every write names it
    version         INTEGER NOT NULL,        -- grows with every write
    due_time        TEXT,            -- from then on any instance may go on with it; NULL: nobody has to
    detail          BLOB NOT NULL          -- position and steps, as boxoffice encodes them
) STRICT;
CREATE UNIQUE INDEX purchases_by_number ON purchases (number);
CREATE UNIQUE INDEX purchases_by_request ON purchases (request_id, caller);
CREATE INDEX purchases_by_due ON purchases (due_time, purchase_id) WHERE due_time IS NOT NULL;
-- The lists, the newest last.
CREATE INDEX purchases_by_time ON purchases (create_time, purchase_id);
CREATE INDEX purchases_by_customer ON purchases (customer_id, create_time, purchase_id);
CREATE INDEX purchases_by_showtime ON purchases (showtime_id, create_time, purchase_id);
CREATE INDEX purchases_stuck ON purchases (create_time, purchase_id) WHERE state = 'stuck';

CREATE TABLE payments (
    payment_id      BLOB PRIMARY KEY,
    purchase_id     BLOB NOT NULL,
    ordinal         INTEGER NOT NULL,      -- among the payments of the purchase, from 0
    customer_id     TEXT NOT NULL,
    reservation_id  BLOB NOT NULL,
    method          TEXT NOT NULL,
    currency        TEXT NOT NULL,
    amount_minor    INTEGER NOT NULL,
    create_time     TEXT NOT NULL,
    -- What changes.
    refunded_minor  INTEGER NOT NULL,
    state           TEXT NOT NULL,          -- pending, processing, authorized, completed, declined, refunded, voided
    token           TEXT NOT NULL,          -- the gateway's; empty once the payment is decided
    decline_code    TEXT NOT NULL,
    process_time    TEXT
) STRICT;
CREATE UNIQUE INDEX payments_by_purchase ON payments (purchase_id, ordinal);
CREATE INDEX payments_by_time ON payments (create_time, payment_id);
CREATE INDEX payments_by_customer ON payments (customer_id, create_time, payment_id);

-- Double entry: the entries of one operation on one payment add up to nothing. A row is never updated.
CREATE TABLE money_entries (
    payment_id      BLOB NOT NULL,
    operation       TEXT NOT NULL,          -- capture, or refund and its number
    account         TEXT NOT NULL,          -- gateway, sales, fees, tax
    currency        TEXT NOT NULL,
    minor           INTEGER NOT NULL,        -- what the account is owed; negative: what it owes
    create_time     TEXT NOT NULL,
    PRIMARY KEY (payment_id, operation, account)
) STRICT, WITHOUT ROWID;
