"""Publishes a message to RabbitMQ: publish_amqp.py AMQP_URL CHANNEL JSON [EXCHANGE]

All replicas deliver it to the subscribers of the channel, which is the routing key. The message id makes duplicates
recognizable: a second message with the same id and channel is dropped within two minutes.
"""

import datetime
import json
import sys
import uuid

import pika


def publish(url, exchange, channel, text):
    """Returns once RabbitMQ has confirmed the message. Raises if it is returned or refused."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        amqp = connection.channel()
        amqp.confirm_delivery()
        date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        amqp.basic_publish(
            exchange=exchange,
            routing_key=channel,
            body=json.dumps({"text": text, "date": date.replace("+00:00", "Z")}),
            properties=pika.BasicProperties(
                content_type="application/json",
                delivery_mode=pika.DeliveryMode.Persistent,
                message_id=str(uuid.uuid4()),
            ),
            # Without a replica that has declared the queue, the message would be lost: have it returned.
            mandatory=True,
        )
    finally:
        connection.close()


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        raise SystemExit(__doc__)
    exchange = sys.argv[4] if len(sys.argv) == 5 else "messages"
    publish(sys.argv[1], exchange, sys.argv[2], json.loads(sys.argv[3]))
    print("confirmed")
