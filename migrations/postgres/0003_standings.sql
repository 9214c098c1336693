-- How a showtime's seats stand moves into rows of their own. They are written by every reservation, and a showtime's row is
-- wide and has seven indexes: each statement that updates it opens them all, and copies the movie with it.

CREATE TABLE standings (
    showtime_id     uuid PRIMARY KEY,
    available_count integer NOT NULL,
    revision        bigint NOT NULL,
    next_lapse      timestamptz,            -- no hold ends before this; NULL: there is none
    decide_time     timestamptz             -- when its seats last changed; no decision is made at an earlier time
) WITH (fillfactor = 50);                   -- room beside each row for its next version: no index has to learn of it
INSERT INTO standings (showtime_id, available_count, revision, next_lapse, decide_time)
    SELECT showtime_id, available_count, revision, next_lapse, decide_time FROM showtimes;
-- For the sweep that writes down holds that are over.
CREATE INDEX standings_by_lapse ON standings (next_lapse) WHERE next_lapse IS NOT NULL;

ALTER TABLE showtimes
    DROP COLUMN available_count, DROP COLUMN revision, DROP COLUMN next_lapse, DROP COLUMN decide_time;
ALTER TABLE showtimes RESET (fillfactor);
