# Speaks to a Kafka broker on 127.0.0.1 by librdkafka, for the tests.
#
#   kafka.py PORT create TOPIC PARTITIONS
#   kafka.py PORT produce TOPIC KEY VALUE
#   kafka.py PORT read TOPIC                all that is there: one message a line, as JSON
import json
import sys

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

WAIT_SECONDS = 60
port, what, topic, *more = sys.argv[1:]
broker = {"bootstrap.servers": f"127.0.0.1:{port}"}


def text(value):
    return None if value is None else value.decode()


def create():
    [partitions] = more
    admin = AdminClient(broker)
    admin.create_topics([NewTopic(topic, int(partitions), 1)])[topic].result(WAIT_SECONDS)


def produce():
    key, value = more
    failed = []
    producer = Producer({**broker, "acks": "all"})
    producer.produce(topic, value, key, on_delivery=lambda error, _: failed.append(error))
    left = producer.flush(WAIT_SECONDS)
    if left or failed != [None]:
        sys.exit(f"{topic}: {failed}, {left} not sent")


def read():
    # Without a group: nothing is kept at the broker about what was read.
    consumer = Consumer({**broker, "group.id": "tests", "enable.auto.commit": False,
                         "enable.partition.eof": True, "fetch.wait.max.ms": 50})
    known = consumer.list_topics(topic, WAIT_SECONDS).topics[topic]
    if known.error:
        sys.exit(f"{topic}: {known.error}")
    for partition in sorted(known.partitions):
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), WAIT_SECONDS)
        consumer.assign([TopicPartition(topic, partition, low)])
        at = low
        # Of a batch of several messages Tansu tells the first as the last one (`high`).
        while low < high:
            message = consumer.poll(WAIT_SECONDS)
            end = message and message.error()
            if end and end.code() == KafkaError._PARTITION_EOF and at >= high:
                break
            if message is None or message.error():
                sys.exit(f"{topic}: {message and message.error()} at {at} of {high}")
            at = message.offset() + 1
            print(json.dumps({
                "partition": partition,
                "offset": message.offset(),
                "key": text(message.key()),
                "value": text(message.value()),
                "headers": {name: text(value) for name, value in message.headers() or []},
            }))
    consumer.close()


{"create": create, "produce": produce, "read": read}[what]()
