"""What the consumers in this folder have in common: they count the seats that were sold of each showtime.

A consumer keeps its place in the broker in the same transaction as what it has counted, or lets the broker keep it and
acknowledges after that transaction. An event that comes twice is counted once: of each aggregate the last revision and ordinal
are kept, and what is not later is dropped.
"""

import sqlite3
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def event_class(descriptors):
    """The class of an event, from the descriptors that the service prints."""
    files = descriptor_pb2.FileDescriptorSet()
    with open(descriptors, "rb") as file:
        files.ParseFromString(file.read())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("boxoffice.events.v1.Event"))


class Store:
    """What was counted, in an SQLite file. It is used as a context manager: what happens inside is one transaction."""

    def __init__(self, database):
        self.connection = sqlite3.connect(database)
        self.connection.executescript(
            "CREATE TABLE IF NOT EXISTS place (part TEXT PRIMARY KEY, place TEXT NOT NULL);"
            "CREATE TABLE IF NOT EXISTS seen (aggregate TEXT PRIMARY KEY, revision INTEGER NOT NULL, ordinal INTEGER NOT NULL);"
            "CREATE TABLE IF NOT EXISTS sold (showtime TEXT PRIMARY KEY, seats INTEGER NOT NULL);"
        )

    def __enter__(self):
        self.connection.__enter__()
        return self

    def __exit__(self, *raised):
        return self.connection.__exit__(*raised)

    def place(self, part, default=None):
        """The place up to which a part of the broker's messages was read."""
        found = self.connection.execute("SELECT place FROM place WHERE part = ?", (part,)).fetchone()
        return found[0] if found else default

    def keep_place(self, part, place):
        self.connection.execute(
            "INSERT INTO place VALUES (?, ?) ON CONFLICT (part) DO UPDATE SET place = excluded.place", (part, str(place))
        )

    def check_history(self, history):
        """Ends when the events are of another history of the database than those that were counted."""
        if self.place("history", history) != history:
            sys.exit("the database was set back, and has events again that were counted: count anew as docs/events.md says")
        self.keep_place("history", history)

    def count(self, event):
        """Counts an event, unless it or a later one of its aggregate was counted before."""
        seen = self.connection.execute(
            "INSERT INTO seen VALUES (?, ?, ?) ON CONFLICT (aggregate) DO UPDATE SET revision = excluded.revision, "
            "ordinal = excluded.ordinal WHERE (excluded.revision, excluded.ordinal) > (revision, ordinal)",
            (event.aggregate_id, event.revision, event.ordinal),
        )
        if seen.rowcount == 1 and event.WhichOneof("payload") == "reservation_confirmed":
            self.connection.execute(
                "INSERT INTO sold VALUES (?, ?) ON CONFLICT (showtime) DO UPDATE SET seats = seats + excluded.seats",
                (event.showtime_id, len(event.reservation_confirmed.seats)),
            )

    def print(self):
        for showtime, seats in self.connection.execute("SELECT showtime, seats FROM sold ORDER BY showtime"):
            print(showtime, seats)


def arguments():
    """The arguments of the command line, and whether to end when there is nothing more to read."""
    return [argument for argument in sys.argv[1:] if argument != "--once"], "--once" in sys.argv
