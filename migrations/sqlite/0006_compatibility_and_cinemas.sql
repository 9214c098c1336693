-- A database says which programs can use it, and showtimes are listed by cinema.

-- One row. A program whose newest migration is `usable_from` or a later one can use the database, however new that is. A
-- migration after which older programs cannot use it raises the number: UPDATE schema_compatibility SET usable_from = ...
CREATE TABLE schema_compatibility (
    id          INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    usable_from INTEGER NOT NULL
) STRICT;
INSERT INTO schema_compatibility (id, usable_from) VALUES (1, 6);

-- The auditorium's cinema, which never changes. It is repeated here so that an index can end in the list's order.
ALTER TABLE showtimes ADD COLUMN cinema TEXT;
UPDATE showtimes SET cinema =
    (SELECT a.cinema FROM auditoriums a WHERE a.auditorium_id = showtimes.auditorium_id);
CREATE INDEX showtimes_by_cinema ON showtimes (cinema, start_time, showtime_id);

-- For programs of the release before, which insert showtimes without it.
CREATE TRIGGER showtimes_fill_cinema AFTER INSERT ON showtimes WHEN NEW.cinema IS NULL
BEGIN
    UPDATE showtimes SET cinema =
        (SELECT a.cinema FROM auditoriums a WHERE a.auditorium_id = NEW.auditorium_id)
    WHERE showtime_id = NEW.showtime_id;
END;
