-- What operators do with refunds that are stuck, and why. A row is never updated.

CREATE TABLE refund_notes (
    refund_id       uuid NOT NULL,
    note_id         uuid NOT NULL,          -- begins with the time
    create_time     timestamptz NOT NULL,
    caller          text NOT NULL,          -- empty: not authenticated
    action          text NOT NULL,          -- resumed, settled_done, settled_paid_out, settled_failed
    note            text NOT NULL,
    PRIMARY KEY (refund_id, note_id)
);

-- The revision of the last event of a refund. NULL: 1 while it is pending, and 2 once it is not.
ALTER TABLE refunds ADD COLUMN event_revision bigint;
-- The list of refunds that are stuck.
CREATE INDEX refunds_stuck ON refunds (create_time, refund_id) WHERE state = 'stuck';
