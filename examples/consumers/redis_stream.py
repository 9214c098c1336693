"""Counts the seats that were sold of each showtime, from the events in a Redis stream.

    boxoffice descriptors --out descriptors.bin
    python redis_stream.py redis://127.0.0.1:6379 descriptors.bin sold.db

It can be stopped and started at any time: the place in the stream is committed with what was counted. An event that comes twice is
counted once. When the stream goes on with another history of the database it ends, and what it has counted is to be counted anew.
With --once it ends at the present end of the stream.
"""

import sqlite3
import sys

import redis
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

STREAM = "boxoffice:events"


def message_class(descriptors, name):
    """The class of a message, from the descriptors that the service prints."""
    files = descriptor_pb2.FileDescriptorSet()
    with open(descriptors, "rb") as file:
        files.ParseFromString(file.read())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def is_new(store, event):
    """Notes an event of an aggregate, unless it or a later one was noted before."""
    noted = store.execute(
        "INSERT INTO seen VALUES (?, ?, ?) ON CONFLICT (aggregate) DO UPDATE SET revision = excluded.revision, "
        "ordinal = excluded.ordinal WHERE (excluded.revision, excluded.ordinal) > (revision, ordinal)",
        (event.aggregate_id, event.revision, event.ordinal),
    )
    return noted.rowcount == 1


def apply(store, event):
    if event.WhichOneof("payload") == "reservation_confirmed":
        store.execute(
            "INSERT INTO sold VALUES (?, ?) ON CONFLICT (showtime) DO UPDATE SET seats = seats + excluded.seats",
            (event.showtime_id, len(event.reservation_confirmed.seats)),
        )


def main(url, descriptors, database, once):
    event_class = message_class(descriptors, "boxoffice.events.v1.Event")
    server = redis.Redis.from_url(url)
    store = sqlite3.connect(database)
    store.executescript(
        "CREATE TABLE IF NOT EXISTS place (id TEXT NOT NULL, history TEXT NOT NULL);"
        "CREATE TABLE IF NOT EXISTS seen (aggregate TEXT PRIMARY KEY, revision INTEGER NOT NULL, ordinal INTEGER NOT NULL);"
        "CREATE TABLE IF NOT EXISTS sold (showtime TEXT PRIMARY KEY, seats INTEGER NOT NULL);"
    )
    place, history = store.execute("SELECT id, history FROM place").fetchone() or ("0", None)
    while True:
        streams = server.xread({STREAM: place}, count=100, block=None if once else 5_000)
        if not streams and once:
            break
        for _, entries in streams:
            # The place and what was counted are committed together.
            with store:
                for entry, fields in entries:
                    if history not in (None, fields[b"history"].decode()):
                        sys.exit("the database was set back, and has events again that were counted: count anew")
                    history = fields[b"history"].decode()
                    event = event_class.FromString(fields[b"data"])
                    if is_new(store, event):
                        apply(store, event)
                place = entries[-1][0].decode()
                store.execute("DELETE FROM place")
                store.execute("INSERT INTO place VALUES (?, ?)", (place, history))
    for showtime, seats in store.execute("SELECT showtime, seats FROM sold ORDER BY showtime"):
        print(showtime, seats)


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--once"]
    main(*arguments, once="--once" in sys.argv)
