-- The tables of the usual way to sell seats. Each list that the service has, of a customer and of a showtime, has its index.
DROP TABLE IF EXISTS reservations, claims, outbox, purchases, payments, money_entries;
CREATE TABLE reservations (
    reservation_id  uuid PRIMARY KEY,
    showtime_id     uuid NOT NULL,
    customer_id     text NOT NULL,
    state           text NOT NULL,
    price_minor     bigint NOT NULL,
    create_time     timestamptz NOT NULL,
    expire_time     timestamptz NOT NULL,
    confirm_time    timestamptz
);
CREATE INDEX ON reservations (customer_id, reservation_id);
CREATE INDEX ON reservations (showtime_id, reservation_id);
CREATE TABLE claims (
    showtime_id     uuid NOT NULL,
    seat            integer NOT NULL,
    reservation_id  uuid NOT NULL,
    expire_time     timestamptz NOT NULL,
    PRIMARY KEY (showtime_id, seat)
);
CREATE TABLE outbox (
    event_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    aggregate       uuid NOT NULL,
    type            text NOT NULL,
    payload         bytea NOT NULL,
    create_time     timestamptz NOT NULL,
    published       boolean NOT NULL DEFAULT false
);
CREATE TABLE purchases (
    purchase_id     uuid PRIMARY KEY,
    customer_id     text NOT NULL,
    showtime_id     uuid NOT NULL,
    reservation_id  uuid NOT NULL,
    request_id      uuid NOT NULL UNIQUE,
    state           text NOT NULL,
    total_minor     bigint NOT NULL,
    create_time     timestamptz NOT NULL,
    change_time     timestamptz
) WITH (fillfactor = 70);
CREATE INDEX ON purchases (customer_id, create_time);
CREATE INDEX ON purchases (showtime_id, create_time);
CREATE TABLE payments (
    payment_id      uuid PRIMARY KEY,
    purchase_id     uuid NOT NULL,
    method          text NOT NULL,
    token           text NOT NULL,
    state           text NOT NULL,
    amount_minor    bigint NOT NULL,
    create_time     timestamptz NOT NULL,
    process_time    timestamptz
) WITH (fillfactor = 80);
CREATE INDEX ON payments (purchase_id, create_time);
CREATE TABLE money_entries (
    payment_id      uuid NOT NULL,
    operation       text NOT NULL,
    account         text NOT NULL,
    minor           bigint NOT NULL,
    create_time     timestamptz NOT NULL,
    PRIMARY KEY (payment_id, operation, account)
);
