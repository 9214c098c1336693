-- Price lists, and what each seat of a reservation costs.

-- The ticket types, supplements, fee and tax of a showtime. NULL: every seat costs price_minor.
ALTER TABLE showtimes ADD COLUMN price_list jsonb;

-- The price of each seat, as boxoffice encodes it. NULL: each seat costs the same part of total_minor.
ALTER TABLE reservations ADD COLUMN lines bytea;
