-- The feed: one order for the rows of the outbox of all showtimes, from which they are delivered.

-- Positions begin at 1 and have no gaps: one connection writes, so the order of insertion is that of the commits. They are
-- never used again, also after rows were deleted.
CREATE TABLE feed (
    position    INTEGER PRIMARY KEY AUTOINCREMENT,
    aggregate   BLOB NOT NULL,
    seq         INTEGER NOT NULL
) STRICT;

-- One row.
CREATE TABLE feed_head (
    id          INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    compacted   INTEGER NOT NULL DEFAULT 0,     -- rows up to this position may be deleted
    epoch       TEXT NOT NULL                   -- differs between databases
) STRICT;

INSERT INTO feed (aggregate, seq) SELECT aggregate, seq FROM outbox ORDER BY create_time, aggregate, seq;
INSERT INTO feed_head (id, epoch) VALUES (1, lower(hex(randomblob(16))));

CREATE TRIGGER outbox_is_fed AFTER INSERT ON outbox
BEGIN
    INSERT INTO feed (aggregate, seq) VALUES (NEW.aggregate, NEW.seq);
END;
