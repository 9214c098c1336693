-- Sinks: brokers to which the events of the feed are delivered, and how far each of them is.

CREATE TABLE sinks (
    name        text PRIMARY KEY,
    position    bigint NOT NULL,            -- every event up to this position of the feed was delivered
    shift       bigint NOT NULL,            -- the broker's ids are those of the feed plus this
    fence       bigint NOT NULL,            -- grows when another instance begins to deliver
    beat        bigint NOT NULL,            -- grows while an instance delivers
    owner       text NOT NULL,              -- that instance; empty when it has stopped in order
    seen_time   timestamptz NOT NULL,       -- when it last said so
    problem     text NOT NULL               -- why nothing is delivered at present; empty if nothing is wrong
);
