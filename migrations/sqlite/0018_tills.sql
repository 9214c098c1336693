-- Sales at tills: each is a purchase that was paid for without the gateway.

ALTER TABLE payments ADD COLUMN tender TEXT;         -- the till's name for how it was paid; NULL: by the gateway
ALTER TABLE payments ADD COLUMN transaction_id TEXT; -- the till's name for the payment
ALTER TABLE payments ADD COLUMN till TEXT;           -- empty if the till gave no name
ALTER TABLE payments ADD COLUMN local_date TEXT;     -- where the cinema is; NULL: made of a sale from before there were purchases
CREATE INDEX payments_by_till ON payments (till, local_date, currency, method, tender) WHERE till IS NOT NULL;

ALTER TABLE refunds ADD COLUMN till TEXT;            -- where it is paid out; NULL: by the gateway
ALTER TABLE refunds ADD COLUMN local_date TEXT;      -- when it was paid out, where the cinema is
CREATE INDEX refunds_by_till ON refunds (till, local_date) WHERE till IS NOT NULL;

-- Sales that have no purchase yet.
CREATE INDEX reservations_without_purchase ON reservations (showtime_id, reservation_id)
    WHERE confirm_time IS NOT NULL AND purchase_id IS NULL;
