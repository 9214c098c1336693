-- The feed in blocks: a row for all positions that a pass gives, instead of a row and an entry of an index for each of them.

CREATE TABLE feed_blocks (
    first       bigint PRIMARY KEY,         -- the position of the first commit; whoever gives it twice fails
    last        bigint NOT NULL,            -- the position of the last one
    aggregates  uuid[] NOT NULL,            -- the keys of the outbox's rows, in the order of their positions
    seqs        bigint[] NOT NULL,
    events      integer[] NOT NULL,         -- how many events each of them has
    events_to   bigint NOT NULL             -- how many all commits up to the last one have
);
-- Compressing them takes longer than writing them.
ALTER TABLE feed_blocks
    ALTER aggregates SET STORAGE EXTERNAL, ALTER seqs SET STORAGE EXTERNAL, ALTER events SET STORAGE EXTERNAL;

INSERT INTO feed_blocks (first, last, aggregates, seqs, events, events_to)
    SELECT min(position), max(position), array_agg(aggregate ORDER BY position), array_agg(seq ORDER BY position),
        array_agg(events ORDER BY position), max(events_to)
    FROM (
        SELECT position, aggregate, seq, counted AS events_to,
            (counted - lag(counted, 1, (SELECT compacted_events FROM feed_head)) OVER (ORDER BY position))::integer AS events
        FROM (SELECT *, coalesce(events_to, position) AS counted FROM feed) AS found
    ) AS counts
    GROUP BY (position - 1) / 1000;

-- Safe since 0.1.0: no release has had this table.
DROP TABLE feed;

-- Each position by itself, as it was. A query for some of them should read the blocks.
CREATE VIEW feed AS
    SELECT first + ordinal - 1 AS position, aggregate, seq
    FROM feed_blocks, unnest(aggregates, seqs) WITH ORDINALITY AS commits (aggregate, seq, ordinal);
