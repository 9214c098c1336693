-- The feed: one order for the rows of the outbox of all showtimes, from which they are delivered.

-- The transaction that wrote the row. Rows that exist get the number of this migration's transaction, without being rewritten.
ALTER TABLE outbox ADD COLUMN xid xid8 DEFAULT pg_current_xact_id();
CREATE INDEX outbox_by_xid ON outbox (xid);

-- Positions begin at 1 and have no gaps. A row gets its position after its transaction has committed.
CREATE TABLE feed (
    position    bigint PRIMARY KEY,
    aggregate   uuid NOT NULL,
    seq         bigint NOT NULL
);

-- One row. Whoever gives positions locks it, so it is a lock, a fence and a counter.
CREATE TABLE feed_head (
    id          smallint PRIMARY KEY CHECK (id = 1),
    position    bigint NOT NULL,            -- the last position
    compacted   bigint NOT NULL DEFAULT 0,  -- rows up to this position may be deleted
    seen        pg_snapshot NOT NULL,       -- every row that this snapshot sees has its position
    epoch       text NOT NULL               -- changes when the database becomes another one, or is set back
);

INSERT INTO feed (position, aggregate, seq)
    SELECT row_number() OVER (ORDER BY create_time, aggregate, seq), aggregate, seq FROM outbox;
-- The epoch is empty, so that the first pass looks at all rows, since programs of the release before may be writing some.
INSERT INTO feed_head (id, position, seen, epoch) SELECT 1, count(*), pg_current_snapshot(), '' FROM feed;
