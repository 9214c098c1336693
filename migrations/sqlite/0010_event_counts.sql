-- How many events there are up to each position, so that the lag of a sink is known in events without reading them.

-- Rows that exist count as one event.
ALTER TABLE outbox ADD COLUMN event_count INTEGER NOT NULL DEFAULT 1;

-- The events of all commits up to this position. NULL in rows that exist: there it is taken for one event for each commit.
ALTER TABLE feed ADD COLUMN events_to INTEGER;

-- The same for the position up to which rows were deleted.
ALTER TABLE feed_head ADD COLUMN compacted_events INTEGER NOT NULL DEFAULT 0;
UPDATE feed_head SET compacted_events = compacted;

-- Safe since 0.1.0: it is made again here, and no other program has the file open.
DROP TRIGGER outbox_is_fed;
CREATE TRIGGER outbox_is_fed AFTER INSERT ON outbox
BEGIN
    INSERT INTO feed (aggregate, seq, events_to) VALUES (NEW.aggregate, NEW.seq, NEW.event_count + coalesce(
        (SELECT coalesce(events_to, position) FROM feed ORDER BY position DESC LIMIT 1),
        (SELECT compacted_events FROM feed_head)));
END;
