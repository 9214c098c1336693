-- How a showtime's seats stand moves into rows of their own. They are written by every reservation, and a showtime's row is
-- wide: where there are forty standings in a page, there were three of those.

CREATE TABLE standings (
    showtime_id     BLOB PRIMARY KEY NOT NULL,
    available_count INTEGER NOT NULL CHECK (available_count >= 0),
    revision        INTEGER NOT NULL CHECK (revision > 0),
    next_lapse      TEXT,                   -- no hold ends before this; NULL: there is none
    decide_time     TEXT                    -- when its seats last changed; no decision is made at an earlier time
) STRICT, WITHOUT ROWID;
INSERT INTO standings (showtime_id, available_count, revision, next_lapse, decide_time)
    SELECT showtime_id, available_count, revision, next_lapse, decide_time FROM showtimes;
-- For the sweep that writes down holds that are over.
CREATE INDEX standings_by_lapse ON standings (next_lapse) WHERE next_lapse IS NOT NULL;

DROP INDEX showtimes_by_lapse;
ALTER TABLE showtimes DROP COLUMN available_count;
ALTER TABLE showtimes DROP COLUMN revision;
ALTER TABLE showtimes DROP COLUMN next_lapse;
ALTER TABLE showtimes DROP COLUMN decide_time;
