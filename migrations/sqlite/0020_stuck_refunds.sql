-- What operators do with refunds that are stuck, and why. A row is never updated.

CREATE TABLE refund_notes (
    refund_id       BLOB NOT NULL,
    note_id         BLOB NOT NULL,          -- begins with the time
    create_time     TEXT NOT NULL,
    caller          TEXT NOT NULL,          -- empty: not authenticated
    action          TEXT NOT NULL,          -- resumed, settled_done, settled_paid_out, settled_failed
    note            TEXT NOT NULL,
    PRIMARY KEY (refund_id, note_id)
) STRICT, WITHOUT ROWID;

-- The revision of the last event of a refund. NULL: 1 while it is pending, and 2 once it is not.
ALTER TABLE refunds ADD COLUMN event_revision INTEGER;
-- The list of refunds that are stuck.
CREATE INDEX refunds_stuck ON refunds (create_time, refund_id) WHERE state = 'stuck';
