-- A request id is found by itself: what is kept is its own for each caller (see `RequestKey::kept_as`).
DROP INDEX reservations_by_request;
CREATE UNIQUE INDEX reservations_by_request ON reservations (request_id) WHERE request_id IS NOT NULL;
-- An index ends in the table's key by itself.
DROP INDEX reservations_by_customer;
DROP INDEX reservations_by_showtime;
CREATE INDEX reservations_by_customer ON reservations (customer_id, create_time);
CREATE INDEX reservations_by_showtime ON reservations (showtime_id, create_time);
