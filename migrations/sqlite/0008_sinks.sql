-- Sinks: brokers to which the events of the feed are delivered, and how far each of them is.

CREATE TABLE sinks (
    name        TEXT PRIMARY KEY NOT NULL,
    position    INTEGER NOT NULL,               -- every event up to this position of the feed was delivered
    shift       INTEGER NOT NULL,               -- the broker's ids are those of the feed plus this
    fence       INTEGER NOT NULL,               -- grows when another instance begins to deliver
    beat        INTEGER NOT NULL,               -- grows while an instance delivers
    owner       TEXT NOT NULL,                  -- that instance; empty when it has stopped in order
    seen_time   TEXT NOT NULL,                  -- when it last said so
    problem     TEXT NOT NULL                   -- why nothing is delivered at present; empty if nothing is wrong
) STRICT;
