-- What operators did with purchases that were stuck, and why. A row is never updated.

CREATE TABLE purchase_notes (
    purchase_id     uuid NOT NULL,
    note_id         uuid NOT NULL,          -- begins with the time
    create_time     timestamptz NOT NULL,
    caller          text NOT NULL,          -- empty: not authenticated
    action          text NOT NULL,          -- resumed, settled_completed, settled_compensated
    note            text NOT NULL,
    PRIMARY KEY (purchase_id, note_id)
);
