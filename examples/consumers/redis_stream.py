"""Counts the seats that were sold of each showtime, from the events in a Redis stream.

    boxoffice descriptors --out descriptors.bin
    python redis_stream.py redis://127.0.0.1:6379 descriptors.bin sold.db

It can be stopped and started at any time: the place in the stream is committed with what was counted. When the stream goes on
with another history of the database it ends, and what it has counted is to be counted anew. With --once it ends at the present
end of the stream.
"""

import redis

import sold

STREAM = "boxoffice:events"


def main(url, descriptors, database, once):
    event_class = sold.event_class(descriptors)
    server = redis.Redis.from_url(url)
    store = sold.Store(database)
    while True:
        place = store.place(STREAM, "0")
        streams = server.xread({STREAM: place}, count=100, block=None if once else 5_000)
        if not streams and once:
            break
        for _, entries in streams:
            with store:
                for entry, fields in entries:
                    store.check_history(fields[b"history"].decode())
                    store.count(event_class.FromString(fields[b"data"]))
                    store.keep_place(STREAM, entry.decode())
    store.print()


if __name__ == "__main__":
    given, once = sold.arguments()
    main(*given, once)
