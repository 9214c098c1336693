-- Refunds of payments.

CREATE TABLE refunds (
    refund_id       BLOB PRIMARY KEY,
    payment_id      BLOB NOT NULL,
    purchase_id     BLOB NOT NULL,
    reservation_id  BLOB NOT NULL,
    showtime_id     BLOB NOT NULL,
    currency        TEXT NOT NULL,
    amount_minor    INTEGER NOT NULL,
    reason          TEXT NOT NULL,
    create_time     TEXT NOT NULL,
    -- The request that began it, so that its repetition finds it. NULL: it began with a change of seats.
    request_id      BLOB,
    caller          TEXT,
    fingerprint     BLOB,
    detail          BLOB NOT NULL,          -- the seats and what they cost, as boxoffice encodes them
    -- What changes.
    state           TEXT NOT NULL,          -- pending, done, failed, stuck
    fence           INTEGER NOT NULL,       -- grows when an instance goes on with it; every write names it
    due_time        TEXT,                   -- from then on any instance may go on with it; NULL: nobody has to
    attempts        INTEGER NOT NULL,
    failed_attempts INTEGER NOT NULL,       -- since the gateway's last answer
    message         TEXT NOT NULL,
    end_time        TEXT
) STRICT;
CREATE UNIQUE INDEX refunds_by_request ON refunds (request_id, caller) WHERE request_id IS NOT NULL;
CREATE INDEX refunds_by_payment ON refunds (payment_id);
CREATE INDEX refunds_by_showtime ON refunds (showtime_id, payment_id);
CREATE INDEX refunds_by_due ON refunds (due_time, refund_id) WHERE due_time IS NOT NULL;

-- Grows when a refund of the payment begins and when it ends. Whoever begins one has read all refunds of this version.
ALTER TABLE payments ADD COLUMN refund_version INTEGER NOT NULL DEFAULT 0;
-- The list of the payments of a purchase.
CREATE INDEX payments_of_purchase ON payments (purchase_id, create_time, payment_id);
