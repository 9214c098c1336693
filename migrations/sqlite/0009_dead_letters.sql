-- Dead letters: events that the broker of a sink refuses, and the later events of the same aggregate, which wait behind them.

CREATE TABLE dead_letters (
    sink        TEXT NOT NULL,                  -- the name of the sink
    position    INTEGER NOT NULL,               -- the position of the event's commit in the feed
    "index"     INTEGER NOT NULL,               -- the index of the event in its commit
    aggregate   TEXT NOT NULL,                  -- what the event is of; its events are delivered in their order
    event       BLOB NOT NULL,                  -- the event, as it is delivered
    dead        INTEGER NOT NULL,               -- whether the broker has refused it; otherwise it waits
    reason      TEXT NOT NULL,                  -- why it was refused; empty while it waits
    attempts    INTEGER NOT NULL,               -- how often it was refused
    write_time  TEXT NOT NULL,                  -- since when it is here
    PRIMARY KEY (sink, position, "index")
) STRICT;
CREATE INDEX dead_letters_by_aggregate ON dead_letters (sink, aggregate, position, "index");
CREATE INDEX dead_letters_dead ON dead_letters (sink, aggregate, position, "index") WHERE dead;
