-- Reservations that are being paid for. Their state is 'paying', and does not end by the clock.

-- Until when the payment is, or was, given time. NULL: no payment has begun.
ALTER TABLE reservations ADD COLUMN pay_until timestamptz;
-- The purchase for which the payment began. It stays after the sale and after the end.
ALTER TABLE reservations ADD COLUMN purchase_id uuid;
