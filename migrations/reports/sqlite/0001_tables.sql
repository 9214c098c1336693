-- The tables of a reporting database. docs/reports.md describes each column. Everything but projection and
-- reports_migrations can be rebuilt from the events.

CREATE TABLE showtimes (
    showtime_id      text PRIMARY KEY,
    movie_id         text NOT NULL,
    movie_title      text NOT NULL,
    cinema           text NOT NULL,
    auditorium_id    text NOT NULL,
    auditorium_name  text NOT NULL,
    start_time       text NOT NULL,
    end_time         text NOT NULL,
    local_date       text NOT NULL,
    time_zone        text NOT NULL,
    capacity         integer NOT NULL,
    price            bigint NOT NULL,
    currency         text NOT NULL,
    create_time      text NOT NULL,
    cancel_time      text,
    held_seats       integer NOT NULL,
    sold_seats       integer NOT NULL,
    revision         bigint NOT NULL,
    ordinal          integer NOT NULL
);

CREATE INDEX showtimes_by_start ON showtimes (start_time, showtime_id);
CREATE INDEX showtimes_by_date ON showtimes (local_date);
CREATE INDEX showtimes_by_movie ON showtimes (movie_id);
CREATE INDEX showtimes_by_cinema ON showtimes (cinema);
CREATE INDEX showtimes_by_auditorium ON showtimes (auditorium_id);

CREATE TABLE sales (
    reservation_id   text NOT NULL,
    seat             text NOT NULL,
    seat_row         text NOT NULL,
    seat_number      integer NOT NULL,
    showtime_id      text NOT NULL,
    price            bigint NOT NULL,
    currency         text NOT NULL,
    payment_method   text,
    sale_time        text NOT NULL,
    sale_date        text NOT NULL,
    showing_date     text NOT NULL,
    return_time      text,
    return_date      text,
    PRIMARY KEY (reservation_id, seat)
);

CREATE INDEX sales_by_showtime ON sales (showtime_id);
CREATE INDEX sales_by_sale_date ON sales (sale_date);
CREATE INDEX sales_by_showing_date ON sales (showing_date);

CREATE TABLE holds (
    reservation_id   text PRIMARY KEY,
    showtime_id      text NOT NULL,
    seats            integer NOT NULL,
    hold_time        text NOT NULL,
    hold_date        text NOT NULL,
    showing_date     text NOT NULL,
    expire_time      text NOT NULL,
    outcome          text NOT NULL,
    outcome_time     text
);

CREATE INDEX holds_by_showtime ON holds (showtime_id);
CREATE INDEX holds_by_hold_date ON holds (hold_date);
CREATE INDEX holds_by_showing_date ON holds (showing_date);

CREATE TABLE projection (
    id               integer PRIMARY KEY,
    version          bigint NOT NULL,
    resume_token     text,
    event_count      bigint NOT NULL,
    last_event_time  text,
    check_time       text,
    complete_since   text
);

INSERT INTO projection (id, version, event_count) VALUES (1, 0, 0);
