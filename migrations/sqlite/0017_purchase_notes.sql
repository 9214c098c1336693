-- What operators did with purchases that were stuck, and why. A row is never updated.

CREATE TABLE purchase_notes (
    purchase_id     BLOB NOT NULL,
    note_id         BLOB NOT NULL,          -- begins with the time
    create_time     TEXT NOT NULL,
    caller          TEXT NOT NULL,          -- empty: not authenticated
    action          TEXT NOT NULL,          -- resumed, settled_completed, settled_compensated
    note            TEXT NOT NULL,
    PRIMARY KEY (purchase_id, note_id)
) STRICT, WITHOUT ROWID;
