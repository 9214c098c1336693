"""Counts the seats that were sold of each showtime, from the events in a stream of NATS JetStream.

    boxoffice descriptors --out descriptors.bin
    python nats_jetstream.py nats://127.0.0.1:4222 descriptors.bin sold.db

It can be stopped and started at any time: the place in the stream is committed with what was counted. When the events are of
another history of the database it ends, and what it has counted is to be counted anew. With --once it ends at the present end
of the stream.
"""

import asyncio

import nats
from nats.js.api import ConsumerConfig, DeliverPolicy

import sold

STREAM, SUBJECTS = "BOXOFFICE", "boxoffice.events.>"


async def main(url, descriptors, database, once):
    event_class = sold.event_class(descriptors)
    connection = await nats.connect(url)
    jetstream = connection.jetstream()
    store = sold.Store(database)
    place = int(store.place(STREAM, 0))
    end = (await jetstream.stream_info(STREAM)).state.last_seq
    config = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=place + 1)
    messages = await jetstream.subscribe(SUBJECTS, stream=STREAM, ordered_consumer=True, config=config)
    while not once or place < end:
        message = await messages.next_msg(timeout=None)
        place = message.metadata.sequence.stream
        with store:
            store.check_history(message.headers["ce-epoch"])
            store.count(event_class.FromString(message.data))
            store.keep_place(STREAM, place)
    await connection.close()
    store.print()


if __name__ == "__main__":
    given, once = sold.arguments()
    asyncio.run(main(*given, once))
