"""Counts the seats that were sold of each showtime, from the events in a Kafka topic.

    boxoffice descriptors --out descriptors.bin
    python kafka.py 127.0.0.1:9092 descriptors.bin sold.db

It can be stopped and started at any time: the place in each partition is committed with what was counted. When the events are
of another history of the database it ends, and what it has counted is to be counted anew. With --once it ends when nothing has
come for three seconds.
"""

from confluent_kafka import Consumer, TopicPartition

import sold

TOPIC = "boxoffice.events"


def main(servers, descriptors, database, once):
    event_class = sold.event_class(descriptors)
    store = sold.Store(database)
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "seats-sold", "enable.auto.commit": False})
    partitions = consumer.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions
    consumer.assign([TopicPartition(TOPIC, part, int(store.place(f"{TOPIC}/{part}", 0))) for part in partitions])
    while True:
        message = consumer.poll(3)
        if message is None:
            if once:
                break
            continue
        if message.error():
            raise SystemExit(f"Kafka: {message.error()}")
        with store:
            store.check_history(dict(message.headers())["ce_epoch"].decode())
            store.count(event_class.FromString(message.value()))
            store.keep_place(f"{TOPIC}/{message.partition()}", message.offset() + 1)
    consumer.close()
    store.print()


if __name__ == "__main__":
    given, once = sold.arguments()
    main(*given, once)
