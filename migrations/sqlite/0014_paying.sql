-- Reservations that are being paid for. Their state is 'paying', and does not end by the clock.

-- The table is made anew, because SQLite cannot change a CHECK: 'paying' is a further state. The columns pay_until and purchase_id
-- are new; the others, the keys and the indexes are as they were.
CREATE TABLE reservations_paying (
    reservation_id  BLOB PRIMARY KEY NOT NULL,
    showtime_id     BLOB NOT NULL,
    customer_id     TEXT NOT NULL,
    first_seat      INTEGER NOT NULL CHECK (first_seat >= 0),       -- counted through the layout, from 0
    seat_count      INTEGER NOT NULL CHECK (seat_count > 0),        -- neighbours
    total_minor     INTEGER NOT NULL CHECK (total_minor >= 0),      -- in the showtime's currency
    create_time     TEXT NOT NULL,
    first_expire_time TEXT NOT NULL,                                -- as it was first promised
    expire_time     TEXT NOT NULL,
    first_revision  INTEGER NOT NULL,
    -- The request that made it, so that its repetition finds it.
    request_id      BLOB,
    caller          TEXT,
    fingerprint     BLOB,
    -- What changes.
    state           TEXT NOT NULL CHECK (state IN ('held', 'paying', 'confirmed', 'cancelled', 'expired')),
    revision        INTEGER NOT NULL,
    confirm_time    TEXT,
    tender_method   TEXT,
    tender_transaction TEXT,
    cancel_time     TEXT,
    lines           BLOB,
    amendment       BLOB,
    refund_due_time TEXT,
    pay_until       TEXT,                   -- until when the payment is, or was, given time; NULL: no payment has begun
    purchase_id     BLOB,                   -- the purchase for which it began; it stays after the sale and after the end
    CHECK (state <> 'confirmed' OR confirm_time IS NOT NULL),
    CHECK ((state = 'cancelled') = (cancel_time IS NOT NULL))
) STRICT, WITHOUT ROWID;
INSERT INTO reservations_paying (reservation_id, showtime_id, customer_id, first_seat, seat_count, total_minor, create_time,
        first_expire_time, expire_time, first_revision, request_id, caller, fingerprint, state, revision, confirm_time, tender_method,
        tender_transaction, cancel_time, lines, amendment, refund_due_time)
    SELECT reservation_id, showtime_id, customer_id, first_seat, seat_count, total_minor, create_time, first_expire_time, expire_time,
        first_revision, request_id, caller, fingerprint, state, revision, confirm_time, tender_method, tender_transaction,
        cancel_time, lines, amendment, refund_due_time
    FROM reservations;
-- Safe since 0.1.0: the next statement puts the same table in its place.
DROP TABLE reservations;
-- Safe since 0.1.0: the table has its old name again, and every column that it had.
ALTER TABLE reservations_paying RENAME TO reservations;
CREATE UNIQUE INDEX reservations_by_request ON reservations (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX reservations_by_customer ON reservations (customer_id, create_time);
CREATE INDEX reservations_by_showtime ON reservations (showtime_id, create_time);
CREATE INDEX reservations_by_refund_due ON reservations (create_time, reservation_id) WHERE refund_due_time IS NOT NULL;
