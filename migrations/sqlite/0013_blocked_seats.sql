-- Seats that are kept back from sale, and what becomes of a sale.

-- One row for each seat that is blocked. Its claim in seat_claims has a reservation_id of 16 zero bytes.
CREATE TABLE blocked_seats (
    showtime_id     BLOB NOT NULL,
    seat            INTEGER NOT NULL,       -- counted through the layout, from 0
    reason          TEXT NOT NULL,          -- house, maintenance, company, sales_channel
    note            TEXT NOT NULL,
    create_time     TEXT NOT NULL,
    revision        INTEGER NOT NULL,       -- of the showtime
    PRIMARY KEY (showtime_id, seat)
) STRICT, WITHOUT ROWID;

-- The seats and lines that a reservation has once seats were exchanged or given back, as boxoffice encodes them. NULL: those of
-- first_seat, seat_count and lines, which stay as they were made.
ALTER TABLE reservations ADD COLUMN amendment BLOB;

-- When money was taken for a reservation that had ended. It was paid as tender_method and tender_transaction say.
ALTER TABLE reservations ADD COLUMN refund_due_time TEXT;
CREATE INDEX reservations_by_refund_due ON reservations (create_time, reservation_id) WHERE refund_due_time IS NOT NULL;
