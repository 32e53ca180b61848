"""kafka-python (Debian's 2.0.2 or the newest) against a broker: kafka_python.py BOOTSTRAP"""
import os
import sys

try:
    import kafka
except ModuleNotFoundError:  # the six that 2.0.2 carries is too old for Python 3.12, as in Ubuntu 24.04
    import six
    sys.modules["kafka.vendor.six.moves"] = six.moves
    import kafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic

import report
from report import check, expect

BOOTSTRAP = sys.argv[1]
TOPIC = f"kafka-python-{os.getpid()}"
RECORDS = 500
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
TIME = 1700000000000


def record(feature, i):
    return {"key": b"key %d" % i, "value": b"%s %d %d" % (feature.encode(), i, i),
            "headers": [("feature", feature.encode())], "timestamp_ms": TIME + i}


def produce(feature, offset_due, **options):
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, linger_ms=5, **options)
    try:
        sent = [producer.send(TOPIC, partition=0, **record(feature, i)) for i in range(RECORDS)]
        producer.flush(timeout=20)
        expect([s.get(timeout=20).offset for s in sent], list(range(offset_due, offset_due + RECORDS)))
    finally:
        producer.close(timeout=5)


def fetch(features, first):
    consumer = KafkaConsumer(bootstrap_servers=BOOTSTRAP, consumer_timeout_ms=15000, enable_auto_commit=False)
    try:
        partition = TopicPartition(TOPIC, 0)
        consumer.assign([partition])
        consumer.seek(partition, first)
        offset = first
        for message in consumer:
            due = record(features[offset // RECORDS], offset % RECORDS)
            expect(message.offset, offset)
            expect({"key": message.key, "value": message.value, "headers": list(message.headers),
                    "timestamp_ms": message.timestamp}, due)
            offset += 1
            if offset == len(features) * RECORDS:
                break
        expect(offset, len(features) * RECORDS)
    finally:
        consumer.close()


def with_consumer(function):
    consumer = KafkaConsumer(bootstrap_servers=BOOTSTRAP)
    try:
        function(consumer, TopicPartition(TOPIC, 0))
    finally:
        consumer.close()


def main():
    print("kafka-python", kafka.__version__)
    admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    check("create-topic", lambda: admin.create_topics(
        [NewTopic(name=TOPIC, num_partitions=3, replication_factor=1, topic_configs={"max.message.bytes": "700000"})]))

    def describe_configs():
        text = str(admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, TOPIC)]))
        expect("max.message.bytes" in text and "700000" in text, True)
    check("describe-configs", describe_configs)
    check("metadata", with_consumer,
          lambda consumer, _: expect(consumer.partitions_for_topic(TOPIC), {0, 1, 2}))

    features = list(CODECS)
    for i, codec in enumerate(CODECS):
        check(codec, lambda c=codec, o=i * RECORDS: produce(c, o, compression_type=None if c == "none" else c))
    if "enable_idempotence" in KafkaProducer.DEFAULT_CONFIG:
        check("idempotent", lambda: produce("idempotent", len(features) * RECORDS, enable_idempotence=True))
        features.append("idempotent")
    check("acks-1", lambda: produce("acks-1", len(features) * RECORDS, acks=1))
    features.append("acks-1")

    end = len(features) * RECORDS
    check("list-offsets", with_consumer, lambda consumer, partition: expect(
        (consumer.beginning_offsets([partition])[partition], consumer.end_offsets([partition])[partition]), (0, end)))
    check("list-offsets-time", with_consumer, lambda consumer, partition: expect(
        tuple(consumer.offsets_for_times({partition: TIME + 321})[partition])[:2], (321, TIME + 321)))
    check("fetch", fetch, features, 0)
    check("fetch-from-offset", fetch, features, 777)
    check("delete-topic", lambda: admin.delete_topics([TOPIC]))
    return 1 if report.failures else 0


sys.exit(main())
