-- The feed in segments: a row for all positions that a pass gives, instead of a row and an entry of an index for each of them.

-- Nobody gives positions meanwhile.
LOCK TABLE feed IN ACCESS EXCLUSIVE MODE;

CREATE TABLE feed_segments (
    first       bigint PRIMARY KEY,         -- the position of the first commit
    last        bigint NOT NULL,            -- the position of the last one
    aggregates  uuid[] NOT NULL,            -- the keys of the outbox's rows, in the order of their positions
    seqs        bigint[] NOT NULL,
    events      integer[] NOT NULL,         -- how many events each of them has
    events_to   bigint NOT NULL,            -- how many all commits up to the last one have
    CHECK (last = first + cardinality(aggregates) - 1),
    CHECK (cardinality(seqs) = cardinality(aggregates) AND cardinality(events) = cardinality(aggregates))
);
-- Compressing them takes longer than writing them.
ALTER TABLE feed_segments
    ALTER aggregates SET STORAGE EXTERNAL, ALTER seqs SET STORAGE EXTERNAL, ALTER events SET STORAGE EXTERNAL;

INSERT INTO feed_segments (first, last, aggregates, seqs, events, events_to)
    SELECT min(position), max(position), array_agg(aggregate ORDER BY position), array_agg(seq ORDER BY position),
        array_agg(events ORDER BY position), (array_agg(events_to ORDER BY position DESC))[1]
    FROM (
        SELECT position, aggregate, seq, counted AS events_to,
            (counted - lag(counted, 1, (SELECT compacted_events FROM feed_head)) OVER (ORDER BY position))::integer AS events
        FROM (SELECT *, coalesce(events_to, position) AS counted FROM feed) AS found
    ) AS counts
    GROUP BY (position - 1) / 1000;

-- Safe since 0.1.0: no release has had this table.
DROP TABLE feed;

-- Each position by itself. Rows up to `feed_head.compacted` are deleted. A query for some positions should read the segments.
CREATE VIEW feed AS
    SELECT first + ordinal - 1 AS position, aggregate, seq
    FROM feed_segments, unnest(aggregates, seqs) WITH ORDINALITY AS commits (aggregate, seq, ordinal);
