-- Refunds of payments.

CREATE TABLE refunds (
    refund_id       uuid PRIMARY KEY,
    payment_id      uuid NOT NULL,
    purchase_id     uuid NOT NULL,
    reservation_id  uuid NOT NULL,
    showtime_id     uuid NOT NULL,
    currency        text NOT NULL,
    amount_minor    bigint NOT NULL,
    reason          text NOT NULL,
    create_time     timestamptz NOT NULL,
    -- The request that began it, so that its repetition finds it. NULL: it began with a change of seats.
    request_id      uuid,
    caller          text,
    fingerprint     bytea,
    detail          bytea NOT NULL,         -- the seats and what they cost, as boxoffice encodes them
    -- What changes.
    state           text NOT NULL,          -- pending, done, failed, stuck
    fence           bigint NOT NULL,        -- grows when an instance goes on with it; every write names it
    due_time        timestamptz,            -- from then on any instance may go on with it; NULL: nobody has to
    attempts        integer NOT NULL,
    failed_attempts integer NOT NULL,       -- since the gateway's last answer
    message         text NOT NULL,
    end_time        timestamptz
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX refunds_by_request ON refunds (request_id, caller) WHERE request_id IS NOT NULL;
CREATE INDEX refunds_by_payment ON refunds (payment_id);
CREATE INDEX refunds_by_showtime ON refunds (showtime_id, payment_id);
CREATE INDEX refunds_by_due ON refunds (due_time, refund_id) WHERE due_time IS NOT NULL;

-- Grows when a refund of the payment begins and when it ends. Whoever begins one has read all refunds of this version.
ALTER TABLE payments ADD COLUMN refund_version bigint NOT NULL DEFAULT 0;
-- The list of the payments of a purchase.
CREATE INDEX payments_of_purchase ON payments (purchase_id, create_time, payment_id);
