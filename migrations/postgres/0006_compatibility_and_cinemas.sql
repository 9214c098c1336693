-- A database says which programs can use it, and showtimes are listed by cinema.

-- One row. A program whose newest migration is `usable_from` or a later one can use the database, however new that is. A
-- migration after which older programs cannot use it raises the number: UPDATE schema_compatibility SET usable_from = ...
CREATE TABLE schema_compatibility (
    id          smallint PRIMARY KEY CHECK (id = 1),
    usable_from bigint NOT NULL
);
INSERT INTO schema_compatibility (id, usable_from) VALUES (1, 6);

-- The auditorium's cinema, which never changes. It is repeated here so that an index can end in the list's order.
ALTER TABLE showtimes ADD COLUMN cinema text;
UPDATE showtimes s SET cinema = a.cinema FROM auditoriums a WHERE a.auditorium_id = s.auditorium_id;
CREATE INDEX showtimes_by_cinema ON showtimes (cinema, start_time, showtime_id);

-- For programs of the release before, which insert showtimes without it.
CREATE FUNCTION showtimes_fill_cinema() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.cinema := (SELECT a.cinema FROM auditoriums a WHERE a.auditorium_id = NEW.auditorium_id);
    RETURN NEW;
END
$$;
CREATE TRIGGER showtimes_fill_cinema BEFORE INSERT ON showtimes
    FOR EACH ROW WHEN (NEW.cinema IS NULL) EXECUTE FUNCTION showtimes_fill_cinema();
