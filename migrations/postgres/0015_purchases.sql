-- Purchases, their payments, and the money that moved.

CREATE TABLE purchases (
    purchase_id     uuid PRIMARY KEY,
    number          text NOT NULL,
    customer_id     text NOT NULL,
    showtime_id     uuid NOT NULL,
    reservation_id  uuid NOT NULL,
    currency        text NOT NULL,
    total_minor     bigint NOT NULL,
    create_time     timestamptz NOT NULL,
    -- The request that began it, so that its repetition finds it.
    request_id      uuid NOT NULL,
    caller          text NOT NULL,
    fingerprint     bytea NOT NULL,
    -- What changes.
    state           text NOT NULL,          -- running, awaiting_customer, completed, compensated, stuck
    fence           bigint NOT NULL,        -- grows when another instance goes on with it; every write names it
    version         bigint NOT NULL,        -- grows with every write
    due_time        timestamptz,            -- from then on any instance may go on with it; NULL: nobody has to
    detail          bytea NOT NULL          -- position and steps, as boxoffice encodes them
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX purchases_by_number ON purchases (number);
CREATE UNIQUE INDEX purchases_by_request ON purchases (request_id, caller);
CREATE INDEX purchases_by_due ON purchases (due_time, purchase_id) WHERE due_time IS NOT NULL;
-- The lists, the newest last.
CREATE INDEX purchases_by_time ON purchases (create_time, purchase_id);
CREATE INDEX purchases_by_customer ON purchases (hashtextextended(customer_id, 0), create_time, purchase_id);
CREATE INDEX purchases_by_showtime ON purchases (showtime_id, create_time, purchase_id);
CREATE INDEX purchases_stuck ON purchases (create_time, purchase_id) WHERE state = 'stuck';

CREATE TABLE payments (
    payment_id      uuid PRIMARY KEY,
    purchase_id     uuid NOT NULL,
    ordinal         smallint NOT NULL,      -- among the payments of the purchase, from 0
    customer_id     text NOT NULL,
    reservation_id  uuid NOT NULL,
    method          text NOT NULL,
    currency        text NOT NULL,
    amount_minor    bigint NOT NULL,
    create_time     timestamptz NOT NULL,
    -- What changes.
    refunded_minor  bigint NOT NULL,
    state           text NOT NULL,          -- pending, processing, authorized, completed, declined, refunded, voided
    token           text NOT NULL,          -- the gateway's; empty once the payment is decided
    decline_code    text NOT NULL,
    process_time    timestamptz
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX payments_by_purchase ON payments (purchase_id, ordinal);
CREATE INDEX payments_by_time ON payments (create_time, payment_id);
CREATE INDEX payments_by_customer ON payments (hashtextextended(customer_id, 0), create_time, payment_id);

-- Double entry: the entries of one operation on one payment add up to nothing. A row is never updated.
CREATE TABLE money_entries (
    payment_id      uuid NOT NULL,
    operation       text NOT NULL,          -- capture, or refund and its number
    account         text NOT NULL,          -- gateway, sales, fees, tax
    currency        text NOT NULL,
    minor           bigint NOT NULL,        -- what the account is owed; negative: what it owes
    create_time     timestamptz NOT NULL,
    PRIMARY KEY (payment_id, operation, account)
);
