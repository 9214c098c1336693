"""Counts the seats that were sold of each showtime, from the events of a RabbitMQ exchange.

    boxoffice descriptors --out descriptors.bin
    python rabbitmq.py amqp://127.0.0.1:5672 descriptors.bin sold.db

It can be stopped and started at any time: RabbitMQ keeps the place, and a message is acknowledged after what was counted is
committed. One that comes again is not counted again. When the events are of another history of the database it ends, and what
it has counted is to be counted anew. With --once it ends when its queue is empty.
"""

import pika

import sold

EXCHANGE, QUEUE = "boxoffice.events", "seats-sold"


def main(url, descriptors, database, once):
    event_class = sold.event_class(descriptors)
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.exchange_declare(EXCHANGE, "topic", durable=True)
    # One active consumer for the queue: with several, events of a showtime could overtake each other.
    channel.queue_declare(QUEUE, durable=True, arguments={"x-single-active-consumer": True})
    channel.queue_bind(QUEUE, EXCHANGE, "boxoffice.v1.*")
    channel.basic_qos(prefetch_count=100)
    store = sold.Store(database)
    for method, properties, body in channel.consume(QUEUE, inactivity_timeout=1 if once else None):
        if method is None:
            break
        with store:
            store.check_history(properties.headers["cloudEvents_epoch"])
            store.count(event_class.FromString(body))
        channel.basic_ack(method.delivery_tag)
    channel.cancel()
    connection.close()
    store.print()


if __name__ == "__main__":
    given, once = sold.arguments()
    main(*given, once)
