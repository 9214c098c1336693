-- How many events there are up to each position, so that the lag of a sink is known in events without reading them.

-- Rows that exist count as one event, and so do those that a program of the release before writes.
ALTER TABLE outbox ADD COLUMN event_count integer NOT NULL DEFAULT 1;

-- The events of all commits up to this position. NULL in rows that exist: there it is taken for one event for each commit.
ALTER TABLE feed ADD COLUMN events_to bigint;

-- The same for the position up to which rows were deleted.
ALTER TABLE feed_head ADD COLUMN compacted_events bigint NOT NULL DEFAULT 0;
UPDATE feed_head SET compacted_events = compacted;
