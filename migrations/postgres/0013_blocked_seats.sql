-- Seats that are kept back from sale, and what becomes of a sale.

-- One row for each seat that is blocked. Its claim in seat_claims has the reservation_id 00000000-0000-0000-0000-000000000000.
CREATE TABLE blocked_seats (
    showtime_id     uuid NOT NULL,
    seat            smallint NOT NULL,      -- counted through the layout, from 0
    reason          text NOT NULL,          -- house, maintenance, company, sales_channel
    note            text NOT NULL,
    create_time     timestamptz NOT NULL,
    revision        bigint NOT NULL,        -- of the showtime
    PRIMARY KEY (showtime_id, seat)
);

-- The seats and lines that a reservation has once seats were exchanged or given back, as boxoffice encodes them. NULL: those of
-- first_seat, seat_count and lines, which stay as they were made.
ALTER TABLE reservations ADD COLUMN amendment bytea;

-- When money was taken for a reservation that had ended. It was paid as tender_method and tender_transaction say.
ALTER TABLE reservations ADD COLUMN refund_due_time timestamptz;
CREATE INDEX reservations_by_refund_due ON reservations (create_time, reservation_id) WHERE refund_due_time IS NOT NULL;
